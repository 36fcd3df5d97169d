"""Figures of a result: speed-up, bandwidth, MACs and time, per layer and per phase."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nmsim.report.notation import duration, grouped, percent, ratio, trimmed
from nmsim.report.plots.layers import LayerChart, axis_end
from nmsim.report.plots.sweep import sweep_bandwidth_figure, sweep_speedup_figure
from nmsim.report.plots.theme import (
    ALL_COLOUR,
    DENSE_COLOUR,
    HATCH,
    INK,
    MASK_COLOUR,
    PHASE_COLOURS,
    REST_COLOUR,
    apply_theme,
    coloured,
    context,
)
from nmsim.report.reasons import passed_over
from nmsim.report.summary import (
    dram_supply,
    estimated,
    gemm_rows,
    masks_cost,
    phase_summary,
    quotient,
    step_counts,
    step_words,
)

__all__ = [
    "bandwidth_figure",
    "figures",
    "layer_time_figure",
    "macs_figure",
    "phase_time_figure",
    "speedup_figure",
]

Row = Mapping[str, Any]

_PARTS = {"compute": "computing", "stall": "stalled: waiting, or not multiplying"}
_MASKS = "making masks"
_REST = "no GEMM, estimated"


def figures(df: pd.DataFrame, manifest: Mapping[str, Any]) -> dict[str, go.Figure]:
    """The figures that a result has data for, by name, in the order of a page.

    Without dense runs there is no figure of speed-up; without rows there is none at all.
    """
    if df.empty:
        return {}
    compared = bool(df["speedup"].notna().any())
    if manifest["kind"] == "sweep":
        speedup = {"speedup": sweep_speedup_figure(df, manifest)} if compared else {}
        return {**speedup, "bandwidth": sweep_bandwidth_figure(df, manifest)}
    return {
        "phase-time": phase_time_figure(df, manifest),
        **({"speedup": speedup_figure(df, manifest)} if compared else {}),
        "bandwidth": bandwidth_figure(df, manifest),
        "macs": macs_figure(df, manifest),
        "layer-time": layer_time_figure(df, manifest),
    }


def speedup_figure(df: pd.DataFrame, manifest: Mapping[str, Any]) -> go.Figure:
    """Speed-up of GEMMs per layer and phase, against the dense run and the mask's ideal."""
    chart = LayerChart.of(df)
    gained = [row["speedup"] for row in chart.rows if row["speedup"] is not None]
    ideals = [row["speedup_ideal"] for row in chart.rows if row["speedup_ideal"] is not None]
    limit = axis_end(gained, ideals)
    beyond = f" (arrow: up to {ratio(max(ideals))}×)" if max(ideals, default=0) > limit else ""
    for phase in chart.phases:
        chart.bars(phase, "speedup", "", PHASE_COLOURS[phase], text=ratio)
        chart.line(phase, 1.0, "dense run: 1×", "solid")
        _ideal_marks(chart, phase, limit, beyond)
        _passed_over_marks(chart, phase)
    chart.figure.update_xaxes(range=[0, limit])
    return chart.finish(
        "Speed-up of the GEMMs over the dense run, per layer and phase",
        "speed-up of the GEMM [×]",
        manifest,
    )


def bandwidth_figure(df: pd.DataFrame, manifest: Mapping[str, Any]) -> go.Figure:
    """DRAM bandwidth per layer and phase against what the machine has."""
    chart = LayerChart.of(df)
    supply = dram_supply(manifest["machine"])
    limit = axis_end([row["dram_gbps"] for row in chart.rows], [supply] if supply else [])
    for phase in chart.phases:
        chart.bars(phase, "dram_gbps", "", PHASE_COLOURS[phase], text=lambda v: grouped(v, 1))
        if supply:
            beyond = "" if supply <= limit else " (beyond the axis)"
            label = f"the machine has {trimmed(supply)} GB/s{beyond}"
            chart.line(phase, min(supply, limit), label, "dash")
    chart.figure.update_xaxes(range=[0, limit])
    known = "against what the machine has" if supply else "(the machine does not limit it)"
    return chart.finish(
        f"DRAM bandwidth per layer and phase {known}", "DRAM traffic [GB/s]", manifest
    )


def macs_figure(df: pd.DataFrame, manifest: Mapping[str, Any]) -> go.Figure:
    """MACs per layer and phase: of the dense GEMM, issued by the machine, useful under masks."""
    chart = LayerChart.of(df)
    for phase in chart.phases:
        chart.bars(phase, "macs_dense", "dense: M·N·K", DENSE_COLOUR, width=0.84)
        chart.bars(phase, "macs_issued", f"issued, {phase}", PHASE_COLOURS[phase], width=0.5)
    for phase in chart.phases:
        chart.marks(phase, "macs_useful", "useful: both mask bits set")
    most = axis_end((max(row["macs_dense"], row["macs_issued"]) for row in chart.rows), [])
    chart.figure.update_xaxes(tickformat="~s", range=[0, most])
    chart.figure.update_layout(barmode="overlay")
    return chart.finish("MACs: dense, issued and useful, per layer and phase", "MACs", manifest)


def layer_time_figure(df: pd.DataFrame, manifest: Mapping[str, Any]) -> go.Figure:
    """Time per layer and phase, the machine at work and waiting for memory."""
    chart = LayerChart.of(df)
    longest = max(row["time_us"] for row in chart.rows)
    divisor, unit = (1e3, "ms") if longest >= 1e4 else (1.0, "µs")
    for row in chart.rows:
        per_cycle = row["time_us"] / max(row["cycles"], 1) / divisor
        row["compute_time"] = row["compute_cycles"] * per_cycle
        row["stall_time"] = row["stall_cycles"] * per_cycle
    for phase in chart.phases:
        colour = PHASE_COLOURS[phase]
        chart.bars(phase, "compute_time", f"{phase}, computing", colour)
        chart.bars(phase, "stall_time", f"{phase}, stalled", colour, hatched=True)
    chart.figure.update_layout(barmode="stack")
    chart.figure.update_xaxes(range=[0, 1.06 * longest / divisor])
    return chart.finish("Time per layer and phase", f"time [{unit}]", manifest)


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
    return apply_theme(figure, title, context(manifest), 430, 104)


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


def _passed_over_marks(chart: LayerChart, phase: str) -> None:
    """What masks would gain that could be used and are not, as crosses."""
    rows = [row for row in chart.of_phase(phase) if passed_over(row) and row["mask_speedup"]]
    if not rows:
        return
    chart.add(
        phase,
        go.Scatter(
            name="the mask alone, passed over",
            x=[row["mask_speedup"] for row in rows],
            y=[row["position"] for row in rows],
            mode="markers",
            marker={"symbol": "x-thin", "size": 8, "line": {"color": INK, "width": 1.6}},
            hovertext=[f"the mask alone: {ratio(row['mask_speedup'])}×" for row in rows],
            hoverinfo="text",
        ),
    )


def _ideal_marks(chart: LayerChart, phase: str, limit: float, beyond: str) -> None:
    """The ideal of each mask as a tick; as an arrow at the edge where it lies beyond the axis."""
    rows = [row for row in chart.of_phase(phase) if row["speedup_ideal"] is not None]
    off = [row["speedup_ideal"] > limit for row in rows]
    chart.add(
        phase,
        go.Scatter(
            name=f"ideal of the mask: dense / useful MACs{beyond}",
            x=[min(row["speedup_ideal"], 0.985 * limit) for row in rows],
            y=[row["position"] for row in rows],
            mode="markers",
            marker={
                "symbol": ["triangle-right" if far else "line-ns" for far in off],
                "size": [7 if far else 12 for far in off],
                "color": INK,
                "line": {"color": INK, "width": 2},
            },
            hovertext=[f"ideal of the mask: {ratio(row['speedup_ideal'])}×" for row in rows],
            hoverinfo="text",
        ),
    )
