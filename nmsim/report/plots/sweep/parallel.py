"""Many fields at once: parallel coordinates, and how much each field decides."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, pvariance
from typing import Any

import plotly.graph_objects as go

from nmsim.report.notation import levels_said, percent, shorten, told_apart
from nmsim.report.plots.sweep.front import front, pair, sampled, values
from nmsim.report.plots.theme import MACHINE_COLOURS, apply_theme, escaped, for_phones
from nmsim.report.space import MEASURES, Field, Measure, Space

__all__ = [
    "MOST_LINES",
    "importance",
    "importance_figure",
    "measures_shown",
    "parallel_figure",
    "plain_axis",
]

MOST_LINES = 1000
"""Lines that the figure draws: more are a solid block."""

_BINS = 10
"""Values of a field beyond which its numbers are put together by rank."""

_SHOWN = ("speedup", "time_us")


def parallel_figure(space: Space, said: str) -> go.Figure:
    """Every field and the first measures as axes, a line a point: the front, and a sample."""
    numbers = lines_of(space)
    axes = [_axis(space, field, numbers) for field in space.fields]
    found = measures_shown(space)
    axes += [_measure(space, one.axis, one.name, numbers) for one in found]
    shade = [space.measures[found[0].name][number] for number in numbers]
    scale = {"color": shade, "colorscale": "Cividis", "showscale": True}
    figure = go.Figure(
        go.Parcoords(
            dimensions=axes,
            line={**scale, "colorbar": {"title": {"text": found[0].axis}, "thickness": 12}},
            customdata=list(numbers),
            labelangle=-14 if len(axes) > _LEVEL else 0,
            labelfont={"size": 12},
            tickfont={"size": 11},
            rangefont={"color": "rgba(0,0,0,0)"},  # ticks tell the ends
        )
    )
    apply_theme(figure, "Every field of the points; drag along an axis to choose", said, 560, 156)
    figure.update_layout(margin={"l": 64, "r": 40, "b": 30}, showlegend=False)
    return figure


_LEVEL = 7
"""Axes whose names have room beside each other; of more they are slanted."""


def lines_of(space: Space) -> list[int]:
    """Points that have a line: all, or the front and an even sample of the others."""
    everyone = range(len(space.points))
    if len(everyone) <= MOST_LINES:
        return list(everyone)
    across, up = pair(space)
    x, y = values(space, across), values(space, up)
    known = [n for n in everyone if x[n] is not None and y[n] is not None]
    pairs = [(float(x[n] or 0), float(y[n] or 0)) for n in known]
    at = front([one for one, _ in pairs], [other for _, other in pairs], (across.more, up.more))
    best = [known[place] for place in at][:MOST_LINES]
    others = [number for number in everyone if number not in set(best)]
    return sorted([*best, *sampled(others, max(1, MOST_LINES - len(best)))])


def _axis(space: Space, field: Field, numbers: Sequence[int]) -> dict[str, Any]:
    label = escaped(shorten(field.name, 24))
    found = [space.points[number][0][field.name] for number in numbers]
    said = [escaped(one) for one in told_apart(levels_said(field.levels), 22)]
    if plain_axis(field):
        at = _apart(field.levels)
        told = {"tickvals": [field.levels[n] for n in at], "ticktext": [said[n] for n in at]}
        return {"label": label, "values": found, "range": [*_ends(field)], **told}
    places = {value: place for place, value in enumerate(field.levels)}
    at = list(range(0, len(said), math.ceil(len(said) / _MOST_TICKS)))
    return {
        "label": label,
        "values": [places[value] for value in found],
        "range": [0, max(1, len(field.levels) - 1)],
        "tickvals": at,
        "ticktext": [said[n] for n in at],
    }


def _ends(field: Field) -> tuple[float, float]:
    return field.levels[0], field.levels[-1]


def _apart(numbers: Sequence[float]) -> list[int]:
    """Places of values of a field that have room for their names: both ends, others in between."""
    room = (numbers[-1] - numbers[0]) / _MOST_TICKS
    found = [0]
    for at, value in enumerate(numbers[1:-1], start=1):
        if value - numbers[found[-1]] >= room and numbers[-1] - value >= room:
            found.append(at)
    return [*found, len(numbers) - 1]


def measures_shown(space: Space) -> list[Measure]:
    """Measures that have axes beside the fields; the first shades the lines."""
    return [one for one in MEASURES if one.name in space.measures and one.name in _SHOWN]


def plain_axis(field: Field) -> bool:
    """Whether an axis shows the numbers of a field, not the places of its values."""
    return field.number and not field.gaps and not _geometric(field.levels)


def _geometric(numbers: Sequence[float]) -> bool:
    """Whether steps of a field grow with it: its values then stand evenly, as they were meant."""
    if not 3 <= len(numbers) <= 40:
        return False
    steps = [high - low for low, high in pairwise(numbers)]
    return numbers[0] > 0 and max(steps) >= _GROWN * min(steps)


_GROWN = 4
"""Largest over smallest step from which on steps grow."""


_MOST_TICKS = 20
"""Names of values that an axis has room for."""


def _measure(space: Space, label: str, name: str, numbers: Sequence[int]) -> dict[str, Any]:
    whole = [value for value in space.measures[name] if value is not None]
    found = [space.measures[name][number] for number in numbers]
    return {"label": label, "values": found, "range": [min(whole), max(whole)]}


def importance(space: Space) -> dict[str, float]:
    """How much of the variance of the first measure's logarithm each field explains alone.

    The correlation ratio of Pearson (1905), the first-order index of Sobol (1993) on a whole grid:
    the variance of the means at each value of a field over the variance of all points. Numbers of
    more than ten values are put together by rank.
    """
    name = next(iter(space.measures))
    found = [(n, math.log(v)) for n, v in enumerate(space.measures[name]) if v and v > 0]
    whole = pvariance([value for _, value in found]) if len(found) > 1 else 0.0
    shares = {field.name: _explained(space, field, found, whole) for field in space.fields}
    return dict(sorted(shares.items(), key=lambda one: -one[1]))


def _explained(
    space: Space, field: Field, found: Sequence[tuple[int, float]], whole: float
) -> float:
    if not whole:
        return 0.0
    width = math.ceil(len(field.known) / _BINS) if field.number else 1
    bins = {value: place // width for place, value in enumerate(field.known)}
    by: dict[Any, list[float]] = {}
    for number, value in found:
        by.setdefault(bins.get(space.points[number][0][field.name]), []).append(value)
    mean = fmean(value for _, value in found)
    between = sum(len(group) * (fmean(group) - mean) ** 2 for group in by.values()) / len(found)
    return min(1.0, between / whole)


_WRITTEN = 0.12
"""Share from which on a bar has room for what it comes to."""


def importance_figure(space: Space, said: str) -> go.Figure:
    """What each field decides alone, as bars."""
    shares = importance(space)
    names = [escaped(name) for name in told_apart(list(shares), 34)]
    figure = go.Figure(
        go.Bar(
            name="variance explained",
            orientation="h",
            x=[100 * share for share in shares.values()],
            y=names,
            text=[f"{percent(share)} %" for share in shares.values()],
            textposition=["inside" if share > _WRITTEN else "outside" for share in shares.values()],
            marker={"color": MACHINE_COLOURS[0]},
            hoverinfo="y+text",
        )
    )
    title = next(one.title for one in MEASURES if one.name in space.measures)
    figure.update_xaxes(title=f"variance of log {title} explained [%]")
    figure.update_xaxes(range=[0, 104])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(showlegend=False)
    height = 92 + 62 + 26 * max(len(shares), 2)
    heading = f"Importance: what each field decides of the {title}"
    return for_phones(apply_theme(figure, heading, said, height, 84))
