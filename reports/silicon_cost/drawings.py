"""Area of a MAC's work against what a pattern keeps, and against how many masks it has."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nmsim.report.plots.theme import INK, MACHINE_COLOURS, MUTED, apply_theme

__all__ = ["DRAWINGS"]

Figures = Mapping[str, Any]

_INDIGO, _ROSE = MACHINE_COLOURS[:2]
_LINES = {"lone": (_INDIGO, "circle"), "shared": (_ROSE, "diamond")}
_NAMES = {"lone": "a group for each multiplier", "shared": "N multipliers share a group"}
_VARIANTS = ("bf16, 45 nm", "int8, 45 nm")


def _pareto(figures: Figures, axis: str, title: str, ticks: str) -> go.Figure:
    """A point a pattern and structure, a panel a width."""
    figure = make_subplots(rows=1, cols=2, subplot_titles=_VARIANTS, horizontal_spacing=0.07)
    figure.update_annotations(font={"size": 13, "color": INK}, yshift=4)
    for column, variant in enumerate(_VARIANTS, 1):
        for structure, (colour, symbol) in _LINES.items():
            points = [
                one
                for one in figures["pes"]
                if (one["variant"], one["structure"]) == (variant, structure)
            ]
            figure.add_scatter(
                name=_NAMES[structure],
                legendgroup=structure,
                showlegend=column == 1,
                x=[figures["patterns"][one["pattern"]][axis] for one in points],
                y=[one["per_dense_mac"] for one in points],
                text=[one["pattern"] for one in points],
                mode="markers+text",
                textposition="top center" if structure == "lone" else "bottom center",
                textfont={"size": 11, "color": MUTED},
                marker={"symbol": symbol, "size": 10, "color": colour},
                row=1,
                col=column,
            )
        figure.add_hline(y=1, line={"dash": "dot", "color": MUTED}, row=1, col=column)
    figure.update_xaxes(title=ticks)
    figure.update_yaxes(title="area / dense MAC", type="log", row=1, col=1)
    figure.update_yaxes(type="log", row=1, col=2)
    return apply_theme(figure, title, "below the dotted line a full array pays", 480, 110)


def kept(figures: Figures) -> go.Figure:
    """Area for each dense-equivalent MAC against the share of the L1 norm that is kept."""
    return _pareto(figures, "kept_l1", "What a pattern keeps, and its area", "share of L1 kept")


def diversity(figures: Figures) -> go.Figure:
    """The same against how many masks a pattern has."""
    title = "How many masks a pattern has, and its area"
    return _pareto(figures, "bits_of_diversity", title, "log₂ masks, bits an element")


DRAWINGS = {"kept": kept, "diversity": diversity}
