"""Stochastic pruners against their formulas, and their draws against the formulas.

Statistical tests compare the mean of many draws with the exact mean. Each statistic is a sum of
independent bounded terms, normal for all purposes, and is refused beyond 6 standard deviations: a
false alarm has probability 2e-9 for one element, below 1e-5 for all elements of this file. Seeds
are fixed, so an alarm is either there or not.
"""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from tiers import fast_every

from nmsim.errors import PatternError
from nmsim.pruning import prune
from nmsim.recipes.statistics import bias, estimator_variance, inclusion_probabilities, mse

ESTIMATORS = ["random", "uniform", "biased", "unbiased", "mvue", "mvue-approx"]
UNBIASED = ["unbiased", "mvue", "mvue-approx"]
DRAWS = 100_000
ALARM = 6.0


def probabilities_by_root_finding(sizes, keep):
    """min(1, a / t) with t from a one-dimensional root: what the definition says."""
    if np.count_nonzero(sizes) <= keep:
        return (sizes > 0).astype(float)
    t = brentq(
        lambda t: np.minimum(1.0, sizes / t).sum() - keep,
        sizes[sizes > 0].min() / 2,
        2 * sizes.sum(),
        xtol=1e-300,
        rtol=1e-15,
    )
    return np.minimum(1.0, sizes / t)


def probabilities_by_enumeration(sizes, keep):
    """Successive draws without replacement, over all orders."""
    p = np.zeros(len(sizes))
    for order in permutations(range(len(sizes)), keep):
        chance, rest = 1.0, sizes.sum()
        for i in order:
            chance *= sizes[i] / rest
            rest -= sizes[i]
        p[list(order)] += chance
    return p


@pytest.mark.parametrize(
    ("keep", "group"), [(1, 2), (2, 4), (1, 4), (3, 4), (2, 8), (4, 8), (7, 8), (4, 16), (5, 7)]
)
def test_mvue_has_the_defined_probabilities(keep, group):
    rng = np.random.default_rng([keep, group])
    values = np.exp(2 * rng.standard_normal((200, group))) * rng.choice([-1, 1], (200, group))
    values[:50] = rng.integers(-3, 4, (50, group))
    found = inclusion_probabilities(values, f"{keep}:{group}", "mvue")
    spread = estimator_variance(values, f"{keep}:{group}", "mvue")
    for row, p, variance in zip(values, found, spread, strict=True):
        sizes = np.abs(row)
        wanted = probabilities_by_root_finding(sizes, keep)
        real = sizes > 0
        assert p[real] == pytest.approx(wanted[real], rel=1e-12)
        expected = (sizes[real] ** 2 / wanted[real] - sizes[real] ** 2).sum()
        assert variance.sum() == pytest.approx(expected, rel=1e-9, abs=1e-12 * sizes.max() ** 2)


def test_mvue_1_2_has_the_closed_form():
    values = np.random.default_rng(0).standard_normal((500, 2))
    a, b = np.abs(values).T
    assert inclusion_probabilities(values, "1:2", "mvue")[:, 0] == pytest.approx(a / (a + b))
    assert estimator_variance(values, "1:2", "mvue").sum(1) == pytest.approx(2 * a * b, rel=1e-12)
    pruned = prune(values, "1:2", "mvue")
    sums = (a + b)[:, None] * np.sign(values)
    assert pruned.values == pytest.approx(np.where(pruned.mask, sums, 0))


def test_mvue_2_4_follows_the_three_cases():
    # a4 against a1 + a2 + a3 decides whether it is certain (Chmiel et al., A.2).
    spread = inclusion_probabilities([[1.0, 2, 3, 4]], "2:4", "mvue")
    assert spread == pytest.approx(np.array([[0.2, 0.4, 0.6, 0.8]]))
    certain = inclusion_probabilities([[1.0, 2, 3, 40]], "2:4", "mvue")
    assert certain == pytest.approx(np.array([[1 / 6, 2 / 6, 3 / 6, 1]]))
    border = inclusion_probabilities([[1.0, 2, 3, 6]], "2:4", "mvue")
    assert border == pytest.approx(np.array([[1 / 6, 2 / 6, 3 / 6, 1]]))


@pytest.mark.parametrize(("keep", "group"), [(1, 4), (2, 4), (2, 6), (3, 4), (3, 5), (4, 6)])
def test_approximate_mvue_divides_by_its_true_probability(keep, group):
    values = np.random.default_rng([keep, group]).standard_normal((40, group))
    values[0, :3] = 0.0
    found = inclusion_probabilities(values, f"{keep}:{group}", "mvue-approx")
    for row, p in zip(values, found, strict=True):
        if np.count_nonzero(row) > keep:
            assert p == pytest.approx(probabilities_by_enumeration(np.abs(row), keep), rel=1e-12)
    pruned = prune(values, f"{keep}:{group}", "mvue-approx")
    kept = pruned.mask & (values != 0)
    assert pruned.values[kept] == pytest.approx(values[kept] / found[kept], rel=1e-12)


def test_approximate_mvue_says_what_is_beyond_it():
    assert prune(np.ones((4, 64)), "2:64", "mvue-approx").mask.sum() == 8
    with pytest.raises(PatternError, match=r"2\^M subsets"):
        prune(np.ones((4, 64)), "3:64", "mvue-approx")


ROW = np.array([3.0, -1, 0.5, 2, 0.1, 0.1, 7, 0, 1, -2, 0, 4, 5, -0.3])


@pytest.mark.parametrize("name", fast_every(list(ESTIMATORS), 2))
@pytest.mark.parametrize("pattern", ["1:2", "2:4", "3:4", "4:8", "2:5"])
def test_draws_have_the_exact_mean_and_variance(name, pattern):
    rows = np.tile(ROW, (DRAWS, 1))
    pruned = prune(rows, pattern, name, seed=11)
    p = inclusion_probabilities(ROW[None], pattern, name)[0]
    away = pruned.mask.mean(0) - p
    assert (np.abs(away) <= ALARM * np.sqrt(p * (1 - p) / DRAWS) + 1e-12).all()
    variance = estimator_variance(ROW[None], pattern, name)[0]
    mean = ROW + bias(ROW[None], pattern, name)[0]
    scatter = np.sqrt(variance / DRAWS)
    assert (np.abs(pruned.values.mean(0) - mean) <= ALARM * scatter + 1e-12).all()
    squares = (pruned.values - mean) ** 2
    error = squares.std(0) / np.sqrt(DRAWS)
    assert (np.abs(squares.mean(0) - variance) <= ALARM * error + 1e-9).all()


@pytest.mark.parametrize("name", UNBIASED)
def test_unbiased_estimators_have_no_bias(name):
    values = np.random.default_rng(1).standard_normal((100, 24))
    assert np.abs(bias(values, "2:4", name)).max() < 1e-14
    squared = mse(values, "2:4", name)
    assert squared == pytest.approx(estimator_variance(values, "2:4", name))


@pytest.mark.parametrize("name", ["random", "mvue", "mvue-approx"])
def test_groups_are_drawn_independently(name):
    # Correlation of neighbouring groups, of rows, of one seed with the next, and of seeds one step
    # of the generator apart.
    values = np.tile([1.0, 2, 3, 4], (4000, 16))
    first = prune(values, "2:4", name, seed=0).mask[:, ::4].astype(float)
    next_seed = prune(values, "2:4", name, seed=1).mask[:, ::4].astype(float)
    step = prune(values, "2:4", name, seed=0x9E3779B97F4A7C15).mask[:, ::4].astype(float)
    pairs = [
        (first[:, :-1], first[:, 1:]),
        (first[:-1], first[1:]),
        (first, next_seed),
        (first.reshape(-1)[1:], next_seed.reshape(-1)[:-1]),
        (first.reshape(-1)[1:], step.reshape(-1)[:-1]),
    ]
    for left, right in pairs:
        correlation = np.corrcoef(left.reshape(-1), right.reshape(-1))[0, 1]
        assert abs(correlation) < ALARM / np.sqrt(left.size)


@pytest.mark.parametrize("name", ["mvue", "mvue-approx", "biased"])
@settings(deadline=None, max_examples=60, derandomize=True)
@given(data=st.data())
def test_any_scale_keeps_exactly_n(name, data):
    group = data.draw(st.integers(1, 8))
    keep = data.draw(st.integers(1, group))
    exponents = st.integers(-300, 300)
    rows = data.draw(
        st.lists(
            st.lists(st.one_of(st.just(None), exponents), min_size=9, max_size=9),
            min_size=1,
            max_size=5,
        )
    )
    values = np.array([[0.0 if e is None else 10.0**e for e in row] for row in rows])
    pruned = prune(values, f"{keep}:{group}", name, seed=data.draw(st.integers(0, 9)))
    assert np.isfinite(pruned.values).all()
    for start in range(0, 9, group):
        block, kept = values[:, start : start + group], pruned.mask[:, start : start + group]
        out = pruned.values[:, start : start + group]
        assert (kept.sum(1) == min(keep, block.shape[1])).all()
        nonzero = np.count_nonzero(block, axis=1)
        many = nonzero >= keep
        assert (np.count_nonzero(out, axis=1)[many] == keep).all()
        few = nonzero <= keep
        assert (out[few] == block[few]).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e30])
def test_probabilities_do_not_depend_on_the_scale(scale):
    values = np.random.default_rng(2).standard_normal((100, 8))
    for name in ("mvue", "mvue-approx"):
        reference = inclusion_probabilities(values, "2:4", name)
        assert inclusion_probabilities(values * scale, "2:4", name) == pytest.approx(
            reference, rel=1e-12
        )
        draws = prune(values, "2:4", name, seed=4).mask
        assert (prune(values * scale, "2:4", name, seed=4).mask == draws).all()


def test_mvue_2_4_is_never_worse_than_two_of_1_2():
    # Eq. 16 of Chmiel et al.
    values = np.exp(np.random.default_rng(3).standard_normal((200_000, 4)) * 2)
    four = estimator_variance(values, "2:4", "mvue").sum(1)
    two = estimator_variance(values, "1:2", "mvue").sum(1)
    assert (four <= two * (1 + 1e-12)).all()


def test_the_approximation_is_within_a_factor_of_two():
    # Figure 2 of Chmiel et al.: blocks a1 <= a2 <= a3 <= a4 = 1 on a grid of step 0.005.
    steps = np.arange(1, 201)
    i, j = np.meshgrid(steps, steps, indexing="ij")
    worst, at = 0.0, None
    for first in range(1, 201, 3):
        a2, a3 = i[(i >= first) & (j >= i)] / 200, j[(i >= first) & (j >= i)] / 200
        blocks = np.stack([np.full_like(a2, first / 200), a2, a3, np.ones_like(a2)], 1)
        ratio = estimator_variance(blocks, "2:4", "mvue-approx").sum(1) / estimator_variance(
            blocks, "2:4", "mvue"
        ).sum(1)
        if ratio.max() > worst:
            worst, at = ratio.max(), blocks[ratio.argmax()]
    assert worst == pytest.approx(1.97539, abs=5e-6)
    assert (at == [0.005, 0.005, 0.005, 1]).all()
    tiny = np.array([[1e-9, 1e-9, 1e-9, 1.0]])
    limit = estimator_variance(tiny, "2:4", "mvue-approx").sum()
    assert 1.9999 < limit / estimator_variance(tiny, "2:4", "mvue").sum() < 2


def test_the_order_of_bias_and_variance_of_table_2():
    # Chmiel et al., Table 2: five ways to prune 1:2; only two are unbiased, mvue varies less.
    values = np.random.default_rng(4).standard_normal((2000, 2))
    names = ["magnitude", "biased", "uniform", "unbiased", "mvue"]
    error = {name: mse(values, "1:2", name).sum() for name in names}
    offset = {name: (bias(values, "1:2", name) ** 2).sum() for name in names}
    spread = {name: estimator_variance(values, "1:2", name).sum() for name in names}
    assert sorted(names, key=error.__getitem__) == [
        "magnitude",
        "biased",
        "uniform",
        "mvue",
        "unbiased",
    ]
    assert spread["magnitude"] == 0 < spread["mvue"] < spread["unbiased"]
    assert (
        max(offset["mvue"], offset["unbiased"])
        < 1e-20
        < min(offset["magnitude"], offset["biased"], offset["uniform"])
    )


def test_the_variance_is_the_least_of_any_probabilities():
    # No other probabilities that add up to N do better: random ones, and small changes.
    rng = np.random.default_rng(5)
    for _ in range(50):
        sizes = np.exp(rng.standard_normal(8))
        best = estimator_variance(sizes[None], "3:8", "mvue").sum()
        p = inclusion_probabilities(sizes[None], "3:8", "mvue")[0]
        for drawn in (rng.dirichlet(np.ones(8), 200) * 3, p + rng.normal(0, 1e-3, (200, 8))):
            clipped = np.clip(drawn, 1e-9, 1)
            other = clipped * (3 / clipped.sum(1, keepdims=True))
            other = other[(other <= 1).all(1)]
            assert ((sizes**2 / other - sizes**2).sum(1) >= best * (1 - 1e-12)).all()
