"""The oracle that runs folds back to back: its products, its cycles, and that none can be saved."""

from itertools import product
from math import ceil

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import Slot
from oracle_back_to_back import hold_sums, hold_weights, simulate, simulate_in_beats
from test_oracle import CASES, DATAFLOWS, masked_product, regular_mask, runs, slots_of, values

from nmsim.pattern import Pattern

# Cycles in all, as formulas. ``times``: the streams of the folds, in order.


def weights_in_turn(rows, cols, times):
    """A period is the stream, or the R weights that enter a column one a cycle."""
    return sum(max(time, rows) for time in times[:-1]) + rows + times[-1] + rows + cols - 1


def sums_in_turn(rows, cols, times):
    """A period is the stream, or the R sums of the fold before that leave a column one a cycle."""
    return times[0] + sum(max(time, rows) for time in times[1:]) + rows + cols - 2 + rows


def one_at_a_time(rows, cols, times):
    """Preload or drain behind the neighbouring fold, which leaves before the next comes."""
    return sum(time + rows + cols - 2 for time in times) + rows


def streams(dataflow, rows, cols, m, n, selected, mask, native, chunk=None):
    """T of every fold in order; dense: ``mask`` all True, ``native`` 1:1."""
    if dataflow == "os":
        tile = {"a": rows, "b": cols}[selected]
        slots = [slots_of(mask[i : i + tile], native) for i in range(0, len(mask), tile)]
        if selected == "a":
            return [t for t in slots for _ in range(ceil(n / cols))]
        return slots * ceil(m / rows)
    still, lanes, moving = ("b", n, m) if dataflow == "ws" else ("a", m, n)
    chunk = min(chunk or moving, moving)
    chunks = [min(chunk, moving - first) for first in range(0, moving, chunk)]
    times = []
    for left in range(0, lanes, cols):
        slots = slots_of(mask[left : left + cols] if selected == still else mask, native)
        times += [time for time in chunks for _ in range(ceil(slots / rows))]
    return times


def in_turn(dataflow, rows, cols, times):
    return (sums_in_turn if dataflow == "os" else weights_in_turn)(rows, cols, times)


# Two folds on 3 x 2 PEs, four words each, by hand: column 0. Column 1 does the same a cycle later.
#
# Weights a of the first fold and b of the second, one for each row: what the shadows and ``held``
# have at the end of the cycle, and the words that the rows multiply by ``held`` of the line above.
# The mark of a fold is where ``held`` changes. Words 0 .. 3 are the first fold's.
#
# cycle   shadow     held       words
TWO_FOLDS_OF_WEIGHTS = """
  0       a2 .  .    .  .  .    . . .   the bottom row's weight enters first
  1       a1 a2 .    .  .  .    . . .
  2       a0 a1 a2   .  .  .    . . .   all are there: the mark may enter
  3       b2 a1 a2   a0 .  .    . . .   b2 follows the mark down, a row a cycle
  4       b1 b2 a2   a0 a1 .    0 . .
  5       b0 b1 b2   a0 a1 a2   1 0 .
  6       b0 b1 b2   a0 a1 a2   2 1 0   first sum leaves
  7       .  b1 b2   b0 a1 a2   3 2 1   the second mark beside the first fold's last word
  8       .  .  b2   b0 b1 a2   4 3 2   T = 4 cycles behind word 0
  9       .  .  .    b0 b1 b2   5 4 3
  10      .  .  .    b0 b1 b2   6 5 4
  11      .  .  .    b0 b1 b2   7 6 5
  12      .  .  .    b0 b1 b2   . 7 6
  13      .  .  .    b0 b1 b2   . . 7   last sum of column 0
  14      .  .  .    b0 b1 b2   . . .   last sum of column 1
"""
# 15 = (2 - 1) 4 + 3 + 4 + 3 + 2 - 1

# Two folds of sums on 3 x 1 PEs, two words each, fewer than rows: sums a of the first fold and b of
# the second, in ``second`` at the end of the cycle, and what has left in the cycle.
#
# cycle   second     words   left
TWO_FOLDS_OF_SUMS = """
  0       .  .  .    0 . .   .
  1       a0 .  .    1 0 .   .    the mark comes with word 1
  2       a0 a1 .    2 1 0   .    the second fold's first word
  3       a0 a1 a2   . 2 1   .    its last one waits: a0 is still where b0 is to go
  4       b0 a0 a1   3 . 2   a2   the bottom PE has finished: all set out. R = 3 behind word 1
  5       b0 b1 a0   . 3 .   a1
  6       b0 b1 b2   . . 3   a0
  7       .  b0 b1   . . .   b2
  8       .  .  b0   . . .   b1
  9       .  .  .    . . .   b0
"""
# 10 = 2 + (2 - 1) 3 + 3 + 1 - 2 + 3


def figure(drawing, columns):
    """Lines of a drawing as tuples of words, without cycle and remark."""
    lines = [line.split() for line in drawing.strip().splitlines()]
    assert [int(line[0]) for line in lines] == list(range(len(lines)))
    return [tuple(line[1 : 1 + columns]) for line in lines]


def test_two_folds_of_weights_as_drawn_by_hand():
    names = {1: "a0", 2: "a1", 3: "a2", 4: "b0", 5: "b1", 6: "b2", None: "."}
    weights = [[[Slot(fold + r, 0)] * 2 for r in (1, 2, 3)] for fold in (0, 3)]
    words = [[[(first + t,) for t in range(4)]] * 3 for first in (0, 4)]
    drawn = []

    def watch(shadow, held, east):
        line = [names[row[0] and row[0].value] for plane in (shadow, held) for row in plane]
        line += ["." if row[0] is None else str(row[0][0]) for row in east]
        drawn.append(tuple(line))

    run = hold_weights(list(zip(weights, words, strict=True)), watch=watch)
    assert drawn == figure(TWO_FOLDS_OF_WEIGHTS, 9)
    assert (run.starts, run.cycles) == ([4, 8], 15)
    assert run.results == [
        [[t * 6] * 2 for t in range(4)],
        [[t * 15] * 2 for t in range(4, 8)],
    ]


def test_two_folds_of_sums_as_drawn_by_hand():
    names = {0: "a0", 10: "a1", 20: "a2", 1: "b0", 11: "b1", 21: "b2"}
    lanes = [
        # T = 2: word 1 of the first fold, 3 of the second carry a value that names the sum
        [[Slot(0, 0), Slot(10 * r + fold, 0)] for r in range(3)]
        for fold in (0, 1)
    ]
    folds = [(a, [[(0,), (1,)]]) for a in lanes]
    seen = []

    def watch(second, held, east):
        seen.append([names[row[0].value] if row[0] else "." for row in second])

    run = hold_sums(folds, watch=watch)
    drawn = figure(TWO_FOLDS_OF_SUMS, 7)
    assert [tuple(line) for line in seen] == [line[:3] for line in drawn]
    assert [line[6] for line in drawn if line[6] != "."] == ["a2", "a1", "a0", "b2", "b1", "b0"]
    assert (run.starts, run.cycles) == ([0, 2], 10)
    assert run.results == [[[0], [10], [20]], [[1], [11], [21]]]


# Products and cycles.


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize(("rows", "cols", "m", "n", "k"), CASES)
def test_dense_folds_in_turn(dataflow, rows, cols, m, n, k):
    a, b = values(m, k, 1), values(n, k, 2)
    whole = simulate(dataflow, rows, cols, a, b)
    np.testing.assert_array_equal(whole.c, a @ b.T)
    down, across, time = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
    folds = ceil(down / rows) * ceil(across / cols)
    one = rows + time + rows + cols - (2 if dataflow == "os" else 1)
    assert whole.cycles == (folds - 1) * max(time, rows) + one
    assert len(whole.starts) == folds


@pytest.mark.parametrize(
    ("dataflow", "fields", "cycles"),  # R, C = 4, 2 and M, N, K = 3, 5, 9: T below R, ragged folds
    [
        # 3 x 3 folds of 3 words, 4 weights: 8 periods, and what one fold takes
        ("ws", {}, 8 * 4 + 4 + 3 + 4 + 2 - 1),
        ("ws", {"turned": True}, 8 * 4 + 4 + 3 + 4 + 2 - 2),
        ("ws", {"together": True}, 8 * 5 + 4 + 3 + 4 + 2 - 1),
        ("ws", {"together": True, "turned": True}, 8 * 5 + 4 + 3 + 4 + 2 - 2),
        ("ws", {"waits": True, "turned": True}, 4 + 9 * (3 + 4 + 2 - 2)),
        ("ws", {"waits": True}, 4 + 9 * (3 + 4 + 2 - 1)),
        # the chunks of 2 and 1 words: 18 folds
        ("ws", {"chunk": 2}, 17 * 4 + 4 + 1 + 4 + 2 - 1),
        # 3 x 2 folds of 5 words; chunks of 3 and 2 of them, of 4 and 1
        ("is", {}, 5 * 5 + 4 + 5 + 4 + 2 - 1),
        ("is", {"chunk": 3}, 11 * 4 + 4 + 2 + 4 + 2 - 1),
        ("is", {"chunk": 4}, 11 * 4 + 4 + 1 + 4 + 2 - 1),
        # 1 x 3 folds of 9 words, 5 or 3 along buses, where all PEs finish at once
        ("os", {}, 2 * 9 + 9 + 4 + 2 - 2 + 4),
        ("os", {"waits": True}, 3 * (9 + 4 + 2 - 2) + 4),
        ("os", {"dot": 2}, 2 * 5 + 5 + 4),
        ("os", {"dot": 3}, 2 * 4 + 3 + 4),
    ],
)
def test_how_folds_follow_each_other(dataflow, fields, cycles):
    a, b = values(3, 9, 1), values(5, 9, 2)
    whole = simulate(dataflow, 4, 2, a, b, **fields)
    np.testing.assert_array_equal(whole.c, a @ b.T)
    assert whole.cycles == cycles


@pytest.mark.parametrize("selected", ["a", "b"])
@pytest.mark.parametrize("dataflow", DATAFLOWS)
@pytest.mark.parametrize("pattern", [Pattern(2, 4), Pattern(4, 8)])
def test_selected_folds_in_turn(dataflow, selected, pattern):
    rows, cols, m, n, k = 3, 5, 7, 11, 26
    a, b = values(m, k, 1), values(n, k, 2)
    mask = regular_mask(m if selected == "a" else n, k, pattern, 3)
    native = (pattern.keep, pattern.group)
    whole = simulate(dataflow, rows, cols, a, b, selected=selected, mask=mask, native=native)
    np.testing.assert_array_equal(whole.c, masked_product(a, b, selected, mask))
    slots = pattern.stored(k)
    down, across, time = {"os": (m, n, slots), "ws": (slots, n, m), "is": (slots, m, n)}[dataflow]
    times = [time] * ceil(down / rows) * ceil(across / cols)
    assert whole.cycles == in_turn(dataflow, rows, cols, times)


@settings(max_examples=400)
@given(runs(), st.sampled_from(DATAFLOWS), st.booleans(), st.integers(1, 6))
def test_any_folds_in_turn(run, dataflow, dense, chunk):
    rows, cols, m, n, k, selected, mask, native = run
    a, b = values(m, k, 1), values(n, k, 2)
    fields = {} if dataflow == "os" else {"chunk": chunk}
    if dense:
        mask, native = np.ones_like(mask), (1, 1)
    else:
        fields |= {"selected": selected, "mask": mask, "native": native}
    whole = simulate(dataflow, rows, cols, a, b, **fields)
    np.testing.assert_array_equal(whole.c, masked_product(a, b, selected, mask))
    times = streams(dataflow, rows, cols, m, n, selected, mask, native, fields.get("chunk"))
    assert whole.cycles == in_turn(dataflow, rows, cols, times)
    assert len(whole.starts) == len(times)


@settings(max_examples=200)
@given(runs(), st.sampled_from(["ws", "is"]), st.booleans(), st.booleans())
def test_registers_that_change_roles_save_a_cycle_in_all(run, dataflow, together, dense):
    rows, cols, m, n, k, selected, mask, native = run
    a, b = values(m, k, 1), values(n, k, 2)
    if dense:
        mask, native = np.ones_like(mask), (1, 1)
    fields = {"selected": selected, "mask": mask, "native": native, "together": together}
    copied, turned = (
        simulate(dataflow, rows, cols, a, b, turned=turned, **fields) for turned in (False, True)
    )
    np.testing.assert_array_equal(turned.c, masked_product(a, b, selected, mask))
    np.testing.assert_array_equal(copied.c, turned.c)
    assert copied.cycles == turned.cycles + 1
    assert copied.starts == [start + 1 for start in turned.starts]
    # Weights that enter all columns at once wait for the last column's: R + C - 1 from fold to fold
    times = streams(dataflow, rows, cols, m, n, selected, mask, native)
    period = [max(time, rows + (cols - 1) * together) for time in times]
    assert copied.cycles == sum(period[:-1]) + rows + times[-1] + rows + cols - 1


@settings(max_examples=200)
@given(runs(), st.sampled_from(DATAFLOWS))
def test_one_fold_at_a_time_is_the_plain_oracles_overlap(run, dataflow):
    rows, cols, m, n, k, selected, mask, native = run
    a, b = values(m, k, 1), values(n, k, 2)
    fields = {"selected": selected, "mask": mask, "native": native}
    how = {} if dataflow == "os" else {"turned": True}
    truth = oracle.simulate(dataflow, rows, cols, a, b, **fields)
    waiting = simulate(dataflow, rows, cols, a, b, waits=True, **how, **fields)
    np.testing.assert_array_equal(waiting.c, truth.c)
    times = streams(dataflow, rows, cols, m, n, selected, mask, native)
    assert waiting.cycles == truth.cycles("overlapped", "overlapped")
    assert waiting.cycles == one_at_a_time(rows, cols, times)
    # and nothing is lost by not waiting
    assert simulate(dataflow, rows, cols, a, b, **how, **fields).cycles <= waiting.cycles


@settings(max_examples=100)
@given(runs(), st.integers(1, 5))
def test_sums_along_buses_need_not_wait_for_each_other(run, dot):
    rows, cols, m, n, k, selected, mask, native = run
    a, b = values(m, k, 1), values(n, k, 2)
    fields = {"selected": selected, "mask": mask, "native": native, "dot": dot}
    truth = oracle.simulate("os", rows, cols, a, b, **fields)
    whole = simulate("os", rows, cols, a, b, **fields)
    np.testing.assert_array_equal(whole.c, truth.c)
    assert whole.cycles == truth.cycles(drain="overlapped")


# No schedule is shorter.


def drawn_weights(rows, cols, times, seed=0):
    """Folds of weights and words, and their products."""
    rng = np.random.default_rng(seed)
    folds, products = [], []
    for time in times:
        weights, words = rng.integers(1, 1000, (rows, cols)), rng.integers(1, 1000, (rows, time))
        still = [[Slot(w, 0) for w in row] for row in weights.tolist()]
        folds.append((still, [[(w,) for w in row] for row in words.tolist()]))
        products.append((words.T @ weights).tolist())
    return folds, products


def drawn_sums(rows, cols, times, seed=0):
    rng = np.random.default_rng(seed)
    folds, products = [], []
    for time in times:
        a, b = rng.integers(1, 1000, (rows, time)), rng.integers(1, 1000, (cols, time))
        one = [[Slot(w, 0) for w in row] for row in a.tolist()]
        folds.append((one, [[(w,) for w in row] for row in b.tolist()]))
        products.append((a @ b.T).tolist())
    return folds, products


def fate(hold, folds, products, plan, **how):
    """Cycles of a forced schedule that gives the products; else what became of it."""
    try:
        run = hold(folds, plan=plan, **how)
    except AssertionError:
        return "clash"
    return run.cycles if run.results == products else "wrong"


SHAPES = [(3, 2, 4), (3, 2, 3), (4, 3, 2), (5, 1, 1), (2, 4, 7), (2, 3, 1), (3, 3, 2)]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("rows", "cols", "time"), SHAPES)
def test_weights_with_a_shorter_period_break_c(rows, cols, time, turned):
    folds, products = drawn_weights(rows, cols, [time] * 4)
    period, lead = max(time, rows), rows + 1 - turned

    def end(words, valid=True, lead=lead):
        plan = [(f * period, lead + f * words) for f in range(4)]
        return fate(hold_weights, folds, products, plan, turned=turned, valid=valid)

    own = hold_weights(folds, turned=turned)
    assert own.results == products
    assert end(period) == own.cycles
    # A cycle less, and two words enter at once if words are what takes the period. If weights are,
    # a mark finds none; if the PE does not care, the product is another.
    assert end(period - 1) == "clash"
    assert end(period - 1, valid=False) == ("clash" if time >= period else "wrong")
    # Nor may the words follow their weights a cycle earlier, in the first fold neither.
    assert end(period, lead=lead - 1) == "clash"


@pytest.mark.parametrize("fold", [1, 2, 3])
@pytest.mark.parametrize(("rows", "cols", "time"), SHAPES)
def test_no_fold_of_weights_may_come_a_cycle_earlier(rows, cols, time, fold):
    folds, products = drawn_weights(rows, cols, [time] * 4)
    words = hold_weights(folds).starts
    # The first weight of a fold enters where the mark before has just taken row 0's.
    plan = list(zip([0, *(start - 1 for start in words[:-1])], words, strict=True))
    assert isinstance(fate(hold_weights, folds, products, plan), int)
    for weights_early, words_early in ((1, 0), (0, 1)):
        early = list(plan)
        early[fold] = (plan[fold][0] - weights_early, plan[fold][1] - words_early)
        assert fate(hold_weights, folds, products, early) == "clash"
        # Only two weights or words on one wire cannot be had at all.
        wire = time >= rows if words_early else time <= rows or fold == 1
        unheeded = fate(hold_weights, folds, products, early, valid=False)
        assert unheeded == ("clash" if wire else "wrong")


@pytest.mark.parametrize(("rows", "cols", "time"), SHAPES)
def test_sums_with_a_shorter_period_break_c(rows, cols, time):
    folds, products = drawn_sums(rows, cols, [time] * 4)
    period = max(time, rows)
    own = hold_sums(folds)
    assert own.results == products
    assert fate(hold_sums, folds, products, [f * period for f in range(4)]) == own.cycles
    for late in (1, 2, 3):
        plan = [f * period - (f >= late) for f in range(4)]
        assert fate(hold_sums, folds, products, plan) == "clash"


@pytest.mark.parametrize(
    ("rows", "cols", "times"), [(2, 2, (1, 1)), (2, 2, (3, 1)), (3, 1, (2, 1))]
)
def test_of_all_schedules_of_two_folds_none_is_shorter(rows, cols, times):
    folds, products = drawn_weights(rows, cols, times)
    own = hold_weights(folds).cycles
    ends = [
        fate(hold_weights, folds, products, [(0, first), (weights, second)], valid=False)
        for first, weights, second in product(range(rows + 2), range(own), range(own))
    ]
    assert min(end for end in ends if isinstance(end, int)) == own
    assert {"clash", "wrong"} < set(ends)
    folds, products = drawn_sums(rows, cols, times)
    ends = [fate(hold_sums, folds, products, [0, second]) for second in range(own)]
    assert min(end for end in ends if isinstance(end, int)) == hold_sums(folds).cycles


# A stream that shrinks: 2 multipliers and groups of 4 activations in a PE.


@pytest.mark.parametrize(("m", "n", "k", "rows", "cols"), [(7, 5, 24, 3, 2), (2, 3, 16, 4, 3)])
def test_a_group_takes_two_beats_if_dense_and_one_if_2_4(m, n, k, rows, cols):
    a, b = values(m, k, 1), values(n, k, 2)
    folds = ceil(k / (4 * rows)) * ceil(n / cols)
    sparse = regular_mask(n, k, Pattern(2, 4), 3)
    for mask, beats in ((np.ones_like(sparse), 2), (sparse, 1)):
        whole = simulate_in_beats(rows, cols, a, b, mask)
        np.testing.assert_array_equal(whole.c, masked_product(a, b, "b", mask))
        assert len(whole.starts) == folds
        assert whole.cycles == weights_in_turn(rows, cols, [beats * m] * folds)
        alone = simulate_in_beats(rows, cols, a, b, mask, turned=True, waits=True)
        np.testing.assert_array_equal(alone.c, whole.c)
        assert alone.cycles == rows + folds * (beats * m + rows + cols - 2)


def test_beats_have_the_slopes_of_a_published_array():
    # One fold takes 91 + 2 T cycles dense and 91 + T with 2:4: the same array, hence the same rest.
    rows, cols, ends = 3, 2, []
    for m in (1, 2, 9):
        a, b = values(m, 4 * rows, 1), values(cols, 4 * rows, 2)
        sparse = regular_mask(cols, 4 * rows, Pattern(2, 4), 3)
        for mask, beats in ((np.ones_like(sparse), 2), (sparse, 1)):
            ends.append(simulate_in_beats(rows, cols, a, b, mask).cycles - beats * m)
    assert set(ends) == {2 * rows + cols - 1}


@settings(max_examples=100)
@given(runs(), st.sampled_from([(2, 4), (4, 8), (1, 4), (3, 5)]))
def test_any_mask_in_beats(run, shape):
    rows, cols, m, n, k, _, _, _ = run
    multipliers, group = shape
    rng = np.random.default_rng(rows * 100 + k)
    a, b, mask = values(m, k, 1), values(n, k, 2), rng.random((n, k)) < rng.random()
    whole = simulate_in_beats(rows, cols, a, b, mask, multipliers=multipliers, group=group)
    np.testing.assert_array_equal(whole.c, masked_product(a, b, "b", mask))
    times = []
    for left, top in product(range(0, n, cols), range(0, k, rows * group)):
        tile = mask[left : left + cols, top : top + rows * group]
        tile = np.pad(tile, ((0, 0), (0, -tile.shape[1] % group)))
        kept = tile.reshape(len(tile), -1, group).sum(axis=2).max()
        times.append(m * max(1, ceil(kept / multipliers)))
    assert whole.cycles == weights_in_turn(rows, cols, times)
