"""Figures of where a model holds: what was measured and how far off, and sources by condition."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from nmsim.report.plots.theme import (
    ALL_COLOUR,
    INK,
    MACHINE_COLOURS,
    MASK_COLOUR,
    MUTED,
    apply_theme,
    escaped,
)

__all__ = ["MOST_MACHINES", "region", "sources"]

MOST_MACHINES = 5
"""Machines whose region is drawn, those of most rows."""

_PLANES = (("m", "n"), ("m", "k"), ("n", "k"))
_WORST = 30.0
"""Percent from which on a cell has the last colour."""
_PANEL = 215
_CONDITIONS = ("free", "sustained", "locked")


Octaves = NDArray[np.int64]
Errors = NDArray[np.float64]


def region(df: pd.DataFrame, context: str) -> go.Figure:
    """Mean error by octaves of M, N and K, two at a time; what has no colour was not measured."""
    counts = df["machine"].value_counts()
    machines = [str(name) for name in counts.index[:MOST_MACHINES]]
    figure = make_subplots(
        rows=len(machines),
        cols=3,
        horizontal_spacing=0.085,
        vertical_spacing=min(0.2, 70 / (_PANEL * len(machines))),
        row_titles=[escaped(name) for name in machines],
    )
    octaves = {name: np.floor(np.log2(df[name].to_numpy())).astype(np.int64) for name in "mnk"}
    missed = 100 * (df["ratio"] - 1).abs().to_numpy()
    for row, machine in enumerate(machines, start=1):
        own = (df["machine"] == machine).to_numpy()
        for col, (x, y) in enumerate(_PLANES, start=1):
            heat = _heat(octaves[x][own], octaves[y][own], missed[own], (x, y), escaped(machine))
            figure.add_trace(heat, row=row, col=col)
            figure.update_xaxes(title=x.upper(), title_standoff=4, row=row, col=col)
            figure.update_yaxes(title=y.upper(), title_standoff=4, row=row, col=col)
    figure.update_layout(
        coloraxis={
            "colorscale": "Cividis_r",
            "cmin": 0,
            "cmax": _WORST,
            "colorbar": {
                "title": {"text": "MAPE [%]", "side": "right"},
                "thickness": 12,
                "ticksuffix": "",
                "len": min(1.0, 220 / (_PANEL * len(machines)) + 0.1),
                "y": 1,
                "yanchor": "top",
                "x": 1.045,
            },
        }
    )
    for axis in (figure.update_xaxes, figure.update_yaxes):
        axis(**_octave_axis(np.concatenate([*octaves.values()])))
    apply_theme(
        figure,
        "Where it was measured, and how far off the model is there",
        f"{context} · a cell is an octave by an octave; no colour: nothing measured",
        110 + (_PANEL + 20) * len(machines),
        78,
    )
    figure.update_layout(margin={"r": 96})
    figure.update_annotations(font={"size": 12, "color": MUTED})
    return figure


def _heat(x: Octaves, y: Octaves, missed: Errors, names: tuple[str, str], of: str) -> go.Heatmap:
    """Mean error of every pair of octaves that has rows."""
    across, down = (range(int(v.min()), int(v.max()) + 1) for v in (x, y))
    at = (y - down[0]) * len(across) + x - across[0]
    cells = len(across) * len(down)
    count = np.bincount(at, minlength=cells)
    mean = np.bincount(at, missed, cells) / np.maximum(1, count)
    shape = (len(down), len(across))
    told = [
        _cell_hover(of, [(names[0], a), (names[1], b)], int(count[i]), float(mean[i]))
        for i, (b, a) in enumerate((b, a) for b in down for a in across)
    ]
    return go.Heatmap(
        x=[octave + 0.5 for octave in across],
        y=[octave + 0.5 for octave in down],
        z=[
            [round(float(v), 2) if n else None for v, n in zip(*row, strict=True)]
            for row in zip(mean.reshape(shape), count.reshape(shape), strict=True)
        ],
        text=np.array(told, object).reshape(shape).tolist(),
        hoverinfo="text",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )


def _cell_hover(machine: str, where: Sequence[tuple[str, int]], count: int, mean: float) -> str:
    said = ", ".join(f"{name.upper()} {_range(octave)}" for name, octave in where)
    told = f"{count:,} rows, MAPE {mean:.1f} %" if count else "nothing measured"
    return f"<b>{machine}</b><br>{said}<br>{told}"


def _range(octave: int) -> str:
    return f"{2**octave:,} to {2 ** (octave + 1) - 1:,}" if octave else "1"


def _octave_axis(octaves: Any) -> dict[str, Any]:
    ticks = list(range(int(octaves.min()), int(octaves.max()) + 2, 4))
    return {
        "tickvals": ticks,
        "ticktext": [_size(tick) for tick in ticks],
        "range": [int(octaves.min()) - 0.1, int(octaves.max()) + 1.1],
    }


def _size(octave: int) -> str:
    return f"{2**octave}" if octave < 10 else f"{2 ** (octave - 10)}k"


def sources(tables: Sequence[Mapping[str, Any]], context: str) -> go.Figure:
    """Every source under its condition: the physics and the residual, seen and held-out shapes."""
    order = sorted(tables, key=lambda one: (_CONDITIONS.index(one["conditions"]), one["machine"]))
    names = list(dict.fromkeys(map(_source, order)))[::-1]
    figure = go.Figure()
    for one in order:
        if one.get("residual_mape") is not None:
            ends = [100 * one[key] for key in ("physics_mape", "residual_mape")]
            figure.add_scatter(
                x=ends, y=[_source(one)] * 2, mode="lines", hoverinfo="skip", showlegend=False,
                line={"color": MUTED, "width": 1},
            )  # fmt: skip
    for key, name, colour, symbol in (
        ("physics_mape", "physics", MACHINE_COLOURS[0], "circle"),
        ("residual_mape", "with residual", MASK_COLOUR, "diamond"),
    ):
        for shapes in ("calibration", "held out"):
            own = [r for r in order if r["shapes"] == shapes and r.get(key) is not None]
            if not own:
                continue
            marker: dict[str, Any] = {
                "color": colour, "size": 9, "line": {"color": colour, "width": 1.5},
                "symbol": symbol + ("-open" if shapes == "held out" else ""),
            }  # fmt: skip
            figure.add_scatter(
                x=[100 * row[key] for row in own],
                y=[_source(row) for row in own],
                mode="markers",
                marker=marker,
                name=f"{name}, {shapes}",
                hovertext=[_source_hover(row, name, key) for row in own],
                hoverinfo="text",
            )
    figure.update_yaxes(
        categoryorder="array", categoryarray=names, tickfont={"size": 11.5, "color": INK}
    )
    figure.update_xaxes(title="MAPE [%]", rangemode="tozero")
    apply_theme(
        figure,
        "Every source under its condition, physics and residual side by side",
        context,
        170 + 27 * len(names),
        105,
    )
    for condition in dict.fromkeys(one["conditions"] for one in order):
        _mark_condition(figure, condition, [n for n in names if n.endswith(f"· {condition}")])
    return figure


def _source(one: Mapping[str, Any]) -> str:
    file = PurePath(one["file"]).name.removesuffix(".gz").removesuffix(".csv")
    return escaped(f"{file}, {one['machine']} {one['dtype_in']} · {one['conditions']}")


def _source_hover(row: Mapping[str, Any], name: str, key: str) -> str:
    return (
        f"<b>{_source(row)}</b><br>{escaped(str(row['source']))}<br>{name}, {row['shapes']} weight "
        f"shapes: {row['rows']:,} rows, MAPE {100 * row[key]:.1f} %"
    )


def _mark_condition(figure: go.Figure, condition: str, names: Sequence[str]) -> None:
    """A band behind sources whose clock was not free."""
    if condition == "free":
        return
    for name in names:
        figure.add_shape(
            type="rect", xref="paper", x0=0, x1=1, yref="y", y0=name, y1=name, y0shift=-0.5,
            y1shift=0.5, fillcolor=ALL_COLOUR, opacity=0.07, line_width=0, layer="below",
        )  # fmt: skip
