"""The figures of the page, from the figures of its sections alone."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nmsim.report.plots.theme import (
    DENSE_COLOUR,
    INK,
    MACHINE_COLOURS,
    MACHINE_SYMBOLS,
    MUTED,
    apply_theme,
)
from reports.pruning.hubara_masks import STRUCTURES

__all__ = ["DRAWINGS"]

Figures = Mapping[str, Any]

_INDIGO, _ROSE, _CYAN, _WINE, _SAND = MACHINE_COLOURS[:5]
_FLOOR = 0.7
_BESIDE = {"unstructured": "middle left", "4:8": "top left", "2:4": "top left"}
_DASH = {"color": INK, "width": 1.5, "dash": "dash"}
_MEASURES = {
    "bias": "bias<br>[share of Σ|a|]",
    "misdirected": "misdirected bias<br>[share of Σ|a|]",
    "variance": "variance<br>[share of Σa²]",
    "mse": "mean squared error<br>[share of Σa²]",
}


def _panels(*titles: str, **options: Any) -> go.Figure:
    spacing = 0.035 if len(titles) > 2 else 0.09
    return make_subplots(
        rows=1, cols=len(titles), subplot_titles=titles, horizontal_spacing=spacing, **options
    )


def _bound(figure: go.Figure, column: int, across: Sequence[float], at: float, name: str) -> None:
    figure.add_scatter(
        x=list(across), y=[at] * 2, name=name, mode="lines", line=_DASH, col=column, row=1
    )


def estimators(figures: Figures) -> go.Figure:
    """Bias, misdirected bias, variance and MSE of every estimator, 1:2 beside 2:4."""
    figure = _panels(*_MEASURES.values(), shared_yaxes=True)
    accuracy = figures["accuracy"]
    for pattern, colour in zip(figures["quality"], (_INDIGO, _ROSE), strict=True):
        quality = figures["quality"][pattern]
        names = [f"{name} · {accuracy[name]} %" if name in accuracy else name for name in quality]
        for column, measure in enumerate(_MEASURES, 1):
            values = [row[measure] for row in quality.values()]
            figure.add_bar(
                orientation="h",
                name=pattern,
                legendgroup=pattern,
                showlegend=column == 1,
                y=names,
                x=values,
                marker={"color": colour},
                text=[_short(value) for value in values],
                textposition="outside",
                cliponaxis=False,
                row=1,
                col=column,
            )
            most = max(row[measure] for of in figures["quality"].values() for row in of.values())
            figure.update_xaxes(range=[0, 1.22 * most], row=1, col=column)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(bargap=0.28)
    return apply_theme(
        figure,
        "Bias and variance of the estimators, exact",
        f"{figures['groups']:,} blocks of four log-normal gradients (σ = {figures['sigma']:g}); "
        "percentages: accuracy printed in Table 2 (1:2)",
        470,
        150,
    )


def _short(value: float) -> str:
    return "0" if value < 1e-12 else f"{value:.2g}"


def scan(figures: Figures) -> go.Figure:
    """The ratio over the grid by the largest of the three, and its left edge."""
    figure = _panels("all blocks of the grid, by max(a₁, a₂, a₃)", "a₁ = a₂ = a₃ → 0")
    curve = figures["curve"]
    for name, colour in (("maximum", _WINE), ("mean", _INDIGO), ("minimum", _CYAN)):
        figure.add_scatter(
            x=curve["largest_of_three"],
            y=curve[name],
            name=f"{name} over the blocks",
            line={"color": colour, "width": 2},
            row=1,
            col=1,
        )
    edge = figures["edge"]
    figure.add_scatter(
        x=edge["size"],
        y=edge["ratio"],
        mode="lines+markers",
        name="three equal elements",
        line={"color": _ROSE},
        row=1,
        col=2,
    )
    _bound(figure, 1, (0, 1), 2, "2: the bound of the paper")
    _bound(figure, 2, (edge["size"][-1], edge["size"][0]), 2, "2")
    figure.data[-1].showlegend = False
    figure.update_xaxes(title="max(a₁, a₂, a₃), a₄ = 1", range=[0, 1], row=1, col=1)
    figure.update_xaxes(
        type="log", exponentformat="power", title="a₁ = a₂ = a₃, a₄ = 1", row=1, col=2
    )
    figure.update_yaxes(title="Var approx-MVUE / Var MVUE", range=[0.95, 2.06])
    return apply_theme(
        figure,
        "The approximation's variance over the optimum, 2:4",
        f"{figures['blocks']:,} blocks of four non-zeros, step {figures['step']:g}; "
        f"maximum {figures['maximum']:.5f}",
        450,
        130,
    )


def bounds(figures: Figures) -> go.Figure:
    """How far from their bounds the approximate transposable masks are."""
    figure = _panels("Algorithm 1: pruned weight over optimum", "greedy: kept weight over optimum")
    shown = (
        ("lemma", "Algorithm 1", _INDIGO, 2.0, "W(P) / W*", (0.8, 2.06)),
        ("greedy", "greedy", _ROSE, 0.5, "kept / optimal", (0.47, 1.01)),
    )
    for column, (key, name, colour, bound, axis, span) in enumerate(shown, 1):
        spread = figures[key]
        edges, counts = spread["edges"], spread["counts"]
        figure.add_bar(
            x=[(a + b) / 2 for a, b in pairwise(edges)],
            y=counts,
            width=edges[1] - edges[0],
            name=name,
            marker={"color": colour},
            row=1,
            col=column,
        )
        figure.add_scatter(
            x=[bound] * 2,
            y=[0, max(counts)],
            mode="lines",
            line=_DASH,
            name="bound",
            showlegend=column == 1,
            row=1,
            col=column,
        )
        figure.update_xaxes(title=axis, range=span, row=1, col=column)
    figure.update_yaxes(title="tiles")
    return apply_theme(
        figure,
        "Approximate transposable masks against the optimal one",
        f"{figures['tiles']:,} tiles of 8×8, 4:8, half Gaussian, half log-normal",
        420,
        130,
    )


def diversity(figures: Figures) -> go.Figure:
    """Table 1: printed, by formula, exact."""
    figure = _panels(*figures["printed"]["structured"], shared_yaxes=True)
    counted = (("printed", _SAND), ("paper", _CYAN), ("exact", _INDIGO))
    names = {"printed": "printed in Table 1", "paper": "Eq. 2", "exact": "exact count"}
    for key, colour in counted:
        for column, pattern in enumerate(figures["printed"]["structured"], 1):
            counts = {structure: row[pattern] for structure, row in figures[key].items()}
            figure.add_bar(
                name=names[key],
                legendgroup=key,
                showlegend=column == 1,
                x=list(counts),
                y=[math.log10(count) for count in counts.values()],
                text=[f"{math.log10(count):.1f}" for count in counts.values()],
                textposition="outside",
                textfont={"size": 10},
                marker={"color": colour},
                hovertext=[f"{structure}: {count:,}" for structure, count in counts.items()],
                hoverinfo="text",
                row=1,
                col=column,
            )
    figure.update_yaxes(range=[0, 20.5])
    figure.update_yaxes(title="log₁₀ of the number of masks", col=1)
    figure.update_layout(bargap=0.22)
    return apply_theme(
        figure,
        "Mask diversity",
        "masks of an 8×8 matrix at 50 % sparsity; a pattern per panel",
        430,
        130,
    )


def violation(figures: Figures) -> go.Figure:
    """Figure 5a: Eq. 4 against N / M."""
    figure = go.Figure()
    for at, (group, curve) in enumerate(figures["probability"].items()):
        figure.add_scatter(
            x=[n / int(group) for n in range(len(curve))],
            y=curve,
            name=f"M = {group}",
            mode="lines+markers",
            line={"color": MACHINE_COLOURS[at], "width": 2},
            marker={"symbol": MACHINE_SYMBOLS[at], "size": 6 if int(group) < 64 else 3},
        )
    rho = figures["rho"]
    figure.add_scatter(x=[rho] * 2, y=[0, 1], name=f"ρ = {rho:g}", mode="lines", line=_DASH)
    figure.update_xaxes(title="N / M, N of every M pruned (the paper's N)", range=[0, 1])
    figure.update_yaxes(title="P(block is N:M sparse)", range=[0, 1.02])
    return apply_theme(
        figure,
        "An unstructured mask fits N:M: Eq. 4",
        f"every element pruned with probability ρ = {rho:g}, independently",
        470,
        110,
    )


def retained(figures: Figures) -> go.Figure:
    """Figure 3b on the digits network, and kept magnitude against diversity."""
    figure = _panels(
        "kept, by layer", "kept in all layers, against diversity", column_widths=[0.56, 0.44]
    )
    _kept_by_layer(figure, figures)
    kept = figures["all"]
    for counting, name, symbol in (
        ("exact", "exact count", "circle"),
        ("paper", "Eq. 2", "circle-open"),
    ):
        counts = figures["diversity"][counting]
        figure.add_scatter(
            x=[math.log10(counts[structure]) for structure in STRUCTURES],
            y=[kept[structure] for structure in STRUCTURES],
            mode="markers+text" if counting == "exact" else "markers",
            text=[*STRUCTURES],
            textposition=[_BESIDE.get(structure, "bottom right") for structure in STRUCTURES],
            textfont={"size": 11, "color": MUTED},
            name=name,
            marker={"symbol": symbol, "size": 11, "color": _WINE},
            row=1,
            col=2,
        )
    figure.update_yaxes(title="Σ|w| kept / unstructured", range=[_FLOOR, 1.02])
    figure.update_xaxes(title="log₁₀ masks of 8×8", range=[4.5, 19.5], row=1, col=2)
    return apply_theme(
        figure,
        "Magnitude that 50 % structures keep",
        "weights of a network trained on 8×8 digits, relative to unstructured 50 %",
        520,
        130,
    )


def _kept_by_layer(figure: go.Figure, figures: Figures) -> None:
    """Bars of all layers, their numbers at the foot, and a point per layer."""
    kept = figures["all"]
    names = [name.replace(" ", "<br>").replace("-", "-<br>") for name in kept]
    figure.add_bar(x=names, y=[*kept.values()], name="all layers", marker={"color": DENSE_COLOUR})
    figure.add_scatter(
        x=names,
        y=[_FLOOR + 0.012] * len(names),
        text=[f"<b>{value:.3f}</b>" for value in kept.values()],
        mode="text",
        showlegend=False,
        hoverinfo="skip",
    )
    for at, (layer, (rows, k)) in enumerate(figures["shapes"].items()):
        figure.add_scatter(
            x=names,
            y=[row[layer] for row in figures["layers"].values()],
            mode="markers",
            name=f"{layer} ({rows}×{k})",
            marker={"color": MACHINE_COLOURS[at], "symbol": MACHINE_SYMBOLS[at], "size": 9},
        )
    figure.update_xaxes(tickangle=0, row=1, col=1)


DRAWINGS = {
    "estimators": estimators,
    "approximation": scan,
    "bounds": bounds,
    "diversity": diversity,
    "violations": violation,
    "retained": retained,
}
"""The drawing of each section."""
