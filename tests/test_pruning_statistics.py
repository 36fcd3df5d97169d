"""Statistics against enumeration, binomials and figures of the papers."""

import math
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest

from nmsim.errors import PatternError, ShapeError, SpecError
from nmsim.pruning import prune
from nmsim.recipes.statistics import (
    bias,
    conditional_entropy,
    entropy,
    estimator_variance,
    expected_macs,
    inclusion_probabilities,
    mask_diversity,
    mse,
    retained_l1,
    violation_probability,
    violations,
)

STRUCTURES = ["unstructured", "structured", "transposable", "transposable-at-most", "sequential"]


def test_moments_of_a_pruner_that_draws_nothing():
    values = np.random.default_rng(0).standard_normal((3, 8, 10))
    for name in ("magnitude", "transposable", "fixed", "mean-absorption"):
        pruned = prune(values, "2:4", name)
        assert (inclusion_probabilities(values, "2:4", name) == pruned.mask).all()
        assert (estimator_variance(values, "2:4", name) == 0).all()
        assert bias(values, "2:4", name) == pytest.approx(pruned.values - values)
        assert mse(values, "2:4", name) == pytest.approx((pruned.values - values) ** 2)
    assert retained_l1(values, pruned.mask) == pytest.approx(np.abs(values[pruned.mask]).sum())


def test_moments_have_the_shape_of_the_values_and_take_options():
    assert inclusion_probabilities(np.ones(7), "2:4", "mvue").shape == (7,)
    assert inclusion_probabilities(np.ones((0, 8)), "2:4", "mvue").shape == (0, 8)
    assert estimator_variance(np.ones((2, 3, 5), np.int8), "2:4", "unbiased").shape == (2, 3, 5)
    tile = np.random.default_rng(1).random((8, 8))
    exact = inclusion_probabilities(tile, "4:8", "transposable", exact=True)
    assert (exact.sum(0) == 4).all()


def tile_masks(group):
    """All tiles of a group, as [tile, row, column]."""
    bits = np.arange(2 ** (group * group))[:, None] >> np.arange(group * group) & 1
    return bits.reshape(-1, group, group)


@pytest.mark.parametrize(("keep", "group"), [(1, 2), (1, 3), (2, 3), (1, 4), (2, 4), (3, 4)])
def test_diversity_of_tiles_by_enumeration(keep, group):
    tiles = tile_masks(group)
    sums = np.concatenate([tiles.sum(1), tiles.sum(2)], axis=1)
    exact = int((sums == keep).all(1).sum())
    at_most = int((sums <= keep).all(1).sum())
    shape = (group, 2 * group)
    assert mask_diversity(f"{keep}:{group}", shape, "transposable") == exact**2
    assert mask_diversity(f"{keep}:{group}", shape, "transposable-at-most") == at_most**2


@pytest.mark.parametrize(("keep", "group", "k"), [(2, 4, 8), (1, 4, 6), (3, 4, 7), (2, 3, 4)])
def test_diversity_along_rows_by_enumeration(keep, group, k):
    structured = sequential = 0
    for bits in product((0, 1), repeat=k):
        parts = [bits[i : i + group] for i in range(0, k, group)]
        quota = all(sum(part) == min(keep, len(part)) for part in parts)
        runs = all("1" not in "".join(map(str, part)).strip("1") for part in parts)
        structured += quota
        sequential += quota and runs
    assert mask_diversity(f"{keep}:{group}", (2, k), "structured") == structured**2
    assert mask_diversity(f"{keep}:{group}", (2, k), "sequential") == sequential**2


def test_diversity_table_of_the_paper():
    # Hubara et al., Table 1: 8 x 8 at half density. Its transposable row is right for 1:2 only.
    table = {
        "unstructured": [1.8e18] * 3,
        "structured": [4e9, 2.8e12, 5.7e14],
        "transposable": [6e4, 4e8, 1.7e13],
        "sequential": [4e9, 4e7, 4e5],
    }
    for structure, row in table.items():
        for pattern, printed in zip(("1:2", "2:4", "4:8"), row, strict=True):
            counted = mask_diversity(pattern, (8, 8), structure, counting="paper")
            assert counted == pytest.approx(printed, rel=0.1)
    assert mask_diversity("2:4", (4, 4), "transposable") == 90
    assert mask_diversity("4:8", (8, 8), "transposable") == 116_963_796_250
    assert mask_diversity("1:2", (8, 8), "transposable", "paper") == 2**16


def test_diversity_is_ordered_and_symmetric():
    for pattern in ("2:4", "4:8"):
        counts = [mask_diversity(pattern, (8, 8), s) for s in STRUCTURES if "most" not in s]
        assert counts == sorted(counts, reverse=True)
    assert mask_diversity("3:16", (16, 16), "transposable") == mask_diversity(
        "13:16", (16, 16), "transposable"
    )


def test_diversity_refuses_what_it_cannot_count():
    with pytest.raises(PatternError, match="too many"):
        mask_diversity("16:32", (32, 32), "transposable")
    with pytest.raises(ShapeError, match="whole tiles of 4 x 4"):
        mask_diversity("2:4", (4, 6), "transposable")
    with pytest.raises(SpecError, match="expected one of unstructured"):
        mask_diversity("2:4", (4, 4), "diagonal")
    with pytest.raises(SpecError, match="no formula"):
        mask_diversity("2:4", (4, 4), "transposable-at-most", "paper")


def test_violation_probability_is_the_binomial_tail():
    for keep, group in [(2, 4), (1, 4), (4, 8), (12, 16)]:
        for rho in (0.0, 0.1, 0.5, 0.86, 1.0):
            fits = sum(
                math.comb(group, zeros) * rho**zeros * (1 - rho) ** (group - zeros)
                for zeros in range(group - keep, group + 1)
            )
            assert violation_probability(f"{keep}:{group}", rho) == pytest.approx(
                1 - fits, abs=1e-14
            )
    # Figure 5a: half of the groups fit where the share of zeros asked for is what there is.
    assert violation_probability("2:4", 0.5) == 5 / 16
    with pytest.raises(SpecError, match="probability"):
        violation_probability("2:4", 1.5)


def test_violations_of_a_random_mask_approach_the_probability():
    # 250,000 groups: 6 standard deviations are 0.0056.
    bits = np.random.default_rng(2).random((1000, 1000)) < 0.5
    assert violations(bits, "2:4") == pytest.approx(5 / 16, abs=0.006)
    assert violations(prune(np.ones((10, 22)), "2:4").mask, "2:4") == 0
    assert violations(np.ones((2, 6)), "2:4") == 0.5
    assert violations(np.ones((0, 4)), "2:4") == 0


def test_random_masks_seldom_fit_when_transposed():
    # 11 of 16 columns of uniformly drawn 2:4 rows hold at most two: the share asp forgoes.
    mask = prune(np.zeros((4000, 400)), "2:4", "random").mask
    assert 1 - violations(mask.T, "2:4") == pytest.approx(11 / 16, abs=0.006)


def masks_of(keep, group, length):
    one = [set(c) for c in combinations(range(group), keep)]
    for parts in product(one, repeat=length // group):
        yield {g * group + i for g, part in enumerate(parts) for i in part}


@pytest.mark.parametrize(
    ("a", "b"),
    [((2, 4), (2, 4)), ((1, 2), (2, 4)), ((1, 4), (3, 4)), ((1, 2), (2, 3)), ((2, 3), (2, 4))],
)
def test_expected_macs_by_enumeration(a, b):
    length = math.lcm(a[1], b[1])
    counts = {}
    for left in masks_of(*a, length):
        for right in masks_of(*b, length):
            common = len(left & right)
            counts[common] = counts.get(common, 0) + 1
    total = sum(counts.values())
    found = expected_macs(f"{a[0]}:{a[1]}", f"{b[0]}:{b[1]}")
    assert found.length == length
    assert found.pmf == {common: Fraction(n, total) for common, n in counts.items()}
    assert found.mean == Fraction(a[0] * b[0] * length, a[1] * b[1])
    assert found == expected_macs(f"{b[0]}:{b[1]}", f"{a[0]}:{a[1]}")


def test_expected_macs_of_the_paper():
    # Chmiel et al., Eq. 18: 1/6 none, 4/6 one, 1/6 two.
    assert expected_macs("2:4", "2:4").pmf == {
        0: Fraction(1, 6),
        1: Fraction(4, 6),
        2: Fraction(1, 6),
    }
    assert expected_macs("64:128", "64:128").mean == 32
    assert expected_macs("dense", "2:4").mean == 2


def test_entropy_of_neighbours():
    rng = np.random.default_rng(3)
    levels = np.arange(256).repeat(64)
    assert entropy(levels) == pytest.approx(8)
    assert entropy(np.ones((3, 4))) == conditional_entropy(np.ones((3, 4))) == 0
    noise = rng.integers(0, 16, (400, 400)).astype(float)
    assert entropy(noise, 16) == pytest.approx(4, abs=0.01)
    assert conditional_entropy(noise, 16) == pytest.approx(4, abs=0.01)
    smooth = np.cumsum(rng.standard_normal((400, 400)), axis=1)
    assert conditional_entropy(smooth) < entropy(smooth) - 2
    ramp = np.tile(np.arange(64.0), (5, 1))
    assert conditional_entropy(ramp, 64) == pytest.approx(0, abs=1e-12)
