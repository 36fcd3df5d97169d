"""Transposable masks against the mathematics: optimality, bounds, edges, ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, linear_sum_assignment, milp
from scipy.sparse import csr_array

from nmsim.errors import PatternError, ShapeError, SpecError, UnknownName
from nmsim.mask.words import unpack
from nmsim.pattern import Pattern
from nmsim.pruning import mask_words, prune
from nmsim.pruning.transposable_sinkhorn import _plan

TILE_PRUNERS = ["transposable", "transposable-greedy", "transposable-2approx"]


def kept_l1(values, mask):
    return float(np.abs(values.astype(np.float64))[mask].sum())


def milp_optimum(tile, keep, exact):
    """The optimum of one tile by integer programming (HiGHS): a second, independent solver."""
    h, w = tile.shape
    cells = np.arange(h * w)
    incidence = csr_array(
        (np.ones(2 * h * w), (np.r_[cells // w, h + cells % w], np.r_[cells, cells])),
        shape=(h + w, h * w),
    )
    rows_and_columns = LinearConstraint(incidence, keep if exact else 0, keep)
    found = milp(-np.abs(tile).ravel(), integrality=1, bounds=(0, 1), constraints=rows_and_columns)
    assert found.success
    return -found.fun


def padded(matrix, group):
    h, w = matrix.shape
    return np.pad(matrix, ((0, -h % group), (0, -w % group)))


def tiles_of(matrix, group):
    full = padded(matrix, group)
    for top in range(0, full.shape[0], group):
        for left in range(0, full.shape[1], group):
            yield full[top : top + group, left : left + group]


def draw(rng, family, shape):
    if family == "gaussian":
        return rng.standard_normal(shape)
    if family == "ties":
        return rng.integers(-3, 4, shape).astype(float)
    if family == "sparse":
        return rng.integers(-999, 1000, shape) * (rng.random(shape) < 0.4)
    return np.exp(4 * rng.standard_normal(shape))


@pytest.mark.parametrize("family", ["gaussian", "ties", "sparse", "lognormal"])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("pattern", "keep", "group"),
    [("1:4", 1, 4), ("2:4", 2, 4), ("3:4", 3, 4), ("2:5", 2, 5), ("4:8", 4, 8), ("6:8", 6, 8)],
)
def test_optimum_equals_integer_programming(pattern, keep, group, exact, family):
    rng = np.random.default_rng([keep, group, exact, len(family)])
    matrix = draw(rng, family, (2 * group + 3, group + 2))
    mask = prune(matrix, pattern, "transposable", exact=exact).mask
    expected = sum(milp_optimum(tile, keep, exact) for tile in tiles_of(matrix, group))
    assert kept_l1(matrix, mask) == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("keep", [5, 16, 31])
def test_optimum_of_a_large_tile_equals_integer_programming(keep):
    tile = np.random.default_rng(keep).standard_normal((32, 32))
    mask = prune(tile, f"{keep}:32", "transposable").mask
    assert kept_l1(tile, mask) == pytest.approx(milp_optimum(tile, keep, False), rel=1e-12)


def test_one_of_32_is_the_assignment_problem():
    tiles = np.random.default_rng(0).standard_normal((20, 32, 32)).astype(np.float32)
    mask = prune(tiles, "1:32", "transposable").mask
    for tile, kept in zip(np.abs(tiles).astype(np.float64), mask, strict=True):
        assert tile[kept].sum() == pytest.approx(
            tile[linear_sum_assignment(tile, maximize=True)].sum(), rel=1e-12
        )


def test_the_optimum_is_dual_feasible_on_many_tiles():
    # No swap along any cycle of two rows and two columns improves a tile, nor does any addition.
    tiles = np.abs(np.random.default_rng(1).standard_normal((2000, 8, 8)))
    mask = prune(tiles, "4:8", "transposable").mask
    assert (mask.sum(1) <= 4).all()
    assert (mask.sum(2) <= 4).all()
    room = (mask.sum(2)[:, :, None] < 4) & (mask.sum(1)[:, None, :] < 4)
    assert not (room & ~mask & (tiles > 0)).any()
    for a in range(8):
        for b in range(a):
            gain = tiles[:, a] - tiles[:, b]
            down = np.where(~mask[:, a] & mask[:, b], gain, -np.inf).max(1)
            up = np.where(mask[:, a] & ~mask[:, b], -gain, -np.inf).max(1)
            assert (down + up <= 1e-12).all()


def test_at_most_can_keep_more_than_exactly():
    tile = np.array([[2, 9, 9, 1], [1, 2, 0, 6], [9, 7, 1, 0], [9, 2, 8, 3]])
    at_most = kept_l1(tile, prune(tile, "2:4", "transposable").mask)
    exactly = prune(tile, "2:4", "transposable", exact=True).mask
    assert at_most == milp_optimum(tile, 2, False)
    assert kept_l1(tile, exactly) == milp_optimum(tile, 2, True)
    assert at_most > kept_l1(tile, exactly)
    assert (exactly.sum(0) == 2).all()
    assert (exactly.sum(1) == 2).all()


def test_exact_keeps_real_zeros_before_padding():
    matrix = np.zeros((6, 7))
    mask = prune(matrix, "2:4", "transposable", exact=True).mask
    # A 4 x 3 tile can hold 2 in each of its 3 columns, a 2 x 4 one 2 in each row, a 2 x 3 one 4.
    assert mask[:4, :4].sum() == 8
    assert mask[:4, 4:].sum() == 6
    assert mask[4:, :4].sum() == 4
    assert mask[4:, 4:].sum() == 4


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1.5e308])
@pytest.mark.parametrize("exact", [False, True])
def test_masks_do_not_depend_on_the_scale(scale, exact):
    tiles = np.random.default_rng(2).random((30, 8, 8))
    reference = prune(tiles, "4:8", "transposable", exact=exact).mask
    assert (prune(tiles * scale, "4:8", "transposable", exact=exact).mask == reference).all()


@pytest.mark.parametrize("name", TILE_PRUNERS)
@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    rows=st.integers(0, 21),
    columns=st.integers(0, 21),
    group=st.integers(1, 9),
    data=st.data(),
)
def test_rows_and_columns_obey_the_pattern(name, rows, columns, group, data):
    keep = data.draw(st.integers(1, group))
    seed = data.draw(st.integers(0, 99))
    matrix = np.random.default_rng(seed).integers(-3, 4, (rows, columns))
    pruned = prune(matrix, f"{keep}:{group}", name)
    assert (pruned.values == np.where(pruned.mask, matrix, 0)).all()
    for tile in tiles_of(pruned.mask, group):
        assert tile.sum(0).max(initial=0) <= keep
        assert tile.sum(1).max(initial=0) <= keep
    if keep == group:
        assert pruned.mask.all()


def test_algorithm_1_equals_its_own_loop():
    rng = np.random.default_rng(3)
    for keep, group in [(1, 4), (2, 4), (3, 4), (4, 8), (2, 8)]:
        tile = rng.integers(0, 6, (group, group))
        pruned = np.zeros(tile.shape, bool)
        for at in np.argsort(tile, axis=None, kind="stable"):
            i, j = divmod(int(at), group)
            if pruned[i].sum() < group - keep or pruned[:, j].sum() < group - keep:
                pruned[i, j] = True
        assert (prune(tile, f"{keep}:{group}", "transposable-2approx").mask == ~pruned).all()


def test_greedy_equals_its_own_loop():
    rng = np.random.default_rng(4)
    for keep, group in [(1, 4), (2, 4), (3, 4), (4, 8), (2, 8)]:
        tile = rng.integers(-5, 6, (group, group))
        kept = np.zeros(tile.shape, bool)
        for at in np.argsort(-np.abs(tile), axis=None, kind="stable"):
            i, j = divmod(int(at), group)
            if kept[i].sum() < keep and kept[:, j].sum() < keep:
                kept[i, j] = True
        assert (prune(tile, f"{keep}:{group}", "transposable-greedy").mask == kept).all()


def test_the_bounds_hold_on_many_tiles():
    rng = np.random.default_rng(5)
    for count, keep, group in [(60000, 2, 4), (40000, 4, 8)]:
        tiles = np.abs(rng.standard_normal((count, group, group))) ** rng.choice([0.2, 1, 4])
        total = tiles.sum((1, 2))
        kept = {
            name: np.where(prune(tiles, f"{keep}:{group}", name).mask, tiles, 0).sum((1, 2))
            for name in TILE_PRUNERS
        }
        exactly = np.where(
            prune(tiles, f"{keep}:{group}", "transposable", exact=True).mask, tiles, 0
        ).sum((1, 2))
        slack = 1e-12 * total
        assert (2 * kept["transposable-greedy"] >= kept["transposable"] - slack).all()
        assert (kept["transposable"] >= kept["transposable-greedy"] - slack).all()
        assert (kept["transposable"] >= exactly - slack).all()
        assert (total - kept["transposable-2approx"] <= 2 * (total - exactly) + slack).all()


def test_the_lemma_is_tight_on_the_construction_of_its_proof():
    # Heavy but for one light row, column and diagonal: 2M - 1 are pruned where M would do.
    group, light = 8, 1.0
    tile = np.full((group, group), 100.0)
    tile[-1, :] = tile[:, -1] = light
    np.fill_diagonal(tile, light + 1e-9)
    tile[-1, -1] = light - 1e-9
    mask = prune(tile, "7:8", "transposable-2approx").mask
    assert (~mask).sum() == 2 * group - 1
    best = prune(tile, "7:8", "transposable", exact=True).mask
    assert (~best).sum() == group


@pytest.mark.parametrize("name", TILE_PRUNERS)
def test_equal_tiles_fill_up(name):
    kept = prune(np.ones((16, 16)), "4:8", name).mask.sum()
    assert kept == (64 if name == "transposable-2approx" else 128)


@pytest.mark.parametrize("name", TILE_PRUNERS)
@pytest.mark.parametrize("shape", [(3, 16, 24), (5, 7, 24), (2, 3, 13, 9), (40, 9), (0, 8), (4, 0)])
def test_masks_do_not_depend_on_blocks_or_batches(name, shape, monkeypatch):
    values = np.random.default_rng(6).integers(-9, 10, shape)
    whole = prune(values, "4:8", name).mask
    monkeypatch.setattr("nmsim.pruning._BLOCK_ELEMENTS", 100)
    assert (prune(values, "4:8", name).mask == whole).all()
    if values.size:
        flat, masks = values.reshape(-1, *shape[-2:]), whole.reshape(-1, *shape[-2:])
        for matrix, mask in zip(flat, masks, strict=True):
            assert (prune(matrix, "4:8", name).mask == mask).all()


def test_streamed_words_are_the_mask():
    values = np.random.default_rng(7).standard_normal((45, 70)).astype(np.float32)
    from_blocks = mask_words(
        (values[i : i + 7] for i in range(0, 45, 7)), 45, 70, Pattern(4, 8), "transposable", 0
    )
    assert (unpack(from_blocks, 70) == prune(values, "4:8", "transposable").mask).all()
    exactly = mask_words([values], 45, 70, Pattern(4, 8), "transposable", 0, exact=True)
    expected = prune(values, "4:8", "transposable", exact=True).mask
    assert (unpack(exactly, 70) == expected).all()


def test_what_is_refused_says_why():
    with pytest.raises(ShapeError, match="two axes"):
        prune(np.ones(8), "4:8", "transposable")
    with pytest.raises(PatternError, match="at most 32"):
        prune(np.ones((64, 64)), "2:64", "transposable")
    with pytest.raises(UnknownName, match="did you mean 'exact'"):
        prune(np.ones((8, 8)), "4:8", "transposable", exat=True)
    with pytest.raises(SpecError, match="expected bool"):
        prune(np.ones((8, 8)), "4:8", "transposable", exact="yes")
    with pytest.raises(ShapeError, match="nan at row 1, column 2"):
        prune(np.array([[1.0, 2, 3], [4, 5, np.nan]]), "1:2", "transposable")


def test_the_plan_of_two_by_two_is_a_logistic_curve():
    """With one of two kept, S is (s, 1 - s) turned, and d/ds of value and entropy gives s."""
    tile = np.array([[[0.9, 0.2], [0.4, 1.0]]])
    plan = np.exp(_plan(tile, 1, 5.0, 200))[0]
    s = 1 / (1 + np.exp(-5.0 * (0.9 + 1.0 - 0.2 - 0.4) / 2))
    assert plan == pytest.approx(np.array([[s, 1 - s], [1 - s, s]]), rel=1e-9)


def test_a_plan_keeps_to_its_sums_and_bounds():
    tile = np.random.default_rng(3).random((4, 8, 8))
    plan = np.exp(_plan(tile, 4, 30.0, 3000))
    assert plan.max() <= 1
    assert plan.sum(1) == pytest.approx(4, rel=1e-2)
    assert plan.sum(2) == pytest.approx(4, rel=1e-2)


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "1:4"])
def test_sinkhorn_keeps_nearly_what_the_best_mask_does(pattern):
    values = np.random.default_rng(4).standard_normal((32, 48))
    best, near, greedy = (
        np.abs(prune(values, pattern, f"transposable{name}").values).sum()
        for name in ("", "-sinkhorn", "-greedy")
    )
    assert 0.995 * best < near <= best
    assert near > greedy


def test_sinkhorn_prunes_by_scores_in_place_of_magnitudes():
    rng = np.random.default_rng(5)
    values, scores = rng.standard_normal((12, 10)), rng.random((12, 10))
    found = prune(values, "2:4", "transposable-sinkhorn", scores=scores)
    assert (found.mask == prune(scores, "2:4", "transposable-sinkhorn").mask).all()
    assert (found.values == np.where(found.mask, values, 0)).all()


def test_entries_of_a_plan_below_one_differ_by_rows_and_columns_alone():
    """Where no bound holds, log S - sharpness w is a number of the row and one of the column."""
    (tile,) = sizes = np.random.default_rng(6).random((1, 6, 6))
    plan = _plan(sizes, 3, 12.0, 4000)[0]
    left, free = plan - 12.0 * tile / tile.max(), plan < -1e-9
    assert not free.all()
    checked = 0
    for i, k in np.argwhere(np.triu(np.ones((6, 6)), 1)):
        both = left[i] - left[k]
        shared = both[free[i] & free[k]]
        checked += len(shared) > 1
        assert shared == pytest.approx(np.full(len(shared), shared.mean()), abs=1e-6)
    assert checked > 5
