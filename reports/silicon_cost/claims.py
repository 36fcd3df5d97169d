"""What the figures say of silicon: the answer in sentences, and statements with what contradicts.

Every sentence is put together from the figures, so that it changes when these do.
"""

from collections.abc import Mapping
from typing import Any

from reports.claims import Verdict, judged

__all__ = ["answer", "best", "judge"]

Figures = Mapping[str, Any]

FIRST = "bf16, 45 nm"
_NAMES = {"lone": "one multiplier a group", "shared": "N multipliers that share a group"}


def _runs(figures: Figures, network: str, variant: str = FIRST) -> list[Figures]:
    return [one for one in figures["steps"][network] if one["variant"] == variant]


def best(figures: Figures, network: str, variant: str = FIRST, density: float = 0.5) -> Figures:
    """The pattern and structure of a density that gain most at equal area."""
    return max(
        (
            one
            for one in _runs(figures, network, variant)
            if figures["patterns"][one["pattern"]]["density"] == density
        ),
        key=lambda one: one["at_equal_area"],
    )


def _of(figures: Figures, network: str, variant: str, pattern: str, structure: str) -> float:
    (one,) = [
        one
        for one in _runs(figures, network, variant)
        if (one["pattern"], one["structure"]) == (pattern, structure)
    ]
    return float(one["at_equal_area"])


def answer(figures: Figures) -> list[str]:
    """The question answered, in sentences."""
    networks = list(figures["steps"])
    return [
        *(_of_network(figures, network) for network in networks),
        *(_per_area(figures, structure) for structure in _NAMES),
        _fed(figures),
        _intersecting(figures),
        _gpu(figures),
    ]


HALVES = ("2:4", "4:8", "8:16")
"""Patterns of half density of which the page says which pays."""


def _per_area(figures: Figures, structure: str) -> str:
    """Which of 2:4, 4:8 and 8:16 pays at equal area, of one structure of the PE."""
    told = []
    for network in figures["steps"]:
        gains = {p: _of(figures, network, FIRST, p, structure) for p in HALVES}
        most = max(gains, key=lambda pattern: gains[pattern])
        listed = ", ".join(f"{gain:.2f} at {pattern}" for pattern, gain in gains.items())
        loses = [pattern for pattern, gain in gains.items() if gain < 1]
        less = f", {' and '.join(loses)} loses" if loses else ""
        told.append(f"{network} gains {listed} ({most} pays most{less})")
    return f"At equal area, with {_NAMES[structure]}: {'; '.join(told)}."


def _fed(figures: Figures) -> str:
    """What is left where no more words reach the PEs than a dense array takes."""
    runs = [
        one for network in figures["steps"] for one in _runs(figures, network)
        if one["pattern"] in HALVES
    ]  # fmt: skip
    speed, area = (
        [one[name] for one in runs]
        for name in ("at_equal_bandwidth", "per_area_at_equal_bandwidth")
    )
    return (
        "At equal bandwidth, with as many multipliers and a path from the buffers no wider than a "
        f"dense array's, 2:4, 4:8 and 8:16 gain {min(speed):.2f} to {max(speed):.2f}, and "
        f"{min(area):.2f} to {max(area):.2f} for each unit of area: groups are read whole, "
        "as a dense array reads them, and a path that is wider is what N:M must buy."
    )


def _of_network(figures: Figures, network: str) -> str:
    top = best(figures, network)
    others = {
        variant: _of(figures, network, variant, top["pattern"], top["structure"])
        for variant in dict.fromkeys(one["variant"] for one in figures["steps"][network])
    }
    low, high = min(others.values()), max(others.values())
    return (
        f"{network}: of the patterns of half density {top['pattern']} with "
        f"{_NAMES[top['structure']]} gains most at equal area, {top['at_equal_area']:.2f} times a "
        f"dense array as large ({low:.2f} to {high:.2f} by width and flow), all three phases "
        f"masked, and takes {1 / top['at_equal_power']:.2f} of its energy."
    )


def _intersecting(figures: Figures) -> str:
    own = figures["intersecting"]
    crossing = (
        f"pays at equal area where both operands keep {own['crosses_dense']:.0%} or less"
        if own["crosses_dense"]
        else "crosses a dense one at none of these densities"
    )
    ahead = [one["pattern"] for one in own["runs"] if one["at_equal_area"] > one["one_operand"]]
    behind = [one["pattern"] for one in own["runs"] if one["pattern"] not in ahead]
    more = f"more at {', '.join(ahead)}" if ahead else "more at none of these patterns"
    less = f", less at {', '.join(behind)}" if behind else ""
    return (
        f"An array that intersects both masks is {own['area']:.1f} times a dense one, whatever "
        f"runs, and {crossing}; against an array as large that follows one operand's mask of the "
        f"same pattern it gains {more}{less}."
    )


def _gpu(figures: Figures) -> str:
    own = figures["gpu"]
    saved, band = own["saved"], own["band"]
    means = "more than" if abs(saved) > band else "within"
    return (
        f"On an A100 2:4 in all phases saves {saved:.0%} of the energy of bert-large's GEMMs, "
        f"{means} the ±{band:.0%} by which such models err"
        + ("." if abs(saved) > band else ": no sign is claimed.")
    )


def judge(figures: Figures) -> list[Verdict]:
    """Every statement."""
    return [_structure(figures), _lone(figures), _moves(figures), _shared_energy(figures)]


def _structure(figures: Figures) -> Verdict:
    found, wrong = [], []
    for network in figures["steps"]:
        for pattern in ("2:4", "4:8", "16:32"):
            lone, shared = (
                _of(figures, network, FIRST, pattern, structure) for structure in _NAMES
            )
            found.append(shared / lone)
            wrong += [f"{network} {pattern}: {shared:.2f} of {lone:.2f}"] if shared <= lone else []
    return judged(
        "Multipliers that share a group gain more at equal area, at every pattern",
        "bf16", "> 1", f"{min(found):.2f} to {max(found):.2f} times", wrong,
    )  # fmt: skip


def _lone(figures: Figures) -> Verdict:
    gains = {
        network: [_of(figures, network, FIRST, p, "lone") for p in ("2:4", "4:8", "16:32")]
        for network in figures["steps"]
    }
    wrong = [f"{network}: {gain}" for network, gain in gains.items() if gain != sorted(gain)[::-1]]
    return judged(
        "With a group for each multiplier longer groups gain less, at equal density",
        "bf16", "falls",
        "; ".join(f"{n} " + ", ".join(f"{x:.2f}" for x in g) for n, g in gains.items()), wrong,
    )  # fmt: skip


def _moves(figures: Figures) -> Verdict:
    """Whether width and flow move the answer, and whether they turn it."""
    found, wrong = [], []
    for network in figures["steps"]:
        variants = dict.fromkeys(one["variant"] for one in figures["steps"][network])
        tops = {v: best(figures, network, v) for v in variants}
        found.append(
            f"{network} "
            + ", ".join(f"{t['pattern']} {t['at_equal_area']:.2f} ({v})" for v, t in tops.items())
        )
        wrong += [
            f"{network}: {one['structure']} with {v}"
            for v, one in tops.items()
            if one["structure"] != "shared"
        ]
    return judged(
        "The best structure is the same for every width and flow",
        "all variants", "N multipliers that share a group", "; ".join(found), wrong,
    )  # fmt: skip


def _shared_energy(figures: Figures) -> Verdict:
    gains = {network: best(figures, network)["at_equal_power"] for network in figures["steps"]}
    return judged(
        "At equal power the best array of half density gains less than twice",
        "bf16", "1 to 2", ", ".join(f"{n} {x:.2f}" for n, x in gains.items()),
        [f"{n}: {x:.2f}" for n, x in gains.items() if not 1 < x < 2],
    )  # fmt: skip
