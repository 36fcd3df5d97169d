"""Hubara et al., NeurIPS 2021: transposable masks, and the magnitude that structures keep."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim import prune
from nmsim.pruning.parts.diversity import Structure
from nmsim.recipes.statistics import mask_diversity, retained_l1
from reports.claims import Verdict, judged, together
from reports.pruning.printed import power

__all__ = ["STRUCTURES", "judge_bounds", "judge_retained", "measure_bounds", "measure_retained"]

Floats = NDArray[np.float64]
Figures = dict[str, Any]

STRUCTURES: Mapping[str, tuple[str, str, Structure]] = {
    "unstructured": ("unstructured", "4:8", "unstructured"),
    "4:8": ("magnitude", "4:8", "structured"),
    "2:4": ("magnitude", "2:4", "structured"),
    "4:8 transposable": ("transposable", "4:8", "transposable"),
    "2:4 transposable": ("transposable", "2:4", "transposable"),
    "4:8 sequential": ("sequential", "4:8", "sequential"),
}
"""Structures of Figure 3b and the transposable 2:4 of A.8: pruner, pattern, name in Table 1."""

_FIGURE_3B = ("unstructured", "4:8", "2:4", "4:8 transposable", "4:8 sequential")
_APPROXIMATIONS = ("transposable-greedy", "transposable-2approx")
_SHAPE = (8, 8)


def measure_bounds(tiles: int = 100_000) -> Figures:
    """Approximate 4:8 transposable masks against optimal ones; the construction of Appendix A.2."""
    rng = np.random.default_rng(2)
    drawn = rng.standard_normal((tiles, 8, 8))
    # Half of the tiles heavy-tailed: near-equal magnitudes hide what a greedy choice loses.
    drawn[tiles // 2 :] = np.exp(2 * drawn[tiles // 2 :])
    sizes = np.abs(drawn)
    total = sizes.sum((1, 2))

    def kept(pruner: str, **options: Any) -> Floats:
        mask = prune(sizes, "4:8", pruner, **options).mask
        return np.asarray(sizes.sum((1, 2), where=mask))

    lemma = (total - kept("transposable-2approx")) / (total - kept("transposable", exact=True))
    greedy = kept("transposable-greedy") / kept("transposable")
    density = prune(sizes[: tiles // 2], "4:8", "transposable-2approx").mask.mean()
    return {
        "tiles": tiles,
        "lemma": _spread(lemma),
        "greedy": _spread(greedy),
        "tight": {group: _tight(group) for group in (4, 8, 16, 32)},
        "kept_share_of_algorithm_1": float(density),
    }


def _spread(ratio: Floats) -> Figures:
    counts, edges = np.histogram(ratio, bins=60)
    return {
        "least": float(ratio.min()),
        "mean": float(ratio.mean()),
        "most": float(ratio.max()),
        "counts": counts.tolist(),
        "edges": edges.tolist(),
    }


def _tight(group: int) -> float:
    """Pruned by Algorithm 1 over pruned by the optimum where light edges lead it astray."""
    tile = np.full((group, group), 100.0)
    tile[-1, :] = tile[:, -1] = 1.0
    np.fill_diagonal(tile, 1.0 + 1e-9)
    tile[-1, -1] = 1.0 - 1e-9
    pattern = f"{group - 1}:{group}"
    far = prune(tile, pattern, "transposable-2approx").mask
    best = prune(tile, pattern, "transposable", exact=True).mask
    return retained_l1(tile, ~far) / retained_l1(tile, ~best)


def judge_bounds(figures: Figures) -> list[Verdict]:
    """The lemma of section 4, its tightness, the greedy's half, the sparsity of Algorithm 1."""
    lemma, greedy, tight = figures["lemma"], figures["greedy"], figures["tight"]
    rising = list(tight.values())
    share = figures["kept_share_of_algorithm_1"]
    count = f"{figures['tiles']:,} tiles of 8×8"
    return [
        judged(
            "Algorithm 1 prunes less than twice the weight of the optimum",
            f"Lemma, section 4; {count}",
            "W(P) < 2 W*",
            f"W(P)/W* {lemma['least']:.3f} to {lemma['most']:.3f}, mean {lemma['mean']:.3f}",
            [f"a tile has {lemma['most']:.3f}"] if lemma["most"] >= 2 else [],
        ),
        judged(
            "The bound is tight",
            "Lemma, Appendix A.2",
            "tends to 2",
            ", ".join(f"M={group}: {ratio:.3f}" for group, ratio in tight.items()),
            []
            if rising == sorted(rising) and 1.95 < rising[-1] < 2
            else ["the construction of the proof does not approach 2"],
        ),
        judged(
            "Greedy, from heavy to light, keeps at least half of the optimum",
            f"not in the paper: its released code; {count}",
            "≥ 0.5",
            f"{greedy['least']:.3f} to {greedy['most']:.3f}, mean {greedy['mean']:.4f}",
            [f"a tile keeps {greedy['least']:.3f}"] if greedy["least"] < 0.5 else [],
        ),
        judged(
            "Algorithm 1 gives masks of the pattern's sparsity",
            "section 4, Eq. 3 (exactly M/2 per row and column); Gaussian tiles",
            "4:8 keeps 0.5",
            f"keeps {share:.4f}",
            []
            if abs(share - 0.5) < 0.005
            else [
                (
                    "it prunes while a row or its column lacks zeros, so full rows go on losing "
                    f"elements: at most half of each is kept, {share:.3f} in all"
                )
            ],
        ),
    ]


def measure_retained(weights: Mapping[str, NDArray[Any]]) -> Figures:
    """Magnitude that each structure keeps over unstructured at 50 %, per layer and in all."""
    chosen = {
        **{name: (pruner, pattern) for name, (pruner, pattern, _) in STRUCTURES.items()},
        **{f"4:8 {pruner}": (pruner, "4:8") for pruner in _APPROXIMATIONS},
    }
    kept = {
        name: {
            layer: retained_l1(values, prune(values, pattern, pruner).mask)
            for layer, values in weights.items()
        }
        for name, (pruner, pattern) in chosen.items()
    }
    reference = kept["unstructured"]
    return {
        "shapes": {layer: list(values.shape) for layer, values in weights.items()},
        "layers": {
            name: {layer: value / reference[layer] for layer, value in row.items()}
            for name, row in kept.items()
        },
        "all": {name: sum(row.values()) / sum(reference.values()) for name, row in kept.items()},
        "diversity": {
            counting: {
                name: mask_diversity(pattern, _SHAPE, structure, counting)
                for name, (_, pattern, structure) in STRUCTURES.items()
            }
            for counting in ("exact", "paper")
        },
    }


def judge_retained(figures: Figures) -> list[Verdict]:
    """The order of Figure 3b, its near tie, and the correlation with mask diversity."""
    kept = figures["all"]
    orders = {
        at: sorted(_FIGURE_3B, key=lambda name: -figures["layers"][name][at])
        for at in figures["shapes"]
    }
    ranked = orders["all layers"] = sorted(_FIGURE_3B, key=lambda name: -kept[name])
    steps = [kept[a] - kept[b] for a, b in pairwise(_FIGURE_3B)]
    tie = abs(kept["2:4"] - kept["4:8 transposable"])
    others = [step for at, step in enumerate(steps) if at != 2]
    shown = " > ".join(f"{name} {kept[name]:.3f}" for name in ranked)
    verdicts = [
        judged(
            "Order of the kept magnitude, in every layer and in all",
            "Figure 3b",
            " > ".join(_FIGURE_3B),
            shown,
            [
                f"the order of {where} is {' > '.join(found)}"
                for where, found in orders.items()
                if found != list(_FIGURE_3B)
            ],
        ),
        judged(
            "2:4 and 4:8 transposable keep almost the same",
            "Figure 3b, section 3",
            "(almost) similar, the smallest step of the figure",
            f"{tie:.4f} apart; next smallest step {min(others):.4f}",
            [] if tie < min(others) else [f"{tie:.4f} is no smaller than {min(others):.4f}"],
        ),
        judged(
            "2:4 transposable keeps less than 4:8 transposable, more than 4:8 sequential",
            "sections 3 and A.8 (by diversity)",
            "between",
            f"{kept['2:4 transposable']:.3f}",
            []
            if kept["4:8 transposable"] > kept["2:4 transposable"] > kept["4:8 sequential"]
            else ["it lies outside"],
        ),
    ]
    correlated = {
        "Eq. 2": _correlated(figures, "paper"),
        "exact count": _correlated(figures, "exact"),
    }
    unsaid = "whether masks are counted or given by the formula"
    return [*verdicts, together(correlated["Eq. 2"].statement, unsaid, correlated)]


def _correlated(figures: Figures, counting: str) -> Verdict:
    counts, kept = figures["diversity"][counting], figures["all"]
    inverted = [
        f"{a} has {counts[a] / counts[b]:.3g} times the masks of {b} and keeps "
        f"{kept[a]:.3f}, not {kept[b]:.3f}"
        for a in STRUCTURES
        for b in STRUCTURES
        if counts[a] > counts[b] and kept[a] < kept[b]
    ]
    ranked = sorted(STRUCTURES, key=lambda name: -counts[name])
    return judged(
        "The more diverse, the more magnitude is kept",
        "caption of Figure 3",
        "correlated",
        " > ".join(f"{name} {power(counts[name], 2)}" for name in ranked),
        inverted,
    )
