"""Figures of a result: speed-up, bandwidth, MACs and time, per layer and per phase."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nmsim.report.notation import duration, grouped, ratio, si, trimmed
from nmsim.report.plots.layers import LayerChart, axis_end
from nmsim.report.plots.phases import phase_time_figure
from nmsim.report.plots.roofline import roofline_figure
from nmsim.report.plots.sweep.chosen import space_figures
from nmsim.report.plots.theme import (
    DENSE_COLOUR,
    INK,
    PHASE_COLOURS,
)
from nmsim.report.plots.waterfall import waterfall_figure
from nmsim.report.reasons import passed_over
from nmsim.report.space import space_of
from nmsim.report.summary import (
    dram_supply,
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


def figures(df: pd.DataFrame, manifest: Mapping[str, Any]) -> dict[str, go.Figure]:
    """The figures that a result has data for, by name, in the order of a page.

    Without dense runs there is no figure of speed-up; without rows there is none at all.
    """
    if df.empty:
        return {}
    compared = bool(df["speedup"].notna().any())
    if manifest["kind"] == "sweep":
        return space_figures(space_of(df), df, manifest)
    roofline = roofline_figure(df, manifest)
    return {
        **({"waterfall": waterfall_figure(df, manifest)} if compared else {}),
        "phase-time": phase_time_figure(df, manifest),
        "layer-time": layer_time_figure(df, manifest),
        **({"roofline": roofline} if roofline else {}),
        **({"speedup": speedup_figure(df, manifest)} if compared else {}),
        "bandwidth": bandwidth_figure(df, manifest),
        "macs": macs_figure(df, manifest),
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
    end = chart.end(_most_macs)
    chart.cut(
        _most_macs, end, lambda row: f"{si(row['macs_issued'], '')} of {si(row['macs_dense'], '')}"
    )
    chart.figure.update_xaxes(tickformat="~s", range=[0, end])
    chart.figure.update_layout(barmode="overlay")
    return chart.finish("MACs: dense, issued and useful, per layer and phase", "MACs", manifest)


def _most_macs(row: Row) -> float:
    return float(max(row["macs_dense"], row["macs_issued"]))


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
    end = chart.end(lambda row: row["time_us"])
    chart.cut(
        lambda row: row["time_us"] / divisor, end / divisor, lambda row: duration(row["time_us"])
    )
    chart.figure.update_xaxes(range=[0, end / divisor])
    return chart.finish("Time per layer and phase", f"time [{unit}]", manifest)


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
