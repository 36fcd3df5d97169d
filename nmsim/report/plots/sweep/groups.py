"""Points whose fields have no order: a line for each group, a dot for each point."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from nmsim.report.notation import ratio, told_apart, worded
from nmsim.report.plots.layers import axis_end
from nmsim.report.plots.sweep.panels import Mark, Panels, gain_title, gain_words
from nmsim.report.plots.theme import INK, MACHINE_COLOURS, MUTED, apply_theme, escaped
from nmsim.report.space import Field, Space

__all__ = ["MOST_GROUPS", "groups_figure"]

MOST_GROUPS = 30
"""Lines of the figure; of more groups, those whose points gain most."""

_GEMMS_ALONE = "its GEMMs alone"
_MASKS_ALONE = "masks alone, where some are passed over"
_IDEAL = "ideal of the masks: dense / useful MACs"


def groups_figure(space: Space, said: str) -> go.Figure:
    """Speed-up of every point, by groups of all fields but those that colour and symbol tell."""
    panels, (colour, symbol) = Panels.of(space), _told_by_look(space)
    groups = _groups(space, [field for field in space.categories if field not in (colour, symbol)])
    lines = dict(list(groups.items())[:MOST_GROUPS])
    series = _series(space, [n for numbers in lines.values() for n in numbers], colour, symbol)
    places = _places(list(lines.values()), [numbers for _, numbers in series])
    most = 0.0
    for phase in panels.phases:
        for mark, numbers in series:
            most = max(most, _dots(panels, phase, mark, {n: places[n] for n in numbers}))
        _others(panels, phase, places)
        panels.line(phase, [1, 1], [-0.5, len(lines) - 0.5], "dense run: 1×")
    figure = panels.figure
    figure.update_yaxes(
        tickvals=list(range(len(lines))),
        ticktext=[escaped(name) for name in told_apart(list(lines), 44)],
        range=[len(lines) - 0.5, -0.5],
    )
    figure.update_xaxes(title=gain_title(space), range=[0, most])
    more = len(groups) - len(lines)
    told = f"{said} · the best {len(lines)} of {len(groups)} groups" if more else said
    height = panels.top + 62 + max(110, min(_MOST_HEIGHT, _line_height(series) * len(lines)))
    return apply_theme(figure, gain_words(space), told, height, panels.top)


_MOST_HEIGHT = 640
"""Pixels of all lines together."""


def _line_height(series: Sequence[Any]) -> int:
    return min(60, 22 + 8 * (len(series) - 1))


def _places(lines: Sequence[Sequence[int]], series: Sequence[Sequence[int]]) -> dict[int, float]:
    """Where every point stands: on its line, beside the others that stand there."""
    look = {number: at for at, numbers in enumerate(series) for number in numbers}
    spread = 0.7 / max(1, len(series))
    middle = (len(series) - 1) / 2
    return {
        number: line + spread * (look[number] - middle)
        for line, numbers in enumerate(lines)
        for number in numbers
    }


def _told_by_look(space: Space) -> tuple[Field | None, Field | None]:
    """Which field colours tell, and which symbols: few values, and not all that there is."""
    fields = [one for one in space.categories if len(one.levels) <= len(MACHINE_COLOURS)]
    symbol = next((one for one in fields if one.name == "fidelity"), None)
    rest = [one for one in fields if one is not symbol]
    ranked = sorted(rest, key=lambda one: (one.name != "pattern", -len(one.levels)))
    colour = ranked[0] if ranked and len(space.categories) > 1 else None
    return colour, symbol if len(space.categories) > 1 else None


def _groups(space: Space, rows: Sequence[Field]) -> dict[str, list[int]]:
    """Numbers of points by the name of their line, the best line first."""
    found: dict[str, list[int]] = {}
    for number, (point, _) in enumerate(space.points):
        name = " · ".join(worded(point[field.name]) for field in rows) or "all points"
        found.setdefault(name, []).append(number)
    gains = space.measures.get("speedup", [None] * len(space.points))

    def best(name: str) -> float:
        return max(gains[number] or 0.0 for number in found[name])

    return {name: found[name] for name in sorted(found, key=lambda one: -best(one))}


def _series(
    space: Space, numbers: Sequence[int], colour: Field | None, symbol: Field | None
) -> list[tuple[Mark, list[int]]]:
    """Numbers of points by their look."""
    found: dict[tuple[int, int], list[int]] = {}
    for number in numbers:
        point = space.points[number][0]
        at, sign = (0 if f is None else f.levels.index(point[f.name]) for f in (colour, symbol))
        found.setdefault((at, sign), []).append(number)
    marks = []
    for (at, sign), of in sorted(found.items()):
        words = [worded(f.levels[v]) for f, v in ((colour, at), (symbol, sign)) if f is not None]
        marks.append((Mark.of(", ".join(words) or "points", at, sign), of))
    return marks


def _dots(panels: Panels, phase: str, mark: Mark, places: Mapping[int, float]) -> float:
    """Draw the points of a series, and what masks promise them; where the axis has to end."""
    gains = {n: gain for n in places if (gain := panels.gain(n, phase)) is not None}
    x, y = list(gains.values()), [places[number] for number in gains]
    panels.series(phase, mark, list(gains), x=x, y=y, mode="markers")
    ideals = {n: ideal for n in gains if (ideal := panels.ideal(n, phase)) is not None}
    end = axis_end([*x, 1.0], ideals.values())
    shown = go.Scatter(
        name=_IDEAL,
        x=[min(ideal, end) for ideal in ideals.values()],
        y=[places[number] for number in ideals],
        mode="markers",
        marker={"symbol": "line-ns", "size": 12, "line": {"color": mark.colour, "width": 1.6}},
        hovertext=[f"ideal of the masks: {ratio(ideal)}×" for ideal in ideals.values()],
        hoverinfo="text",
    )
    panels.add(phase, shown)
    return end


def _others(panels: Panels, phase: str, places: Mapping[int, float]) -> None:
    """The other speed-ups of the same points: of GEMMs alone, and if every mask were used."""
    for name, symbol in ((_GEMMS_ALONE, "circle-open"), (_MASKS_ALONE, "x-thin")):
        gains = {n: g for n in places if (g := _other(panels, n, phase, name)) is not None}
        if gains:
            colour = MUTED if symbol != "x-thin" else INK
            line = {"color": colour, "width": 1.4}
            trace = go.Scatter(
                name=name,
                x=list(gains.values()),
                y=[places[number] for number in gains],
                mode="markers",
                marker={"symbol": symbol, "size": 8, "line": line, "color": colour},
                hovertext=[f"{name}: {ratio(gain)}×" for gain in gains.values()],
                hoverinfo="text",
            )
            panels.add(phase, trace)


def _other(panels: Panels, number: int, phase: str, name: str) -> float | None:
    total = panels.space.points[number][1].get(phase)
    if total is None:
        return None
    if name == _MASKS_ALONE:
        gain: float | None = total["mask_speedup"] if total["passed_over"] else None
        return gain
    gemms: float | None = total["speedup"]
    return gemms if ratio(gemms) != ratio(panels.gain(number, phase)) else None
