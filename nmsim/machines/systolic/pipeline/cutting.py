"""Which way to cut the folds of a GEMM is fastest: chunks of streamed rows, and pieces of a fold.

Numbers of chunks and of pieces come from ladders that do not depend on buffers: a larger buffer
adds smaller numbers to those that are tried, so that it never costs time. None is tried that cannot
be faster than the best so far.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled, compiled_unless_brief
from nmsim.machines.systolic.pipeline.capacity import least_pieces, next_count
from nmsim.machines.systolic.pipeline.folds import (
    ISSUED,
    LOADING,
    NO,
    ONCE,
    OUTPUTS,
    STATE_SIZE,
    SUMS_IN,
    SUMS_OUT,
    X_LOADED,
    Y_LOADED,
    YES,
    Array,
    Buffers,
    Cut,
    Room,
    Sums,
    Work,
)
from nmsim.machines.systolic.pipeline.in_time import sum_k_in_time
from nmsim.machines.systolic.pipeline.memory import (
    BACK_TO_BACK,
    EXPOSED,
    FOLDS,
    HEAD,
    HIDDEN,
    LAST_TICKS,
    PATH,
    STREAMED,
    TICKS,
    UNCOUNTED,
    State,
    stall_free,
)
from nmsim.machines.systolic.pipeline.on_rows import sum_k_on_rows
from nmsim.machines.systolic.traffic.residence import BUDGET, Walk, loads

__all__ = ["UNSEEN", "Sight", "cuts_below", "gathered", "sum_cut", "sum_folds"]

TOTAL, COMPUTE, ROWS, PIECES, LISTED = range(STATE_SIZE, STATE_SIZE + 5)
"""Of the fastest run: its end, what it would have taken without memory, and how it was cut; and how
many cuts are listed."""


class Sight(NamedTuple):
    """How y is gathered where it streams: from a tensor, or not if its geometry is empty.

    What it loads depends on the rows of a chunk. ``walk`` is that of any; ``ticks`` are the
    channel time of an element, ``size`` those of a copy in columns, and ``least`` is the channel
    time of all copies' elements if each is loaded once. ``known`` has what was found out before: a
    row of each number of rows of a chunk, what a first pass loads then, and every later one.
    """

    geometry: NDArray[np.int64]
    walk: Walk
    ticks: float
    size: int
    least: float
    known: NDArray[np.int64]


UNSEEN = Sight(
    geometry=np.zeros(0, np.int64),
    walk=Walk(1, 1, 0, by_block=False, once=True),
    ticks=0.0,
    size=1,
    least=0.0,
    known=np.zeros((0, 3), np.int64),
)
"""That of an operand that is not gathered."""


class Search(NamedTuple):
    """Which cuts are looked for: the fastest, or all that are listed.

    Parameters
    ----------
    below
        Cycles: no cut is looked for that takes as many or more.
    arrays
        That move as much over the channel at the same time.
    listed
        Room for rows and pieces of every cut that is below; without any, the fastest is wanted.
    """

    below: int
    arrays: float
    listed: NDArray[np.int64]


_FASTEST = Search(2**62, 1.0, np.empty((0, 2), np.int64))

_LADDER = 2**13
"""Cuts that are listed at most: 156 numbers of chunks of 2^40 rows, each with 40 of pieces."""

NO_CYCLES: NDArray[np.int64] = np.zeros((1, 1, 0), np.int64)
"""Those of folds that take as many as they have words."""


@compiled
def _loaded(sight: Sight, rows: int) -> tuple[int, int]:
    """Elements of y that the first pass loads in chunks of so many rows, and every later one."""
    known, walk = sight.known, sight.walk
    for i in range(len(known)):
        if known[i, 0] == rows:
            return known[i, 1], known[i, 2]
    own = Walk(rows, walk.part, walk.room, walk.by_block, walk.once)
    return loads(sight.geometry, own, BUDGET)


@compiled
def gathered(buffers: Buffers, sight: Sight, rows: int) -> Buffers:
    """The buffers' numbers where y streams in chunks of so many rows."""
    if len(sight.geometry) == 0:
        return buffers
    first, again = _loaded(sight, rows)
    ticks = sight.ticks / sight.size
    return Buffers(
        buffers.x_ticks,
        first * ticks,
        buffers.x_again,
        (again if again > 0 else first) * ticks,
        buffers.y_row,
        buffers.sum_ticks,
        buffers.output_ticks,
        buffers.x_half,
        -1.0 if again > 0 else np.inf,
        buffers.sums_half,
        buffers.spill,
    )


@compiled
def _ticks(state: State, buffers: Buffers, most: float) -> tuple[float, float]:
    """Channel time of all loads so far at least, and of all results and sums that leave.

    ``most`` bounds that of y.
    """
    loads = state[X_LOADED] * min(buffers.x_ticks, buffers.x_again)
    loads += min(most, state[Y_LOADED] * min(buffers.y_ticks, buffers.y_again))
    loads += state[SUMS_IN] * buffers.sum_ticks
    stores = state[OUTPUTS] * buffers.output_ticks + state[SUMS_OUT] * buffers.sum_ticks
    return loads, stores


@compiled
def _least_cycles(
    state: State,
    array: Array,
    buffers: Buffers,
    compute: int,
    last: int,
    same: bool,
    sight: Sight,
    search: Search,
) -> int:
    """What a GEMM takes at least, however its folds are cut into pieces.

    Parameters
    ----------
    compute
        What its folds take where memory never makes them wait, ticks.
    last
        Elements of the results of its last fold, which nothing hides.
    same
        ``state`` is of these very folds; otherwise of some that were cut into fewer chunks, of
        which a y that is gathered may load more.
    """
    timing, other = array.timing, not same and len(sight.geometry) > 0
    loads, stores = _ticks(state, buffers, sight.least if other else np.inf)
    out = int(np.ceil(last * buffers.output_ticks))
    leaving = timing.shift if timing.period != UNCOUNTED else 0
    if timing.held:
        leaving = state[LAST_TICKS] + timing.fill - timing.shift
    busy = compute + state[HEAD] + (max(0, out - leaving) if same else 0)
    moved = int(search.arrays * (loads + stores))
    busy = max(busy, moved, int(loads) + timing.latency + timing.fill)
    return int((busy + TICKS - 1) // TICKS)


@compiled
def _answered(array: Array, work: Work, pieces: int) -> int:
    """What so many pieces of y take at least until they are answered: two requests at a time.

    Those of a copy follow each other, or those of a tile of columns where tiles differ.
    """
    tiles = (work.x_lanes + array.cols - 1) // array.cols if work.x_selected else 1
    pairs = max(0, pieces - 2 * work.copies * tiles) // 2
    return int(pairs * array.timing.latency // TICKS)


@compiled
def _found(
    search: Search, best: State, state: State, total: int, compute: int, cut: Cut, least: int
) -> int:
    """Remember a run that is below the least so far, or list its cut; the least from now on."""
    cycles = (total + TICKS - 1) // TICKS
    if cycles >= least:
        return least
    if len(search.listed) > 0:
        if best[LISTED] < len(search.listed):
            search.listed[best[LISTED], 0], search.listed[best[LISTED], 1] = cut.rows, cut.pieces
            best[LISTED] += 1
        return least
    for i in range(STATE_SIZE):
        best[i] = state[i]
    best[TOTAL], best[COMPUTE], best[ROWS], best[PIECES] = total, compute, cut.rows, cut.pieces
    return int(cycles)


@compiled
def _deep_compute(state: State, array: Array, work: Work, deep: int, rows: int) -> int:
    """What so many folds for every chunk take at least where rows stream in chunks, ticks."""
    period, _, shift, fill, _ = array.timing
    chunks = (work.y_lanes + rows - 1) // rows
    streamed = state[STREAMED] + max(0, state[PATH] - state[FOLDS])
    if period == BACK_TO_BACK:
        slow = max(0, shift - rows * TICKS) * max(0, deep * (chunks - 1) - 1)
        if work.whole_k > 0:  # rows of some folds take several beats
            slow = 0
        return int(streamed + slow + shift + TICKS + fill)
    per_fold = fill + (shift if period == EXPOSED else 0)
    return int(streamed + deep * chunks * per_fold + (shift if period == HIDDEN else 0))


@compiled_unless_brief
def _best_k_on_rows(
    array: Array,
    buffers: Buffers,
    work: Work,
    room: Room,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64],
    sight: Sight,
    search: Search,
) -> State:
    """Ways to cut the folds of a GEMM with K on the rows.

    Numbers of chunks in increasing order, and of pieces for each: a larger buffer adds smaller ones
    to the numbers that are tried. None is tried that cannot be faster than the best so far.
    """
    state, best = np.zeros(STATE_SIZE, np.int64), np.zeros(STATE_SIZE + 5, np.int64)
    least, deep, loading, done, count, own = search.below, 0, 0, 0, ONCE, buffers
    while done != 1:
        rows = (work.y_lanes + count - 1) // count
        count = next_count(count) if rows > 1 else count
        if rows > room.sum_rows or rows == done:
            continue
        done = rows
        chunks = (work.y_lanes + rows - 1) // rows
        last = (work.y_lanes - (chunks - 1) * rows) * ((work.x_lanes - 1) % array.cols + 1)
        if deep > 0:
            compute = _deep_compute(state, array, work, deep, rows)
            bound = _least_cycles(state, array, own, compute, last, NO, sight, search)
            if max(bound, _answered(array, work, loading * chunks)) >= least:
                break
        pieces, own = least_pieces(buffers.spill, room, rows), gathered(buffers, sight, rows)
        while True:
            cut = Cut(rows, pieces)
            total = sum_k_on_rows(state, array, own, work, cut, slots, cycles)
            compute = stall_free(state, array.timing)
            least = _found(search, best, state, total, compute, cut, least)
            bound = _least_cycles(state, array, own, compute, last, YES, sight, search)
            bound = max(bound, _answered(array, work, 2 * pieces * state[LOADING]))
            if pieces >= rows or bound >= least:
                break
            pieces *= 2
        if buffers.spill:
            break
        deep = state[FOLDS] // chunks
        loading = state[LOADING] // chunks if len(sight.geometry) == 0 else 0
    return best


@compiled_unless_brief
def _best_k_in_time(
    array: Array,
    buffers: Buffers,
    work: Work,
    room: Room,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64],
    sight: Sight,
    search: Search,
) -> State:
    """Ways to cut the folds of a GEMM with K in time: how many pieces each."""
    state, best = np.zeros(STATE_SIZE, np.int64), np.zeros(STATE_SIZE + 5, np.int64)
    last = ((work.y_lanes - 1) % array.rows + 1) * ((work.x_lanes - 1) % array.cols + 1)
    least, pieces = search.below, least_pieces(buffers.spill, room, 0)
    while True:
        cut = Cut(0, pieces)
        total = sum_k_in_time(state, array, buffers, work, cut, slots, cycles)
        compute = stall_free(state, array.timing)
        least = _found(search, best, state, total, compute, cut, least)
        if pieces >= max(room.x_size, room.y_size):
            return best
        bound = _least_cycles(state, array, buffers, compute, last, YES, sight, search)
        late = state[LOADING] * ((2 * pieces - 1) // 2) * array.timing.latency // TICKS
        if max(bound, late) >= least:
            return best
        pieces *= 2


def _cut_and_sum(
    array: Array,
    buffers: Buffers,
    work: Work,
    room: Room,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64],
    sight: Sight,
    search: Search = _FASTEST,
) -> State:
    """Times and sums at the end of a GEMM; only the nest of loops that it needs is compiled."""
    nest = _best_k_on_rows if array.timing.held else _best_k_in_time
    return nest(array, buffers, work, room, slots, cycles, sight, search)


def sum_folds(
    array: Array,
    buffers: Buffers,
    work: Work,
    room: Room,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64] | None = None,
    sight: Sight = UNSEEN,
) -> Sums:
    """Add up the folds of all copies of a GEMM, cut as is fastest: ticks, cycles and elements.

    Parameters
    ----------
    room
        What half of each buffer holds of a fold: anything, but for what is refused beforehand.
    slots
        copies x tiles: K in slots of each tile of the selected operand's lanes; one tile if no
        operand is selected or its lanes stream.
    cycles
        copies x row tiles x column tiles: what each fold of an intersecting array streams; copies x
        tiles x folds along K: beats of each fold where PEs hold whole groups.
    sight
        How y is gathered, with K on the rows; otherwise ``buffers`` say what it loads.
    """
    spent = NO_CYCLES if cycles is None else cycles
    state = _cut_and_sum(array, buffers, work, room, slots, spent, sight).tolist()
    cut = Cut(state[ROWS], state[PIECES])
    return _told(state, state[TOTAL], state[COMPUTE], cut)


def cuts_below(
    array: Array,
    buffers: Buffers,
    work: Work,
    room: Room,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64] | None,
    sight: Sight,
    within: tuple[int, int],
) -> list[Cut]:
    """All cuts of those that are tried whose folds alone take fewer cycles than so many.

    Parameters
    ----------
    within
        The cycles, and how many arrays share the channel and move as much as this one.
    """
    spent = NO_CYCLES if cycles is None else cycles
    below, arrays = within
    search = Search(below, float(arrays), np.empty((_LADDER, 2), np.int64))
    state = _cut_and_sum(array, buffers, work, room, slots, spent, sight, search)
    return [Cut(*one) for one in search.listed[: state[LISTED]].tolist()]


def sum_cut(
    array: Array,
    buffers: Buffers,
    work: Work,
    cut: Cut,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64] | None = None,
    sight: Sight = UNSEEN,
) -> Sums:
    """The same, cut as it is given."""
    state, spent = np.zeros(STATE_SIZE, np.int64), NO_CYCLES if cycles is None else cycles
    nest = sum_k_on_rows if array.timing.held else sum_k_in_time
    total = nest(state, array, gathered(buffers, sight, cut.rows), work, cut, slots, spent)
    return _told(state.tolist(), total, stall_free(state, array.timing), cut)


def _told(state: list[int], total: int, compute: int, cut: Cut) -> Sums:
    counted = [*state[FOLDS:HEAD], *state[ISSUED:STATE_SIZE]]
    return Sums(total, compute, cut, *counted)
