"""Figures of a sweep: a quantity against the pattern, a row of panels per model, one per phase."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nmsim.gemm import PHASES
from nmsim.report.notation import duration, grouped, percent, ratio, shorten, trimmed
from nmsim.report.plots.theme import (
    INK,
    MACHINE_COLOURS,
    MACHINE_SYMBOLS,
    MUTED,
    apply_theme,
    coloured,
    context,
    escaped,
)
from nmsim.report.summary import (
    bound_shares,
    dram_supply,
    estimated,
    point_summaries,
    step_counts,
    step_words,
)

__all__ = ["sweep_bandwidth_figure", "sweep_speedup_figure"]

Point = Mapping[str, Any]
Phases = Mapping[str, Mapping[str, Any]]

_PANEL_HEIGHT = 310
_GAP = 86
_TOP = 150
_GEMMS_ALONE = "its GEMMs alone"
_MASKS_ALONE = "masks alone, where some are passed over"
_STYLES = (("solid", ""), ("dash", "-open"), ("dot", "-dot"), ("dashdot", "-open-dot"))
_FACETS = ("model", "recipe", "batch", "seed")


def sweep_speedup_figure(df: pd.DataFrame, manifest: Mapping[str, Any]) -> go.Figure:
    """Speed-up against pattern, per model, phase, machine and fidelity, with the masks' ideal.

    That of the step where it has masks or an estimate beside its GEMMs, and that of its GEMMs
    beside it where the two differ in what is printed of them; else that of GEMMs.
    """
    grid = _Grid.of(df, manifest)
    masks = any(step_counts(sums["all"]) for _, sums in grid.points)
    whole = any(estimated(sums["all"]) for _, sums in grid.points)
    for facet, phase, machine, fidelity, points in grid.series():
        gemms = _values(points, phase, "speedup")
        shown = {**gemms, **(_values(points, phase, "step_speedup") if masks else {})}
        grid.curve(facet, phase, machine, fidelity, shown)
        other = {p: gain for p, gain in gemms.items() if ratio(gain) != ratio(shown[p])}
        grid.marks(facet, phase, machine, other, _GEMMS_ALONE)
        passed = [(p, sums) for p, sums in points if sums.get(phase, {}).get("passed_over")]
        grid.marks(facet, phase, machine, _values(passed, phase, "mask_speedup"), _MASKS_ALONE)
    for facet, phase in grid.panels():
        ideal = _values(grid.of_facet(facet), phase, "speedup_ideal")
        grid.reference(facet, phase, ideal, "ideal of the masks: dense / useful MACs")
        grid.reference(facet, phase, dict.fromkeys(ideal, 1.0), "dense run: 1×", mode="lines")
    grid.legend(_GEMMS_ALONE, "circle-open")
    grid.legend(_MASKS_ALONE, "x-thin")
    _suit_speedups(grid.figure)
    meant = ("the step, masks included,", "with masks") if masks else ("the GEMMs", "of GEMMs")
    meant = ("the step, an estimate,", "of the step") if whole else meant
    return grid.finish(
        f"Speed-up of {meant[0]} over the dense run, against the pattern",
        f"speed-up {meant[1]} [×]",
    )


def sweep_bandwidth_figure(df: pd.DataFrame, manifest: Mapping[str, Any]) -> go.Figure:
    """DRAM bandwidth against pattern, per model, phase, machine and fidelity, and each limit."""
    grid = _Grid.of(df, manifest)
    for facet, phase, machine, fidelity, points in grid.series():
        grid.curve(facet, phase, machine, fidelity, _values(points, phase, "dram_gbps"))
    for facet, phase in grid.panels():
        for machine in grid.machines:
            supply = dram_supply(manifest["machines"].get(machine, {}))
            if supply:
                name = f"{machine} has {trimmed(supply)} GB/s"
                level = dict.fromkeys(grid.patterns, supply)
                grid.reference(facet, phase, level, name, mode="lines", colour=grid.colour(machine))
    grid.figure.update_yaxes(rangemode="tozero")
    return grid.finish("DRAM bandwidth against the pattern", "DRAM traffic [GB/s]")


def _values(points: Iterable[tuple[Point, Phases]], phase: str, quantity: str) -> dict[str, float]:
    """The quantity by pattern, where it is known."""
    found = {
        point["pattern"]: phases[phase][quantity] for point, phases in points if phase in phases
    }
    return {pattern: value for pattern, value in found.items() if value is not None}


def _suit_speedups(figure: go.Figure) -> None:
    """A logarithmic axis with plain ticks where the speed-ups span more than a factor of five."""
    shown = [y for trace in figure.data for y in trace.y if y]
    if not shown or max(shown) <= 5 * min(shown):
        figure.update_yaxes(rangemode="tozero")
        return
    steps = range(math.floor(math.log2(min(shown))), math.ceil(math.log2(max(shown))) + 1)
    ticks = [2.0**step for step in steps]
    figure.update_yaxes(
        type="log",
        tickvals=ticks,
        ticktext=[f"{tick:g}" for tick in ticks],
        range=[math.log10(min(shown) * 0.85), math.log10(max(shown) * 1.15)],
    )


@dataclass(frozen=True)
class _Grid:
    """Panels, one row per model (and whatever else varies), one column per phase."""

    points: list[tuple[dict[str, Any], dict[str, dict[str, Any]]]]
    manifest: Mapping[str, Any]
    facets: list[tuple[Any, ...]]
    phases: list[str]
    patterns: list[str]
    machines: list[str]
    fidelities: list[str]
    figure: go.Figure
    named: set[str]

    @classmethod
    def of(cls, df: pd.DataFrame, manifest: Mapping[str, Any]) -> "_Grid":
        points = point_summaries(df)
        facets = list(dict.fromkeys(_facet(point) for point, _ in points))
        phases: list[str] = [phase for phase in PHASES if any(phase in sums for _, sums in points)]
        if len(phases) > 1:
            phases.append("all")
        figure = make_subplots(
            rows=len(facets),
            cols=len(phases),
            shared_xaxes="all",
            shared_yaxes="rows",
            horizontal_spacing=0.022,
            vertical_spacing=_GAP / (len(facets) * _PANEL_HEIGHT),
            subplot_titles=_headings(facets, phases),
        )
        return cls(
            points,
            manifest,
            facets,
            phases,
            _ordered([str(p) for p in manifest["patterns"]], (p["pattern"] for p, _ in points)),
            _ordered([], (point["hardware"] for point, _ in points)),
            _ordered([], (point["fidelity"] for point, _ in points)),
            figure,
            set(),
        )

    def panels(self) -> list[tuple[tuple[Any, ...], str]]:
        return [(facet, phase) for facet in self.facets for phase in self.phases]

    def of_facet(self, facet: tuple[Any, ...]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        return [(point, sums) for point, sums in self.points if _facet(point) == facet]

    def series(self) -> list[tuple[tuple[Any, ...], str, str, str, list[Any]]]:
        """Facet, phase, machine, fidelity and points of every curve."""
        return [
            (facet, phase, machine, fidelity, points)
            for facet, phase in self.panels()
            for machine in self.machines
            for fidelity in self.fidelities
            if (
                points := [
                    (point, sums)
                    for point, sums in self.of_facet(facet)
                    if (point["hardware"], point["fidelity"]) == (machine, fidelity)
                ]
            )
        ]

    def colour(self, machine: str) -> str:
        return MACHINE_COLOURS[self.machines.index(machine) % len(MACHINE_COLOURS)]

    def curve(
        self,
        facet: tuple[Any, ...],
        phase: str,
        machine: str,
        fidelity: str,
        values: Mapping[str, float],
    ) -> None:
        dash, suffix = _STYLES[self.fidelities.index(fidelity) % len(_STYLES)]
        symbol = MACHINE_SYMBOLS[self.machines.index(machine) % len(MACHINE_SYMBOLS)]
        shown = [pattern for pattern in self.patterns if pattern in values]
        sums = {
            point["pattern"]: phases[phase]
            for point, phases in self.of_facet(facet)
            if (point["hardware"], point["fidelity"]) == (machine, fidelity) and phase in phases
        }
        trace = go.Scatter(
            name=escaped(f"{machine}, {fidelity}"),
            x=shown,
            y=[values[pattern] for pattern in shown],
            mode="lines+markers",
            line={"color": self.colour(machine), "width": 2, "dash": dash},
            marker={"symbol": symbol + suffix, "size": 8, "color": self.colour(machine)},
            hovertext=[
                _point_hover(facet, pattern, phase, machine, fidelity, sums[pattern])
                for pattern in shown
            ],
            hoverinfo="text",
        )
        self._add(facet, phase, trace)

    def marks(
        self,
        facet: tuple[Any, ...],
        phase: str,
        machine: str,
        values: Mapping[str, float],
        name: str,
    ) -> None:
        """Another speed-up of the same points, in the colour of their machine."""
        if not values:
            return
        symbol = MACHINE_SYMBOLS[self.machines.index(machine) % len(MACHINE_SYMBOLS)]
        drawn = "x-thin" if name == _MASKS_ALONE else f"{symbol}-open"
        colour = self.colour(machine)
        trace = go.Scatter(
            name=name,
            x=list(values),
            y=list(values.values()),
            mode="markers",
            opacity=0.6,
            marker={"symbol": drawn, "size": 8, "color": colour,
                    "line": {"color": colour, "width": 1.6}},
            hovertext=[f"{machine}, {p}, {name}: {ratio(gain)}×" for p, gain in values.items()],
            hoverinfo="text",
            showlegend=False,
        )  # fmt: skip
        row, col = self.facets.index(facet) + 1, self.phases.index(phase) + 1
        self.figure.add_trace(trace, row=row, col=col)

    def legend(self, name: str, symbol: str) -> None:
        """An entry of the legend for `marks` of a name, if there are any, in a colour of none."""
        if any(trace.name == name for trace in self.figure.data):
            line = {"color": MUTED, "width": 1.6}
            marker = {"symbol": symbol, "size": 8, "color": MUTED, "line": line}
            entry = go.Scatter(name=name, x=[None], y=[None], mode="markers", marker=marker)
            self._add(self.facets[0], self.phases[0], entry)

    def reference(
        self,
        facet: tuple[Any, ...],
        phase: str,
        values: Mapping[str, float],
        name: str,
        *,
        mode: str = "markers",
        colour: str = INK,
    ) -> None:
        shown = [pattern for pattern in self.patterns if pattern in values]
        trace = go.Scatter(
            name=escaped(name),
            x=shown,
            y=[values[pattern] for pattern in shown],
            mode=mode,
            line={"color": colour, "width": 1.2, "dash": "longdash"},
            marker={"symbol": "line-ew", "size": 22, "line": {"color": MUTED, "width": 2}},
            hovertext=[f"{escaped(name)}, {p}: {ratio(values[p])}" for p in shown],
            hoverinfo="text" if mode == "markers" else "skip",
        )
        self._add(facet, phase, trace)

    def _add(self, facet: tuple[Any, ...], phase: str, trace: go.Scatter) -> None:
        trace.update(legendgroup=trace.name, showlegend=trace.name not in self.named)
        self.named.add(trace.name)
        self.figure.add_trace(
            trace, row=self.facets.index(facet) + 1, col=self.phases.index(phase) + 1
        )

    def finish(self, title: str, axis: str) -> go.Figure:
        self.figure.update_xaxes(
            categoryorder="array", categoryarray=self.patterns, type="category", tickangle=0
        )
        self.figure.update_xaxes(title={"text": "pattern [N:M, N kept]", "standoff": 6})
        self.figure.update_xaxes(showticklabels=True)
        logarithmic = ", logarithmic" if self.figure.layout.yaxis.type == "log" else ""
        self.figure.update_yaxes(title=axis + logarithmic, col=1)
        top = _TOP + 20 * (len(self.named) // 4)
        height = top + 60 + _PANEL_HEIGHT * len(self.facets)
        return apply_theme(self.figure, title, context(self.manifest), height, top)


def _facet(point: Point) -> tuple[Any, ...]:
    return tuple(point.get(name) for name in _FACETS)


def _headings(facets: Sequence[tuple[Any, ...]], phases: Sequence[str]) -> list[str]:
    """What stands over each panel: the model, whatever else varies between rows, and the phase."""
    varying = [
        position
        for position, name in enumerate(_FACETS)
        if name == "model" or len({facet[position] for facet in facets}) > 1
    ]
    return [
        " · ".join(
            [
                *(escaped(shorten(_worded(_FACETS[at], facet[at]), 24)) for at in varying),
                coloured("all phases" if phase == "all" else phase, phase),
            ]
        )
        for facet in facets
        for phase in phases
    ]


def _worded(name: str, value: Any) -> str:
    return f"{name} {value}" if name in {"batch", "seed"} else str(value)


def _ordered(first: Sequence[str], found: Iterable[str]) -> list[str]:
    """The values that occur, in the order of the experiment, then of the table."""
    occurring = dict.fromkeys(found)
    return [v for v in first if v in occurring] + [v for v in occurring if v not in first]


def _point_hover(
    facet: tuple[Any, ...],
    pattern: str,
    phase: str,
    machine: str,
    fidelity: str,
    sums: Mapping[str, Any],
) -> str:
    lines = [
        f"{facet[0]}, {pattern}, {phase}",
        f"{machine}, {fidelity}",
        f"recipe {facet[1]}, batch {facet[2]}, seed {facet[3]}",
        _gains(sums),
        f"{grouped(sums['cycles'])} cycles, {duration(sums['time_us'])}",
        f"{percent(sums['utilization'])} % of peak, DRAM {grouped(sums['dram_gbps'], 1)} GB/s",
        f"bound by {bound_shares(sums['bound'])}",
        *sums["reasons"][:_MOST_REASONS],
    ]
    wrapped = (part for line in lines for part in textwrap.wrap(line, 90, max_lines=2))
    return "<br>".join(escaped(part) for part in wrapped)


_MOST_REASONS = 3


def _gains(sums: Mapping[str, Any]) -> str:
    """Every speed-up of a point's phase, each with what it is of."""
    told = [f"speed-up of GEMMs {ratio(sums['speedup'])}×"]
    if sums["step_speedup"] is not None:
        words = step_words(sums)
        told.insert(0, f"of the step, {words}, {ratio(sums['step_speedup'])}×")
    if sums["passed_over"]:
        told.append(f"masks alone {ratio(sums['mask_speedup'])}×")
    return ", ".join([*told, f"ideal {ratio(sums['speedup_ideal'])}×"])
