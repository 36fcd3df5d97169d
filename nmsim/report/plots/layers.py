"""The frame of a figure per layer: a line for every layer, a panel for every phase."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nmsim.gemm import PHASES
from nmsim.report.notation import duration, printable, ratio, shorten
from nmsim.report.plots.theme import HATCH, INK, apply_theme, coloured, context, escaped, hover
from nmsim.report.summary import gemm_rows, phase_summary

__all__ = ["LayerChart", "axis_end"]

Row = Mapping[str, Any]

_ROW_HEIGHT = 21
_TOP = 138

_MOST = 24
"""Lines that a chart has for layers: as many as one sheet of paper."""


_FAR = 3.0
"""Times the longest line from which on that of all others together is cut at the axis' end."""


def axis_end(values: Iterable[float], references: Iterable[float]) -> float:
    """End of an axis that shows all values, and the references unless they dwarf the values."""
    highest = max((v for v in values if math.isfinite(v)), default=0.0) or 1.0
    reached = [reference for reference in references if reference <= 4 * highest]
    return 1.06 * max([highest, *reached])


@dataclass(frozen=True)
class LayerChart:
    """Horizontal bars, a line per layer, those of most time first, the others as one; by phase."""

    rows: list[dict[str, Any]]
    labels: list[str]
    phases: list[str]
    figure: go.Figure
    named: set[str]

    @classmethod
    def of(cls, df: pd.DataFrame) -> "LayerChart":
        """The empty panels of a table, which has at least one row."""
        rows, labels = _placed(gemm_rows(df))
        phases: list[str] = [
            phase for phase in PHASES if any(row["phase"] == phase for row in rows)
        ]
        figure = make_subplots(
            rows=1,
            cols=len(phases),
            shared_yaxes=True,
            horizontal_spacing=0.022,
            subplot_titles=[coloured(phase, phase) for phase in phases],
        )
        return cls(rows, labels, phases, figure, set())

    def of_phase(self, phase: str) -> list[dict[str, Any]]:
        """The rows of a panel; ``position`` is the line of each."""
        return [row for row in self.rows if row["phase"] == phase]

    def add(self, phase: str, trace: go.Scatter | go.Bar) -> None:
        """Put a trace into its phase's panel; the legend has every name once."""
        named = trace.name in {"", *self.named}
        trace.update(legendgroup=trace.name, showlegend=not named)
        self.named.add(trace.name)
        self.figure.add_trace(trace, row=1, col=self.phases.index(phase) + 1)

    def bars(
        self,
        phase: str,
        column: str,
        name: str,
        colour: str,
        *,
        width: float = 0.74,
        hatched: bool = False,
        text: Callable[[float | None], str] | None = None,
    ) -> None:
        """Draw a column as bars; ``text`` writes its numbers into them."""
        rows = self.of_phase(phase)
        trace = go.Bar(
            name=name,
            orientation="h",
            x=[row[column] for row in rows],
            y=[row["position"] for row in rows],
            width=width,
            marker={"color": colour, **({"pattern": HATCH} if hatched else {})},
            hovertext=[row.get("told") or hover(row) for row in rows],
            hoverinfo="text",
            customdata=[row["number"] for row in rows],
        )
        if text:
            trace.update(
                text=[text(row[column]) for row in rows],
                textposition="auto",
                insidetextanchor="start",
                textangle=0,
                textfont={"size": 10.5},
                constraintext="none",
            )
        self.add(phase, trace)

    def end(self, values: Callable[[Row], float]) -> float:
        """End of the axis of a figure's bars: of all, unless the folded line dwarfs the others."""
        own = [values(row) for row in self.rows if row["number"] >= 0]
        folded = max((values(row) for row in self.rows if row["number"] < 0), default=0.0)
        longest = max(own)
        return 1.06 * (longest if folded > _FAR * longest else max(longest, folded))

    def cut(self, values: Callable[[Row], float], end: float, said: Callable[[Row], str]) -> None:
        """Write what a line comes to that is cut at the end of the axis, at its end."""
        for phase in self.phases:
            for row in self.of_phase(phase):
                if values(row) > end:
                    at = {"row": 1, "col": self.phases.index(phase) + 1}
                    look = {"bgcolor": "#FFFFFF", "font": {"size": 10.5}, "showarrow": False}
                    place = {"x": end, "y": row["position"], "xanchor": "right"}
                    self.figure.add_annotation(text=f"{said(row)} ▸", **place, **look, **at)

    def marks(self, phase: str, column: str, name: str) -> None:
        """Draw a column as ticks across the bars."""
        rows = self.of_phase(phase)
        trace = go.Scatter(
            name=name,
            x=[row[column] for row in rows],
            y=[row["position"] for row in rows],
            mode="markers",
            marker={"symbol": "line-ns", "size": 12, "line": {"color": INK, "width": 2}},
            hoverinfo="skip",
        )
        self.add(phase, trace)

    def line(self, phase: str, value: float, name: str, dash: str) -> None:
        """Draw a line that all bars of a panel are held against."""
        ends = [-0.5, len(self.labels) - 0.5]
        style = {"color": INK, "width": 1.3, "dash": dash}
        self.add(
            phase,
            go.Scatter(
                name=name, x=[value] * 2, y=ends, mode="lines", line=style, hoverinfo="skip"
            ),
        )

    def finish(self, title: str, axis: str, manifest: Mapping[str, Any]) -> go.Figure:
        """Name the layers, the axes and the settings."""
        count = len(self.labels)
        self.figure.update_yaxes(
            tickvals=list(range(count)),
            ticktext=[escaped(label) for label in self.labels],
            range=[count - 0.5, -0.5],
            showgrid=False,
            tickfont={"size": 11},
        )
        self.figure.update_yaxes(title={"text": "layer", "standoff": 14}, col=1)
        self.figure.update_xaxes(title={"text": axis, "standoff": 8})
        height = _TOP + 64 + _ROW_HEIGHT * max(count, 3)
        return apply_theme(self.figure, title, context(manifest), height, _TOP)


def _placed(rows: Sequence[Row]) -> tuple[list[dict[str, Any]], list[str]]:
    """Give every row its number and the line of its layer; GEMMs of one layer and phase have each.

    Lines are in order of time. Of more than fit, the last are one.
    """
    keys = _keys(rows)
    spent: dict[tuple[Any, ...], float] = {}
    for key, row in zip(keys, rows, strict=True):
        spent[key] = spent.get(key, 0.0) + row["time_us"]
    order = sorted(spent, key=lambda key: -spent[key])
    kept = order if len(order) <= _MOST + 1 else order[:_MOST]
    lines = {key: position for position, key in enumerate(kept)}
    labels = {key: _label(row, key[1]) for key, row in zip(keys, rows, strict=True)}
    placed = [
        {**row, "number": number, "position": lines[key]}
        for number, (key, row) in enumerate(zip(keys, rows, strict=True))
        if key in lines
    ]
    rest = [row for key, row in zip(keys, rows, strict=True) if key not in lines]
    if not rest:
        return placed, [labels[key] for key in kept]
    more = f"{len(order) - _MOST} lines more, together"
    folded = [_folded(of, more, _MOST) for of in _by_phase(rest)]
    return [*placed, *folded], [*(labels[key] for key in kept), more]


def _keys(rows: Sequence[Row]) -> list[tuple[int, int, str]]:
    """The line of every row: its layer, which of that layer's in a phase, whose gradient."""
    first: dict[str, int] = {}
    seen: dict[tuple[str, str, str], int] = {}
    keys = []
    for row in rows:
        identity = (row["layer"], row["phase"], row["gradient_of"])
        seen[identity] = seen.get(identity, 0) + 1
        layer = first.setdefault(row["layer"], len(first))
        keys.append((layer, seen[identity], row["gradient_of"]))
    return keys


def _by_phase(rows: Sequence[Row]) -> list[list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["phase"], []).append(row)
    return list(found.values())


def _folded(rows: Sequence[Row], name: str, position: int) -> dict[str, Any]:
    """Rows of one phase as one, which stands for no row of the table."""
    whole = phase_summary(rows)["all"]
    told = (
        f"<b>{name}</b> · {rows[0]['phase']}: {len(rows)} GEMMs",
        f"{duration(whole['time_us'])}, speed-up {ratio(whole['speedup'])}×",
        f"ideal {ratio(whole['speedup_ideal'])}×",
    )
    kept = {**dict.fromkeys(rows[0]), **whole, "phase": rows[0]["phase"]}
    return {**kept, "layer": name, "number": -1, "position": position, "told": "<br>".join(told)}


def _label(row: Row, occurrence: int) -> str:
    gradient = f" d{row['gradient_of'].upper()}" if row["gradient_of"] else ""
    mark = "part " if row.get("part") else "#"
    number = f" {mark}{occurrence}" if occurrence > 1 else ""
    repeat = f" ×{row['repeat']}" if row["repeat"] > 1 else ""
    return shorten(printable(row["layer"]), 34) + gradient + number + repeat
