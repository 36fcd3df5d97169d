"""The figure of each section of the page."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nmsim.report.plots.theme import (
    DENSE_COLOUR,
    INK,
    MACHINE_COLOURS,
    PHASE_COLOURS,
    apply_theme,
)
from reports.digits.digits_claims import NETWORKS, interval

__all__ = ["DRAWINGS"]

Figures = Mapping[str, Any]

_INDIGO, _ROSE, _CYAN, _WINE, _SAND, _PURPLE, _TEAL, _OLIVE = MACHINE_COLOURS
_RUNS = {
    "dense 2:4": (INK, "solid"),
    "asp 2:4": (_CYAN, "solid"),
    "transposable+mvue 2:4": (_INDIGO, "solid"),
    "fst 2:4": (_ROSE, "solid"),
    "sdgp 2:4": (_TEAL, "solid"),
    "mvue 2:4": (_INDIGO, "solid"),
    "greedy 2:4": (_ROSE, "solid"),
    "mvue 1:8": (_INDIGO, "dash"),
    "greedy 1:8": (_ROSE, "dash"),
}
_TRAINED = ("dense 2:4", "asp 2:4", "transposable+mvue 2:4", "fst 2:4", "sdgp 2:4")
_ESTIMATED = ("dense 2:4", "mvue 2:4", "greedy 2:4", "mvue 1:8", "greedy 1:8")
_ROLES = {"weight": _INDIGO, "activation": _ROSE, "gradient": _TEAL}


def _faded(colour: str) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.13)"


def _panels(titles: Sequence[str], rows: int = 1, **options: Any) -> go.Figure:
    return make_subplots(
        rows=rows, cols=len(titles) // rows, subplot_titles=titles, horizontal_spacing=0.07,
        **options,
    )  # fmt: skip


def _named(run: str) -> str:
    return "dense" if run.startswith("dense") else run


def _curves(figure: go.Figure, figures: Figures, shown: Sequence[str]) -> None:
    for column, network in enumerate(NETWORKS, 1):
        for run in shown:
            of = figures["runs"][network].get(run)
            if of is not None:
                _curve(figure, column, run, of["losses"])
    figure.update_yaxes(type="log", row=1)
    figure.update_yaxes(title="training loss, log scale", row=1, col=1)
    figure.update_xaxes(title="epoch", dtick=2, row=1)


def _curve(figure: go.Figure, column: int, run: str, losses: Sequence[Sequence[float]]) -> None:
    by_epoch = list(zip(*losses, strict=True))
    epochs = list(range(1, len(by_epoch) + 1))
    colour, dash = _RUNS[run]
    low, high = ([choose(values) for values in by_epoch] for choose in (min, max))
    figure.add_scatter(
        x=[*epochs, *reversed(epochs)],
        y=[*high, *reversed(low)],
        mode="lines",
        fill="toself",
        fillcolor=_faded(colour),
        line={"width": 0},
        hoverinfo="skip",
        showlegend=False,
        legendgroup=run,
        row=1,
        col=column,
    )
    figure.add_scatter(
        name=_named(run),
        legendgroup=run,
        showlegend=column == 1,
        x=epochs,
        y=[mean(values) for values in by_epoch],
        mode="lines",
        line={"color": colour, "dash": dash, "width": 2},
        hovertemplate=f"{_named(run)}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
        row=1,
        col=column,
    )


def _trained_on(figures: Figures) -> str:
    about = figures["conditions"]
    return f"8×8 digits, batches of {about['batch']}, {about['seeds']} seeds, mean and range"


def training(figures: Figures) -> go.Figure:
    """Loss by epoch under every recipe."""
    figure = _panels([*NETWORKS.values()])
    _curves(figure, figures, _TRAINED)
    return apply_theme(figure, "Training loss under each recipe", _trained_on(figures), 470, 142)


def estimators(figures: Figures) -> go.Figure:
    """Loss by epoch of unbiased and greedy gradients, and the errors of both."""
    titles = [f"{name}, training loss" for name in NETWORKS.values()]
    titles += [f"{name}, error of dYᵀX" for name in NETWORKS.values()]
    figure = _panels(titles, rows=2, vertical_spacing=0.14)
    _curves(figure, figures, _ESTIMATED)
    bars = (
        ("greedy", "greedy", _ROSE),
        ("mvue", "mvue, one draw", _INDIGO),
        ("mvue, mean", f"mvue, mean of {figures['draws']} draws", _CYAN),
    )
    for column, network in enumerate(NETWORKS, 1):
        of = figures["update_errors"][network]
        for place, (key, label, colour) in enumerate(bars):
            found = [interval(of[pattern][key]) for pattern in of]
            _bars(figure, (2, column), place, 3, list(of), found, label, colour)
    figure.update_yaxes(title="relative error", row=2, col=1)
    return apply_theme(
        figure,
        "Unbiased against greedy gradients in the update GEMM",
        f"{_trained_on(figures)} · errors at the last step of dense training",
        800,
        142,
    )


def _bars(
    figure: go.Figure,
    at: tuple[int, int],
    place: int,
    places: int,
    names: Sequence[str],
    found: Sequence[Any],
    label: str,
    colour: str,
) -> None:
    """One series of grouped bars with intervals."""
    width = 0.84 / places
    row, column = at
    figure.add_bar(
        name=label,
        legendgroup=label,
        showlegend=column == 1,
        x=[x + width * (place - (places - 1) / 2) for x in range(len(names))],
        y=[one.mean for one in found],
        width=width * 0.94,
        error_y={"type": "data", "array": [one.half for one in found], "thickness": 1.4},
        marker={"color": colour},
        customdata=[one.shown(".4f") for one in found],
        hovertemplate=f"{label}: %{{customdata}}<extra></extra>",
        row=row,
        col=column,
    )
    figure.update_xaxes(
        tickvals=list(range(len(names))), ticktext=list(names), showgrid=False, row=row, col=column
    )


def step(figures: Figures) -> go.Figure:
    """Speed-up by phase, machine and fidelity."""
    machines = figures["machines"]
    figure = _panels([*machines], shared_yaxes=True)
    for column, networks in enumerate(machines.values(), 1):
        groups = [
            (f"{NETWORKS[network]}<br>{fidelity}", of["weighted"])
            for network, fidelities in networks.items()
            for fidelity, of in fidelities.items()
        ]
        for place, (phase, colour) in enumerate(PHASE_COLOURS.items()):
            values = [of[phase]["speedup"] for _, of in groups]
            figure.add_bar(
                name=phase,
                legendgroup=phase,
                showlegend=column == 1,
                x=[x + 0.28 * (place - 1) for x in range(len(groups))],
                y=values,
                width=0.26,
                marker={"color": colour},
                text=[f"{value:.2f}" for value in values],
                textposition="inside",
                insidetextanchor="end",
                textangle=0,
                textfont={"color": "#FFFFFF", "size": 11},
                hovertemplate=f"{phase}: %{{y:.3f}}×<extra></extra>",
                row=1,
                col=column,
            )
        figure.update_xaxes(
            tickvals=list(range(len(groups))),
            ticktext=[name for name, _ in groups],
            showgrid=False,
            row=1,
            col=column,
        )
    figure.add_hline(y=1, line={"color": INK, "width": 1, "dash": "dot"})
    figure.update_yaxes(title="speed-up over dense [×]", row=1, col=1)
    figure.update_yaxes(rangemode="tozero")
    return apply_theme(
        figure,
        "Speed-up of a recorded training step by phase",
        "recipe transposable+mvue · pattern 2:4 · batch 32 · layers with a weight · 1 is no gain",
        470,
        142,
    )


def survivors(figures: Figures) -> go.Figure:
    """Shares of groups by surviving products at 2:4, and means over expectation."""
    phases = [*PHASE_COLOURS]
    titles = [
        *(f"{name}, 2:4, update: products of a group" for name in NETWORKS.values()),
        *(f"{name}: products of a group over expected" for name in NETWORKS.values()),
    ]
    figure = _panels(titles, rows=2, vertical_spacing=0.14)
    for column, network in enumerate(NETWORKS, 1):
        of = figures["survivors"][network]
        half = of["2:4"]["update"]
        for place, (key, label, colour) in enumerate(
            (
                ("shares", "measured", _INDIGO),
                ("expected_shares", "independent masks", DENSE_COLOUR),
            )
        ):
            found = [interval([shares[x] for shares in half[key]]) for x in range(3)]
            _bars(figure, (1, column), place, 2, ["0", "1", "2"], found, label, colour)
        for place, phase in enumerate(phases):
            found = [_over_expected(of[pattern][phase], "mean") for pattern in of]
            _bars(figure, (2, column), place, 3, [*of], found, phase, PHASE_COLOURS[phase])
            _inner(figure, column, place, of, phase)
        figure.add_hline(y=1, line={"color": INK, "width": 1, "dash": "dot"}, row=2, col=column)
    figure.update_yaxes(title="share of groups", row=1, col=1)
    figure.update_yaxes(title="measured over expected", row=2, col=1)
    figure.update_layout(barmode="overlay")
    return apply_theme(
        figure,
        "Products that survive two masks",
        "tensors of dense training, last step · every-operand.yaml · 95% intervals over seeds",
        800,
        142,
    )


def _inner(figure: go.Figure, column: int, place: int, of: Figures, phase: str) -> None:
    """What is left of a bar without zero factors, and where it would be if no zeros tied."""
    first = column == 1 and place == 0
    x = [at + 0.28 * (place - 1) for at in range(len(of))]
    left, apart = (
        [_over_expected(of[pattern][phase], name).mean for pattern in of]
        for name in ("non_zero", "untied")
    )
    figure.add_bar(
        name="pale: zero factors left out",
        legendgroup="non-zero",
        legendrank=2000,
        showlegend=first,
        x=x,
        y=left,
        width=0.13,
        marker={"color": "rgba(255,255,255,0.6)", "line": {"color": INK, "width": 0.5}},
        hovertemplate=f"{phase}, zero factors left out: %{{y:.3f}}<extra></extra>",
        row=2,
        col=column,
    )
    figure.add_scatter(
        name="ties of zeros broken at random",
        legendgroup="untied",
        legendrank=2001,
        showlegend=first,
        x=x,
        y=apart,
        mode="markers",
        marker={
            "symbol": "diamond",
            "size": 9,
            "color": "#FFFFFF",
            "line": {"color": INK, "width": 1.5},
        },
        hovertemplate=f"{phase}, ties of zeros broken at random: %{{y:.3f}}<extra></extra>",
        row=2,
        col=column,
    )


def _over_expected(of: Figures, name: str) -> Any:
    pairs = zip(of[name], of["expected"], strict=True)
    return interval([measured / expected for measured, expected in pairs])


def fits(figures: Figures) -> go.Figure:
    """Shares of groups that fit, against chance."""
    chance = figures["chance"]
    names = [*(f"{pattern} across" for pattern in chance["transposed"]), "4:8 halves 2 + 2"]
    wanted = [*chance["transposed"].values(), chance["halves"]]
    figure = _panels([*NETWORKS.values()], shared_yaxes=True)
    for column, network in enumerate(NETWORKS, 1):
        for place, (role, colour) in enumerate(_ROLES.items()):
            found = [
                *(interval(of[role]) for of in figures["transposed"][network].values()),
                interval(figures["halves"][network][role]),
            ]
            _bars(figure, (1, column), place, 3, names, found, f"{role}s", colour)
        figure.add_scatter(
            name="chance",
            showlegend=column == 1,
            x=list(range(len(names))),
            y=wanted,
            mode="markers",
            marker={
                "symbol": "line-ew",
                "size": 64,
                "color": INK,
                "line": {"color": INK, "width": 2},
            },
            hovertemplate="chance: %{y:.4f}<extra></extra>",
            row=1,
            col=column,
        )
    figure.update_yaxes(range=[0, 0.9], tickformat=".0%")
    figure.update_yaxes(title="share of groups that fit", row=1, col=1)
    return apply_theme(
        figure,
        "Groups that fit across the mask, or by halves",
        "masks by magnitude along features · tensors of dense training, last step",
        470,
        142,
    )


DRAWINGS = {
    "training": training,
    "estimators": estimators,
    "step": step,
    "survivors": survivors,
    "fits": fits,
}
