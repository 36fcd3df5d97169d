"""Every GEMM under the roof of its machine: MACs a second against MACs a byte of DRAM.

Williams, Waterman and Patterson, "Roofline", CACM 52(4) 2009. MACs are those that the machine
issues, so that no mask lifts a GEMM through the roof.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nmsim.gemm import PHASES
from nmsim.report.notation import si
from nmsim.report.plots.theme import (
    INK,
    MACHINE_SYMBOLS,
    MUTED,
    PHASE_COLOURS,
    apply_theme,
    context,
    escaped,
    for_phones,
    hover,
)
from nmsim.report.summary import dram_supply, gemm_rows

__all__ = ["MOST_POINTS", "roofline_figure", "roofs"]

MOST_POINTS = 2000
"""GEMMs that the figure shows: of more, those that take most of the time."""

Row = Mapping[str, Any]

_IDEAL = "ideal"


def roofs(rows: Iterable[Row]) -> dict[float, list[str]]:
    """Peaks, MACs a second, that rows tell by their utilisation, and the formats that have each.

    Peaks that agree in three digits are one.
    """
    found: dict[float, dict[str, None]] = {}
    for row in rows:
        if row["utilization"] and row["time_us"]:
            peak = float(f"{_peak(row):.3g}")
            found.setdefault(peak, {})[str(row.get("number_format") or "")] = None
    return {peak: [one for one in found[peak] if one] for peak in sorted(found)}


def _peak(row: Row) -> float:
    return float(row["macs_issued"] / row["utilization"] / row["time_us"] * 1e6)


def roofline_figure(df: pd.DataFrame, manifest: Mapping[str, Any]) -> go.Figure | None:
    """GEMMs as points, by fidelity and phase, under bandwidth and peaks; None: nothing to show."""
    rows = _shown(gemm_rows(df))
    if not rows:
        return None
    supply = dram_supply(manifest["machine"])
    fidelities = list(dict.fromkeys(str(row["fidelity"]) for row in rows if "fidelity" in row))
    fidelities = fidelities or [str(manifest["fidelity"])]
    ends = _ends(rows, supply)
    figure = go.Figure([_roof(*peak, supply, ends) for peak in roofs(rows).items()])
    lines = len(figure.data)
    for symbol, fidelity in zip(MACHINE_SYMBOLS, (_IDEAL, *fidelities), strict=False):
        ideal = fidelity == _IDEAL
        of = rows if ideal else [r for r in rows if str(r.get("fidelity", fidelity)) == fidelity]
        for phase in PHASES:
            points = [row for row in of if row["phase"] == phase]
            if points:
                figure.add_trace(_points(points, str(phase), fidelity, supply, symbol))
    _axes(figure, ends)
    apply_theme(figure, "Roofline: every GEMM under its machine", context(manifest), 520, 130)
    figure.update_layout(meta={**figure.layout.meta, "switch": _switch(figure, lines, fidelities)})
    return for_phones(figure)


def _shown(rows: Sequence[Row]) -> list[dict[str, Any]]:
    known = [
        {**row, "number": number, "intensity": row["macs_issued"] / _moved(row)}
        for number, row in enumerate(rows)
        if row["macs_issued"] and row["time_us"] and _moved(row)
    ]
    return sorted(known, key=lambda row: -row["time_us"])[:MOST_POINTS]


def _moved(row: Row) -> int:
    return int(row["dram_read_bytes"] + row["dram_write_bytes"])


def _ends(rows: Sequence[Row], supply: float | None) -> tuple[float, float]:
    """Where the axis of MACs a byte begins and ends: with the ridge, whole decades."""
    values = [row["intensity"] for row in rows]
    values += [peak / (supply * 1e9) for peak in roofs(rows) if supply]
    low, high = (math.log10(end) for end in (min(values), max(values)))
    return 10 ** math.floor(low), 10 ** math.ceil(high + 0.05)


def _roof(
    peak: float, formats: Sequence[str], supply: float | None, ends: tuple[float, float]
) -> go.Scatter:
    of = f" ({', '.join(formats)})" if formats else ""
    name = f"peak {si(peak, 'MAC/s')}{of}"
    x, y = list(ends), [peak, peak]
    if supply:
        name += f"; DRAM {supply:,g} GB/s"
        ridge = min(max(peak / (supply * 1e9), ends[0]), ends[1])
        x, y = [ends[0], ridge, ends[1]], [min(peak, ends[0] * supply * 1e9), peak, peak]
    line = {"color": INK, "width": 1.6}
    return go.Scatter(name=escaped(name), x=x, y=y, mode="lines", line=line, hoverinfo="name")


def _points(
    rows: Sequence[Row], phase: str, fidelity: str, supply: float | None, symbol: str
) -> go.Scatter:
    ideal = fidelity == _IDEAL
    longest = max(row["time_us"] for row in rows)
    size = [5 + 11 * math.sqrt(row["time_us"] / longest) for row in rows]
    rates = [_under(row, supply) if ideal else row["macs_issued"] / row["time_us"] * 1e6
             for row in rows]  # fmt: skip
    return go.Scatter(
        name=f"{phase}, {fidelity}",
        x=[row["intensity"] for row in rows],
        y=rates,
        mode="markers",
        visible="legendonly" if ideal else True,
        marker={
            "color": PHASE_COLOURS[phase],
            "size": 6 if ideal else size,
            "symbol": f"{symbol}-open" if ideal else symbol,
            "opacity": 0.75,
            "line": {"width": 1, "color": PHASE_COLOURS[phase] if ideal else MUTED},
        },
        hovertext=[hover(row) for row in rows],
        hoverinfo="text",
        customdata=[row["number"] for row in rows],
    )


def _under(row: Row, supply: float | None) -> float:
    """Where the GEMM would touch the roof."""
    peak = _peak(row)
    return min(peak, row["intensity"] * supply * 1e9) if supply else peak


def _axes(figure: go.Figure, ends: tuple[float, float]) -> None:
    figure.update_xaxes(
        type="log",
        title="MACs issued per byte of DRAM [MAC/B]",
        range=[math.log10(end) for end in ends],
        dtick=1,
    )
    figure.update_yaxes(type="log", title="rate [MAC/s]", dtick=1, tickformat="~s")


def _switch(figure: go.Figure, lines: int, fidelities: Sequence[str]) -> list[Any]:
    """What a reader can choose to see: which traces each choice shows."""
    names = [str(trace.name).rpartition(", ")[2] for trace in figure.data]

    def seen(chosen: Sequence[str]) -> list[bool]:
        return [at < lines or name in chosen for at, name in enumerate(names)]

    whole = [_IDEAL, *fidelities]
    more = [["ideal and all of them", seen(whole)]]
    return [*([one, seen([one])] for one in (*fidelities, _IDEAL)), *more]
