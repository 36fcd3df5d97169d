"""What the papers say of bandwidth, products and selectors, judged by the figures."""

import itertools
from collections.abc import Mapping
from typing import Any

from reports.claims import Verdict, judged

__all__ = ["asked_ratio", "judge_delivery", "judge_products", "judge_selectors", "judge_words"]

Figures = Mapping[str, Any]

_EXACT = 1e-9
_DRAWN = 5e-3
"""Relative error that masks of so many groups leave."""


def _near(value: float, wanted: float, error: float = _EXACT) -> bool:
    return abs(value - wanted) <= error * max(1.0, abs(wanted))


def _listed(values: Mapping[str, float], digits: int = 2, unit: str = "×") -> str:
    return ", ".join(f"{name} {value:.{digits}f}{unit}" for name, value in values.items())


def asked_ratio(asked: Figures, *, metadata: bool) -> float:
    """Words per cycle of the activations over those of the weights."""
    a, b = (
        asked[name]["values"] + metadata * asked[name]["metadata"]
        for name in ("activations", "weights")
    )
    return float(a / b)


def _ratios(figures: Figures, pruned: str, *, metadata: bool) -> dict[str, float]:
    return {
        pattern: asked_ratio(of[pruned], metadata=metadata)
        for pattern, of in figures["asked"].items()
        if pattern != "dense"
    }


def _over_dense(figures: Figures, pattern: str, pruned: str) -> dict[str, float]:
    asked, dense = figures["asked"][pattern][pruned], figures["asked"]["dense"][pruned]
    return {name: asked[name]["values"] / dense[name]["values"] for name in asked}


def judge_words(figures: Figures) -> list[Verdict]:
    """Section 5 on the bandwidth of one pruned operand and of two."""
    one, whole = (_ratios(figures, "weights", metadata=m) for m in (False, True))
    both = {m: _ratios(figures, "both", metadata=m) for m in (False, True)}
    half = {name: _over_dense(figures, "2:4", name) for name in ("weights", "both")}
    uneven = [
        f"{pattern}: activations are asked for {ratio:.2f}× the weights"
        for of in both.values()
        for pattern, ratio in of.items()
        if not _near(ratio, 1)
    ]
    grown = [one[p] for p in ("2:4", "1:4", "1:8", "1:16")]
    return [
        judged(
            "Only the weights are 1:4: the activations need 4× the weights' bandwidth",
            "section 5",
            "4×",
            f"{one['1:4']:.2f}× in words ({whole['1:4']:.2f}× with the weights' metadata)",
            [] if _near(one["1:4"], 4) else [f"the ratio is {one['1:4']:.2f}"],
        ),
        judged(
            "Both are pruned: the bandwidth reduction is the same for both matrices",
            "section 5",
            "the same",
            f"activations over weights, words: {_listed(both[False])}; "
            f"with metadata: {_listed(both[True])}",
            uneven,
        ),
        judged(
            "One pruned operand needs hardware with twice the bandwidth to one of the matrices, "
            "both pruned do not (2:4)",
            "section 5",
            "2×; 1×",
            f"words per cycle over the dense GEMM's: weights pruned, activations "
            f"{half['weights']['activations']:.2f}×; both pruned {half['both']['activations']:.2f}×"
            f" and {half['both']['weights']:.2f}×",
            []
            if _near(half["weights"]["activations"], 2)
            and all(_near(ratio, 1) for ratio in half["both"].values())
            else ["the words per cycle are others"],
        ),
        judged(
            "It is the more important, the higher the sparsity",
            "section 5",
            "higher",
            f"activations over weights with the weights pruned, words: {_listed(one, 0)}",
            []
            if all(a < b for a, b in itertools.pairwise(grown))
            else ["the ratio does not grow from 2:4 to 1:16"],
        ),
    ]


def judge_delivery(figures: Figures) -> list[Verdict]:
    """What section 5 concludes for compute and for hardware with the bandwidth of dense."""
    found = figures["arrays"]
    more = [
        f"{dataflow}, {pattern}: {of['weights']['compute_cycles']:,} and "
        f"{of['both']['compute_cycles']:,} cycles"
        for dataflow, array in found.items()
        for pattern, of in array["speedup"].items()
        if of["weights"]["compute_cycles"] != of["both"]["compute_cycles"]
    ]
    ahead = [
        f"{dataflow}, {pattern}: no faster than one pruned operand"
        for dataflow, array in found.items()
        for pattern, of in array["speedup"].items()
        if not of["both"]["as dense"] > of["weights"]["as dense"]
    ]
    gains = found["os"]["speedup"]
    slower = {
        pattern: 1 - of["both"]["as dense"] / of["both"]["any width"]
        for pattern, of in gains.items()
    }
    cycles = {pattern: float(of["both"]["compute_cycles"]) for pattern, of in gains.items()}
    compared = {
        pattern: f"{of['weights']['as dense']:.2f}× and {of['both']['as dense']:.2f}×"
        for pattern, of in gains.items()
    }
    return [
        judged(
            "A systolic array gains no compute by pruning both matrices over pruning one",
            "section 5",
            "no additional reduction",
            "cycles of both recipes on a path of any width, os: "
            f"{_listed({p: c / 1e6 for p, c in cycles.items()}, 2, ' M')}"
            + ("; ws alike" if not more else ""),
            more,
        ),
        judged(
            "Sparse work needs no dedicated hardware if both are pruned: on the dense array's "
            "path, one pruned operand gains less than both",
            "section 5",
            "less",
            "os, weights and both: " + ", ".join(f"{p} {t}" for p, t in compared.items()),
            ahead,
        ),
        judged(
            "On the dense array's path, both pruned run at full speed",
            "section 5, without metadata",
            "full speed",
            "os, short of full speed by "
            + ", ".join(f"{p} {share:.1%}" for p, share in slower.items()),
            []
            if all(_near(share, 0) for share in slower.values())
            else [
                (
                    "metadata, which the paper leaves out, comes over the same path: log₂ M bits "
                    "with every 16-bit word"
                )
            ],
        ),
    ]


def judge_products(figures: Figures) -> list[Verdict]:
    """Eq. 18, and what it means for arrays that skip."""
    patterns = figures["patterns"]
    half = patterns["2:4"]
    shares = half["shares"][:3]
    beyond = [
        f"{pattern}: {len(of['shares']) - 1} products"
        for pattern, of in patterns.items()
        if sum(of["shares"][of["keep"] + 1 :]) > 0
        or min(of["shares"][0], of["shares"][of["keep"]]) <= 0
    ]
    means = {pattern: of["mean"] for pattern, of in patterns.items()}
    unlike = [
        f"{pattern} {of['mean']:.3g}"
        for pattern, of in patterns.items()
        if not _near(of["mean"] / (of["keep"] / 2), 1, _DRAWN)
    ]
    gains = {
        lookahead: {pattern: of["gain"][lookahead] for pattern, of in patterns.items()}
        for lookahead in half["gain"]
    }
    faster = {d: [p for p, gain in of.items() if gain > 1 + _DRAWN] for d, of in gains.items()}
    return [
        judged(
            "MACs of a block whose operands are both 2:4",
            "Eq. 18",
            "1",
            f"{half['mean']:.4f} from the bits",
            [] if _near(half["mean"], 1, _DRAWN) else [f"the mean is {half['mean']:.3f}"],
        ),
        judged(
            "They are 0, 1 and 2 with probability 1/6, 4/6 and 1/6",
            "Eq. 18",
            "0.167, 0.667, 0.167",
            ", ".join(f"{share:.4f}" for share in shares),
            []
            if all(_near(x, y, _DRAWN) for x, y in zip(shares, (1 / 6, 4 / 6, 1 / 6), strict=True))
            else ["the shares are others"],
        ),
        judged(
            "The MACs of a block vary from 0 to N",
            "section 5",
            "0 to N",
            f"in all of {', '.join(patterns)}" if not beyond else "; ".join(beyond),
            beyond,
        ),
        judged(
            "On average each block contains N/2 MACs",
            "section 5",
            "N/2",
            ", ".join(f"{p} {mean:.3g}" for p, mean in means.items()),
            [f"it is N²/M, which is N/2 at half density only: {', '.join(unlike)}"]
            if unlike
            else [],
        ),
        judged(
            "A systolic array must always assume the worst case: in lock-step",
            "section 5",
            "no gain",
            f"cycles, one pruned over both pruned: {_listed(gains['0'])}",
            [f"both pruned are faster at {', '.join(faster['0'])}"] if faster["0"] else [],
        ),
        judged(
            "… and also if a PE may run four groups ahead of the slowest",
            "section 5",
            "no gain",
            f"cycles, one pruned over both pruned: {_listed(gains['4'])}",
            [
                (
                    "PEs with queues even out what their groups lack; such an array is no longer "
                    "fed in lock-step"
                )
            ]
            if faster["4"]
            else [],
        ),
    ]


def judge_selectors(figures: Figures) -> list[Verdict]:
    """Appendix A.5 of Hubara et al. on multiplexers."""
    patterns = figures["patterns"]
    inputs = {p: of["ordered"]["inputs"] for p, of in patterns.items()}
    depth = {p: of["any"]["depth"] for p, of in patterns.items()}
    # A logarithm grows by as much with every doubling of N.
    steps = [
        [after - before for before, after in itertools.pairwise(counts)]
        for counts in (
            [of[kind]["two_input"] for of in patterns.values()] for kind in ("any", "ordered")
        )
    ]
    faster = any(max(of) > min(of) for of in steps)
    written = "; ".join(
        f"{name}: " + ", ".join(f"{p} {of[kind]['two_input']}" for p, of in patterns.items())
        for kind, name in (("any", "any order"), ("ordered", "ordered"))
    )
    return [
        judged(
            "An (N + 1):1 multiplexer serves a slot: 3:1 for 2:4, 5:1 for 4:8",
            "Appendix A.5",
            "N + 1",
            ", ".join(f"{p} {n}:1" for p, n in inputs.items()) + " if kept elements stay in order",
            [f"{p} needs {n}:1" for p, n in inputs.items() if n != patterns[p]["keep"] + 1],
        ),
        judged(
            "The hardware cost increases only logarithmically with N",
            "section 3, Appendix A.5",
            "log N",
            f"two-input multiplexers per PE, {written}; depth: "
            + ", ".join(f"{p} {n}" for p, n in depth.items()),
            ["the number of multiplexers grows in proportion to N; their depth is logarithmic"]
            if faster
            else [],
        ),
    ]
