"""The oracle itself: its products against numpy, its cycles against closed forms and SCALE-Sim."""

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Fold, simulate

from nmsim.pattern import Pattern

DATAFLOWS = ("os", "ws", "is")
CASES = [  # rows, cols, m, n, k: no two alike in a case, so that no swap goes unseen
    (3, 5, 7, 11, 13),
    (5, 2, 3, 8, 12),
    (2, 7, 9, 4, 5),
    (6, 4, 5, 3, 2),  # smaller than the array, and K less than a group
    (1, 4, 6, 3, 9),
    (4, 1, 2, 5, 7),
    (4, 3, 1, 7, 11),
]


def values(lanes, k, seed):
    """Integers without a zero, so that every element that is lost or taken twice shows."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 100, (lanes, k)) * rng.choice((-1, 1), (lanes, k))


def regular_mask(lanes, k, pattern, seed):
    """Every group keeps min(keep, its length) elements, drawn at random."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((lanes, k), bool)
    for lane in mask:
        for start in range(0, k, pattern.group):
            length = min(pattern.group, k - start)
            lane[start + rng.permutation(length)[: pattern.keep]] = True
    return mask


def slots_of(mask, native):
    """Slots that lock-step lanes x K take under a native (keep, group), from the rule."""
    keep, group = native
    k = mask.shape[1]
    padded = np.pad(mask, ((0, 0), (0, -k % group)))
    kept = padded.reshape(len(mask), -1, group).sum(axis=2).max(axis=0)
    lengths = np.minimum(group, k - np.arange(0, k, group))
    return int(np.minimum(np.maximum(-(-kept // keep), 1) * keep, lengths).sum())


def folds_of(dataflow, rows, cols, m, n, selected, mask, native):
    """The folds that the closed forms give."""
    if dataflow == "os":
        lanes, tile = (m, rows) if selected == "a" else (n, cols)
        slots = [slots_of(mask[i : i + tile], native) for i in range(0, lanes, tile)]
        pairs = (
            [t for t in slots for _ in range(ceil(n / cols))]
            if selected == "a"
            else slots * ceil(m / rows)
        )
        return [Fold(0, t + rows + cols - 2, rows) for t in pairs]
    still, time = ("b", m) if dataflow == "ws" else ("a", n)
    lanes = n if still == "b" else m
    folds = 0
    for i in range(0, lanes, cols):
        folds += ceil(slots_of(mask[i : i + cols] if still == selected else mask, native) / rows)
    return [Fold(rows, time + rows + cols - 2, 0)] * folds


def masked_product(a, b, selected, mask):
    return (a * mask) @ b.T if selected == "a" else a @ (b * mask).T


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(("rows", "cols", "m", "n", "k"), CASES)
def test_dense_product_is_numpys(dataflow, rows, cols, m, n, k):
    a, b = values(m, k, 1), values(n, k, 2)
    np.testing.assert_array_equal(simulate(dataflow, rows, cols, a, b).c, a @ b.T)


def test_product_of_floats_keeps_its_type():
    a, b = values(3, 7, 1) / 8, values(5, 7, 2) / 8
    outcome = simulate("ws", 4, 2, a, b)
    assert outcome.c.dtype == np.float64
    np.testing.assert_array_equal(outcome.c, a @ b.T)


@pytest.mark.parametrize(("rows", "cols", "m", "n", "k"), CASES)
def test_dense_cycles_meet_the_closed_forms(rows, cols, m, n, k):
    a, b = values(m, k, 1), values(n, k, 2)
    sides = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}
    for dataflow, (along_rows, along_cols, time) in sides.items():
        outcome = simulate(dataflow, rows, cols, a, b)
        shifting = (0, rows) if dataflow == "os" else (rows, 0)
        fold = Fold(shifting[0], time + rows + cols - 2, shifting[1])
        folds = ceil(along_rows / rows) * ceil(along_cols / cols)
        assert outcome.folds == (fold,) * folds
        assert outcome.cycles() == folds * (2 * rows + time + cols - 2)


@pytest.mark.parametrize(
    ("pattern", "last_cycle"),
    [((1, 8), 248), ((1, 4), 497), ((2, 4), 746), ((4, 8), 746), ((3, 4), 995), ((4, 4), 1244)],
)
def test_published_simulator_agrees(pattern, last_cycle):
    # SCALE-Sim 3.0.0, 16 x 16, ws, M, N, K = 37, 33, 65; its layer-wise sparsity keeps the first N
    # of every M along K in all filters. What it prints is the index of the last cycle.
    keep, group = pattern
    mask = np.tile(np.arange(65) % group < keep, (33, 1))
    a, b = values(37, 65, 1), values(33, 65, 2)
    outcome = simulate("ws", 16, 16, a, b, selected="b", mask=mask, native=pattern)
    assert outcome.cycles() - 1 == last_cycle
    np.testing.assert_array_equal(outcome.c, masked_product(a, b, "b", mask))


@pytest.mark.parametrize("selected", ["a", "b"])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(("rows", "cols", "m", "n", "k"), CASES)
@pytest.mark.parametrize("pattern", [Pattern(2, 4), Pattern(1, 4), Pattern(4, 8), Pattern(2, 3)])
def test_regular_mask_takes_the_slots_that_its_pattern_stores(
    dataflow, rows, cols, m, n, k, selected, pattern
):
    a, b = values(m, k, 1), values(n, k, 2)
    mask = regular_mask(m if selected == "a" else n, k, pattern, 3)
    native = (pattern.keep, pattern.group)
    outcome = simulate(dataflow, rows, cols, a, b, selected=selected, mask=mask, native=native)
    np.testing.assert_array_equal(outcome.c, masked_product(a, b, selected, mask))
    slots = pattern.stored(k)
    if dataflow == "os":
        assert {fold.stream for fold in outcome.folds} == {slots + rows + cols - 2}
        assert len(outcome.folds) == ceil(m / rows) * ceil(n / cols)
    else:
        lanes = n if dataflow == "ws" else m
        assert len(outcome.folds) == ceil(slots / rows) * ceil(lanes / cols)


def mask_of(*lanes):
    return np.array([[bit == "1" for bit in lane.replace(" ", "")] for lane in lanes])


# Four lanes of two groups of 4. Lane 2 keeps three in its first group; lane 0 keeps none in it.
MISFIT = mask_of("0000 1010", "0110 0000", "1011 0100", "0001 1001")


@pytest.mark.parametrize(
    ("dataflow", "selected", "streams"),
    [
        # the tile of columns with lane 2 takes 4 + 2 slots, the other 2 + 2; rows: all 4 lanes
        ("os", "b", [4 + 6, 6 + 6]),
        ("os", "a", [6 + 6] * 3),
        # 4 slots fill one fold of the 6 rows, 6 do, too
        ("ws", "b", [5 + 6] * 2),
        ("is", "a", [5 + 6] * 2),
        # what streams is in step with every other row that streams
        ("is", "b", [4 + 6] * 3),
        ("ws", "a", [4 + 6] * 3),
    ],
)
def test_fullest_lane_of_a_fold_sets_its_slots(dataflow, selected, streams):
    masked, other = values(4, 8, 1), values(5, 8, 2)
    a, b = (masked, other) if selected == "a" else (other, masked)
    outcome = simulate(dataflow, 6, 2, a, b, selected=selected, mask=MISFIT, native=(2, 4))
    assert [fold.stream for fold in outcome.folds] == streams
    np.testing.assert_array_equal(outcome.c, masked_product(a, b, selected, MISFIT))


@pytest.mark.parametrize(
    ("dataflow", "selected", "folds"),
    # 5 rows: the column tile with lane 2 takes two folds, the other one; streamed, all tiles do
    [("ws", "b", 1 + 2), ("is", "a", 1 + 2), ("is", "b", 3 * 2), ("ws", "a", 3 * 2)],
)
def test_fold_boundary_cuts_a_group(dataflow, selected, folds):
    masked, other = values(4, 8, 1), values(6, 8, 2)
    a, b = (masked, other) if selected == "a" else (other, masked)
    outcome = simulate(dataflow, 5, 2, a, b, selected=selected, mask=MISFIT, native=(2, 4))
    assert len(outcome.folds) == folds
    np.testing.assert_array_equal(outcome.c, masked_product(a, b, selected, MISFIT))


@pytest.mark.parametrize(
    ("lanes", "native", "slots"),
    [
        (["1110 1000"], (4, 8), 4),
        (["1110 1000"], (2, 4), 4 + 2),  # 4:8, but three in its first half
        (["1110 0001", "0001 0111"], (2, 4), 4 + 4),  # half of each lane fits, no group does
        (["1100 0011"], (2, 4), 2 + 2),  # 4:8 that happens to be 2:4
        (["1000 0100"], (2, 4), 2 + 2),  # 1:4 runs as 2:4
        (["0000 0000"], (2, 4), 2 + 2),  # nothing kept: a unit all the same
        (["1111 1111"], (3, 4), 4 + 4),  # two units of 3, but no more than the group has
        (["1100 111"], (2, 4), 2 + 3),  # short last group
        (["110"], (2, 8), 2),  # K less than the group
        (["110"], (4, 8), 3),  # K less than a unit
    ],
)
def test_slots_come_in_units_of_the_native_keep(lanes, native, slots):
    mask = mask_of(*lanes)
    a, b = values(4, mask.shape[1], 1), values(len(mask), mask.shape[1], 2)
    outcome = simulate("os", 5, 3, a, b, selected="b", mask=mask, native=native)
    assert [fold.stream for fold in outcome.folds] == [slots + 5 + 3 - 2]
    np.testing.assert_array_equal(outcome.c, masked_product(a, b, "b", mask))


@pytest.mark.parametrize(
    ("dataflow", "cycles"),  # by preload, drain; R, C = 3, 2 and M, N, K = 4, 5, 7
    [
        # 2 x 3 folds of 7 + 3 + 2 - 2 cycles and 3 of drain
        ("os", {"exposed": 60 + 18, "overlapped": 60 + 3, "uncounted": 60}),
        # 3 x 3 folds of 4 + 3 + 2 - 2 cycles and 3 of preload
        ("ws", {"exposed": 63 + 27, "overlapped": 63 + 3, "uncounted": 63}),
        # 3 x 2 folds of 5 + 3 + 2 - 2 cycles and 3 of preload
        ("is", {"exposed": 48 + 18, "overlapped": 48 + 3, "uncounted": 48}),
    ],
)
def test_hidden_and_uncounted_shifts(dataflow, cycles):
    outcome = simulate(dataflow, 3, 2, values(4, 7, 1), values(5, 7, 2))
    assert outcome.preload + outcome.stream + outcome.drain == cycles["exposed"]
    shift, other = ("drain", "preload") if dataflow == "os" else ("preload", "drain")
    for exposure, expected in cycles.items():
        for without_effect in cycles:
            assert outcome.cycles(**{shift: exposure, other: without_effect}) == expected


@st.composite
def runs(draw):
    """A small array, operands, any mask on one of them and any native pattern."""
    rows, cols, m, n = (draw(st.integers(1, 5)) for _ in range(4))
    k = draw(st.integers(1, 11))
    group = draw(st.integers(1, 8))
    native = (draw(st.integers(1, group)), group)
    selected = draw(st.sampled_from("ab"))
    density = draw(st.sampled_from((0.1, 0.4, 0.8)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    mask = rng.random((m if selected == "a" else n, k)) < density
    return rows, cols, m, n, k, selected, mask, native


@settings(deadline=None, max_examples=100)
@given(run=runs(), dataflow=st.sampled_from(DATAFLOWS))
def test_any_mask_gives_its_product_in_the_cycles_of_the_rule(run, dataflow):
    rows, cols, m, n, k, selected, mask, native = run
    a, b = values(m, k, 1), values(n, k, 2)
    outcome = simulate(dataflow, rows, cols, a, b, selected=selected, mask=mask, native=native)
    np.testing.assert_array_equal(outcome.c, masked_product(a, b, selected, mask))
    expected = folds_of(dataflow, rows, cols, m, n, selected, mask, native)
    assert list(outcome.folds) == expected


@settings(deadline=None, max_examples=50)
@given(run=runs(), dataflow=st.sampled_from(DATAFLOWS), seed=st.integers(0, 1000))
def test_subset_of_a_mask_is_never_slower(run, dataflow, seed):
    rows, cols, m, n, k, selected, mask, native = run
    fewer = mask & (np.random.default_rng(seed).random(mask.shape) < 0.5)
    a, b = values(m, k, 1), values(n, k, 2)
    slow, fast = (
        simulate(dataflow, rows, cols, a, b, selected=selected, mask=bits, native=native).cycles()
        for bits in (mask, fewer)
    )
    assert fast <= slow
