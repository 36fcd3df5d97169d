"""What pruning does to tensors, in numbers: kept magnitude, bias, variance, diversity, overlap."""

import math
from collections.abc import Mapping
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmsim.errors import ShapeError, SpecError
from nmsim.pattern import Pattern
from nmsim.pruning import PRUNERS, Moments, prune
from nmsim.pruning.parts.diversity import mask_diversity

__all__ = [
    "MacDistribution",
    "bias",
    "conditional_entropy",
    "entropy",
    "estimator_variance",
    "expected_macs",
    "inclusion_probabilities",
    "mask_diversity",
    "mse",
    "retained_l1",
    "violation_probability",
    "violations",
]

Floats = NDArray[np.float64]


def retained_l1(values: ArrayLike, mask: ArrayLike) -> float:
    """Add up the magnitudes that a mask keeps: the L1 norm that pruning by magnitude maximises.

    Sums are taken in binary64. Divide by that of another mask to compare structures (Hubara et al.,
    NeurIPS 2021, Figure 3b).
    """
    sizes = np.abs(np.asarray(values, np.float64))
    return float(sizes.sum(where=np.asarray(mask, np.bool_)))


def _moments(
    values: ArrayLike, pattern: str | Pattern, pruner: str, options: Mapping[str, Any]
) -> Moments:
    """Give exact moments, arrays of the values' shape; a pruner that draws nothing has 0 and 1."""
    array = np.asarray(values)
    # In binary64, so that a value which its own dtype cannot hold is no error here.
    done = prune(array.astype(np.float64), pattern, pruner, **options)
    exact = PRUNERS[pruner].moments
    if exact is None:
        kept = done.mask.astype(np.float64)
        return Moments(kept, 1.0 - kept, done.values.astype(np.float64))
    k = array.shape[-1]
    matrix = array.astype(np.float64).reshape(array.size // k if k else 0, k)
    found = exact(matrix, Pattern.parse(pattern), **options)
    return Moments(*(part.reshape(array.shape) for part in found))


def inclusion_probabilities(
    values: ArrayLike, pattern: str | Pattern, pruner: str, **options: object
) -> Floats:
    """Give the probability that a pruner keeps each element: exact, not sampled.

    Parameters
    ----------
    values, pattern, pruner, options
        As for ``nmsim.prune``.

    Returns
    -------
    float64, shape of the values
        0 or 1 for pruners that draw nothing.
    """
    return _moments(values, pattern, pruner, options).kept


def estimator_variance(
    values: ArrayLike, pattern: str | Pattern, pruner: str, **options: object
) -> Floats:
    """Give the variance of every element of the pruned values over the pruner's draws.

    The variance of a group is their sum (Chmiel et al., ICLR 2023, Eq. 9). Parameters and shape as
    for ``inclusion_probabilities``.
    """
    kept, pruned, value = _moments(values, pattern, pruner, options)
    return kept * value * pruned * value


def bias(values: ArrayLike, pattern: str | Pattern, pruner: str, **options: object) -> Floats:
    """Give the mean of every element of the pruned values over the draws, minus what it was.

    Parameters and shape as for ``inclusion_probabilities``.
    """
    kept, _, value = _moments(values, pattern, pruner, options)
    return kept * value - np.asarray(values, np.float64)


def mse(values: ArrayLike, pattern: str | Pattern, pruner: str, **options: object) -> Floats:
    """Give the mean squared error of every element: variance + bias^2 (Chmiel et al., section 3).

    Parameters and shape as for ``inclusion_probabilities``.
    """
    kept, pruned, value = _moments(values, pattern, pruner, options)
    away = kept * value - np.asarray(values, np.float64)
    return kept * value * pruned * value + away**2


def violation_probability(pattern: str | Pattern, rho: float) -> float:
    """Give the probability that a group of an unstructured mask has more than N non-zeros.

    1 - Eq. 4 of Hubara et al. (NeurIPS 2021), where N counts what is pruned. ``rho`` is the
    probability of an element to be zero, independent of the others.
    """
    kept = Pattern.parse(pattern)
    if not 0.0 <= rho <= 1.0:
        raise SpecError(f"rho {rho}: expected a probability")
    terms = (
        math.comb(kept.group, held) * (1.0 - rho) ** held * rho ** (kept.group - held)
        for held in range(kept.keep + 1, kept.group + 1)
    )
    return math.fsum(terms)


def violations(mask: ArrayLike, pattern: str | Pattern) -> float:
    """Give the share of groups along the last axis in which a mask keeps more than N.

    0 for a mask without groups. Groups are those of every row; the last may be short.
    """
    bits, kept = np.asarray(mask, np.bool_), Pattern.parse(pattern)
    if bits.ndim == 0:
        raise ShapeError("mask is a single bit, expected an array with a last axis K")
    if bits.size == 0:
        return 0.0
    counts = np.add.reduceat(bits, np.arange(0, bits.shape[-1], kept.group), axis=-1, dtype=int)
    return float((counts > kept.keep).mean())


class MacDistribution(NamedTuple):
    """Useful MACs of two masked operands over ``length`` elements of K; all exact."""

    length: int
    mean: Fraction
    variance: Fraction
    pmf: dict[int, Fraction]


def _common_counts(a: Pattern, b: Pattern, length: int) -> dict[int, int]:
    """Count pairs of masks by how many elements both keep, element by element."""
    states = {(0, 0, 0): 1}
    for at in range(length):
        left_a, left_b = a.group - at % a.group, b.group - at % b.group
        after: dict[tuple[int, int, int], int] = {}
        for (held_a, held_b, common), ways in states.items():
            for x, y in product((0, 1), (0, 1)):
                new_a, new_b = held_a + x, held_b + y
                fits_a = a.keep - left_a < new_a <= a.keep
                if not (fits_a and b.keep - left_b < new_b <= b.keep):
                    continue
                key = (new_a if left_a > 1 else 0, new_b if left_b > 1 else 0, common + (x & y))
                after[key] = after.get(key, 0) + ways
        states = after
    return {common: ways for (_, _, common), ways in sorted(states.items())}


def expected_macs(pattern_a: str | Pattern, pattern_b: str | Pattern) -> MacDistribution:
    """Distribute the MACs that survive two independent masks, every mask equally likely.

    Parameters
    ----------
    pattern_a, pattern_b
        Of the two operands, groups aligned along K.

    Returns
    -------
    MacDistribution
        over one least common multiple of the groups; the mean is N1 N2 length / (M1 M2) (Chmiel et
        al., ICLR 2023, section 5, has 2:4 with 2:4).

    Examples
    --------
    >>> expected_macs("2:4", "2:4").mean
    Fraction(1, 1)
    """
    a, b = sorted((Pattern.parse(pattern_a), Pattern.parse(pattern_b)), key=lambda p: p.group)
    length = math.lcm(a.group, b.group)
    if length == b.group:
        # However they lie, a fixed number of A's elements falls into B's one group.
        held = a.keep * (length // a.group)
        counts = {
            common: math.comb(held, common) * math.comb(length - held, b.keep - common)
            for common in range(max(0, held + b.keep - length), min(held, b.keep) + 1)
        }
    else:
        counts = _common_counts(a, b, length)
    total = sum(counts.values())
    pmf = {common: Fraction(ways, total) for common, ways in counts.items()}
    mean = sum((common * p for common, p in pmf.items()), Fraction(0))
    variance = sum(((common - mean) ** 2 * p for common, p in pmf.items()), Fraction(0))
    return MacDistribution(length, mean, variance, pmf)


def _levels(values: ArrayLike, levels: int) -> NDArray[np.int64]:
    """Quantise uniformly between the least and the largest value."""
    array = np.asarray(values, np.float64)
    low, high = array.min(initial=np.inf), array.max(initial=-np.inf)
    if not high > low:
        return np.zeros(array.shape, np.int64)
    scaled = (array - low) / (high - low) * levels
    return np.asarray(np.minimum(scaled.astype(np.int64), levels - 1))


def _bits(counts: NDArray[np.int64]) -> float:
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(share * np.log2(share)).sum())


def entropy(values: ArrayLike, levels: int = 256) -> float:
    """Give the entropy of values quantised uniformly, in bits (Xu et al., AAAI 2022, 6.1)."""
    return _bits(np.bincount(_levels(values, levels).reshape(-1), minlength=1))


def conditional_entropy(values: ArrayLike, levels: int = 256) -> float:
    """Give the entropy of an element, its neighbour along the last axis being known, in bits.

    H(X | X') = H(X, X') - H(X') over pairs of adjacent columns (Xu et al., AAAI 2022, Eq. 11).
    ``entropy`` minus this is how alike neighbours are, and what a fixed mask relies on.
    """
    coded = _levels(values, levels)
    before = coded[..., :-1].reshape(-1)
    joint = before * levels + coded[..., 1:].reshape(-1)
    counts = np.unique(joint, return_counts=True)[1]
    return _bits(counts) - _bits(np.bincount(before, minlength=1))
