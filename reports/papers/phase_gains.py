"""What a training recipe speeds up: work and cycles of each phase of a network."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nmsim.machines import Machine
from nmsim.result import totals
from nmsim.run.point import Point, rows

__all__ = [
    "ALL_PHASES",
    "misfit_share",
    "network_rows",
    "offered_share",
    "paces",
    "phase_gains",
    "ran_share",
    "slower",
]

ALL_PHASES = ("forward", "backward", "update")

Rows = list[dict[str, Any]]


def network_rows(
    model: str,
    recipe: str | Path,
    pattern: str,
    batch: int,
    hardware: Machine,
    layers: str = "*",
    lowering: str | None = None,
) -> Rows:
    """The analytical result of every GEMM of a training step."""
    point = Point(
        model=model,
        layers=layers,
        recipe=recipe,
        pattern=pattern,
        batch=batch,
        hardware=hardware,
        fidelity="analytical",
        lowering=lowering,
    )
    return list(rows(point))


def phase_gains(found: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Speed-up of each phase and of all, and what a machine would gain that skips every MAC."""
    return {
        phase: {"speedup": total["speedup"], "ideal": total["speedup_ideal"]}
        for phase, total in totals(found).items()
    }


def offered_share(model: str, recipe: str, pattern: str) -> dict[str, float]:
    """Shares of a training step's MACs, of all three phases.

    ``offered``: in GEMMs with a mask; ``attention``: in products without weights; ``no_backward``:
    in layers whose input needs no gradient. No mask is made: the shares do not depend on bits. A
    phase has the MACs of the convolution, as the papers count (``columns``).
    """
    point = Point(model=model, recipe=recipe, pattern=pattern, batch=1, lowering="columns")
    work = list(point.sparse_gemms())
    shown = {one.gemm.layer for one in work if one.gemm.phase == "backward"}
    chosen = {
        "offered": [one for one in work if not (one.a.pattern.is_dense and one.b.pattern.is_dense)],
        "attention": [one for one in work if one.gemm.of_activations],
        "no_backward": [one for one in work if one.gemm.layer not in shown],
    }
    total = sum(one.gemm.macs for one in work)
    return {name: sum(one.gemm.macs for one in some) / total for name, some in chosen.items()}


def ran_share(found: Iterable[Mapping[str, Any]]) -> float:
    """Share of the dense MACs in GEMMs that ran on fewer MACs by a mask."""
    table = list(found)
    masked = (row for row in table if {row["a_pattern"], row["b_pattern"]} != {"dense"})
    ran = sum(row["macs_dense"] for row in masked if row["macs_issued"] < row["macs_dense"])
    return float(ran / sum(row["macs_dense"] for row in table))


def misfit_share(found: Iterable[Mapping[str, Any]]) -> float:
    """Share of the groups of offered masks that the machine's selectors do not cover, mean."""
    shares = [row["misfit_share"] for row in found if row["misfit_share"] is not None]
    return float(sum(shares) / len(shares)) if shares else 0.0


def paces(found: Iterable[Mapping[str, Any]], phase: str) -> dict[str, Any]:
    """Why a phase gains what it gains: speed-up = MACs saved x pace, and what binds its time.

    ``saved`` is dense MACs over MACs spent, ``pace`` MACs spent a cycle over those of dense;
    ``bound`` names the resource that binds most of the time, ``bound_share`` how much of it.
    """
    table = [row for row in found if row["phase"] == phase]
    dense, spent, cycles, twins = (
        sum(row[name] for row in table)
        for name in ("macs_dense", "macs_issued", "cycles", "dense_cycles")
    )
    times: dict[str, float] = {}
    for row in table:
        times[row["bound"]] = times.get(row["bound"], 0.0) + row["time_us"]
    bound = max(times, key=lambda name: times[name])
    return {
        "saved": dense / spent,
        "pace": (spent / cycles) / (dense / twins),
        "bound": bound,
        "bound_share": times[bound] / sum(times.values()),
    }


def slower(pace: Mapping[str, Any]) -> str:
    """In words what ``paces`` found."""
    return (
        f"{pace['saved']:.2f}× fewer MACs at {pace['pace']:.2f} of the dense pace, "
        f"{100 * pace['bound_share']:.0f} % of the time bound by {pace['bound']}"
    )
