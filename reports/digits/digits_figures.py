"""The figures of every section, from what was trained and from the traces."""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from math import comb
from pathlib import Path
from typing import Any

from nmsim.pattern import Pattern
from nmsim.recipes.statistics import violation_probability
from nmsim.report.rows import records
from nmsim.report.simulation import simulate
from nmsim.report.summary import phase_summary
from nmsim.run.trace import load

__all__ = [
    "DRAWS",
    "MACHINES",
    "chance_halves",
    "chance_transposed",
    "fits",
    "simulated",
    "survivors",
    "training_curves",
    "update_errors",
]

Figures = dict[str, Any]
Training = Mapping[str, Any]

MACHINES = ("systolic-128x128-2to4", "a100-sxm4-80gb")
FIDELITIES = ("cycle", "analytical")
DRAWS = 64
"""Of the unbiased estimator, averaged in ``update_errors``."""

NETWORKS = ("digits-cnn", "digits-vit")


def _by_network(training: Training) -> dict[str, list[Mapping[str, Any]]]:
    runs = training["runs"]
    return {name: [run for run in runs if run["network"] == name] for name in NETWORKS}


def training_curves(training: Training) -> Figures:
    """Losses by epoch and accuracies of every recipe and pattern, seeds in order."""
    found: Figures = {}
    for network, runs in _by_network(training).items():
        of: dict[str, Figures] = found.setdefault(network, {})
        for run in sorted(runs, key=lambda run: run["seed"]):
            into = of.setdefault(
                f"{run['recipe']} {run['pattern']}", {"losses": [], "accuracy": []}
            )
            into["losses"].append(run["losses"])
            into["accuracy"].append(run["accuracy"])
    return {"conditions": dict(training["conditions"]), "runs": found}


def _last_masks(training: Training) -> dict[str, list[Mapping[str, Any]]]:
    """Statistics of the last step of dense training, by network, seeds in order."""
    return {
        network: [
            run["masks"][-1]
            for run in sorted(runs, key=lambda run: run["seed"])
            if run["recipe"] == "dense"
        ]
        for network, runs in _by_network(training).items()
    }


def _over_seeds(
    masks: Iterable[Mapping[str, Any]], pick: Callable[[Mapping[str, Any]], Any]
) -> Any:
    """One dictionary whose leaves are lists, one value for every seed."""
    return _merged([pick(one) for one in masks])


def _merged(parts: list[Any]) -> Any:
    if isinstance(parts[0], Mapping):
        return {name: _merged([part[name] for part in parts]) for name in parts[0]}
    return parts


def _picked(training: Training, name: str) -> Figures:
    return {
        network: _over_seeds(masks, lambda one: one[name])
        for network, masks in _last_masks(training).items()
    }


def update_errors(training: Training) -> Figures:
    """Relative errors of weight gradients by estimator."""
    return {"draws": DRAWS, "update_errors": _picked(training, "update_errors")}


def survivors(training: Training) -> Figures:
    """Surviving products by network, pattern and phase."""
    return {"survivors": _picked(training, "survivors"), "zeros": _picked(training, "zeros")}


def chance_transposed(pattern: str) -> float:
    """Chance that a group of independent elements, each kept with N / M, keeps at most N."""
    kept = Pattern.parse(pattern)
    return 1.0 - violation_probability(kept, 1.0 - kept.keep / kept.group)


def chance_halves(pattern: str = "4:8") -> float:
    """Chance that both halves of a group hold N / 2, every choice of N equally likely."""
    kept = Pattern.parse(pattern)
    half = comb(kept.group // 2, kept.keep // 2)
    return float(Fraction(half * half, comb(kept.group, kept.keep)))


def fits(training: Training) -> Figures:
    """Shares of groups that fit, and what chance gives."""
    across = _picked(training, "transposed")
    patterns = next(iter(across.values()))
    chance = {pattern: chance_transposed(pattern) for pattern in patterns}
    return {
        "chance": {"transposed": chance, "halves": chance_halves()},
        "transposed": across,
        "halves": _picked(training, "halves"),
        "retained": _picked(training, "retained"),
    }


def simulated(traces: Path) -> Figures:
    """Speed-ups of the committed traces by machine, network, fidelity and phase."""
    machines: Figures = {machine: {} for machine in MACHINES}
    recorded = {}
    for network in NETWORKS:
        trace = traces / f"{network}-step.safetensors"
        recorded[network] = dict(load(trace).provenance)
        for machine in MACHINES:
            machines[machine][network] = {
                fidelity: _phases(trace, machine, fidelity) for fidelity in FIDELITIES
            }
    return {"machines": machines, "traces": recorded}


def _phases(trace: Path, machine: str, fidelity: str) -> Figures:
    table = simulate(trace, hardware=machine, fidelity=fidelity)
    parts = {"weighted": table[table["kind"] != "matmul"], "all": table}
    return {
        name: {phase: _total(of) for phase, of in phase_summary(records(part)).items()}
        for name, part in parts.items()
    }


def _total(of: Mapping[str, Any]) -> Figures:
    kept = ("cycles", "time_us", "speedup", "speedup_ideal", "utilization")
    return {name: of[name] for name in kept}
