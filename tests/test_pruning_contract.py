"""What every pruner must do, whoever wrote it: all of them through one list of checks."""

import numba
import numpy as np
import pytest
from tiers import fast_every

from nmsim.errors import PatternError, ShapeError, SpecError, UnknownName
from nmsim.mask.words import unpack
from nmsim.pattern import Pattern
from nmsim.pruning import PRUNERS, mask_words, prune

PATTERNS = ["1:2", "2:4", "1:4", "3:4", "4:8", "2:8", "3:5", "4:4"]
CHOOSING = [name for name in PRUNERS if not PRUNERS[name].brought]
"""Pruners that make a mask of any values; the others are held to test_given_tensors.py."""

CASES = [
    (name, text)
    for name in CHOOSING
    for text in PATTERNS
    if not PRUNERS[name].limits(Pattern.parse(text))
]


def stored(pattern, k):
    return Pattern.parse(pattern).stored(k)


def tensor(seed=0, shape=(3, 10, 26)):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) * (rng.random(shape) < 0.7)
    values[0] = 0.0
    values[1, :, ::2] = 1.0
    return values


def in_order(values, pattern, name, mask):
    """A mask with its columns as hardware gets them."""
    order = PRUNERS[name].order
    rows = values.reshape(-1, values.shape[-1])
    return mask[..., order(rows, Pattern.parse(pattern))] if order else mask


@pytest.mark.parametrize(("name", "pattern"), fast_every(CASES, 2))
def test_shapes_zeros_and_counts(name, pattern):
    values, traits = tensor(), PRUNERS[name]
    pruned = prune(values, pattern, name, seed=3)
    assert pruned.values.shape == pruned.mask.shape == values.shape
    assert pruned.values.dtype == values.dtype
    assert pruned.mask.dtype == np.bool_
    assert np.isfinite(pruned.values).all()
    assert not pruned.values[~pruned.mask].any()
    assert not np.signbit(pruned.values[~pruned.mask]).any()
    if not traits.rescales:
        assert (pruned.values == np.where(pruned.mask, values, 0)).all()
    if traits.regular:
        assert (pruned.mask.sum(-1) == stored(pattern, values.shape[-1])).all()
    if Pattern.parse(pattern).is_dense:
        assert pruned.mask.all()


@pytest.mark.parametrize(("name", "pattern"), fast_every(CASES, 2))
def test_structured_masks_obey_the_pattern(name, pattern):
    if not PRUNERS[name].structured:
        pytest.skip("does not promise to")
    mask, group = prune(tensor(), pattern, name).mask, Pattern.parse(pattern).group
    mask = in_order(tensor(), pattern, name, mask)
    for axis in (-1, -2) if PRUNERS[name].transposable else (-1,):
        starts = np.arange(0, mask.shape[axis], group)
        counts = np.add.reduceat(mask, starts, axis=axis, dtype=int)
        assert counts.max() <= Pattern.parse(pattern).keep


@pytest.mark.parametrize(("name", "pattern"), fast_every(CASES, 2))
def test_blocks_threads_and_streams_change_nothing(name, pattern, monkeypatch):
    values = tensor(1)
    whole = prune(values, pattern, name, seed=5)
    monkeypatch.setattr("nmsim.pruning._BLOCK_ELEMENTS", 60)
    for threads in (1, 2, 5):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
        again = prune(values, pattern, name, seed=5)
        assert (again.mask == whole.mask).all()
        assert (again.values == whole.values).all()
    matrix = values.reshape(30, 26)
    expected = in_order(matrix, pattern, name, prune(matrix, pattern, name, seed=5).mask)
    for step in (1, 7, 30):
        blocks = (matrix[i : i + step] for i in range(0, 30, step))
        words = mask_words(blocks, 30, 26, Pattern.parse(pattern), name, 5)
        assert (unpack(words, 26) == expected).all()


@pytest.mark.parametrize("name", CHOOSING)
@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int8, np.uint16, np.int64]
)
def test_dtypes(name, dtype):
    values = (np.random.default_rng(2).standard_normal((8, 16)) * 20).astype(dtype)
    pruned = prune(values, "2:4", name)
    to_float = PRUNERS[name].rescales and np.issubdtype(dtype, np.integer)
    assert pruned.values.dtype == (np.float64 if to_float else dtype)
    # Magnitudes decide: they are exact in all of these types.
    reference = prune(values.astype(np.float64), "2:4", name)
    assert (pruned.mask == reference.mask).all()
    assert pruned.values == pytest.approx(
        reference.values, rel=2e-3 if dtype == np.float16 else 1e-6
    )


@pytest.mark.parametrize("name", CHOOSING)
@pytest.mark.parametrize("shape", [(0, 8), (3, 0), (2, 0, 8), (1, 1), (2, 3), (1, 5)])
def test_small_and_empty_shapes(name, shape):
    values = np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape)
    pruned = prune(values, "4:8", name)
    assert pruned.values.shape == pruned.mask.shape == shape
    if PRUNERS[name].regular and shape[-1]:
        assert (pruned.mask.sum(-1) == min(4, shape[-1])).all()


@pytest.mark.parametrize("name", CHOOSING)
def test_vectors_and_layouts(name):
    values = tensor(4).reshape(-1)
    if PRUNERS[name].unit == "tile":
        with pytest.raises(ShapeError, match="two axes"):
            prune(values, "2:4", name)
        return
    expected = prune(values, "2:4", name).mask
    assert (prune(values[:, None].T[0], "2:4", name).mask == expected).all()
    doubled = np.repeat(values, 2)[::2]
    assert (prune(doubled, "2:4", name).mask == expected).all()
    assert (prune(list(values), "2:4", name).mask == expected).all()


@pytest.mark.parametrize("name", [name for name in PRUNERS if PRUNERS[name].stochastic])
def test_seeds(name):
    values = np.random.default_rng(5).standard_normal((64, 64))
    masks = [prune(values, "2:4", name, seed=seed).mask for seed in (0, 1, 2**64 - 1, -7, 10**30)]
    assert (masks[0] == prune(values, "2:4", name, seed=0).mask).all()
    for i, mask in enumerate(masks):
        for other in masks[:i]:
            assert 0.05 < (mask != other).mean() < 0.95


@pytest.mark.parametrize("name", CHOOSING)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_with_its_place(name, bad):
    values = np.ones((300, 16), np.float32)
    values[211, 9] = bad
    with pytest.raises(ShapeError, match=f"{bad} at row 211, column 9"):
        prune(values, "4:8", name)


def test_results_that_overflow_are_refused():
    values = np.full((1, 4), 60000, np.float16)
    with pytest.raises(ShapeError, match="float16 result inf at row 0"):
        prune(values, "2:4", "mvue")


@pytest.mark.parametrize("name", CHOOSING)
def test_large_groups_are_pruned_or_refused(name):
    values = np.random.default_rng(6).standard_normal((5, 300))
    for pattern in ("1:128", "64:128", "2:1000"):
        if PRUNERS[name].limits(Pattern.parse(pattern)):
            with pytest.raises(PatternError, match="expected"):
                prune(values, pattern, name)
        elif PRUNERS[name].regular:
            assert (prune(values, pattern, name).mask.sum(-1) == stored(pattern, 300)).all()


def test_mistakes_are_refused_in_one_line():
    values = np.ones((4, 8))
    with pytest.raises(UnknownName, match="did you mean 'magnitude'"):
        prune(values, "2:4", "magnitud")
    with pytest.raises(UnknownName, match=r"unknown option of pruner 'magnitude' 'exact'.*none"):
        prune(values, "2:4", "magnitude", exact=True)
    with pytest.raises(SpecError, match="expected one of map, block"):
        prune(values, "2:4", "sdgp", per="row")
    with pytest.raises(SpecError, match="expected float"):
        prune(values, "2:4", "sdgp", epsilon="0")
    with pytest.raises(SpecError, match="expected int"):
        prune(values, "2:4", "sdgp", rows=2.5)
    with pytest.raises(ShapeError, match="whole samples of 3"):
        prune(values, "2:4", "sdgp", rows=3)
    with pytest.raises(PatternError, match="expected N:M"):
        prune(values, "5:4")
    with pytest.raises(PatternError, match=r"pattern 3:9, pruner 'mvue-approx'.*at most 8"):
        prune(values, "3:9", "mvue-approx")
    with pytest.raises(ShapeError, match="single number"):
        prune(3.0, "2:4")
    with pytest.raises(ShapeError, match="complex128"):
        prune(values.astype(complex), "2:4")
    with pytest.raises(ShapeError, match="3 rows of 8, expected 4"):
        mask_words([values[:3]], 4, 8, Pattern(2, 4), "magnitude", 0)
    with pytest.raises(ShapeError, match="8 rows of 8, expected 4"):
        mask_words([values, values], 4, 8, Pattern(2, 4), "magnitude", 0)
