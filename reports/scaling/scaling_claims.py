"""What the figures say of scaling, each statement with what contradicts it."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from reports.claims import Verdict, judged

__all__ = ["gain", "judge"]

Figures = Mapping[str, Any]

NEAR = 0.9
"""A speed-up is near its ceiling from this share of it on."""


def gain(runs: list[Figures], place: int) -> float:
    """Cycles of one array over those of the run at a place."""
    return float(runs[0]["cycles"] / runs[place]["cycles"])


def _series(figures: Figures) -> Iterable[tuple[str, float, list[Figures]]]:
    """Every curve: what it is of, its channel's cycles, and its runs."""
    for layer, of in figures["layers"].items():
        for pattern, both in of["runs"].items():
            for buffers in ("private", "shared"):
                name = f"{layer}, {pattern}, {buffers}"
                yield name, both["channel_cycles"], both[buffers]


def _bounds(figures: Figures) -> Verdict:
    wrong = [
        f"{name}: {run['arrays']} arrays take {run['cycles']:,} cycles"
        for name, _, runs in _series(figures)
        for run in runs
        if run["cycles"] < run["own_channel_cycles"] - 1
        or run["cycles"] * run["arrays"] < run["at_work"]
    ]
    return judged(
        "No number of arrays beats its own bytes over the bandwidth",
        "all curves",
        "never",
        f"{sum(len(runs) for _, _, runs in _series(figures))} runs",
        wrong,
    )


def _never_worse(figures: Figures) -> Verdict:
    wrong = [
        f"{name}: {more['arrays']} take longer than {few['arrays']}"
        for name, _, runs in _series(figures)
        for few, more in pairwise(runs)
        if more["cycles"] > few["cycles"]
    ]
    return judged(
        "More arrays never cost time: some may be left idle",
        "all curves",
        "never",
        f"{sum(len(runs) - 1 for _, _, runs in _series(figures))} steps",
        wrong,
    )


def _computes(figures: Figures) -> Verdict:
    four = figures["arrays"].index(4)
    runs = figures["layers"]["compute-bound"]["runs"]
    gains = {pattern: gain(both["private"], four) for pattern, both in runs.items()}
    return judged(
        "With buffers of their own four arrays gain more than three times on the layer that "
        "computes",
        "compute-bound, private",
        "> 3×",
        _listed(gains),
        [f"{name} gains {x:.2f}×" for name, x in gains.items() if x <= 3],
    )


def _loads(figures: Figures) -> Verdict:
    """Whether what arrays load twice is what keeps them from the ceiling."""
    told, wrong = [], []
    for pattern, both in figures["layers"]["memory-bound"]["runs"].items():
        share = {b: both["channel_cycles"] / both[b][-1]["cycles"] for b in ("private", "shared")}
        told.append(f"{pattern} " + ", ".join(f"{b} {x:.0%}" for b, x in share.items()))
        wrong += [
            f"{pattern}, {b} reaches {x:.0%}"
            for b, x in share.items()
            if (x >= NEAR) != (b == "shared")
        ]
    return judged(
        "On the layer that loads, arrays that share buffers come within a tenth of every byte once "
        "over the bandwidth; those with buffers of their own, which load more, do not",
        "memory-bound, 16 arrays",
        f"shared ≥ {NEAR:.0%}, private less",
        "; ".join(told),
        wrong,
    )


def _sparse(figures: Figures) -> Verdict:
    """Whether 2:4 gains less of many arrays than of one."""
    found = {}
    for layer, of in figures["layers"].items():
        dense, sparse = (of["runs"][pattern]["private"] for pattern in ("dense", "2:4"))
        found[layer] = [dense[i]["cycles"] / sparse[i]["cycles"] for i in (0, -1)]
    return judged(
        "The gain of 2:4 shrinks where many arrays share the channel",
        "dense over 2:4, 1 and 16 arrays",
        "less",
        "; ".join(f"{name} {one:.2f}× and {all_:.2f}×" for name, (one, all_) in found.items()),
        [f"{name} does not" for name, (one, all_) in found.items() if all_ >= one],
    )


def _listed(gains: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {x:.2f}×" for name, x in gains.items())


def judge(figures: Figures) -> list[Verdict]:
    """Every statement."""
    return [
        _bounds(figures),
        _never_worse(figures),
        _computes(figures),
        _loads(figures),
        _sparse(figures),
    ]
