"""The intersecting array against every PE and every group, one by one, in plain Python."""

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import fast_every

from nmsim.errors import ShapeError
from nmsim.gemm import Gemm
from nmsim.machines.systolic.intersect import analytical
from nmsim.machines.systolic.intersect.analytical import expected_fold_cycles
from nmsim.machines.systolic.intersect.folds import Fabric, fold_cycles, fold_spans
from nmsim.machines.systolic.intersect.sampling import _half_width, sample_cycles
from nmsim.machines.systolic.intersect.survivors import (
    expected_survivors,
    fold_survivors,
    group_counts,
    survivor_histogram,
)
from nmsim.mask import Mask, SparseGemm
from nmsim.pattern import Pattern

LOOKAHEADS = (0, 1, 2, 4, 8, 16, None)


def random_mask(rng, rows, k, pattern):
    """Exactly ``keep`` of every whole group at random; what a short last group has of them."""
    groups = -(-k // pattern.group)
    order = rng.random((rows, groups, pattern.group)).argsort(-1).argsort(-1)
    return Mask.of((order < pattern.keep).reshape(rows, -1)[:, :k], pattern)


UNPATTERNED = Pattern(1023, 1024)
"""What elements kept anywhere are said to obey; not dense, and nobody looks at it."""


def scattered(rng, rows, k, density):
    return Mask.of(rng.random((rows, k)) < density, UNPATTERNED)


def survivors(a, b, copies, group):
    """copies x M x N x groups, by indexing single elements."""
    x = a.bits().reshape(copies, -1, a.k).tolist()
    y = b.bits().reshape(copies, -1, b.k).tolist()
    return [
        [
            [
                [
                    sum(row[i] and column[i] for i in range(start, min(start + group, a.k)))
                    for start in range(0, a.k, group)
                ]
                for column in y[copy]
            ]
            for row in x[copy]
        ]
        for copy in range(copies)
    ]


def oracle_fold(pes, lookahead):
    """t(r,c,g) = max(t(r,c,g-1), F(g-1-d)) + survivors; ``pes`` holds survivors by PE and group."""
    times = [0] * len(pes)
    finish = []
    for g in range(len(pes[0])):
        before = g - 1 - lookahead if lookahead is not None else -1
        floor = finish[before] if before >= 0 else 0
        times = [max(t, floor) + pe[g] for t, pe in zip(times, pes, strict=True)]
        finish.append(max(times))
    return finish[-1]


def oracle(a, b, copies, fabric):
    rows, cols, group, lookahead = fabric
    out = []
    for copy in survivors(a, b, copies, group):
        for r in range(0, len(copy), rows):
            for c in range(0, len(copy[0]), cols):
                pes = [pe for row in copy[r : r + rows] for pe in row[c : c + cols]]
                out.append(oracle_fold(pes, lookahead))
    return out


@st.composite
def cases(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    copies, k = draw(st.integers(1, 2)), draw(st.integers(1, 150))
    m, n = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    density = draw(st.sampled_from([0.05, 0.3, 0.5, 0.9, 1.0]))
    group = draw(st.one_of(st.integers(1, 16), st.sampled_from([31, 32, 60, 63, 64])))
    lookahead = draw(st.sampled_from([0, 1, 2, 3, 5, 8, 20, 40, 150, None]))
    a, b = scattered(rng, copies * m, k, density), scattered(rng, copies * n, k, 0.6)
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    return a, b, copies, Fabric(rows, cols, group, lookahead)


@settings(max_examples=120)
@given(cases())
def test_cycles_of_every_fold_are_those_of_the_oracle(case):
    assert fold_cycles(*case).ravel().tolist() == oracle(*case)


@pytest.mark.parametrize("lookahead", [0, 2, None])
@pytest.mark.parametrize(("k", "group"), [(700, 4), (579, 12)])
def test_many_folds_of_long_rows(k, group, lookahead):
    # more folds than blocks of work, so that a thread changes rows; rows of more than four words
    rng = np.random.default_rng(k)
    a, b = scattered(rng, 2 * 35, k, 0.5), scattered(rng, 2 * 9, k, 0.5)
    x, y = (mask.bits().reshape(2, -1, 1, k) for mask in (a, b))
    pairs = x & y.swapaxes(1, 2)
    counts = np.add.reduceat(pairs, range(0, k, group), axis=-1, dtype=np.int64)
    cycles = [
        oracle_fold(counts[copy, r : r + 2, c : c + 2].reshape(-1, counts.shape[-1]), lookahead)
        for copy in range(2)
        for r in range(0, 35, 2)
        for c in range(0, 9, 2)
    ]
    assert fold_cycles(a, b, 2, Fabric(2, 2, group, lookahead)).ravel().tolist() == cycles


@pytest.mark.parametrize("lookahead", [0, 1, 2, 70, 300, 1030, 1100, None])
@pytest.mark.parametrize("group", fast_every([1, 3, 8, 12, 64], 2))
def test_long_sums_do_not_overflow(group, lookahead):
    # K of 1200 group elements; a full row meets full columns, others wait for it
    k = 1200 * group
    rng = np.random.default_rng(group)
    bits = rng.random((3, k)) < np.array([[1.0], [0.5], [0.9]])
    a, b = Mask.of(bits, UNPATTERNED), Mask.of(~bits[::-1] | bits, UNPATTERNED)
    pes = [
        np.add.reduceat(x & y, range(0, k, group), dtype=np.int64).tolist()
        for x in a.bits()
        for y in b.bits()
    ]
    assert fold_cycles(a, b, 1, Fabric(3, 3, group, lookahead)).item() == oracle_fold(
        pes, lookahead
    )


@settings(max_examples=40)
@given(cases())
def test_survivors_and_their_histogram_are_those_of_the_oracle(case):
    a, b, copies, (rows, cols, group, _) = case
    counts = np.array(survivors(a, b, copies, group))
    totals = [
        copy[r : r + rows, c : c + cols].sum()
        for copy in counts
        for r in range(0, counts.shape[1], rows)
        for c in range(0, counts.shape[2], cols)
    ]
    assert fold_survivors(a, b, copies, rows, cols).ravel().tolist() == totals
    histogram = survivor_histogram(a, b, copies, group)
    assert histogram.tolist() == np.bincount(counts.ravel(), minlength=group + 1).tolist()
    gemm = Gemm(counts.shape[1], counts.shape[2], a.k, count=copies)
    assert SparseGemm(gemm, a, b).macs_useful == sum(totals) == histogram @ np.arange(group + 1)


@settings(max_examples=40)
@given(cases())
def test_look_ahead_never_hurts_and_stays_between_the_bounds(case):
    a, b, copies, (rows, cols, group, _) = case
    cycles = [fold_cycles(a, b, copies, Fabric(rows, cols, group, d)) for d in LOOKAHEADS]
    assert all((x >= y).all() for x, y in pairwise(cycles))
    counts = np.array(survivors(a, b, copies, group))[:, :rows, :cols]
    assert cycles[0][:, 0, 0].tolist() == counts.max(axis=(1, 2)).sum(axis=-1).tolist()
    assert cycles[-1][:, 0, 0].tolist() == counts.sum(axis=-1).max(axis=(1, 2)).tolist()


def test_groups_without_survivors_take_no_cycle():
    bits = np.zeros((2, 40), np.bool_)
    bits[:, 8:11] = True
    mask = Mask.of(bits, UNPATTERNED)
    assert [fold_cycles(mask, mask, 1, Fabric(2, 2, 4, d)).item() for d in LOOKAHEADS] == [3] * 7
    empty = Mask.of(np.zeros((2, 40), np.bool_), UNPATTERNED)
    assert fold_cycles(mask, empty, 1, Fabric(2, 2, 4, 1)).item() == 0


def test_bits_beyond_k_are_never_read():
    words = np.full((2, 1), ~np.uint64(0))
    mask = Mask.promising(Pattern(1, 1), 2, 10, regular=False, source=lambda: words)
    assert fold_cycles(mask, mask, 1, Fabric(2, 2, 4, 0)).item() == 10
    assert fold_cycles(mask, mask, 1, Fabric(2, 2, 4, None)).item() == 10


@pytest.fixture(scope="module")
def seeds():
    """Cycles of a 128 x 128 fold of 576 groups by look-ahead, 40 seeds."""
    cycles = {d: [] for d in LOOKAHEADS}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        a, b = (random_mask(rng, 128, 2304, Pattern(2, 4)) for _ in range(2))
        for d in LOOKAHEADS:
            cycles[d].append(fold_cycles(a, b, 1, Fabric(128, 128, 4, d)).item())
    return cycles


@pytest.mark.parametrize(
    ("lookahead", "cycles"), [(0, 1152), (1, 974), (2, 864), (4, 764), (8, 688), (None, 635)]
)
def test_folds_of_random_two_four_masks_take_what_is_known(seeds, lookahead, cycles):
    # The known figures come from single draws: within 4 standard deviations of the seeds' mean.
    spread = max(np.std(seeds[lookahead], ddof=1), 0.1)
    assert abs(np.mean(seeds[lookahead]) - cycles) < 4 * spread
    assert spread < 6


@pytest.mark.parametrize(("n1", "n2", "m"), [(2, 2, 4), (1, 3, 4), (4, 4, 8), (3, 8, 16)])
def test_mean_survivors_of_independent_masks(n1, n2, m):
    rng = np.random.default_rng(n1 + n2 + m)
    a, b = (random_mask(rng, 64, 64 * m, Pattern(n, m)) for n in (n1, n2))
    histogram = survivor_histogram(a, b, 1, m)
    x = np.arange(m + 1)
    mean = histogram @ x / histogram.sum()
    # A group's pairs share its rows, but are uncorrelated: the error is that of a simple mean.
    error = math.sqrt((histogram @ (x - mean) ** 2) / histogram.sum() / histogram.sum())
    assert abs(mean - n1 * n2 / m) < 4 * error
    expected = expected_survivors(a, b, 1, m)
    assert expected @ x == pytest.approx(n1 * n2 / m)
    assert np.abs(histogram / histogram.sum() - expected).max() < 0.01


def test_expected_survivors_of_two_four_are_hypergeometric():
    rng = np.random.default_rng(0)
    a, b = (random_mask(rng, 3, 16, Pattern(2, 4)) for _ in range(2))
    assert expected_survivors(a, b, 1, 4) == pytest.approx([1 / 6, 2 / 3, 1 / 6, 0, 0])


@settings(max_examples=40)
@given(cases())
def test_group_counts(case):
    a, _, _, (_, _, group, _) = case
    starts = range(0, a.k, group)
    counts = np.add.reduceat(a.bits(), starts, axis=1, dtype=np.int64)
    assert group_counts(a, group).kept.tolist() == counts.tolist()


PAIRS = [((2, 4), (2, 4)), ((1, 4), (2, 4)), ((1, 4), (1, 4)), ((4, 8), (2, 8)), ((8, 16), (8, 16))]


@pytest.mark.parametrize("lookahead", LOOKAHEADS)
@pytest.mark.parametrize(("a", "b"), fast_every(PAIRS, 2))
def test_expected_cycles_are_within_their_stated_error(a, b, lookahead):
    rng = np.random.default_rng(7)
    k, group = 1152, a[1]
    x, y = (random_mask(rng, 512, k, Pattern(*p)) for p in (a, b))
    cycles = fold_cycles(x, y, 1, Fabric(128, 128, group, lookahead))
    expected = expected_fold_cycles(x, y, 1, Fabric(128, 128, group, lookahead))
    assert expected.cycles.shape == cycles.shape
    error = 0.005 if lookahead in {0, None} else 0.04
    # 16 folds that share rows and columns: their own mean is uncertain by a quarter of their spread
    own = cycles.std() / 2 / cycles.mean()
    assert expected.cycles.mean() / cycles.mean() == pytest.approx(1, abs=error + own)
    assert (expected.low <= expected.high).all()
    slack = 1.005 + own
    assert expected.low.mean() / slack <= cycles.mean() <= expected.high.mean() * slack


@pytest.mark.parametrize("lookahead", LOOKAHEADS)
def test_expected_cycles_of_masks_without_a_pattern(lookahead):
    rng = np.random.default_rng(8)
    x, y = (scattered(rng, rows, 1001, 0.5) for rows in (300, 200))
    cycles = fold_cycles(x, y, 1, Fabric(128, 128, 8, lookahead))
    expected = expected_fold_cycles(x, y, 1, Fabric(128, 128, 8, lookahead)).cycles
    error = 0.008 if lookahead in {0, None} else 0.04
    assert expected.sum() / cycles.sum() == pytest.approx(1, abs=error)
    assert np.abs(expected / cycles - 1).max() < 0.08


@pytest.mark.parametrize(("lookahead", "error"), [(0, 0.01), (1, 0.1), (4, 0.1), (None, 0.01)])
def test_expected_cycles_where_rows_differ(lookahead, error):
    rng = np.random.default_rng(9)
    x = Mask.of(rng.random((256, 800)) < rng.random((256, 1)), UNPATTERNED)
    y = scattered(rng, 256, 800, 0.5)
    cycles = fold_cycles(x, y, 1, Fabric(128, 128, 8, lookahead))
    expected = expected_fold_cycles(x, y, 1, Fabric(128, 128, 8, lookahead)).cycles
    assert expected.sum() / cycles.sum() == pytest.approx(1, abs=error)


@pytest.mark.parametrize("lookahead", LOOKAHEADS)
def test_dense_operands_are_expected_exactly(lookahead):
    a, b = Mask.dense(20, 130), Mask.dense(30, 130)
    assert (fold_cycles(a, b, 1, Fabric(16, 16, 4, lookahead)) == 130).all()
    expected = expected_fold_cycles(a, b, 1, Fabric(16, 16, 4, lookahead))
    assert expected.cycles == pytest.approx(130, rel=0.01)


@pytest.mark.parametrize(("confidence", "quantile"), [(0.9, 2.131847), (0.95, 2.776445)])
def test_an_interval_of_one_stratum_is_students(confidence, quantile):
    # Five of ten folds, s^2 = 2.5: the variance of the total is 10 x 5 / 5 x 2.5 = 5^2.
    half = _half_width([np.arange(5)], np.array([10]), confidence)
    assert half == pytest.approx(quantile * 5, rel=1e-6)


def test_degrees_of_freedom_of_two_strata_lie_between():
    # Satterthwaite: (25 + 24)^2 / (25^2 / 4 + 24^2 / 2) = 5.4 degrees of freedom.
    half = _half_width([np.arange(5), np.array([0, 2, 4])], np.array([10, 6]), 0.95)
    assert 2.446912 < half / 7 < 2.570582


def test_a_run_that_draws_no_sample_does_not_load_special_functions():
    program = "import sys, nmsim.run.experiment; sys.exit('scipy.special' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.fixture(scope="module")
def layer():
    rng = np.random.default_rng(3)
    a, b = random_mask(rng, 250, 256, Pattern(2, 4)), random_mask(rng, 201, 256, Pattern(2, 4))
    return a, b, 1, Fabric(16, 8, 4, 2)


@pytest.mark.slow
def test_sampling_holds_the_truth_as_often_as_it_says(layer):
    truth = fold_cycles(*layer).sum()
    held, totals = 0, []
    for seed in range(400):
        sampled = sample_cycles(*layer, sample=200, seed=seed, confidence=0.9)
        low, high = sampled.interval
        held += low <= truth <= high
        totals.append(sampled.total)
    # binomial: 400 draws at 0.9 spread by 0.015
    assert held / 400 == pytest.approx(0.9, abs=0.05)
    assert np.mean(totals) == pytest.approx(truth, abs=4 * np.std(totals) / 20)


def test_a_sample_of_all_folds_is_exact(layer):
    sampled = sample_cycles(*layer, sample=10_000, seed=0)
    cycles = fold_cycles(*layer)
    assert (sampled.total, sampled.half_width) == (cycles.sum(), 0)
    assert sampled.sampled == sampled.folds.size == cycles.size
    np.testing.assert_array_equal(sampled.folds, cycles)


def test_sampling_is_seeded_and_says_how_much_it_ran(layer):
    first, again, other = (sample_cycles(*layer, sample=50, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.folds, again.folds)
    assert first.interval == again.interval != other.interval
    assert 45 <= first.sampled <= 58 < first.folds.size
    assert first.half_width > 0


@pytest.mark.parametrize(
    ("lookahead", "cycles"), [(0, 16), (1, 12), (2, 8), (3, 8), (4, 8), (None, 8)]
)
def test_a_pe_waits_for_the_others_where_its_lookahead_ends(lookahead, cycles):
    """By hand: products in the first two of four groups in one row, in the last two in the other.

    One group ahead, the second row's third group begins when the first row's first one has ended,
    at 4, and its fourth when the second one has, at 8.
    """
    bits = np.zeros((2, 16), bool)
    bits[0, :8] = bits[1, 8:] = True
    a, b = Mask.of(bits, UNPATTERNED), Mask.dense(1, 16)
    assert fold_cycles(a, b, 1, Fabric(2, 1, 4, lookahead)).tolist() == [[[cycles]]]


def test_folds_do_not_reach_across_copies():
    rng = np.random.default_rng(0)
    a, b = scattered(rng, 10, 8, 0.5), scattered(rng, 6, 8, 0.5)
    tiles_a, tiles_b, shape = fold_spans(a, b, 2, 4, 2)
    assert shape == (2, 2, 2)
    assert tiles_a.tolist()[:4] == [[0, 4], [0, 4], [4, 5], [4, 5]]
    assert tiles_b.tolist()[4:6] == [[3, 5], [5, 6]]


@pytest.mark.parametrize(
    ("k", "copies", "group", "lookahead"),
    [(9, 1, 4, 0), (8, 2, 4, 0), (8, 1, 0, 0), (8, 1, 65, 0), (8, 1, 4, -1)],
)
def test_impossible_machines_and_masks_are_refused(k, copies, group, lookahead):
    with pytest.raises(ShapeError):
        fold_cycles(Mask.dense(3, 8), Mask.dense(3, k), copies, Fabric(2, 2, group, lookahead))


@pytest.mark.parametrize(("sample", "confidence"), [(1, 0.95), (0, 0.95), (10, 1.0), (10, 0.0)])
def test_impossible_samples_are_refused(layer, sample, confidence):
    with pytest.raises(ShapeError, match="sample of"):
        sample_cycles(*layer, sample=sample, seed=0, confidence=confidence)


def test_folds_short_of_rows_are_a_stratum_of_their_own():
    bits = np.ones((37, 24), np.bool_)
    bits[32:] = False
    a, b = Mask.of(bits, UNPATTERNED), Mask.dense(24, 24)
    sampled = sample_cycles(a, b, 1, Fabric(8, 3, 4, 1), sample=10, seed=0)
    assert (sampled.total, sampled.half_width) == (4 * 8 * 24, 0)


def test_a_short_group_is_expected_to_hold_what_it_has():
    a, b = Mask.dense(1, 5), Mask.dense(1, 5)
    assert expected_fold_cycles(a, b, 1, Fabric(1, 1, 4, 0)).cycles.item() == pytest.approx(5)


def test_lock_step_waits_for_the_luckier_of_two_rows():
    """By hand: each of two rows of 1:2 meets the column of 1:2 in half of the groups, by itself."""
    a, b = (Mask.of(np.tile([True, False], (rows, 40)), Pattern(1, 2)) for rows in (2, 1))
    found = {d: expected_fold_cycles(a, b, 1, Fabric(2, 1, 2, d)).cycles.item() for d in (0, 1)}
    assert found[0] == pytest.approx(40 * 3 / 4)
    assert 40 / 2 < found[1] < 0.98 * found[0]


def test_a_mask_that_breaks_its_pattern_is_expected_group_by_group():
    """Two rows that keep all of one group of eight each, in turn: one of them is always busy."""
    bits = np.zeros((2, 16), bool)
    bits[0, :8] = bits[1, 8:] = True
    a, b = Mask.of(bits, Pattern(2, 4)).but(fits=False), Mask.dense(1, 16)
    found = expected_fold_cycles(a, b, 1, Fabric(2, 1, 8, 0))
    assert found.cycles.item() == pytest.approx(16)


def test_bounds_of_limited_look_ahead():
    # 576 groups of 2:4 x 2:4, d = 8: by hand, with a normal law, about 661 and 721
    rng = np.random.default_rng(0)
    a, b = (random_mask(rng, 128, 2304, Pattern(2, 4)) for _ in range(2))
    expected = expected_fold_cycles(a, b, 1, Fabric(128, 128, 4, 8))
    assert expected.low.item() == pytest.approx(667.5, abs=0.2)
    assert expected.high.item() == pytest.approx(724.3, abs=0.2)


def test_the_largest_of_normal_sums_is_that_of_order_statistics():
    one = np.ones(1)
    largest = analytical._largest_normal
    assert largest(np.zeros(1), one, 1) == pytest.approx(0, abs=1e-6)
    assert largest(np.zeros(1), one, 2) == pytest.approx(1 / math.sqrt(math.pi), rel=1e-4)
    assert largest(np.zeros(2), np.ones(2), 50) == pytest.approx(2.50759, rel=1e-4)
    assert largest(np.full(1, 7.0), 9 * one, 2) == pytest.approx(
        7 + 3 / math.sqrt(math.pi), rel=1e-4
    )
    # One that is ten deviations behind is never the largest; one that is level counts.
    assert largest(np.array([0.0, 10.0]), np.ones(2), 1) == pytest.approx(10, abs=1e-4)
    assert largest(np.array([3.0, 3.0, 0.0]), np.zeros(3), 1) == 3


def test_bounds_of_two_pes_that_toss_a_coin_per_group():
    """The larger of two PEs takes 3/4 in a group, and 15/16 + 7/16 in two."""
    laws, pes = analytical._Laws((np.array([0.5, 0.5]),)), np.array([2.0])
    one, two = 0.75, 1.375
    assert analytical._in_steps(laws, 10.0, 1, pes) == pytest.approx([10 * two / 2])
    assert analytical._in_steps(laws, 10.0, 0, pes) == pytest.approx([10 * one])
    assert analytical._below(laws, 2.0, 0, pes) == pytest.approx([2 * one])
    assert analytical._below(laws, 2.0, 1, pes) == pytest.approx([two])
    assert analytical._below(laws, 2.5, 1, pes) == pytest.approx(
        [max(one * 3.5 / 2, two * 3.5 / 3)]
    )
    # In a window of two groups that always holds one: steps of whole windows wait for nobody.
    sure = analytical._Laws((np.array([0.5, 0.5]), np.array([0.0, 1.0])))
    assert analytical._in_steps(sure, 10.0, 2, pes) == pytest.approx([5.0])
    assert analytical._in_steps(sure, 10.0, 4, pes) == pytest.approx([5.0])


def test_a_short_group_holds_what_it_has_where_rows_differ():
    """A full row and one of a single element against a dense column: nothing is left to chance."""
    bits = np.array([[True] * 5, [False, True, False, False, False]])
    a, b = Mask.of(bits, UNPATTERNED), Mask.dense(1, 5)
    assert expected_fold_cycles(a, b, 1, Fabric(2, 1, 4, None)).cycles.item() == 5


def normal_pair(mean, other, variance, more):
    """E of the larger of two independent normals (Clark, Operations Research 9(2), 1961)."""
    deviation = math.sqrt(variance + more)
    ahead = (mean - other) / deviation
    below = 0.5 * math.erfc(-ahead / math.sqrt(2))
    density = math.exp(-(ahead**2) / 2) / math.sqrt(2 * math.pi)
    return mean * below + other * (1 - below) + deviation * density


@pytest.mark.parametrize("pair", [(5, 4, 1, 1), (5, 4, 9, 1), (5, 4, 1, 9), (5, 5, 4, 0)])
def test_the_larger_of_two_unlike_normal_sums_is_clarks(pair):
    means, variances = np.array(pair, np.float64).reshape(2, 2)
    largest = analytical._largest_normal(means, variances, 1)
    assert largest == pytest.approx(normal_pair(*pair), rel=1e-4)


@pytest.mark.parametrize("behind", [0.5, 1.0, 1.5, 1.8])
def test_gathering_pes_moves_their_largest_by_a_bin_at_most(behind):
    """Of means from 100 to 164 one leads three that are a little behind: it is the largest."""
    means = np.array([100.0, *[164 - behind] * 3, 164.0])
    largest = analytical._largest_normal(means, np.full(5, 0.04), 1)
    assert largest == pytest.approx(164, abs=1.0)


def test_the_logarithm_of_a_mean_exponential_by_hand():
    """A coin of 0 or 1, and one of 0 or 3 that has no chance of 4."""
    assert analytical._log_mean(np.array([0.5, 0.5]), 2.0) == pytest.approx(
        math.log((1 + math.exp(2)) / 2)
    )
    assert analytical._log_mean(np.array([0.5, 0, 0, 0.5, 0]), 0.1) == pytest.approx(
        math.log((1 + math.exp(0.3)) / 2)
    )
    assert analytical._log_mean(np.array([1.0, 0.0]), 3.0) == 0


@pytest.mark.parametrize("lookahead", LOOKAHEADS)
def test_a_pe_of_its_own_waits_for_nobody(lookahead):
    """16 groups in which 2 of 4 meet 2 of 4: one survivor each, on average."""
    rng = np.random.default_rng(0)
    a, b = (random_mask(rng, 1, 64, Pattern(2, 4)) for _ in range(2))
    expected = expected_fold_cycles(a, b, 1, Fabric(1, 1, 4, lookahead))
    assert expected.low.item() == pytest.approx(16)
    assert expected.high.item() == pytest.approx(16)


@pytest.mark.parametrize("swapped", [False, True])
def test_rows_that_keep_alike_meet_one_that_does_not(swapped):
    """25 groups: folds of two rows that keep 2 of 4, and of one column that keeps 1 or 3 of 4.

    A PE's survivors have mean 1/2 or 3/2 in a group, and variance 1/4.
    """
    rng = np.random.default_rng(0)
    rows = random_mask(rng, 4, 100, Pattern(2, 4))
    kept = np.concatenate([random_mask(rng, 1, 100, Pattern(n, 4)).bits() for n in (1, 3)])
    columns = Mask.of(kept, UNPATTERNED)
    if swapped:
        expected = expected_fold_cycles(columns, rows, 1, Fabric(1, 2, 4, None)).cycles[0].T
    else:
        expected = expected_fold_cycles(rows, columns, 1, Fabric(2, 1, 4, None)).cycles[0]
    ahead = math.sqrt(25 / 4 / math.pi)
    by_hand = [25 / 2 + ahead, 25 * 3 / 2 + ahead]
    np.testing.assert_allclose(expected, [by_hand, by_hand], rtol=1e-4)
