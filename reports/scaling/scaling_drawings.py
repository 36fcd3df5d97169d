"""Speed-up over one array, and where the cycles of an array go, by the number of arrays."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nmsim.report.plots.theme import DENSE_COLOUR, INK, MACHINE_COLOURS, MUTED, apply_theme
from reports.scaling.scaling_claims import gain

__all__ = ["DRAWINGS"]

Figures = Mapping[str, Any]

_INDIGO, _ROSE, _CYAN, _WINE, _SAND = MACHINE_COLOURS[:5]
_LINES = {"private": (_INDIGO, "circle"), "shared": (_ROSE, "diamond")}
_CAUSES = (
    ("at_work", "at work", DENSE_COLOUR),
    ("idle", "idle: no work left", _SAND),
    ("bandwidth", "waits for the channel", _INDIGO),
    ("latency", "waits for answers", _CYAN),
    ("write_back", "waits for results to leave", _ROSE),
)


def _panels(figures: Figures) -> tuple[go.Figure, list[tuple[int, int, str, Figures]]]:
    """A panel for each layer and pattern, and what each is of."""
    places, titles = [], []
    for row, (name, of) in enumerate(figures["layers"].items(), 1):
        for column, (pattern, both) in enumerate(of["runs"].items(), 1):
            places.append((row, column, name, both))
            m, n, k = of["size"]
            titles.append(f"{name}, {pattern} · {m}×{n}×{k}")
    figure = make_subplots(
        rows=2,
        cols=2,
        subplot_titles=titles,
        horizontal_spacing=0.07,
        vertical_spacing=0.13,
    )
    figure.update_annotations(font={"size": 13, "color": INK}, yshift=4)
    return figure, places


def speedup(figures: Figures) -> go.Figure:
    """Speed-up over one array, with both ceilings."""
    figure, places = _panels(figures)
    arrays = figures["arrays"]
    for row, column, _, both in places:
        first = (row, column) == (1, 1)
        at = {"row": row, "col": column}
        one = both["private"][0]["cycles"]
        figure.add_scatter(
            name="as many times as arrays",
            legendgroup="linear",
            showlegend=first,
            x=arrays,
            y=arrays,
            mode="lines",
            line={"color": MUTED, "width": 1.2, "dash": "dot"},
            hoverinfo="skip",
            **at,
        )
        figure.add_scatter(
            name="every byte once over the bandwidth",
            legendgroup="ceiling",
            showlegend=first,
            x=arrays,
            y=[one / both["channel_cycles"]] * len(arrays),
            mode="lines",
            line={"color": INK, "width": 1.6, "dash": "dash"},
            hovertemplate="ceiling %{y:.2f}×<extra></extra>",
            **at,
        )
        for buffers, (colour, symbol) in _LINES.items():
            _curve(figure, both[buffers], buffers, colour, symbol, shown=first, at=at)
        figure.update_yaxes(range=[0, _top(both, arrays)], rangemode="tozero", **at)
    figure.update_xaxes(tickvals=arrays, range=[0.4, max(arrays) + 0.6])
    figure.update_xaxes(title="arrays", row=2)
    figure.update_yaxes(title="speed-up over one array [×]", col=1)
    return apply_theme(
        figure,
        "Speed-up over one array",
        f"{figures['machine']} · one channel for all arrays · fidelity cycle",
        760,
        140,
    )


def _top(both: Figures, arrays: Sequence[int]) -> float:
    """What a panel's axis reaches: somewhat above the curves and the ceiling."""
    most = max(gain(both[b], i) for b in _LINES for i in range(len(arrays)))
    ceiling = both["private"][0]["cycles"] / both["channel_cycles"]
    return float(1.1 * max(most, ceiling))


def _curve(
    figure: go.Figure,
    runs: Sequence[Figures],
    buffers: str,
    colour: str,
    symbol: str,
    *,
    shown: bool,
    at: Mapping[str, int],
) -> None:
    figure.add_scatter(
        name=f"{buffers} buffers",
        legendgroup=buffers,
        showlegend=shown,
        x=[run["arrays"] for run in runs],
        y=[gain(list(runs), i) for i in range(len(runs))],
        customdata=[
            [f"by {run['partition']}" if run["partition"] else "one array", run["cycles"]]
            for run in runs
        ],
        mode="lines+markers",
        line={"color": colour, "width": 2},
        marker={"color": colour, "symbol": symbol, "size": 8},
        hovertemplate=f"{buffers}, %{{x}} arrays: %{{y:.2f}}×, %{{customdata[0]}}, "
        "%{customdata[1]:,} cycles<extra></extra>",
        **at,
    )


def waits(figures: Figures) -> go.Figure:
    """Where the cycles of a mean array go, private buffers."""
    figure, places = _panels(figures)
    names = [str(n) for n in figures["arrays"]]
    for row, column, _, both in places:
        for key, name, colour in _CAUSES:
            figure.add_bar(
                name=name,
                legendgroup=name,
                showlegend=(row, column) == (1, 1),
                x=names,
                y=[100 * run[key] / run["cycles"] for run in both["private"]],
                marker={"color": colour},
                hovertemplate=f"%{{x}} arrays, {name}: %{{y:.1f}} %<extra></extra>",
                row=row,
                col=column,
            )
    figure.update_xaxes(type="category")
    figure.update_xaxes(title="arrays", row=2)
    figure.update_yaxes(range=[0, 100])
    figure.update_yaxes(title="share of cycles [%]", col=1)
    figure.update_layout(barmode="stack", bargap=0.25)
    return apply_theme(
        figure,
        "Where the cycles of an array go",
        f"mean of all arrays · {figures['machine']}, private buffers · fidelity cycle",
        760,
        140,
    )


DRAWINGS = {"speedup": speedup, "waits": waits}
"""The figures of the page."""
