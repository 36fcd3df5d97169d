"""The Pareto front of any two measures: which points no other beats in both."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from nmsim.report.notation import levels_said, significant
from nmsim.report.plots.theme import INK, MACHINE_COLOURS, apply_theme, escaped, for_phones
from nmsim.report.space import MEASURES, Measure, Space

__all__ = ["MOST_POINTS", "front", "front_figure", "measured", "pair", "ticks"]

MOST_POINTS = 2000
"""Points that are drawn beside the front; of more, an even sample."""


def measured(space: Space) -> list[Measure]:
    """Measures of the points, and the numbers that vary, each a cost: less of it is better."""
    known = [one for one in MEASURES if one.name in space.measures]
    fields = [Measure(f.name, f.name, "", False, lambda _: None) for f in space.numbers]
    return [*known, *fields]


def values(space: Space, measure: Measure) -> list[float | None]:
    """What all points have of a measure, or of a field."""
    if any(measure is one for one in MEASURES):
        return space.measures[measure.name]
    return [point[measure.name] for point, _ in space.points]


def pair(space: Space) -> tuple[Measure, Measure]:
    """What the figure shows unasked: a cost that varies, and the speed-up, or else the time."""
    found = measured(space)
    gain = next(one for one in found if one.name in ("speedup", "time_us"))
    costs = [one for one in found if one is not gain and one.name != "speedup_ideal"]
    first = ("energy_pj", "selector_mux2", *(f.name for f in space.numbers), "time_us")
    ranked = sorted(costs, key=lambda one: first.index(one.name) if one.name in first else 99)
    varied = [one for one in ranked if len(set(values(space, one)) - {None}) > 1]
    return (varied or ranked)[0], gain


def front(x: Sequence[float], y: Sequence[float], more: tuple[bool, bool]) -> list[int]:
    """Places of the points that no other is as good as in both and better in one, in order of x.

    Examples
    --------
    >>> front([1, 2, 3, 3], [5.0, 7.0, 6.0, 9.0], (False, True))
    [0, 1, 3]
    """
    signs = [-1 if one else 1 for one in more]
    order = sorted(range(len(x)), key=lambda at: (signs[0] * x[at], signs[1] * y[at]))
    kept: list[int] = []
    for at in order:
        if not kept or signs[1] * y[at] < signs[1] * y[kept[-1]]:
            kept.append(at)
    return kept


def front_figure(space: Space, said: str) -> go.Figure:
    """All points, or a sample of them, and the front that they have."""
    across, up = pair(space)
    known = [
        (number, x, y)
        for number, (x, y) in enumerate(zip(values(space, across), values(space, up), strict=True))
        if x is not None and y is not None
    ]
    best = front([x for _, x, _ in known], [y for *_, y in known], (across.more, up.more))
    chosen = [known[at] for at in best]
    others = sampled(known, MOST_POINTS)
    colour = MACHINE_COLOURS[0]
    dots = {"size": 6, "color": "#88CCEE", "line": {"width": 0.5, "color": colour}}
    line = {"color": INK, "width": 1.2, "shape": "hv" if up.more != across.more else "linear"}
    marks = {"size": 9, "color": colour, "symbol": "diamond"}
    figure = go.Figure(
        [
            go.Scatter(name="points", mode="markers", marker=dots, **_drawn(space, others)),
            go.Scatter(
                name="front", mode="lines+markers", line=line, marker=marks, **_drawn(space, chosen)
            ),
        ]
    )
    scales = (_scale([x for _, x, _ in known]), _scale([y for *_, y in known]))
    figure.update_xaxes(title=across.axis, type=scales[0], **ticks(space, across))
    figure.update_yaxes(title=up.axis, type=scales[1], **ticks(space, up))
    apply_theme(figure, "Pareto front: what no other point beats in both", said, 480, 108)
    return for_phones(figure)


def ticks(space: Space, measure: Measure) -> dict[str, list[Any]]:
    """The ticks of an axis: a field's own values where they are few, otherwise left to plotly."""
    field = next((one for one in space.numbers if one.name == measure.name), None)
    if field is None or len(field.known) > _FEW or any(measure is one for one in MEASURES):
        return {}
    return {"tickvals": list(field.known), "ticktext": levels_said(field.known)}


_FEW = 8
"""Values of a field that an axis has room to name."""


def _scale(found: Sequence[float]) -> str:
    """Logarithmic where values lie so far apart that most would be one dot."""
    return "log" if found and min(found) > 0 and max(found) / min(found) >= _WIDE else "linear"


_WIDE = 20.0


def sampled(known: Sequence[Any], most: int) -> list[Any]:
    """Evenly chosen ones of more than ``most``, and otherwise all."""
    step = max(1, -(-len(known) // most))
    return list(known[::step])


def _drawn(space: Space, known: Sequence[tuple[int, float, float]]) -> Mapping[str, Any]:
    return {
        "x": [x for _, x, _ in known],
        "y": [y for *_, y in known],
        "customdata": [number for number, *_ in known],
        "hovertext": [
            "<br>".join(map(escaped, (*space.told(n), f"{significant(x)}, {significant(y)}")))
            for n, x, y in known
        ],
        "hoverinfo": "text",
    }
