"""The figure and the tables of the page."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nmsim.pattern import Pattern
from nmsim.report.pages.markup import Cell, Head, Safe, sheet
from nmsim.report.plots.theme import INK, MACHINE_COLOURS, apply_theme
from reports.tensors.tensors_claims import CONSTANTS
from reports.tensors.tensors_figures import KINDS, NETWORKS

__all__ = ["constants_table", "sensitivity", "sensitivity_table"]

Figures = Mapping[str, Any]

_SYMBOLS = {
    "weight": "circle",
    "activation": "square",
    "gradient": "diamond",
    "forward": "circle",
    "backward": "square",
    "update": "diamond",
}
_SOURCES = ("synthetic", "least", "largest", "recorded", "worst")
_RANGES = {"across": (0.2, 0.6), "narrow": (0.4, 1.02), "survivors": (0.1, 0.72)}
"""Of both axes, by kind."""


def sensitivity(figures: Figures) -> go.Figure:
    """Recorded against synthetic; a point is a network, a pattern and a role or phase."""
    titles = [*list(KINDS.values())[:2], "survivors of a group, over N"]
    figure = make_subplots(rows=1, cols=3, subplot_titles=titles, horizontal_spacing=0.07)
    for column, kind in enumerate(KINDS, 1):
        ends = list(_RANGES[kind])
        line = {"color": INK, "width": 1, "dash": "dot"}
        figure.add_scatter(
            x=ends, y=ends, mode="lines", line=line, hoverinfo="skip", showlegend=False,
            row=1, col=column,
        )  # fmt: skip
        for (name, label), colour in zip(NETWORKS.items(), MACHINE_COLOURS, strict=False):
            _points(figure, column, kind, figures["networks"][name], (label, colour))
        figure.update_xaxes(title="synthetic", range=ends, row=1, col=column)
        figure.update_yaxes(range=ends, row=1, col=column)
    figure.update_yaxes(title="recorded", row=1, col=1)
    return apply_theme(
        figure,
        "Masks of recorded tensors against those of synthetic ones",
        "2:4, 1:4, 4:8, 8:16 · circle: weight, forward · square: activation, backward · "
        "diamond: gradient, update",
        470,
        142,
    )


def _points(
    figure: go.Figure, column: int, kind: str, patterns: Figures, look: tuple[str, str]
) -> None:
    found = [
        (role, pattern, {name: of[name] / _over(kind, pattern) for name in _SOURCES})
        for pattern, kinds in patterns.items()
        for role, of in kinds.get(kind, {}).items()
    ]
    label, colour = look
    x = [of["synthetic"] for _, _, of in found]
    high, low = (
        [pick(of["synthetic"], of["least"], of["largest"]) for _, _, of in found]
        for pick in (max, min)
    )
    figure.add_scatter(
        name=label,
        legendgroup=label,
        showlegend=column == 1,
        x=x,
        y=[of["recorded"] for _, _, of in found],
        mode="markers",
        marker={"color": colour, "size": 9, "symbol": [_SYMBOLS[role] for role, _, _ in found]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [top - at for top, at in zip(high, x, strict=True)],
            "arrayminus": [at - bottom for bottom, at in zip(low, x, strict=True)],
            "thickness": 1.2,
        },
        text=[f"{label}, {role}, {pattern}" for role, pattern, _ in found],
        hovertemplate="%{text}: synthetic %{x:.3f}, recorded %{y:.3f}<extra></extra>",
        row=1,
        col=column,
    )


def _over(kind: str, pattern: str) -> int:
    return Pattern.parse(pattern).keep if kind == "survivors" else 1


def constants_table(figures: Figures) -> Safe:
    """Constants beside what layers have: least, mean and largest."""
    heads = [
        Head("constant"),
        Head("assumed", number=True),
        *(Head(label, "least, mean, largest", number=True) for label in NETWORKS.values()),
        *(
            Head(f"{label}, synthetic", "mean of the layers", number=True)
            for label in NETWORKS.values()
        ),
    ]
    rows = []
    for constant, of in figures["constants"].items():
        each = [of["networks"].get(name, {}) for name in NETWORKS]
        rows.append(
            [
                Cell(CONSTANTS[constant]),
                Cell(f"{of['assumed']:.2f}"),
                *(Cell(_three(one.get("recorded"))) for one in each),
                *(
                    Cell(f"{one['synthetic'][1]:.2f}" if "synthetic" in one else "–")
                    for one in each
                ),
            ]
        )
    return sheet(heads, rows, "")


def _three(found: list[float] | None) -> str:
    if found is None:
        return "–"
    if found[0] == found[2]:
        return f"{found[0]:.2f}"
    return " / ".join(f"{one:.2f}" for one in found)


def sensitivity_table(figures: Figures) -> Safe:
    """Every figure of every source."""
    heads = [
        Head("network"),
        Head("pattern", "N:M"),
        Head("what"),
        Head("of"),
        *(Head(name, number=True) for name in _SOURCES),
    ]
    rows = [
        [
            Cell(NETWORKS[name]),
            Cell(pattern),
            Cell(KINDS[kind]),
            Cell(role),
            *(Cell(f"{of[source]:.3f}", key=of[source]) for source in _SOURCES),
        ]
        for name, patterns in figures["networks"].items()
        for pattern, kinds in patterns.items()
        for kind, roles in kinds.items()
        for role, of in roles.items()
    ]
    return sheet(heads, rows, "")
