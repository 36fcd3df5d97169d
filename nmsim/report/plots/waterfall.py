"""From the masks' promise to what is left of it: where the time goes, part by part.

Rows tell the cycles of the dense run, not its parts. What that run spends beside useful work, over
the promise, is no loss of the masks: it is taken off the parts of a row in proportion to them, so
that the bars add up to the time of the GEMMs, and a dense run loses nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nmsim.report.notation import duration, ratio
from nmsim.report.plots.theme import ALL_COLOUR, INK, apply_theme, context, escaped, for_phones
from nmsim.report.reasons import passed_over
from nmsim.report.rows import records
from nmsim.report.summary import quotient
from nmsim.result import macs_left, totals

__all__ = ["PARTS", "losses", "waterfall_figure"]

Row = Mapping[str, Any]

PARTS = {
    "empty_slot_cycles": "empty slots, padding",
    "misfit_cycles": "slots beyond the promise",
    "ragged_cycles": "ragged edges, tiles beyond C",
    "fill_cycles": "fill, prologues",
    "preload_cycles": "preload, copies",
    "drain_cycles": "drain, epilogues",
    "path_wait_cycles": "waits for buffers or L2",
    "dram_wait_cycles": "waits for DRAM bandwidth",
    "latency_wait_cycles": "waits for DRAM latency",
    "writeback_wait_cycles": "waits for results to leave",
    "launch_cycles": "launches",
    "tail_cycles": "last tiles, SMs idle",
}
"""Parts of a GEMM's cycles beside useful MACs, and what their bars are called."""

_UNUSED = "masks not used"
_UNTOLD = "not told apart"
_BEYOND = "gained beyond the promise"

_LOSS, _GAIN = "#882255", "#44AA99"

_GAP = "\N{NO-BREAK SPACE}"
"""Between a bar and what is written beside it."""

_BESIDE_BARS = 116
"""Pixels for what is written beside the longest bar."""

_BESIDE = {
    "mask_us": "making masks",
    "scatter_us": "images put together",
    "elementwise_us": "no GEMM, estimated",
    "communication_us": "exchange, estimated",
    "host_wait_us": "waits for the host",
}


def losses(rows: Iterable[Row]) -> dict[str, float]:
    """Microseconds between the promise and the time of the GEMMs, by what they go to.

    They add up to that difference; what is below 0 was gained beyond the promise.
    """
    found: dict[str, float] = dict.fromkeys((_UNUSED, *PARTS.values(), _UNTOLD, _BEYOND), 0.0)
    for row in rows:
        for name, us in _of_row(row).items():
            found[name] += us
    return {name: us for name, us in found.items() if us}


def _of_row(row: Row) -> dict[str, float]:
    lost = row["time_us"] - _promised(row)
    if lost <= 0:
        return {_BEYOND: lost}
    if row["cycles"] and _unused(row):
        return {_UNUSED: lost}
    parts = {name: row.get(column) or 0 for column, name in PARTS.items()}
    whole = sum(parts.values())
    if not whole:
        return {_UNTOLD: lost}
    return {name: lost * cycles / whole for name, cycles in parts.items()}


def _promised(row: Row) -> float:
    """Microseconds that the masks leave of the dense run."""
    share = quotient(macs_left(row), row["macs_dense"])
    return float(row["dense_time_us"]) * (1.0 if share is None else share)


def _unused(row: Row) -> bool:
    """Whether the machine left an offered mask alone; rows of version 0.1 tell by slots spent."""
    offered = {row["a_pattern"], row["b_pattern"]} != {"dense"}
    usable = row.get("mask_cycles") is not None or row["macs_issued"] < row["macs_dense"]
    return offered and (passed_over(row) or not usable)


def waterfall_figure(df: pd.DataFrame, manifest: Mapping[str, Any]) -> go.Figure:
    """Dense run, promise, losses and what is left, down to the step; of rows with dense runs."""
    rows = records(df)
    whole = totals(rows)["all"]
    bars = [*_gemms(rows, whole), *_step(whole)]
    longest = max(max(level, level - us) for _, _, us, _, level in bars)
    divisor, unit = (1e3, "ms") if longest >= 1e4 else (1.0, "µs")
    figure = go.Figure(
        go.Waterfall(
            name="time",
            orientation="h",
            measure=[measure for _, measure, *_ in bars],
            y=[escaped(name) for name, *_ in bars],
            x=[us / divisor for _, _, us, *_ in bars],
            hovertext=[f"{name}: {text}" for name, _, _, text, _ in bars],
            hoverinfo="text",
            increasing={"marker": {"color": _LOSS}},
            decreasing={"marker": {"color": _GAIN}},
            totals={"marker": {"color": ALL_COLOUR}},
            connector={"line": {"color": INK, "width": 0.6, "dash": "dot"}},
        )
    )
    figure.add_scatter(
        x=[max(level, level - (us if measure == "relative" else 0)) / divisor
           for _, measure, us, _, level in bars],
        y=[escaped(name) for name, *_ in bars],
        text=[f"{_GAP}{text}" for *_, text, _ in bars],
        mode="text",
        textposition="middle right",
        cliponaxis=False,
        hoverinfo="skip",
    )  # fmt: skip
    figure.update_xaxes(title=f"time [{unit}]", range=[0, 1.02 * longest / divisor])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(showlegend=False, waterfallgap=0.25)
    title = "From the promise of the masks to what is left of it"
    height = 84 + 62 + 25 * len(bars)
    apply_theme(figure, title, context(manifest), height, 84)
    figure.update_layout(margin={"r": _BESIDE_BARS})
    return for_phones(figure)


Bar = tuple[str, str, float, str, float]
"""Its name, plotly's measure, microseconds, what is written beside it, and where it ends."""


def _gemms(rows: Sequence[Row], whole: Row) -> list[Bar]:
    dense = whole["dense_time_us"]
    promised = sum(map(_promised, rows))
    bars: list[Bar] = [
        ("GEMMs, dense", "absolute", dense, _level(dense, 1.0), dense),
        ("MACs pruned", "relative", promised - dense, _change(promised - dense), promised),
        ("promised", "total", promised, _level(promised, quotient(dense, promised)), promised),
    ]
    level = promised
    for name, us in losses(rows).items():
        level += us
        bars.append((name, "relative", us, _change(us), level))
    return [*bars, ("GEMMs", "total", level, _level(level, whole["speedup"]), level)]


def _step(whole: Row) -> list[Bar]:
    """What a step takes beside its GEMMs, where rows tell it."""
    if whole["step_us"] is None:
        return []
    level, bars = whole["time_us"], []
    for key, name in _BESIDE.items():
        us = whole.get(key) or 0.0
        level += us
        bars += [(name, "relative", us, _change(us), level)] if us else []
    gain, step = whole["step_speedup"], whole["step_us"]
    return [*bars, ("step", "total", step, _level(step, gain), step)] if bars else []


def _change(us: float) -> str:
    return f"{'+' if us >= 0 else '−'}{duration(abs(us))}"


def _level(us: float, gain: float | None) -> str:
    return f"{duration(us)}, {ratio(gain)}×"
