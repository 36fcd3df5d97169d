"""Time of every phase beside the dense run's: at work, waiting, making masks, what is no GEMM."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nmsim.report.notation import duration, percent, ratio
from nmsim.report.plots.theme import (
    ALL_COLOUR,
    DENSE_COLOUR,
    HATCH,
    MASK_COLOUR,
    PHASE_COLOURS,
    REST_COLOUR,
    apply_theme,
    coloured,
    context,
    for_phones,
)
from nmsim.report.summary import (
    estimated,
    gemm_rows,
    masks_cost,
    phase_summary,
    quotient,
    step_counts,
    step_words,
)

__all__ = ["phase_time_figure"]

Row = Mapping[str, Any]

_PARTS = {"compute": "computing", "stall": "stalled: waiting, or not multiplying"}
_MASKS = "making masks"
_REST = "no GEMM, estimated"


def phase_time_figure(df: pd.DataFrame, manifest: Mapping[str, Any]) -> go.Figure:
    """Time per phase beside the dense run's: at work, waiting for memory, making masks."""
    sums = phase_summary(gemm_rows(df))
    names = [name for name in sums if name != "all" or len(sums) > 2]
    masks, whole = masks_cost(sums["all"]), estimated(sums["all"])
    longest = max(max(_whole(sums[n]), _dense(sums[n]) or 0.0) for n in names)
    divisor, unit = (1e3, "ms") if longest >= 1e4 else (1.0, "µs")
    spare = max(0, 3 - len(names)) / 2
    figure = go.Figure()
    compared = any(sums[name]["dense_time_us"] is not None for name in names)
    if compared:
        figure.add_bar(**_dense_bars(names, sums, divisor))
    aside = 0.2 if compared else 0.0
    for position, name in enumerate(names):
        for part in _PARTS:
            figure.add_bar(**_part_bar(name, sums[name], part, position + aside, divisor))
        if masks:
            figure.add_bar(**_masks_bar(name, sums[name], position + aside, divisor))
        if whole:
            figure.add_bar(**_rest_bar(name, sums[name], position + aside, divisor))
        figure.add_annotation(
            x=position + aside,
            y=_whole(sums[name]) / divisor,
            text=_told(sums[name]),
            showarrow=False,
            yanchor="bottom",
        )
    for part in _PARTS:
        figure.add_bar(**_legend_entry(part))
    if masks:
        figure.add_bar(name=_MASKS, x=[None], y=[None], marker={"color": MASK_COLOUR})
    if whole:
        figure.add_bar(name=_REST, x=[None], y=[None], marker={"color": REST_COLOUR})
    figure.update_xaxes(
        tickvals=list(range(len(names))),
        ticktext=[coloured(name if name != "all" else "all phases", name) for name in names],
        range=[-0.5 - spare, len(names) - 0.5 + spare],
        showgrid=False,
        title="phase",
    )
    figure.update_yaxes(
        title=f"time [{unit}]", rangemode="tozero", range=[0, 1.32 * longest / divisor]
    )
    figure.update_layout(barmode="overlay")
    title = f"Time per phase{', masks included' if masks else ''}"
    title = "Time per phase of the step, an estimate" if whole else title
    title += ", beside the dense run" if compared else ""
    least = max(340, _MARGINS + _ABREAST * len(names))
    return for_phones(apply_theme(figure, title, context(manifest), 430, 104), least)


_MARGINS, _ABREAST = 70, 200
"""Pixels beside the bars, and those that two bars of a phase need for what stands above them."""


def _dense_bars(names: Sequence[str], sums: Mapping[str, Row], divisor: float) -> dict[str, Any]:
    times = [_dense(sums[name]) for name in names]
    return {
        "name": "dense run",
        "x": [position - 0.2 for position in range(len(names))],
        "y": [time / divisor if time is not None else None for time in times],
        "width": 0.36,
        "marker": {"color": DENSE_COLOUR},
        "text": [duration(time) for time in times],
        "textposition": "outside",
        "hovertext": [f"dense run, {n}: {duration(t)}" for n, t in zip(names, times, strict=True)],
        "hoverinfo": "text",
    }


def _part_bar(name: str, total: Row, part: str, x: float, divisor: float) -> dict[str, Any]:
    """The part of a phase's time that its machine computes, or on top of it the part it waits."""
    share = total[f"{part}_cycles"] / max(total["cycles"], 1)
    time = total["time_us"] / divisor
    return {
        "name": f"{name}, {part}",
        "showlegend": False,
        "x": [x],
        "base": [0.0 if part == "compute" else (1 - share) * time],
        "y": [share * time],
        "width": 0.36,
        "marker": _filled(PHASE_COLOURS.get(name, ALL_COLOUR), part),
        "hovertext": [f"{name}, {part}: {100 * share:.1f} % of {duration(total['time_us'])}"],
        "hoverinfo": "text",
    }


def _legend_entry(part: str) -> dict[str, Any]:
    """An empty bar: the legend tells the parts of all phases apart by their filling alone."""
    return {"name": _PARTS[part], "x": [None], "y": [None], "marker": _filled(ALL_COLOUR, part)}


def _filled(colour: str, part: str) -> dict[str, Any]:
    return {"color": colour, **({"pattern": HATCH} if part == "stall" else {})}


def _with_masks(total: Row) -> float:
    time: float = total["time_us"] + (total["mask_us"] or 0.0)
    return time


def _whole(total: Row) -> float:
    """The time of a phase: of its step where all of that was estimated, else GEMMs and masks."""
    return float(total["step_us"]) if estimated(total) else _with_masks(total)


def _dense(total: Row) -> float | None:
    """The same of the dense run; None: there was none."""
    time: float | None = total["dense_step_us" if estimated(total) else "dense_time_us"]
    return time


def _rest_bar(name: str, total: Row, x: float, divisor: float) -> dict[str, Any]:
    """What is estimated beside GEMMs and masks, on top of them."""
    time = _whole(total) - _with_masks(total)
    share = percent(time / _whole(total))
    return {
        "name": f"{name}, {_REST}",
        "showlegend": False,
        "x": [x],
        "base": [_with_masks(total) / divisor],
        "y": [time / divisor],
        "width": 0.36,
        "marker": {"color": REST_COLOUR},
        "hovertext": [f"{name}, {_REST}: {duration(time)}, {share} % of its time"],
        "hoverinfo": "text",
    }


def _masks_bar(name: str, total: Row, x: float, divisor: float) -> dict[str, Any]:
    """What making masks takes, on top of a phase's GEMMs."""
    share = percent(total["mask_us"] / _with_masks(total)) if total["mask_us"] else "0.0"
    return {
        "name": f"{name}, {_MASKS}",
        "showlegend": False,
        "x": [x],
        "base": [total["time_us"] / divisor],
        "y": [total["mask_us"] / divisor],
        "width": 0.36,
        "marker": {"color": MASK_COLOUR},
        "hovertext": [f"{name}, {_MASKS}: {duration(total['mask_us'])}, {share} % of its time"],
        "hoverinfo": "text",
    }


def _told(total: Row) -> str:
    """The time of a phase, and its gain with masks and of its GEMMs, over a bar."""
    gemms = total["speedup"]
    time = f"<b>{duration(_whole(total))}</b>"
    if gemms is None or not step_counts(total):
        return time if gemms is None else f"{time}<br>GEMMs {ratio(gemms)}×"
    gained = quotient(_dense(total), _whole(total))
    words = "step" if estimated(total) else step_words(total)
    return f"{time}<br>{words} {ratio(gained)}×<br>GEMMs {ratio(gemms)}×"
