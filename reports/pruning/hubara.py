"""Hubara et al., NeurIPS 2021: how many masks there are, and how many groups violate N:M."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nmsim.pruning.parts.diversity import Structure
from nmsim.recipes.statistics import mask_diversity, violation_probability, violations
from reports.claims import Verdict, judged, together
from reports.pruning.printed import power, within_last_digit

__all__ = [
    "PRINTED_DIVERSITY",
    "judge_diversity",
    "judge_violations",
    "measure_diversity",
    "measure_violations",
]

Figures = dict[str, Any]

PRINTED_DIVERSITY: Mapping[Structure, Mapping[str, tuple[str, int]]] = {
    "unstructured": {"1:2": ("1.8", 18), "2:4": ("1.8", 18), "4:8": ("1.8", 18)},
    "structured": {"1:2": ("4", 9), "2:4": ("2.8", 12), "4:8": ("5.7", 14)},
    "transposable": {"1:2": ("6", 4), "2:4": ("4", 8), "4:8": ("1.7", 13)},
    "sequential": {"1:2": ("4", 9), "2:4": ("4", 7), "4:8": ("4", 5)},
}
"""Table 1, 8 x 8 at 50 % sparsity: mantissa and exponent as printed."""

_RHO = 0.5
_ALARM = 6.0
_COUNTINGS = {"paper": "Eq. 2", "exact": "exact count"}
_SHAPE = (8, 8)


def measure_diversity() -> Figures:
    """Table 1 in both countings; integers are exact."""
    counted = {
        counting: {
            structure: {p: mask_diversity(p, _SHAPE, structure, counting) for p in row}
            for structure, row in PRINTED_DIVERSITY.items()
        }
        for counting in ("paper", "exact")
    }
    at_most = {
        p: mask_diversity(p, _SHAPE, "transposable-at-most")
        for p in PRINTED_DIVERSITY["transposable"]
    }
    printed = {
        structure: {p: float(f"{m}e{e}") for p, (m, e) in row.items()}
        for structure, row in PRINTED_DIVERSITY.items()
    }
    return {"printed": printed, **counted, "transposable_at_most": at_most}


def judge_diversity(figures: Figures) -> list[Verdict]:
    """Table 1 by formula and by count; what section 3 concludes from it."""
    counts = {
        structure: {
            said: _count(structure, row, figures, counting)
            for counting, said in _COUNTINGS.items()
            if counting == "paper" or structure == "transposable"
        }
        for structure, row in PRINTED_DIVERSITY.items()
    }
    alike = {said: _alike(figures[key]) for key, said in _COUNTINGS.items()}
    return [
        *(
            together(f"{structure}: number of masks", _UNSAID * (len(of) > 1), of)
            for structure, of in counts.items()
        ),
        _least_diverse(figures),
        together(next(iter(alike.values())).statement, _UNSAID, alike),
    ]


_UNSAID = "whether masks are counted or given by the formula, which is right for N = 1 alone"


def _count(
    structure: str, row: Mapping[str, tuple[str, int]], figures: Figures, counting: str
) -> Verdict:
    return judged(
        structure,
        "Table 1",
        ", ".join(f"{_printed(*number)} ({p})" for p, number in row.items()),
        ", ".join(f"{power(figures[counting][structure][p])} ({p})" for p in row),
        [
            f"{p}: {figures[counting][structure][p]:,} masks, not {_printed(m, e)}"
            + _overcount(p, structure, counting)
            for p, (m, e) in row.items()
            if not within_last_digit(figures[counting][structure][p], m, e)
        ],
    )


def _printed(mantissa: str, exponent: int) -> str:
    return power(float(f"{mantissa}e{exponent}"), len(mantissa.replace(".", "")))


def _overcount(pattern: str, structure: str, counting: str) -> str:
    """Why formula and count part: masks of one tile, by each."""
    if (structure, counting) != ("transposable", "exact"):
        return ""
    group = int(pattern.partition(":")[2])
    tile = [mask_diversity(pattern, (group, group), "transposable", c) for c in ("paper", "exact")]
    return f" (a {group}×{group} tile has {tile[1]:,}; Eq. 2, right for N = 1, gives {tile[0]:,})"


def _least_diverse(figures: Figures) -> Verdict:
    counts, printed = figures["exact"], figures["printed"]
    # Of equals the sequential one is named: for 1:2 it is the structured one.
    names = sorted(counts, key=lambda structure: structure != "sequential")
    least = {p: min(names, key=lambda s: counts[s][p]) for p in counts["sequential"]}
    return judged(
        "Sequential is the least diverse",
        "section 3",
        "worst in class",
        "; ".join(f"{p}: {structure} least" for p, structure in least.items()),
        [
            f"{p}: {structure} has {counts[structure][p]:,}, sequential "
            f"{counts['sequential'][p]:,}"
            + (", and so has Table 1" * (printed[structure][p] < printed["sequential"][p]))
            for p, structure in least.items()
            if structure != "sequential"
        ],
    )


def _alike(counts: Mapping[str, Mapping[str, int]]) -> Verdict:
    """Similar: within ten times, where the table spans fourteen powers of ten."""
    like = counts["transposable"]["4:8"] / counts["structured"]["2:4"]
    return judged(
        "4:8 transposable is about as diverse as 2:4 structured",
        "section 3",
        "similar (here: within ten times)",
        f"{like:.3g} times",
        [] if 0.1 < like < 10 else [f"the counts are {max(like, 1 / like):.3g} times apart"],
    )


def measure_violations(groups: int = 50_000) -> Figures:
    """Eq. 4 for rho = 0.5 and every N; the share of groups of random masks that fit N = M / 2."""
    rng = np.random.default_rng(3)
    curves, drawn = {}, {}
    for group in (4, 8, 16, 32, 64, 128):
        pruned = range(group)
        curves[group] = [1 - violation_probability(f"{group - n}:{group}", _RHO) for n in pruned]
        bits = rng.random((groups, group)) >= _RHO
        drawn[group] = {
            "groups": len(bits),
            "share": 1 - violations(bits, f"{group // 2}:{group}"),
        }
    return {"rho": _RHO, "probability": curves, "drawn": drawn}


def judge_violations(figures: Figures) -> list[Verdict]:
    """What the caption of Figure 5 says of Eq. 4."""
    curves = figures["probability"]
    below = min(c[n] for m, c in curves.items() for n in range(m // 2 + 1))
    above = {m: c[m // 2 + 1] for m, c in curves.items()}
    at = {m: c[m // 2] for m, c in curves.items()}
    sides = {m: (c[3 * m // 8], c[5 * m // 8]) for m, c in curves.items() if m % 8 == 0}
    left, right = ([side[i] for side in sides.values()] for i in (0, 1))
    sharper = left == sorted(left) and right == sorted(right, reverse=True)
    far = {
        m: abs(d["share"] - at[m]) / math.sqrt(at[m] * (1 - at[m]) / d["groups"])
        for m, d in figures["drawn"].items()
    }
    return [
        judged(
            "Eq. 4 is what random masks do",
            "Eq. 4, N/M = ρ",
            "binomial",
            f"{max(far.values()):.1f} standard deviations off at most",
            [f"M={m}: {z:.1f} standard deviations off" for m, z in far.items() if z > _ALARM],
        ),
        judged(
            "N/M ≤ ρ: more than half of the blocks fit",
            "Figure 5a, (i)",
            "P > 0.5",
            f"least {below:.3f}",
            [f"P falls to {below:.3f}"] if below <= 0.5 else [],
        ),
        judged(
            "N/M ≥ ρ: P quickly decreases to zero",
            "Figure 5a, (ii)",
            "falls from N/M = ρ on",
            ", ".join(f"M={m}: {at[m]:.3f} then {above[m]:.3f}" for m in curves),
            [
                (
                    f"at N/M = ρ itself P is {min(at.values()):.3f} or more, as (i) says; "
                    "it falls below 0.5 from the next N on"
                )
            ]
            if min(at.values()) > 0.5 > max(above.values())
            else [f"P is {max(above.values()):.3f} beyond ρ"] * (max(above.values()) > 0.5),
        ),
        judged(
            "The larger M, the sharper the transition",
            "Figure 5a",
            "sharper",
            ", ".join(f"M={m}: {a:.3f} to {b:.3f}" for m, (a, b) in sides.items())
            + " from N/M = 3/8 to 5/8",
            [] if sharper else ["P does not move apart with M on both sides of ρ"],
        ),
    ]
