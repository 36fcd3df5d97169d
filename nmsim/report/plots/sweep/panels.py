"""Speed-ups of a sweep in panels, one per phase: what panels and marks of points share."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nmsim.gemm import PHASES
from nmsim.report.notation import duration, grouped, percent, ratio
from nmsim.report.plots.theme import (
    INK,
    MACHINE_COLOURS,
    MACHINE_SYMBOLS,
    coloured,
    escaped,
)
from nmsim.report.space import Space
from nmsim.report.summary import bound_shares, meant_speedup, step_words

__all__ = ["Mark", "Panels", "gain_title", "gain_words", "point_hover"]

_MOST_REASONS = 3


@dataclass(frozen=True)
class Mark:
    """How a series looks, and where it is named."""

    name: str
    colour: str
    symbol: str
    dash: str = "solid"

    @classmethod
    def of(cls, name: str, colour: int, symbol: int = 0) -> "Mark":
        """The look of the so manieth colour and symbol; beyond the last they begin anew."""
        dash = ("solid", "dash", "dot", "dashdot")[symbol % 4]
        return cls(
            name,
            MACHINE_COLOURS[colour % len(MACHINE_COLOURS)],
            MACHINE_SYMBOLS[symbol % len(MACHINE_SYMBOLS)],
            dash,
        )


@dataclass(frozen=True)
class Panels:
    """A panel for each phase that points have, and for all of them where there are several."""

    space: Space
    phases: list[str]
    figure: go.Figure
    named: set[str]

    @classmethod
    def of(cls, space: Space) -> "Panels":
        """Empty panels beside each other, which share their axes."""
        phases: list[str] = [p for p in PHASES if any(p in sums for _, sums in space.points)]
        if len(phases) != 1:
            phases.append("all")
        headings = [coloured("all phases" if p == "all" else p, p) for p in phases]
        figure = make_subplots(
            cols=len(phases),
            shared_yaxes=True,
            horizontal_spacing=0.022,
            subplot_titles=headings if len(phases) > 1 else None,
        )
        return cls(space, phases, figure, set())

    def gain(self, number: int, phase: str) -> float | None:
        """The speed-up that is meant of a point's phase."""
        total = self.space.points[number][1].get(phase)
        return None if total is None else meant_speedup(total)

    def ideal(self, number: int, phase: str) -> float | None:
        """What the masks of a point's phase promise."""
        total = self.space.points[number][1].get(phase)
        found: float | None = None if total is None else total["speedup_ideal"]
        return found

    def add(self, phase: str, trace: go.Scatter) -> None:
        """Put a trace into its panel; the legend has every name once."""
        trace.update(legendgroup=trace.name, showlegend=trace.name not in self.named)
        self.named.add(trace.name)
        self.figure.add_trace(trace, row=1, col=self.phases.index(phase) + 1)

    def series(self, phase: str, mark: Mark, numbers: Sequence[int], **where: Any) -> None:
        """Points of one look; ``where`` holds their ``x`` and ``y``, and the ``mode``."""
        trace = go.Scatter(
            name=escaped(mark.name),
            marker={"color": mark.colour, "symbol": mark.symbol, "size": 9},
            line={"color": mark.colour, "width": 2, "dash": mark.dash},
            hovertext=[point_hover(self.space, number, phase) for number in numbers],
            hoverinfo="text",
            customdata=list(numbers),
            **where,
        )
        self.add(phase, trace)

    def line(self, phase: str, x: Sequence[Any], y: Sequence[Any], name: str) -> None:
        """A line that points are held against."""
        style = {"color": INK, "width": 1.2, "dash": "longdash"}
        trace = go.Scatter(name=name, x=x, y=y, mode="lines", line=style, hoverinfo="skip")
        self.add(phase, trace)

    @property
    def top(self) -> int:
        """Pixels above the panels, where title and legend stand."""
        return 118 + 20 * min(len(self.named) // 4, 6)


def gain_title(space: Space) -> str:
    """What stands at an axis of speed-ups: what they are of."""
    if not space.of_steps:
        return "speed-up of GEMMs [×]"
    return f"speed-up {'of the step' if space.estimated else 'with masks'} [×]"


def gain_words(space: Space) -> str:
    """The same in a title."""
    if not space.of_steps:
        return "Speed-up of the GEMMs over the dense run"
    beside = "an estimate" if space.estimated else "masks included"
    return f"Speed-up of the step, {beside}, over the dense run"


def point_hover(space: Space, number: int, phase: str) -> str:
    """What tells a point from the others, and what came of it."""
    sums = space.points[number][1][phase]
    lines = [
        *space.told(number),
        "all phases" if phase == "all" else phase,
        _gains(sums),
        f"{grouped(sums['cycles'])} cycles, {duration(sums['time_us'])}",
        *_told_by_rows(sums),
        f"DRAM {grouped(sums['dram_gbps'], 1)} GB/s",
        *sums["reasons"][:_MOST_REASONS],
    ]
    wrapped = (part for line in lines for part in textwrap.wrap(line, 90, max_lines=2))
    return "<br>".join(escaped(part) for part in wrapped)


def _told_by_rows(sums: Mapping[str, Any]) -> list[str]:
    """How well the machine was used; nothing where no rows were kept that tell."""
    if sums["utilization"] is None:
        return []
    return [f"{percent(sums['utilization'])} % of peak, bound by {bound_shares(sums['bound'])}"]


def _gains(sums: Mapping[str, Any]) -> str:
    """Every speed-up of a point's phase, each with what it is of."""
    told = [f"speed-up of GEMMs {ratio(sums['speedup'])}×"]
    if sums["step_speedup"] is not None:
        words = step_words(sums)
        told.insert(0, f"of the step, {words}, {ratio(sums['step_speedup'])}×")
    if sums["passed_over"]:
        told.append(f"masks alone {ratio(sums['mask_speedup'])}×")
    return ", ".join([*told, f"ideal {ratio(sums['speedup_ideal'])}×"])
