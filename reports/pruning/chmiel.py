"""Chmiel et al., ICLR 2023: estimators of gradients, from their exact moments."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.recipes.statistics import bias, estimator_variance
from reports.claims import Verdict, judged

__all__ = [
    "ACCURACY",
    "judge_estimators",
    "judge_scan",
    "measure_estimators",
    "measure_scan",
]

Floats = NDArray[np.float64]
Figures = dict[str, Any]

ACCURACY = {"magnitude": 85.5, "biased": 71.8, "uniform": 85.8, "unbiased": 87.2, "mvue": 89.8}
"""Table 2, in percent: 1:2 on the gradients of ResNet-18, CIFAR-10; the paper's names for these are
greedy, biased, uniform, unbiased, MVUE; without pruning 90.02."""

_ESTIMATORS = (*ACCURACY, "mvue-approx")
_UNBIASED = ("unbiased", "mvue", "mvue-approx")
_ROUNDING = 1e-12
_SIGMA = 2.0


def _gradients(groups: int) -> Floats:
    """Log-normal magnitudes with random signs, groups x 4: what nmsim draws for gradients."""
    rng = np.random.default_rng(0)
    sizes = np.exp(_SIGMA * rng.standard_normal((groups, 4)))
    return np.asarray(sizes * rng.choice([-1.0, 1.0], sizes.shape))


def _quality(values: Floats, pattern: str, pruner: str) -> dict[str, float]:
    """Shares of sum |a| (bias) or of sum a^2 (variance, mse).

    ``misdirected`` is the bias left after the one factor for all elements that suits best: a
    learning rate mends the rest.
    """
    away = bias(values, pattern, pruner)
    mean = values + away
    factor = (mean * values).sum() / (mean**2).sum()
    variance = estimator_variance(values, pattern, pruner)
    length, energy = np.abs(values).sum(), (values**2).sum()
    return {
        "bias": float(np.abs(away).sum() / length),
        "misdirected": float(np.abs(factor * mean - values).sum() / length),
        "variance": float(variance.sum() / energy),
        "scaled_variance": float(factor**2 * variance.sum() / energy),
        "mse": float((variance + away**2).sum() / energy),
    }


def measure_estimators(groups: int = 250_000) -> Figures:
    """Bias, variance and MSE of every estimator; the largest error of MVUE's closed form."""
    values = _gradients(groups)
    quality = {
        pattern: {name: _quality(values, pattern, name) for name in _ESTIMATORS}
        for pattern in ("1:2", "2:4")
    }
    pairs = values.reshape(-1, 2)
    closed = 2 * np.abs(pairs[:, 0] * pairs[:, 1])
    error = np.abs(estimator_variance(pairs, "1:2", "mvue").sum(1) / closed - 1)
    return {
        "groups": groups,
        "sigma": _SIGMA,
        "quality": quality,
        "accuracy": ACCURACY,
        "closed_form_error": float(error.max()),
    }


def _ascending(quality: dict[str, dict[str, float]], *measures: str) -> list[str]:
    """Estimators from the least; what rounding alone tells apart counts as equal."""
    return sorted(quality, key=lambda name: [round(quality[name][m], 9) for m in measures])


def _less(names: list[str], quality: dict[str, dict[str, float]], measure: str) -> str:
    shown = [_short(quality[name][measure]) for name in names]
    signs = ["", *(" = " if one == other else " < " for one, other in pairwise(shown))]
    return "".join(f"{s}{name} {value}" for s, name, value in zip(signs, names, shown, strict=True))


def _short(value: float) -> str:
    """Three digits; what rounding leaves of zero is zero."""
    return "0" if abs(value) < _ROUNDING else f"{value:.3g}"


def _inversions(quality: dict[str, dict[str, float]], *measures: str) -> list[str]:
    """Pairs of Table 2 whose better one, by the measures, is the less accurate."""
    ranks = {name: [round(quality[name][m], 9) for m in measures] for name in ACCURACY}
    return [
        f"{better} is better than {worse} but {ACCURACY[better]} % accurate, not {ACCURACY[worse]}"
        for better in ACCURACY
        for worse in ACCURACY
        if ranks[better] < ranks[worse] and ACCURACY[better] < ACCURACY[worse]
    ]


def judge_estimators(figures: Figures) -> list[Verdict]:
    """Table 2 and what section 4.1 says of it."""
    verdicts = []
    for pattern, quality in figures["quality"].items():
        free = [name for name in _ESTIMATORS if quality[name]["bias"] < _ROUNDING]
        verdicts.append(
            judged(
                f"{pattern}: unbiased and MVUE have no bias, the others have",
                "Table 2, Eqs. 2, 7 and 17",
                f"no bias: {', '.join(_UNBIASED)}",
                f"no bias: {', '.join(free)}",
                [f"{name} is on the wrong side" for name in sorted({*free} ^ {*_UNBIASED})],
            )
        )
        spread = [quality[name]["variance"] for name in ("mvue", "mvue-approx", "unbiased")]
        # One draw of two is the optimum itself, hence <= up to rounding.
        rising = spread[0] <= spread[1] * (1 + _ROUNDING) and spread[1] < spread[2]
        ranked = [name for name in _ascending(quality, "variance") if name in _UNBIASED]
        verdicts.append(
            judged(
                f"{pattern}: of the unbiased estimators MVUE varies least",
                "section 4.1, Figure 1; section 4.4",
                "mvue ≤ mvue-approx < unbiased",
                _less(ranked, quality, "variance"),
                [] if rising else [f"the order is {', '.join(ranked)}"],
            )
        )
        ranked = _ascending(quality, "mse")
        least = [] if ranked[0] == "magnitude" else [f"{ranked[0]} has the least MSE"]
        verdicts.append(
            judged(
                f"{pattern}: greedy minimises the MSE, MVUE does not",
                "section 4.1 and Appendix A.1",
                "magnitude (greedy) least",
                _less(ranked, quality, "mse"),
                least,
            )
        )
    return [*verdicts, _closed_form(figures), *_accuracies(figures["quality"]["1:2"])]


def _closed_form(figures: Figures) -> Verdict:
    error = figures["closed_form_error"]
    return judged(
        "1:2: the variance of MVUE is 2 |a₁ a₂|",
        "Eqs. 5 and 28 (printed without |·|)",
        "2 a₁ a₂",
        f"equal, largest relative error {error:.1e}",
        [] if error < _ROUNDING else [f"a block is {error:.1e} off"],
    )


def _accuracies(quality: dict[str, dict[str, float]]) -> list[Verdict]:
    """What the accuracies of Table 2 follow, and what not."""
    printed = sorted(ACCURACY, key=lambda name: -ACCURACY[name])
    order = " > ".join(f"{name} {ACCURACY[name]}" for name in printed)
    compared = {name: quality[name] for name in ACCURACY}

    def values(*measures: str) -> str:
        return "; ".join(
            f"{name} {' / '.join(_short(quality[name][m]) for m in measures)}"
            for name in _ascending(compared, *measures)
        )

    follows = [] if _inversions(compared, "mse") else ["accuracy falls as the MSE rises"]
    misdirected = ("misdirected", "scaled_variance")
    return [
        judged(
            "1:2: the MSE does not decide the accuracy",
            "Table 2, section 4.1",
            order,
            f"MSE: {values('mse')}",
            follows,
        ),
        judged(
            "1:2: the less bias, the more accurate the network",
            "read from Table 2, not claimed",
            order,
            f"bias: {values('bias')}",
            _inversions(compared, "bias"),
        ),
        judged(
            "1:2: the less misdirected bias, then variance, the more accurate the network",
            "read from Table 2, not claimed",
            order,
            f"misdirected bias / variance at the mean's scale: {values(*misdirected)}",
            _inversions(compared, *misdirected),
        ),
    ]


def _ratios(blocks: Floats) -> Floats:
    """Variance of the approximation over the optimum, of blocks x 4."""
    approximate = estimator_variance(blocks, "2:4", "mvue-approx").sum(1)
    best: Floats = estimator_variance(blocks, "2:4", "mvue").sum(1)
    return np.asarray(approximate / best)


def measure_scan(steps: int = 200, blocks: int = 1_000_000) -> Figures:
    """Figure 2 on a grid of ``1 / steps``, its left edge, and Eq. 16 on random blocks."""
    # One zero leaves three to choose two from; with two zeros both variances are 0.
    i, j, k = np.meshgrid(*[np.arange(steps + 1)] * 3, indexing="ij")
    sorted_blocks = (i <= j) & (j <= k) & (j > 0)
    grid = np.stack([axis[sorted_blocks] for axis in (i, j, k)], 1) / steps
    grid = np.concatenate([grid, np.ones((len(grid), 1))], 1)
    ratio = _ratios(grid)
    positive = grid[:, 0] > 0
    inner, at = ratio[positive], grid[positive]
    largest = [grid[:, 2] == value / steps for value in range(1, steps + 1)]
    tiny = [10.0**-power for power in range(1, 10)]
    random = np.exp(_SIGMA * np.random.default_rng(1).standard_normal((blocks, 4)))
    four = estimator_variance(random, "2:4", "mvue").sum(1)
    two = estimator_variance(random, "1:2", "mvue").sum(1)
    return {
        "step": 1 / steps,
        "blocks": len(inner),
        "maximum": float(inner.max()),
        "maximum_at": at[inner.argmax()].tolist(),
        "minimum": float(inner.min()),
        "one_zero": {
            "blocks": int((~positive).sum()),
            "maximum": float(ratio[~positive].max()),
            "maximum_at": grid[~positive][ratio[~positive].argmax()].tolist(),
        },
        "curve": {
            "largest_of_three": [value / steps for value in range(1, steps + 1)],
            "maximum": [float(ratio[of & positive].max()) for of in largest],
            "mean": [float(ratio[of & positive].mean()) for of in largest],
            "minimum": [float(ratio[of & positive].min()) for of in largest],
        },
        "edge": {"size": tiny, "ratio": _ratios(np.array([[e, e, e, 1.0] for e in tiny])).tolist()},
        "equation_16": {
            "blocks": blocks,
            "largest_ratio": float((four / two).max()),
            "mean_ratio": float((four / two).mean()),
            "ratio_of_sums": float(four.sum() / two.sum()),
        },
    }


def judge_scan(figures: Figures) -> list[Verdict]:
    """Figure 2, its caption and footnote; Eq. 16."""
    maximum, at = figures["maximum"], figures["maximum_at"]
    times = at[3] / at[2]
    beyond = figures["one_zero"]["maximum"]
    edge, sixteen = max(figures["edge"]["ratio"]), figures["equation_16"]
    place = f"[{', '.join(f'{a:g}' for a in at)}]"
    expected = 1.97539
    return [
        judged(
            "The variance of the approximation is less than twice the optimum",
            "Figure 2, section 4.4",
            "below 2",
            f"{maximum:.5f} at {place}; blocks with one zero {beyond:.5f}",
            [f"a block has {max(maximum, beyond):.5f}"] if max(maximum, beyond) >= 2 else [],
        ),
        judged(
            "Maximum over blocks of four non-zeros at the paper's step",
            f"Figure 2, step 0.005 (here {figures['step']:g}, {figures['blocks']:,} blocks)",
            f"a curve; {expected} follows from Eqs. 9 and 17",
            f"{maximum:.5f}",
            [] if abs(maximum - expected) < 5e-6 else [f"the scan gives {maximum:.5f}"],
        ),
        judged(
            "Towards the left edge the ratio stays below 2",
            "footnote 2, logarithmic steps",
            "below 2",
            f"{2 - edge:.1e} below 2 at most, a₁ = a₂ = a₃ down to {figures['edge']['size'][-1]:g}",
            [f"it reaches {edge:.6f}"] if edge >= 2 else [],
        ),
        judged(
            "The maximum lies where a₄ ≪ max(a₁, a₂, a₃)",
            "caption of Figure 2",
            "a₄ ≪ max(a₁, a₂, a₃)",
            f"a₄ = {times:g} max(a₁, a₂, a₃)",
            [] if times < 1 else [f"there a₄ ≫ the others ({times:g} times), as in footnote 2"],
        ),
        judged(
            "2:4 varies no more than two times 1:2",
            f"Eq. 16, {sixteen['blocks']:,} log-normal blocks",
            "Var 2:4 ≤ Var 1:2 + Var 1:2",
            f"ratio {sixteen['largest_ratio']:.6f} at most, {sixteen['mean_ratio']:.3f} on average",
            []
            if sixteen["largest_ratio"] <= 1 + _ROUNDING
            else [f"a block has ratio {sixteen['largest_ratio']:.6f}"],
        ),
    ]
