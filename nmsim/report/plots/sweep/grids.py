"""One number that varies as lines, two as a heat map, layers against patterns as another."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nmsim.report.notation import levels_said, shorten, told_apart, worded
from nmsim.report.plots.layers import axis_end
from nmsim.report.plots.sweep.panels import Mark, Panels, gain_title, gain_words, point_hover
from nmsim.report.plots.theme import apply_theme, escaped, for_phones
from nmsim.report.space import Field, Space

__all__ = ["MOST_LINES", "MOST_MAPS", "heat_figure", "layers_figure", "lines_figure"]

MOST_LINES = 12
"""Lines of the figure; of more, those that gain most."""

MOST_MAPS = 4
"""Heat maps beside each other; of more, those whose points gain most."""

_MOST_LAYERS = 24
_MOST_WRITTEN = 160
_LOG = 8.0
"""Greatest over least value from which on an axis of numbers is logarithmic."""


def lines_figure(space: Space, said: str) -> go.Figure:
    """Speed-up against the field that is a number, a line for each combination of the others."""
    panels, field = Panels.of(space), space.numbers[0]
    series = _by_categories(space)
    shown = dict(list(series.items())[:MOST_LINES])
    most = 1.0
    for phase in panels.phases:
        for at, (name, numbers) in enumerate(shown.items()):
            mark = Mark.of(name or "points", at, at // 8)
            most = max(most, _line(panels, phase, mark, numbers))
        panels.line(phase, _ends(field), [1, 1], "dense run: 1×")
    figure = panels.figure
    figure.update_xaxes(title=escaped(field.name), **_axis(field))
    figure.update_yaxes(range=[0, most])
    figure.update_yaxes(title=gain_title(space), col=1)
    more = f" · the best {len(shown)} of {len(series)} lines" if len(series) > len(shown) else ""
    title = f"{gain_words(space)}, against {field.name}"
    return apply_theme(figure, title, said + more, panels.top + 380, panels.top)


def _line(panels: Panels, phase: str, mark: Mark, numbers: Sequence[int]) -> float:
    """Draw a line, and apart from it the points without the number; where the axis has to end."""
    space, field = panels.space, panels.space.numbers[0]
    labels = dict(zip(field.levels, levels_said(field.levels), strict=True))
    place = {value: labels[value] if field.gaps else value for value in field.levels}
    gains = {n: gain for n in numbers if (gain := panels.gain(n, phase)) is not None}
    values = {number: space.points[number][0][field.name] for number in gains}
    joined = sorted((n for n in gains if values[n] is not None), key=lambda n: values[n])
    apart = [n for n in gains if values[n] is None]
    for own, mode in ((joined, "lines+markers"), (apart, "markers")):
        if own:
            where = {"x": [place[values[n]] for n in own], "y": [gains[n] for n in own]}
            panels.series(phase, mark, own, mode=mode, **where)
    ideals = (panels.ideal(number, phase) for number in gains)
    return axis_end(gains.values(), [one for one in ideals if one is not None])


def _ends(field: Field) -> list[Any]:
    said = levels_said(field.levels) if field.gaps else field.levels
    return [said[0], said[-1]]


def _axis(field: Field) -> dict[str, Any]:
    """The axis of a field: names where some points have no number, which has no place among any."""
    said = levels_said(field.levels)
    if field.gaps:
        return {"type": "category", "categoryorder": "array", "categoryarray": said}
    low, high = field.levels[0], field.levels[-1]
    logarithmic = low > 0 and high / low >= _LOG
    ticks = {"tickvals": list(field.levels), "ticktext": said}
    return {**(ticks if len(said) <= 8 else {}), **({"type": "log"} if logarithmic else {})}


def _by_categories(space: Space) -> dict[str, list[int]]:
    """Numbers of points by the values of fields that are no numbers, the best first."""
    found: dict[str, list[int]] = {}
    for number, (point, _) in enumerate(space.points):
        name = " · ".join(worded(point[field.name]) for field in space.categories)
        found.setdefault(name, []).append(number)
    return dict(sorted(found.items(), key=lambda one: -_best(space, one[1])))


def _best(space: Space, numbers: Sequence[int]) -> float:
    gains = space.measures.get("speedup", [])
    return max((gains[number] or 0.0 for number in numbers), default=0.0) if gains else 0.0


def heat_figure(space: Space, said: str) -> go.Figure:
    """Speed-up over the two fields that are numbers, a map for each combination of the others."""
    across, up = space.numbers
    maps = _by_categories(space)
    shown = dict(list(maps.items())[:MOST_MAPS])
    figure = make_subplots(
        cols=len(shown),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[escaped(shorten(name, 40)) for name in shown] if any(shown) else None,
    )
    name = next(iter(space.measures))
    cells = max(1, len(across.levels) * len(up.levels))
    for at, numbers in enumerate(shown.values()):
        figure.add_trace(_map(space, numbers, name, written=cells <= _MOST_WRITTEN), 1, at + 1)
    figure.update_xaxes(title=escaped(across.name), type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_yaxes(title=escaped(up.name), col=1)
    figure.update_layout(coloraxis=_scale(gain_title(space) if name == "speedup" else name))
    more = f" · the best {len(shown)} of {len(maps)} maps" if len(maps) > len(shown) else ""
    height = 96 + 90 + min(520, max(200, 34 * len(up.levels)))
    title = f"{gain_words(space)}, against {across.name} and {up.name}"
    apply_theme(figure, title, said + more, height, 96)
    return for_phones(figure) if len(shown) == 1 else figure


def _scale(title: str) -> dict[str, Any]:
    bar = {"title": {"text": title.replace(" [", "<br>[")}, "thickness": 12}
    return {"colorscale": "Cividis", "colorbar": bar}


def _map(space: Space, numbers: Sequence[int], name: str, *, written: bool) -> go.Heatmap:
    across, up = space.numbers
    columns = {value: at for at, value in enumerate(across.levels)}
    lines = {value: at for at, value in enumerate(up.levels)}
    z: list[list[float | None]] = [[None] * len(columns) for _ in lines]
    told = [[""] * len(columns) for _ in lines]
    rows = [[-1] * len(columns) for _ in lines]
    for number in numbers:
        point = space.points[number][0]
        at, along = lines[point[up.name]], columns[point[across.name]]
        z[at][along] = space.measures[name][number]
        told[at][along] = point_hover(space, number, "all")
        rows[at][along] = number
    return go.Heatmap(
        name=name,
        x=levels_said(across.levels),
        y=levels_said(up.levels),
        z=z,
        text=told,
        hoverinfo="text",
        customdata=rows,
        coloraxis="coloraxis",
        texttemplate=("%{z:.2f}" if name == "speedup" else "%{z:.3~g}") if written else None,
        xgap=1,
        ygap=1,
    )


def layers_figure(df: pd.DataFrame, said: str) -> go.Figure | None:
    """Speed-up of every layer by pattern, of all other fields together; None: nothing to compare.

    Layers of most time are shown, in its order.
    """
    known = df[df["dense_cycles"].notna()]
    if known["pattern"].nunique() < 2 or known["layer"].nunique() < 2:
        return None
    sums = known.groupby(["layer", "pattern"], sort=False)[
        ["cycles", "dense_cycles", "time_us"]
    ].sum()
    times = sums["time_us"].groupby(level="layer").sum().sort_values(ascending=False)
    layers = [str(layer) for layer in times.index[:_MOST_LAYERS]]
    patterns = [str(one) for one in known["pattern"].drop_duplicates()]
    gains = {
        (str(layer), str(one)): _over(cells)
        for (layer, one), cells in zip(sums.index.tolist(), sums.to_dict("records"), strict=True)
    }
    figure = go.Figure(
        go.Heatmap(
            name="speed-up of GEMMs",
            x=patterns,
            y=[escaped(layer) for layer in told_apart(layers, 34)],
            z=[[gains.get((layer, one)) for one in patterns] for layer in layers],
            text=[[escaped(f"{layer}, {one}") for one in patterns] for layer in layers],
            hovertemplate="%{text}: %{z:.3g}×<extra></extra>",
            texttemplate="%{z:.2f}",
            coloraxis="coloraxis",
            xgap=1,
            ygap=1,
        )
    )
    figure.update_layout(coloraxis=_scale("speed-up of GEMMs [×]"))
    figure.update_xaxes(title="pattern [N:M, N kept]", type="category", showgrid=False)
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    more = len(times) - len(layers)
    told = f"{said} · the {len(layers)} layers of most time, of {len(times)}" if more else said
    height = 76 + 64 + max(120, 21 * len(layers))
    return for_phones(apply_theme(figure, "Speed-up of layers by pattern", told, height, 76))


def _over(one: Mapping[Any, Any]) -> float | None:
    cycles = one["cycles"]
    return float(one["dense_cycles"]) / float(cycles) if cycles else None
