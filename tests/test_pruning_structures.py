"""Pruners that draw nothing, against slow and obvious versions of themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmsim.errors import ShapeError
from nmsim.pattern import Pattern
from nmsim.pruning import prune
from nmsim.pruning.adaprune import gram
from nmsim.pruning.fixed import fixed_positions, information_restoration


def groups_of(row, group):
    return [slice(start, min(start + group, len(row))) for start in range(0, len(row), group)]


def largest_by_sorting(values, keep, group):
    """A stable sort by descending magnitude: the lowest index first among equals."""
    mask = np.zeros(values.shape, bool)
    for row, kept in zip(values, mask, strict=True):
        for part in groups_of(row, group):
            sizes = [abs(int(v)) if row.dtype.kind in "iu" else abs(v) for v in row[part]]
            order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
            kept[part.start + np.array(order[:keep])] = True
    return mask


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    group=st.integers(1, 40),
    rows=st.integers(1, 6),
    k=st.integers(1, 100),
    dtype=st.sampled_from([np.float32, np.float64, np.int64, np.float16, np.int8]),
    data=st.data(),
)
def test_magnitude_keeps_the_largest_lowest_index_first(group, rows, k, dtype, data):
    keep = data.draw(st.integers(1, group))
    few = data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    values = rng.integers(-3 if few else -100, 4 if few else 100, (rows, k)).astype(dtype)
    pruned = prune(values, f"{keep}:{group}")
    assert (pruned.mask == largest_by_sorting(values, keep, group)).all()
    assert (pruned.values == np.where(pruned.mask, values, 0)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize(
    "pattern", ["1:4", "2:4", "3:4", "4:8", "1:16", "64:128", "100:128", "9:1023"]
)
def test_magnitude_on_many_groups(dtype, pattern):
    values = np.random.default_rng(0).standard_normal((7, 3000)) * 1e6
    values = values.astype(dtype)
    kept = Pattern.parse(pattern)
    expected = largest_by_sorting(values, kept.keep, kept.group)
    assert (prune(values, pattern).mask == expected).all()


def test_every_order_of_four_with_ties():
    grid = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 4), -1).reshape(-1, 4)
    for dtype in (np.float32, np.float64, np.int64):
        mask = prune(grid.astype(dtype), "2:4").mask
        assert (mask == largest_by_sorting(grid, 2, 4)).all()


def test_extreme_magnitudes():
    tiny = np.nextafter(np.float32(0), np.float32(1))
    row = np.array([0.0, -0.0, tiny, -tiny, 3e38, -3e38, 1, -1], np.float32)
    assert (prune(row, "4:8").mask == [0, 0, 0, 0, 1, 1, 1, 1]).all()
    assert (prune(row[:4], "3:4").mask == [1, 0, 1, 1]).all()
    least = np.iinfo(np.int64).min
    integers = np.array([least + 1, least, 5, -(least + 1)])
    assert (prune(integers, "1:4").mask == [0, 1, 0, 0]).all()
    assert (prune(integers, "2:4").mask == [1, 1, 0, 0]).all()


def test_large_unsigned_integers():
    values = np.array([2**63 + 5, 1, 2**64 - 1, 2], np.uint64)
    assert (prune(values, "2:4").mask == [1, 0, 1, 0]).all()


@settings(deadline=None, max_examples=60, derandomize=True)
@given(group=st.integers(1, 9), k=st.integers(1, 30), data=st.data())
def test_sequential_prunes_the_lightest_run(group, k, data):
    keep = data.draw(st.integers(1, group))
    row = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-4, 5, k)
    mask = prune(row, f"{keep}:{group}", "sequential").mask
    for part in groups_of(row, group):
        kept, sizes = mask[part], np.abs(row[part])
        run = max(len(sizes) - keep, 0)
        pruned = np.flatnonzero(~kept)
        assert len(pruned) == run
        if run:
            assert pruned[-1] - pruned[0] == run - 1
            weights = [sizes[i : i + run].sum() for i in range(len(sizes) - run + 1)]
            last = len(weights) - 1 - int(np.argmin(weights[::-1]))
            assert pruned[0] == last


@pytest.mark.parametrize("pattern", ["2:4", "1:3", "4:4", "1:1000"])
def test_unstructured_keeps_the_largest_of_the_tensor(pattern):
    values = np.random.default_rng(1).integers(-9, 10, (5, 6, 7))
    mask = prune(values, pattern, "unstructured").mask
    count = round(values.size * Pattern.parse(pattern).density)
    order = np.argsort(-np.abs(values.reshape(-1)), kind="stable")
    expected = np.zeros(values.size, bool)
    expected[order[:count]] = True
    assert (mask.reshape(-1) == expected).all()


def test_structure_costs_magnitude():
    # Hubara et al., Figure 3b: the more a structure asks for, the less it keeps.
    values = np.random.default_rng(2).standard_normal((512, 512))
    kept = [
        np.abs(prune(values, pattern, name).values).sum()
        for name, pattern in [
            ("unstructured", "4:8"),
            ("magnitude", "4:8"),
            ("magnitude", "2:4"),
            ("transposable", "4:8"),
            ("transposable", "2:4"),
            ("sequential", "4:8"),
            ("random", "4:8"),
        ]
    ]
    assert kept == sorted(kept, reverse=True)


def test_fixed_keeps_every_other_column():
    mask = prune(np.zeros((2, 10)), "2:4", "fixed").mask
    assert (mask == [1, 0, 1, 0, 1, 0, 1, 0, 1, 0]).all()
    assert (mask == prune(np.zeros((2, 10)), "1:2", "fixed").mask).all()
    for keep, group in [(1, 4), (3, 4), (4, 8), (3, 8), (5, 7)]:
        positions = fixed_positions(Pattern(keep, group))
        assert positions.sum() == keep
        assert positions[0]


def test_information_restoration_is_the_shift_of_eq_10():
    samples, columns = 3, 6
    gradient = np.random.default_rng(3).standard_normal((4, samples * columns))
    activations = np.random.default_rng(4).standard_normal((5, samples * columns))
    kept = prune(activations, "2:4", "fixed").values
    shift = np.kron(np.eye(samples), np.eye(columns, k=-1))
    expected = gradient @ (kept.T + shift @ kept.T)
    assert information_restoration(gradient, columns) @ kept.T == pytest.approx(expected)
    # Each pruned column now acts as its kept neighbour, and no sample leaks into the next.
    filled = np.repeat(kept[:, ::2], 2, axis=1)
    assert information_restoration(gradient, columns) @ kept.T == pytest.approx(gradient @ filled.T)
    with pytest.raises(ShapeError, match="whole samples of 5"):
        information_restoration(gradient, 5)


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "3:8"])
def test_sdgp_keeps_the_l1_norm_of_maps_and_blocks(pattern):
    values = np.random.default_rng(5).standard_normal((4, 3, 5, 16))
    plain = prune(values, pattern)
    by_map = prune(values, pattern, "sdgp", epsilon=0.0)
    assert (by_map.mask == plain.mask).all()
    # Channels in which a sample keeps something: their map keeps its magnitude.
    left = plain.mask.any(axis=(1, 2))
    before, after = (np.abs(a).sum(axis=(1, 2)) for a in (values, by_map.values))
    assert after[left] == pytest.approx(before[left])
    released = prune(values, pattern, "sdgp").values
    kept = np.abs(plain.values).sum(axis=(1, 2), keepdims=True)
    expected = plain.values * np.abs(values).sum(axis=(1, 2), keepdims=True) / (kept + 1e-4)
    assert released == pytest.approx(expected)
    group = Pattern.parse(pattern).group
    by_block = prune(values, pattern, "sdgp", per="block").values
    before, after = (np.abs(a).reshape(-1, group).sum(1) for a in (values, by_block))
    assert after == pytest.approx(before)
    matrix = values.reshape(60, 16)
    assert (prune(matrix, pattern, "sdgp", rows=15).values == released.reshape(60, 16)).all()


def test_mean_absorption_keeps_the_sum_of_every_group():
    values = np.random.default_rng(6).standard_normal((9, 22))
    pruned = prune(values, "2:4", "mean-absorption")
    for part in groups_of(values[0], 4):
        assert pruned.values[:, part].sum(1) == pytest.approx(values[:, part].sum(1))
    plain = prune(values, "2:4")
    change = (pruned.values - plain.values)[:, :4][plain.mask[:, :4]].reshape(9, 2)
    assert change[:, 0] == pytest.approx(change[:, 1])


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "4:8"])
def test_adaprune_is_the_least_squares_fit(pattern):
    rng = np.random.default_rng(7)
    weights, inputs = (
        rng.standard_normal((5, 16)),
        rng.standard_normal((200, 16)) @ rng.random((16, 16)),
    )
    fitted = prune(weights, pattern, "adaprune", gram=gram(np.array_split(inputs, 7)))
    for w, out, kept in zip(weights, *fitted, strict=True):
        best = np.linalg.lstsq(inputs[:, kept], inputs @ w, rcond=None)[0]
        assert out[kept] == pytest.approx(best, rel=1e-8, abs=1e-8)
    plain, mean = (
        prune(weights, pattern, name).values for name in ("magnitude", "mean-absorption")
    )
    errors = [(((weights - v) @ inputs.T) ** 2).sum() for v in (fitted.values, mean, plain)]
    assert errors[0] < min(errors[1:])


def test_adaprune_with_too_few_samples_changes_least():
    rng = np.random.default_rng(8)
    weights, inputs = rng.standard_normal((3, 24)), rng.standard_normal((5, 24))
    fitted = prune(weights, "2:4", "adaprune", gram=gram([inputs]))
    plain = prune(weights, "2:4")
    for w, out, kept, was in zip(weights, *fitted, plain.values, strict=True):
        assert inputs @ out == pytest.approx(inputs @ w)
        change = np.linalg.lstsq(inputs[:, kept], inputs @ (w - was), rcond=None)[0]
        assert (out - was)[kept] == pytest.approx(change, rel=1e-6, abs=1e-9)
    # Inputs that are never active cannot be fitted, and are left alone.
    silent = prune(weights, "2:4", "adaprune", gram=np.zeros((24, 24)))
    assert (silent.values == plain.values).all()


def test_adaprune_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match="expected 8 x 8"):
        prune(np.ones((2, 8)), "2:4", "adaprune", gram=np.eye(4))
    with pytest.raises(ShapeError, match="expected samples x 4"):
        gram([np.ones((3, 4)), np.ones((3, 5))])
    with pytest.raises(ShapeError, match="no calibration samples"):
        gram([])
