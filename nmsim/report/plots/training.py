"""The figure of a training run: time of a step, and time of the run so far."""

from collections.abc import Iterable, Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nmsim.report.notation import ratio
from nmsim.report.plots.theme import ALL_COLOUR, DENSE_COLOUR, apply_theme, context, escaped

__all__ = ["training_figure"]

Document = Mapping[str, Any]

# Okabe and Ito, as phases have them, but other meanings: none of these figures shows phases.
_COLOURS = {
    "dense": DENSE_COLOUR,
    "decay": "#E69F00",
    "structure": "#56B4E9",
    "sparse": "#0072B2",
}


def training_figure(run: Document) -> go.Figure:
    """Time of each step beside the dense one, and the time of the run so far."""
    about, total = run["manifest"], run["total"]
    step_unit, step_scale = _unit(run["segments"][0]["dense_step_us"])
    run_unit, run_scale = _unit(total["dense_time_s"] * 1e6)
    figure = make_subplots(
        cols=2,
        horizontal_spacing=0.1,
        subplot_titles=(f"time of a step, {step_unit}", f"time of the run so far, {run_unit}"),
    )
    shown: set[str] = set()
    spent, corners = 0.0, [(0.0, 0.0)]
    for segment in run["segments"]:
        _add_segment(figure, segment, step_scale, legend=segment["stage"] not in shown)
        shown.add(segment["stage"])
        spent += segment["time_s"] * 1e6
        corners.append((segment["first_step"] + segment["steps"], spent / run_scale))
    steps = total["steps"]
    dense = run["segments"][0]["dense_step_us"] / step_scale
    figure.add_trace(_line([(0, dense), (steps, dense)], "dense run", dash="dash"), 1, 1)
    line = _line(corners, about["recipe"], colour=_COLOURS["sparse"])
    figure.add_trace(line, 1, 2)
    end = total["dense_time_s"] * 1e6 / run_scale
    figure.add_trace(_line([(0, 0.0), (steps, end)], "", dash="dash"), 1, 2)
    apply_theme(figure, "Time over the training run", context(about), 420, 120)
    figure.update_xaxes(title_text="training step", range=[0, steps])
    figure.update_yaxes(rangemode="tozero")
    return figure


def _add_segment(figure: go.Figure, segment: Document, scale: float, *, legend: bool) -> None:
    first, height = segment["first_step"], segment["step_us"] / scale
    text = (
        f"{segment['stage']}: {segment['masks']}, speed-up of the step {ratio(segment['speedup'])}×"
    )
    bar = go.Bar(
        x=[first],
        y=[height],
        width=[segment["steps"]],
        offset=0,
        name=segment["stage"],
        showlegend=legend,
        legendgroup=segment["stage"],
        marker={"color": _COLOURS[segment["stage"]], "line": {"color": "#FFFFFF", "width": 1}},
        hovertext=[escaped(text)],
        hoverinfo="text",
    )
    figure.add_trace(bar, 1, 1)


def _line(
    points: Iterable[tuple[float, float]], name: str, *, dash: str = "solid", colour: str = ""
) -> go.Scatter:
    x, y = zip(*points, strict=True)
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        name=escaped(name),
        showlegend=bool(name),
        line={"color": colour or ALL_COLOUR, "dash": dash, "width": 2},
    )


def _unit(microseconds: float) -> tuple[str, float]:
    units = (("d", 86400e6), ("h", 3600e6), ("s", 1e6), ("ms", 1e3))
    return next(((name, us) for name, us in units if microseconds >= 2 * us), ("µs", 1.0))
