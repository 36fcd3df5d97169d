"""Figures of a validation: measured against predicted times, errors by size, speed-ups."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nmsim.report.notation import duration, ratio, significant
from nmsim.report.plots.region import region, sources
from nmsim.report.plots.theme import (
    ALL_COLOUR,
    DENSE_COLOUR,
    INK,
    MACHINE_COLOURS,
    MACHINE_SYMBOLS,
    apply_theme,
    escaped,
    for_phones,
)

__all__ = ["MOST_POINTS", "shown_rows", "validation_figures"]

MOST_POINTS = 4000
"""Rows that a figure shows one by one; of more, every so manieth and all that are far off."""

_FAR = 0.25
_LINE = {"color": INK, "width": 1.2}
_FLOORS = ("dot", "dash")

_FEW = 5
"""Series of bars that each have room for a number above it."""

_ABREAST = 1180
"""Pixels that numbers above bars take beside each other."""

_WIDE = 8.0
"""Greatest over least speed-up from which on axes are logarithmic."""


def validation_figures(df: pd.DataFrame, manifest: Mapping[str, Any]) -> dict[str, go.Figure]:
    """The figures that the rows have data for, by name, in the order of a page."""
    kinds = _kinds(df)
    said = _context(manifest)
    tables = [one for one in manifest.get("tables", ()) if "physics_mape" in one]
    drawn = {
        "times": _times(df, kinds, manifest),
        "region": region(df, said),
        **({"sources": sources(tables, said)} if tables else {}),
        "sizes": _sizes(df, kinds, manifest),
    }
    pairs = manifest["speedup_rows"]
    return {**drawn, "speedups": _speedups(pairs, manifest)} if pairs else drawn


def _kinds(df: pd.DataFrame) -> "pd.Series[str]":
    """Which colour a row has: number format and pattern, and machine if there are several."""
    kinds = _named(df, df["sparsity"].astype(str))
    if len(set(kinds)) > len(MACHINE_COLOURS):  # no two kinds of one colour, as far as can be
        kinds = _named(df, df["sparsity"].where(df["sparsity"] == "dense", "sparse").astype(str))
    return kinds


def _named(df: pd.DataFrame, sparsity: "pd.Series[str]") -> "pd.Series[str]":
    kinds = df["dtype_in"].astype(str) + " " + sparsity
    return df["machine"].astype(str) + " " + kinds if len(set(df["machine"])) > 1 else kinds


def _colours(kinds: "pd.Series[str]") -> dict[str, str]:
    """A colour for every kind, most rows first."""
    return dict(zip(kinds.value_counts().index, cycle(MACHINE_COLOURS), strict=False))


def _symbols(names: Iterable[str]) -> dict[str, str]:
    return dict(zip(dict.fromkeys(names), cycle(MACHINE_SYMBOLS), strict=False))


def _mark(colour: str, symbol: str) -> dict[str, Any]:
    return {"color": colour, "symbol": symbol, "size": 6, "opacity": 0.6}


def _context(manifest: Mapping[str, Any]) -> str:
    machines = manifest["machines"]
    return (
        f"{', '.join(machines)} · {manifest['fidelity']} model · {manifest['rows']:,} measured rows"
    )


def _times(df: pd.DataFrame, kinds: "pd.Series[str]", manifest: Mapping[str, Any]) -> go.Figure:
    figure = make_subplots(
        rows=1,
        cols=2,
        column_widths=[0.42, 0.58],
        horizontal_spacing=0.08,
        subplot_titles=("predicted against measured", "predicted / measured"),
    )
    shown = _shown(df)
    ends = [df["measured_us"].min() * 0.7, df["measured_us"].max() * 1.4]
    colours, symbols = _colours(kinds), _symbols(df["library"])
    parts = df[shown].groupby([kinds[shown], "library"], sort=False)
    for (kind, library), rows in sorted(parts, key=lambda part: -len(part[1])):
        name = escaped(f"{kind} {library}")
        look = {
            "mode": "markers",
            "marker": _mark(colours[str(kind)], symbols[str(library)]),
            "hovertext": [_hover(row) for row in rows.to_dict("records")],
            "hoverinfo": "text",
            "legendgroup": name,
            "name": name,
        }
        x = rows["measured_us"].tolist()
        figure.add_scatter(x=x, y=rows["predicted_us"].tolist(), **look, row=1, col=1)
        figure.add_scatter(x=x, y=rows["ratio"].tolist(), **look, showlegend=False, row=1, col=2)
    figure.add_scatter(
        x=ends, y=ends, mode="lines", line=_LINE, name="predicted = measured", row=1, col=1
    )
    for (what, share), dash in zip(manifest["noise"].items(), _FLOORS, strict=False):
        for side in (1 + share, 1 / (1 + share)):
            figure.add_scatter(
                x=ends,
                y=[side] * 2,
                mode="lines",
                line={**_LINE, "dash": dash},
                name=f"± {100 * share:.1f} %: {what}",
                legendgroup=what,
                showlegend=side > 1,
                hoverinfo="skip",
                row=1,
                col=2,
            )
    logs = np.log10(ends).tolist()
    # Ticks of a decade: 1, 10, 100; plotly would write 2 and 5 between them without their power.
    figure.update_xaxes(type="log", range=logs, title="measured time [µs]", dtick=1)
    figure.update_yaxes(type="log", range=logs, title="predicted time [µs]", dtick=1, col=1)
    figure.update_yaxes(type="log", title="predicted / measured [×]", col=2, **_ratio_axis(df))
    rows_of_legend = -(-(len(figure.data) // 2 + 3) // 4)
    return apply_theme(
        figure,
        "Predicted against measured time, one mark per GEMM",
        _context(manifest),
        640 + 20 * rows_of_legend,
        120 + 20 * rows_of_legend,
    )


def _ratio_axis(df: pd.DataFrame) -> dict[str, Any]:
    ticks = [0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0]
    low = min(0.7, float(df["ratio"].min()) * 0.95)
    high = max(1.4, float(df["ratio"].max()) * 1.05)
    return {
        "range": [float(np.log10(low)), float(np.log10(high))],
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
    }


def shown_rows(df: pd.DataFrame) -> int:
    """Rows that the figure of times shows one by one."""
    return int(_shown(df).sum())


def _shown(df: pd.DataFrame) -> "pd.Series[bool]":
    if len(df) <= MOST_POINTS:
        return pd.Series(True, index=df.index)
    step = -(-len(df) // MOST_POINTS)
    far = (np.log(df["ratio"]).abs() > np.log1p(_FAR)).to_numpy()
    return pd.Series(far | (np.arange(len(df)) % step == 0), index=df.index)


def _hover(row: Mapping[Any, Any]) -> str:
    size = f"M×N×K {row['m']}×{row['n']}×{row['k']}"
    copies = f" ×{row['batch']}" if row["batch"] > 1 else ""
    lines = [
        f"<b>{size}{copies}</b> · {row['dtype_in']} {row['sparsity']} {escaped(row['library'])}",
        f"measured {duration(row['measured_us'])}, predicted {duration(row['predicted_us'])}",
        f"error {100 * (row['ratio'] - 1):+.1f} %",
        f"model: kernel {row['model_kernel']}, K in {row['split']}, bound by {row['bound']}",
        f"{row['tiles']:,} tiles in {row['waves']:,.1f} waves",
        f"{escaped(str(row['file']))}, line {row['line']}",
    ]
    return "<br>".join(lines)


def _sizes(df: pd.DataFrame, kinds: "pd.Series[str]", manifest: Mapping[str, Any]) -> go.Figure:
    """Mean error by class of measured time, for all rows and per kind of row."""
    figure = go.Figure()
    shortest = df.groupby("size")["measured_us"].min().sort_values()
    names = [str(name) for name in shortest.index]
    shown = list(_colours(kinds))[: len(MACHINE_COLOURS) - 1]  # no two of one colour
    series = {"all rows": df, **{kind: df[kinds == kind] for kind in shown}}
    colours = {"all rows": ALL_COLOUR, **_colours(kinds)}
    few = len(series) <= _FEW
    rows_of = df["size"].value_counts()
    for name, rows in series.items():
        errors = (rows["ratio"] - 1).abs().groupby(rows["size"])
        mape, counts = 100 * errors.mean(), errors.size()
        known = [size for size in names if size in mape.index]
        figure.add_bar(
            x=[_micro(size) for size in known],
            y=[float(mape[size]) for size in known],
            name=escaped(name),
            marker={"color": colours[name]},
            text=[f"{counts[size]:,}" if few else "" for size in known],
            textposition="inside",  # at the foot, where no line of noise crosses them
            insidetextanchor="start",
            textfont={"size": 10.5},
            textangle=0,
            constraintext="none",
            hovertext=[
                f"<b>{escaped(name)}, {_micro(size)}</b><br>{counts[size]:,} rows, "
                f"MAPE {mape[size]:.1f} %"
                for size in known
            ],
            hoverinfo="text",
        )
    for (what, share), dash in zip(manifest["noise"].items(), _FLOORS, strict=False):
        line = {**_LINE, "dash": dash}
        y = 100 * share
        figure.add_shape(type="line", xref="paper", x0=0, x1=1, y0=y, y1=y, line=line)
        figure.add_scatter(x=[None], y=[None], mode="lines", line=line, name=f"{y:.1f} %: {what}")
    figure.update_yaxes(title="MAPE [%]", rangemode="tozero")
    figure.update_xaxes(
        title="measured time",
        showgrid=False,
        categoryorder="array",
        categoryarray=[_micro(name) for name in names],
        tickvals=[_micro(name) for name in names],
        ticktext=[f"{_micro(name)}<br>{rows_of[name]:,} rows" for name in names],
    )
    more = 20 * (len(series) // 6)
    left = len(set(kinds)) - len(shown)
    told = "at the foot of each bar: its rows" if few else "kinds of most rows"
    told += f", {left} more in the table of groups" if left else ""
    subtitle = f"{_context(manifest)} · {told}"
    title = "Mean absolute error by measured time, against measurement noise"
    return for_phones(apply_theme(figure, title, subtitle, 440 + more, 105 + more), _ABREAST)


def _micro(size: str) -> str:
    return size.replace(" us", " µs")


def _speedups(pairs: list[Mapping[str, Any]], manifest: Mapping[str, Any]) -> go.Figure:
    figure = go.Figure()
    values = [p[f"{which}_speedup"] for p in pairs for which in ("measured", "predicted")]
    ends = [min(*values, 0.9) * 0.93, max(*values, 1.1) * 1.05]
    figure.add_shape(
        type="rect", x0=0.95, x1=1.05, y0=ends[0], y1=ends[1],
        fillcolor=DENSE_COLOUR, opacity=0.5, line_width=0, layer="below",
    )  # fmt: skip
    for (name, symbol), colour in zip(
        _symbols(p["library"] for p in pairs).items(), cycle(MACHINE_COLOURS), strict=False
    ):
        mine = [p for p in pairs if p["library"] == name]
        figure.add_scatter(
            x=[p["measured_speedup"] for p in mine],
            y=[p["predicted_speedup"] for p in mine],
            mode="markers",
            marker={**_mark(colour, symbol), "size": 8, "opacity": 0.8},
            name=escaped(name),
            hovertext=[_pair_hover(p) for p in mine],
            hoverinfo="text",
        )
    figure.add_scatter(x=ends, y=ends, mode="lines", line=_LINE, name="predicted = measured")
    for axis, what in ((figure.update_xaxes, "measured"), (figure.update_yaxes, "predicted")):
        axis(title=f"{what} speed-up over the dense GEMM [×]", **_gains_axis(ends))
    figure.update_yaxes(scaleanchor="x", scaleratio=1, constrain="domain")
    figure.update_xaxes(constrain="domain")
    return apply_theme(figure, "Speed-up of sparse over dense GEMMs", _context(manifest), 620, 105)


def _gains_axis(ends: Sequence[float]) -> dict[str, Any]:
    """In logarithms where gains are far apart, or those of 2:4 would be one dot."""
    if ends[1] / ends[0] < _WIDE:
        return {"range": list(ends)}
    ticks = [0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 50, 100, 200]
    return {
        "type": "log",
        "range": np.log10(ends).tolist(),
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
    }


def _pair_hover(pair: Mapping[str, Any]) -> str:
    return (
        f"<b>M×N×K {pair['m']}×{pair['n']}×{pair['k']}</b> · {pair['sparsity']}<br>"
        f"measured {ratio(pair['measured_speedup'])}×, "
        f"predicted {ratio(pair['predicted_speedup'])}×<br>"
        f"dense {significant(pair['measured_us_dense'])} µs measured, "
        f"{significant(pair['predicted_us_dense'])} µs predicted"
    )
