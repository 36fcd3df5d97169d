"""Table 1 of Chmiel et al.: which GEMMs of a training step each method accelerates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from nmsim import prune
from nmsim.recipes.recipe import load_recipe
from nmsim.recipes.statistics import bias, mse
from nmsim.report.plots.theme import PHASE_COLOURS, apply_theme
from reports.claims import Found, Verdict, judged
from reports.papers.bench import AS_IS, Bench
from reports.papers.paper import HERE, Figures, Printed
from reports.papers.phase_gains import (
    ALL_PHASES,
    network_rows,
    offered_share,
    paces,
    phase_gains,
    slower,
)

__all__ = [
    "draw_phases",
    "judge_criteria",
    "judge_phases",
    "judge_throughput",
    "measure_criteria",
    "measure_phases",
    "measure_throughput",
    "training_gain",
]

MODEL, BATCH, PATTERN = "resnet18", 8, "2:4"
MACHINE, GPU = "systolic-128x128-flexible", "a100-sxm4-80gb"
METHODS: Mapping[str, str | Path] = {
    "weights": "sr-ste",
    "T-weights": "transposable",
    "activations": HERE / "activations.yaml",
    "gradients": "mvue",
    "weights + activations": HERE.parent / "bandwidth" / "both.yaml",
    "T-weights + gradients": "transposable+mvue",
}
"""Recipes by the columns of the table."""

_ROUNDING = 1e-9
_TRAINING = "T-weights + gradients"


def measure_phases(layers: str = "*") -> dict[str, Any]:
    """Speed-ups of the phases under every method, on an array that takes masks on any operand."""
    array = AS_IS.machine(MACHINE)
    return {
        "model": MODEL,
        "batch": BATCH,
        "pattern": PATTERN,
        "machine": MACHINE,
        "methods": {
            method: phase_gains(network_rows(MODEL, recipe, PATTERN, BATCH, array, layers))
            for method, recipe in METHODS.items()
        },
    }


def _gains(of: Mapping[str, Mapping[str, float]], kind: str) -> str:
    return ", ".join(f"{phase} {of[phase][kind]:.2f}×" for phase in ALL_PHASES)


def judge_phases(printed: Printed, figures: Figures) -> list[Verdict]:
    """The ticks of the table."""
    table = printed["phases"]
    verdicts = []
    for method, ticks in table["methods"].items():
        found = figures["methods"][method]
        wrong = [
            phase
            for phase in ALL_PHASES
            if ticks[phase] != (found[phase]["speedup"] > 1 + _ROUNDING)
        ]
        verdicts.append(
            judged(
                f"{method}: phases that it accelerates",
                table["where"],
                ", ".join(f"{phase} {'✓' if ticks[phase] else '✗'}" for phase in ALL_PHASES),
                _gains(found, "speedup"),
                [f"{phase} runs at {found[phase]['speedup']:.2f}× dense" for phase in wrong],
            )
        )
    return verdicts


def draw_phases(figures: Figures) -> go.Figure:
    """Speed-up of every phase by method."""
    drawn = go.Figure()
    methods = figures["methods"]
    for phase in ALL_PHASES:
        drawn.add_bar(
            name=phase,
            x=list(methods),
            y=[of[phase]["speedup"] for of in methods.values()],
            marker={"color": PHASE_COLOURS[phase]},
            hovertemplate=f"%{{x}}, {phase}: %{{y:.3f}}×<extra></extra>",
        )
    drawn.add_hline(y=1, line={"color": "#1F2933", "width": 1})
    drawn.update_yaxes(title="speed-up over dense, same machine", rangemode="tozero")
    return apply_theme(
        drawn,
        "Which phases a method accelerates",
        f"{figures['model']}, batch {figures['batch']}, {figures['pattern']} · "
        f"{figures['machine']} · fidelity analytical",
        430,
        112,
    )


def measure_criteria(tiles: int = 2000) -> dict[str, Any]:
    """Bias and squared error of what every method does to its operands, over sum |a| and sum a²."""
    values = np.random.default_rng(5).standard_normal((tiles * 4, 4))
    found: dict[str, Any] = {}
    for method, recipe in METHODS.items():
        found[method] = {}
        for offer in load_recipe(recipe).operands:
            away = np.abs(bias(values, PATTERN, offer.pruner)).sum() / np.abs(values).sum()
            error = mse(values, PATTERN, offer.pruner).sum() / (values**2).sum()
            # The same search, told to keep squares, errs least of all masks of its structure.
            mask = prune(values**2, PATTERN, offer.pruner).mask if away > _ROUNDING else None
            least = error if mask is None else (values**2).sum(where=~mask) / (values**2).sum()
            found[method][offer.role] = {
                "pruner": offer.pruner,
                "bias": float(away),
                "mse": float(error),
                "least_mse": float(least),
            }
    return {"values": "Gaussian, 4 x 4 tiles", "tiles": tiles, "methods": found}


def judge_criteria(printed: Printed, figures: Figures) -> list[Verdict]:
    """The criteria in the brackets of the table."""
    table = printed["phases"]
    return [
        _criterion(method, of["criterion"], table["where"], figures["methods"][method])
        for method, of in table["methods"].items()
    ]


def _criterion(method: str, said: str, where: str, roles: Mapping[str, Any]) -> Verdict:
    unbiased = [role for role, of in roles.items() if of["bias"] <= _ROUNDING]
    found = {"MVUE" if role in unbiased else "MSE" for role in roles}
    failures = [
        f"by bias it is {', '.join(sorted(found))}" for _ in [0] if found != set(said.split(", "))
    ]
    failures += [
        f"{role}: the mask keeps the most magnitude (Hubara et al., Eq. 3), with "
        f"{100 * (of['mse'] / of['least_mse'] - 1):.1f} % more squared error than the least"
        for role, of in roles.items()
        if role not in unbiased and of["mse"] > of["least_mse"] * (1 + _ROUNDING)
    ]
    shown = (
        f"{role}: {of['pruner']}, bias {of['bias']:.3f}, MSE {of['mse']:.4f}"
        for role, of in roles.items()
    )
    return judged(f"{method}: criterion of what is kept", where, said, "; ".join(shown), failures)


def measure_throughput(layers: str = "*", bench: Bench = AS_IS) -> dict[str, Any]:
    """What 2:4 gains in each phase: in MACs, on an array and on an A100; shares of the phases."""
    found: dict[str, Any] = {"model": MODEL, "batch": BATCH, "machines": {}}
    for machine in (MACHINE, GPU):
        rows = network_rows(
            MODEL, METHODS[_TRAINING], PATTERN, BATCH, bench.machine(machine), layers
        )
        found["machines"][machine] = {
            "phases": phase_gains(rows),
            "paces": {phase: paces(rows, phase) for phase in ALL_PHASES},
        }
    return {**found, "share": offered_share("resnet50", "transposable", PATTERN)}


def judge_throughput(printed: Printed, figures: Figures) -> list[Verdict]:
    """Two thirds of the training."""
    table = printed["throughput"]
    part, whole = table["transposable"]
    share = figures["share"]["offered"]
    return [
        judged(
            "Transposable masks accelerate this share of the training",
            "section 2",
            f"{part}/{whole}",
            f"{100 * share:.1f} % of the MACs (ResNet-50)",
            []
            if abs(share - part / whole) <= 0.01
            else [f"it is {100 * abs(share - part / whole):.1f} points off"],
        ),
    ]


def training_gain(_: Printed, figures: Figures, __: tuple[str, ...], phase: str = "all") -> Found:
    """Speed-up of all three phases, or of one, on every machine."""
    machines = figures["machines"]
    ideal = next(iter(machines.values()))["phases"][phase]["ideal"]
    told = [
        f"{machine}: {slower(of['paces'][p])}"
        for machine, of in machines.items()
        for p in (ALL_PHASES if phase == "all" else (phase,))
    ]
    return Found(
        {machine: of["phases"][phase]["speedup"] for machine, of in machines.items()},
        "; ".join(told),
        f"MACs allow {ideal:.3f}× ({figures['model']}, batch {figures['batch']})",
    )
