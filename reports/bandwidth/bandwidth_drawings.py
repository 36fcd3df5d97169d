"""The figure of each section of the page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nmsim.report.plots.theme import DENSE_COLOUR, INK, MACHINE_COLOURS, MUTED, apply_theme
from reports.bandwidth.bandwidth_claims import asked_ratio

__all__ = ["DRAWINGS"]

Figures = Mapping[str, Any]

_INDIGO, _ROSE, _CYAN, _WINE, _SAND = MACHINE_COLOURS[:5]
_COLOURS = {"activations": _INDIGO, "weights": _ROSE}
_PALE = {"activations": "#A9A2D4", "weights": "#EBC3C9"}
_NAMES = {"weights": "weights pruned", "both": "weights and activations pruned"}
_PATTERN = "pattern N:M, N of M kept along K"
_IDEAL = {"symbol": "line-ew", "size": 22, "color": INK, "line": {"color": INK, "width": 2}}


def _panels(titles: Sequence[str], **options: Any) -> go.Figure:
    spacing = 0.06 if len(titles) > 2 else 0.07
    return make_subplots(
        rows=1, cols=len(titles), subplot_titles=titles, horizontal_spacing=spacing, **options
    )


def _where(figures: Figures) -> str:
    m, n, k = figures["size"]
    return f"{figures['layer']}, forward, M×N×K {m}×{n}×{k}"


def words(figures: Figures) -> go.Figure:
    """Words per cycle of both operands, metadata stacked, and their ratio above."""
    figure = _panels([*_NAMES.values()], shared_yaxes=True)
    asked = figures["asked"]
    for column, pruned in enumerate(_NAMES, 1):
        for place, (name, colour) in enumerate(_COLOURS.items()):
            values = [of[pruned][name]["values"] for of in asked.values()]
            metadata = [of[pruned][name]["metadata"] for of in asked.values()]
            tops = [value + more for value, more in zip(values, metadata, strict=True)]
            for part, filled, heights, shown in (
                (f"{name}, metadata", _PALE[name], tops, metadata),
                (name, colour, values, values),
            ):
                figure.add_bar(
                    name=part,
                    legendgroup=part,
                    showlegend=column == 1,
                    x=[at + 0.36 * place - 0.18 for at in range(len(asked))],
                    y=heights,
                    width=0.34,
                    marker={"color": filled},
                    customdata=shown,
                    hovertemplate=f"{part}: %{{customdata:.1f}} words/cycle<extra></extra>",
                    row=1,
                    col=column,
                )
        for position, of in enumerate(asked.values()):
            top = max(
                of[pruned][name]["values"] + of[pruned][name]["metadata"] for name in _COLOURS
            )
            figure.add_annotation(
                x=position,
                y=math.log10(top),
                text=f"<b>{asked_ratio(of[pruned], metadata=False):g} : 1</b><br>"
                f"{asked_ratio(of[pruned], metadata=True):.3g} : 1",
                showarrow=False,
                yshift=19,
                font={"size": 11},
                row=1,
                col=column,
            )
    _ticks(figure, list(asked))
    doublings = [2**power for power in range(5, 13)]
    figure.update_yaxes(type="log", range=[math.log10(32), math.log10(4500)], tickvals=doublings)
    figure.update_yaxes(
        title=f"words of {figures['word_bits']} bits per cycle, log scale", showticklabels=True
    )
    figure.update_layout(barmode="overlay")
    return apply_theme(
        figure,
        "What the array asks of each operand's buffer while it streams",
        f"{_where(figures)} · {figures['machine']} · recipes asp and both.yaml · fidelity cycle",
        500,
        142,
    )


def _ticks(figure: go.Figure, names: Sequence[str]) -> None:
    figure.update_xaxes(
        tickvals=list(range(len(names))), ticktext=list(names), title=_PATTERN, showgrid=False
    )


def delivery(figures: Figures) -> go.Figure:
    """Speed-up on a path as wide as the dense GEMM needs, against one of any width."""
    arrays = figures["arrays"]
    titles = [
        f"{name}: path of {of['words_per_cycle']:g} words/cycle" for name, of in arrays.items()
    ]
    figure = _panels(titles, shared_yaxes=True)
    for column, array in enumerate(arrays.values(), 1):
        gains = array["speedup"]
        for place, (pruned, colour) in enumerate(zip(_NAMES, (_ROSE, _WINE), strict=True)):
            values = [of[pruned]["as dense"] for of in gains.values()]
            figure.add_bar(
                name=_NAMES[pruned],
                legendgroup=pruned,
                showlegend=column == 1,
                x=[at + 0.4 * place - 0.2 for at in range(len(gains))],
                y=values,
                width=0.38,
                marker={"color": colour},
                text=[f"{value:.2f}" for value in values],
                textposition="inside",
                insidetextanchor="start",
                textangle=-90,
                textfont={"color": "#FFFFFF", "size": 12},
                hovertemplate="%{y:.3f}×<extra></extra>",
                row=1,
                col=column,
            )
        _marks(figure, column, gains)
    _ticks(figure, list(gains))
    figure.update_yaxes(type="log", range=[-0.3, 1.32], tickvals=[1, 2, 4, 8, 16])
    figure.update_yaxes(title="speed-up over the dense GEMM [×], log scale", showticklabels=True)
    figure.update_layout(barmode="overlay")
    return apply_theme(
        figure,
        "Speed-up on the path that the dense GEMM needs",
        f"{_where(figures)} · {figures['machine']} · compute cycles, fidelity cycle",
        500,
        142,
    )


def _marks(figure: go.Figure, column: int, gains: Figures) -> None:
    figure.add_scatter(
        name="both recipes, path of any width",
        showlegend=column == 1,
        x=list(range(len(gains))),
        y=[of["both"]["any width"] for of in gains.values()],
        mode="markers",
        marker={**_IDEAL, "size": 34},
        hovertemplate="%{y:.2f}×<extra></extra>",
        row=1,
        col=column,
    )
    if column > 1:
        return
    for place, pruned in enumerate(_NAMES):
        figure.add_scatter(
            name="if each operand had a path of its own, as wide as dense",
            showlegend=place == 0,
            x=[at + 0.4 * place - 0.2 for at in range(len(gains))],
            y=[of[pruned]["a path each"] for of in gains.values()],
            mode="markers",
            marker={
                "symbol": "diamond",
                "size": 8,
                "color": "#FFFFFF",
                "line": {"color": INK, "width": 1.5},
            },
            hovertemplate="%{y:.2f}×<extra></extra>",
            row=1,
            col=column,
        )


def products(figures: Figures) -> go.Figure:
    """The law of surviving products at 2:4, and what skipping gains."""
    figure = _panels(["two 2:4 masks: products of a block", "cycles, one pruned over both pruned"])
    patterns = figures["patterns"]
    half = patterns["2:4"]
    shown = half["keep"] + 1
    for place, (key, name, colour) in enumerate(
        (
            ("shares", "measured from the bits", _INDIGO),
            ("expected_shares", "Eq. 18: independent uniform masks", DENSE_COLOUR),
        )
    ):
        figure.add_bar(
            name=name,
            x=[x + 0.36 * place - 0.18 for x in range(shown)],
            y=half[key][:shown],
            width=0.34,
            marker={"color": colour},
            text=[f"{share:.4f}" for share in half[key][:shown]],
            textposition="outside",
            row=1,
            col=1,
        )
    for place, (lookahead, name, colour) in enumerate(
        (("0", "lock-step", _ROSE), ("4", "PEs run up to four groups ahead", _WINE))
    ):
        gains = [of["gain"][lookahead] for of in patterns.values()]
        figure.add_bar(
            name=name,
            x=[at + 0.4 * place - 0.2 for at in range(len(patterns))],
            y=gains,
            width=0.38,
            marker={"color": colour},
            text=[f"{gain:.2f}" for gain in gains],
            textposition="outside",
            row=1,
            col=2,
        )
    _ticks(figure, list(patterns))
    figure.update_xaxes(
        title="products whose mask bits are both set",
        tickvals=list(range(shown)),
        ticktext=[str(x) for x in range(shown)],
        row=1,
        col=1,
    )
    figure.update_yaxes(title="share of (PE, block)", range=[0, 0.78], row=1, col=1)
    figure.update_yaxes(title="gain of the second mask [×]", range=[0, 2.1], row=1, col=2)
    figure.update_layout(barmode="overlay")
    return apply_theme(
        figure,
        "Products that two masks leave, and what skipping the others gains",
        f"{_where(figures)} · {figures['machine']} with blocks of M · fidelity cycle, every fold",
        460,
        142,
    )


_COSTS = (
    ("two_input", "two-input multiplexers of a PE", "1-bit multiplexers", "", 1),
    ("depth", "multiplexers in series", "two-input multiplexers", "", 1),
    ("share", "share of a multiplier and adder", "transistors [%]", " %", 100),
)


def selecting(figures: Figures) -> go.Figure:
    """Multiplexers, depth, share of a multiplier, and metadata at equal density."""
    titles = [title for _, title, *_ in _COSTS]
    figure = _panels([*titles, "metadata of a kept element"])
    patterns = figures["patterns"]
    kinds = (
        ("any", "any order: M inputs", _INDIGO),
        ("ordered", "ordered: M − N + 1 inputs", _CYAN),
    )
    for column, (key, _, axis, unit, factor) in enumerate(_COSTS, 1):
        for kind, name, colour in kinds:
            values = [factor * of[kind][key] for of in patterns.values()]
            _cost_bars(figure, column, list(patterns), values, name, colour, unit)
        most = max(factor * of["any"][key] for of in patterns.values())
        figure.update_yaxes(title=axis, range=[0, 1.15 * most], row=1, col=column)
    bits = [of["metadata_bits"] for of in patterns.values()]
    _cost_bars(figure, 4, list(patterns), bits, "metadata", _SAND, "")
    figure.update_yaxes(title="bits", range=[0, 4.6], row=1, col=4)
    figure.update_xaxes(title="pattern N:M", type="category")
    figure.update_layout(bargap=0.2)
    return apply_theme(
        figure,
        "What selectors cost at equal density",
        f"one slot of a PE, {figures['width']}-bit operands; transistors against an int8 "
        f"multiplier with a 32-bit adder, {figures['multiplier']:,} in the same cells",
        430,
        142,
    )


def _cost_bars(
    figure: go.Figure,
    column: int,
    patterns: list[str],
    values: Sequence[float],
    name: str,
    colour: str,
    unit: str,
) -> None:
    figure.add_bar(
        name=name,
        legendgroup=name,
        showlegend=column in (1, 4),
        x=patterns,
        y=list(values),
        marker={"color": colour},
        text=[f"{value:.1f}" if unit else f"{value:g}" for value in values],
        textposition="outside",
        textfont={"size": 10.5, "color": MUTED},
        cliponaxis=False,
        hovertemplate=f"{name}, %{{x}}: %{{y:.4g}}{unit}<extra></extra>",
        row=1,
        col=column,
    )


DRAWINGS = {"words": words, "delivery": delivery, "products": products, "selectors": selecting}
"""The drawing of each section."""
