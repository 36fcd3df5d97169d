"""Systolic arrays, fold by fold through the memory pipeline: the kernels of the cycle model.

Stall-free cycles of a fold are those of data moving through registers: T rows enter skewed by one
cycle a row and leave skewed by one a column, T + R + C - 2 in all; shifting the stationary operand
in (ws, is) or the outputs out (os) takes R more. Ragged folds pass through the whole array.

The operand whose lanes lie along the columns is called x, the other one y. With K on the rows (ws,
is) a tile of x is held fold by fold along K while y streams, in chunks whose partial sums fit the C
buffer. With K in time (os) a tile of C stays while both stream.

A fold waits for the path from the buffers where that carries fewer bits in a cycle than the fold
asks for: what streams takes as long as its bits, and so does a preload.

Repeated folds, chunks, tiles and copies are added up as soon as they only shift the pipeline in
time (``nmsim.machines.systolic.memory``), so the cost grows with distinct folds, not with cycles.
"""

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.machines.systolic.memory import (
    TICKS,
    TIMES,
    State,
    fold,
    last_store,
    note,
    only_shifted,
    repeat,
)

__all__ = ["Array", "Buffers", "Sums", "Work", "sum_folds"]


class Array(NamedTuple):
    """R, C, products along K that a PE sums per cycle, and the cycles of a fold beside streaming.

    ``drain`` is what a drain behind the next fold takes of that at least; ``x_delivery`` and
    ``y_delivery`` are the time of a stored element on the path from the buffers,
    ticks; ``preload`` the exposed cycles in which x shifts in, 0 if x comes while y streams, and -1
    if its shifting is not counted at all.
    """

    rows: int
    cols: int
    dot_width: int
    overhead: int
    drain: int
    preload: int
    x_delivery: float
    y_delivery: float


class Buffers(NamedTuple):
    """Channel time per element, ticks, and what half of each buffer holds, elements."""

    x_ticks: float
    y_ticks: float
    sum_ticks: float
    output_ticks: float
    x_half: float
    y_half: float
    sums_half: int
    latency: int
    spill: bool


class Work(NamedTuple):
    """Copies, lanes of both operands, and their stored elements along K.

    ``x_k`` and ``y_k`` are 0 for an operand that stores as many elements as it has slots.
    ``x_selected`` and ``y_selected`` say whose lanes the tiles of slots follow. An intersecting
    array streams as many cycles as each fold is given, whatever the slots.
    """

    copies: int
    x_lanes: int
    y_lanes: int
    x_k: int
    y_k: int
    x_selected: bool
    y_selected: bool
    intersecting: bool


class Chunk(NamedTuple):
    """A tile of columns and a chunk of streamed rows: cycles that stream, columns, slots along K.

    ``x_k`` and ``y_k`` are the stored elements of both operands along that K.
    """

    streamed: int
    cols: int
    slots: int
    x_k: int
    y_k: int


class Fold(NamedTuple):
    """One fold: cycles that stream, and elements read from the buffers, loaded, and written.

    ``sums_in`` and ``sums_out`` are partial sums that the C buffer cannot hold.
    """

    streamed: int
    x_read: int
    y_read: int
    x_load: int
    y_load: int
    sums_in: int
    sums_out: int
    outputs: int


class Sums(NamedTuple):
    """What the folds of all copies add up to: ticks, cycles and elements.

    ``total``, until the last result has left, ``compute`` and its part ``waited``, for the path
    from the buffers, are in ticks; ``streamed``, that feeds operands, in cycles; ``issued`` counts
    MAC slots.
    """

    total: int
    folds: int
    compute: int
    waited: int
    streamed: int
    issued: int
    x_loaded: int
    y_loaded: int
    x_read: int
    y_read: int
    sums_in: int
    sums_out: int
    outputs: int


(
    FOLDS,
    COMPUTE,
    WAITED,
    STREAMED,
    ISSUED,
    X_LOADED,
    Y_LOADED,
    X_READ,
    Y_READ,
    SUMS_IN,
    SUMS_OUT,
    OUTPUTS,
) = range(TIMES, TIMES + 12)
STATE_SIZE = TIMES + 12

# Kernels are compiled anew for a literal argument: these are none.
FIRST, ONCE, YES = cast("tuple[int, int, bool]", (np.int64(0), np.int64(1), np.bool_(True)))


@compiled
def _delivery_wait(array: Array, one: Fold) -> int:
    """Ticks that a fold waits for the path from the buffers."""
    x, y = one.x_read * array.x_delivery, one.y_read * array.y_delivery
    streaming = x + y if array.preload == 0 else y
    wait = max(0.0, np.ceil(streaming) - one.streamed * TICKS)
    if array.preload > 0:
        wait += max(0.0, np.ceil(x) - array.preload * TICKS)
    return int(wait)


@compiled
def _folds(state: State, count: int, array: Array, buffers: Buffers, one: Fold) -> None:
    """Take ``count`` folds alike through the memory pipeline, one by one until they recur.

    After ``done`` folds the times are those of so many. Once a fold has only shifted all of them,
    every later one does the same again; the sums are linear in folds, and are added at the end.
    """
    x_ahead, y_ahead = min(one.x_load, buffers.x_half), min(one.y_load, buffers.y_half)
    load = int(np.ceil(x_ahead * buffers.x_ticks + y_ahead * buffers.y_ticks))
    stream = int(
        np.ceil(
            (one.x_load - x_ahead) * buffers.x_ticks
            + (one.y_load - y_ahead) * buffers.y_ticks
            + one.sums_in * buffers.sum_ticks
        )
    )
    if buffers.latency > 0:  # a request is one, however fast the channel
        load = max(load, int(one.x_load + one.y_load > 0))
    store = int(np.ceil(one.sums_out * buffers.sum_ticks + one.outputs * buffers.output_ticks))
    wait = _delivery_wait(array, one)
    ticks = (one.streamed + array.overhead) * TICKS + wait
    if state[FOLDS] > 0:  # the outputs of the fold before leave behind this one
        ticks = max(ticks, array.drain * TICKS)
    before = np.empty(TIMES, np.int64)
    for done in range(1, count + 1):
        note(before, state)
        fold(state, ticks, load, stream, store, buffers.latency)
        if only_shifted(before, state):
            repeat(before, state, count - done)
            break
    state[FOLDS] += count
    state[COMPUTE] += count * ticks
    state[WAITED] += count * wait
    state[STREAMED] += count * one.streamed
    state[X_READ] += count * one.x_read
    state[Y_READ] += count * one.y_read
    state[X_LOADED] += count * one.x_load
    state[Y_LOADED] += count * one.y_load
    state[SUMS_IN] += count * one.sums_in
    state[SUMS_OUT] += count * one.sums_out
    state[OUTPUTS] += count * one.outputs


@compiled
def _column(
    state: State, array: Array, buffers: Buffers, chunk: Chunk, x_loads: bool, y_loads: bool
) -> None:
    """All folds along K of one tile of columns and one chunk of streamed rows."""
    streamed, cols, slots, x_k, y_k = chunk
    folds = (slots + array.rows - 1) // array.rows
    x_part, y_part = array.rows * x_k // slots, array.rows * y_k // slots
    x_last, y_last = x_k - (folds - 1) * x_part, y_k - (folds - 1) * y_part
    overflow = max(0, streamed * cols - buffers.sums_half) if buffers.spill and folds > 1 else 0
    x, y, done = cols * x_part, streamed * y_part, streamed * cols
    x_full, y_full = x if x_loads else 0, y if y_loads else 0
    if folds > 1:
        first = Fold(streamed, x, y, x_full, y_full, 0, overflow, 0)
        _folds(state, ONCE, array, buffers, first)
    if folds > 2:
        inner = Fold(streamed, x, y, x_full, y_full, overflow, overflow, 0)
        _folds(state, folds - 2, array, buffers, inner)
    x, y = cols * x_last, streamed * y_last
    x_rest, y_rest = x if x_loads else 0, y if y_loads else 0
    last = Fold(streamed, x, y, x_rest, y_rest, overflow, 0, done)
    _folds(state, ONCE, array, buffers, last)
    state[ISSUED] += streamed * cols * slots


@compiled
def _chunks(
    state: State,
    array: Array,
    buffers: Buffers,
    work: Work,
    cols: int,
    slots: int,
    y_loads: bool,
) -> None:
    """One tile of columns: chunks of streamed rows as long as the C buffer holds their sums."""
    x_k, y_k = _stored(work.x_k, slots), _stored(work.y_k, slots)
    chunks = 1
    if not buffers.spill:
        longest = max(1, buffers.sums_half // cols)
        chunks = (work.y_lanes + longest - 1) // longest
    rows = (work.y_lanes + chunks - 1) // chunks
    chunks = (work.y_lanes + rows - 1) // rows
    x_stays = cols * x_k <= buffers.x_half
    whole = Chunk(rows, cols, slots, x_k, y_k)
    rest = Chunk(work.y_lanes - (chunks - 1) * rows, cols, slots, x_k, y_k)
    _column(state, array, buffers, whole, YES, y_loads)
    before = np.empty(STATE_SIZE, np.int64)
    for left in range(chunks - 2, 0, -1):
        note(before, state)
        _column(state, array, buffers, whole, not x_stays, y_loads)
        if only_shifted(before, state):
            repeat(before, state, left - 1)
            break
    if chunks > 1:
        _column(state, array, buffers, rest, not x_stays, y_loads)


@compiled
def _rows_copy(
    state: State, array: Array, buffers: Buffers, work: Work, slots: NDArray[np.int64]
) -> None:
    """One copy with K on the rows: tile after tile of columns."""
    tiles = (work.x_lanes + array.cols - 1) // array.cols
    before = np.empty(STATE_SIZE, np.int64)
    tile = FIRST
    while tile < tiles:
        full = tile < tiles - 1
        cols = array.cols if full else work.x_lanes - tile * array.cols
        length = slots[tile] if work.x_selected else slots[0]
        y_k = _stored(work.y_k, length)
        y_stays = work.y_lanes * y_k <= buffers.y_half
        note(before, state)
        _chunks(state, array, buffers, work, cols, length, tile == 0 or not y_stays)
        tile += 1
        if full and (tile > 1 or not y_stays) and only_shifted(before, state):
            alike = 0
            while tile + alike < tiles - 1 and (
                not work.x_selected or slots[tile + alike] == length
            ):
                alike += 1
            repeat(before, state, alike)
            tile += alike


@compiled
def _alike(
    work: Work, slots: NDArray[np.int64], cycles: NDArray[np.int64], tile: int, tiles: int
) -> int:
    """Folds from ``tile`` on that are alike, in one row of tiles; the last may be ragged."""
    alike = 1
    while tile > 0 and tile + alike < tiles - 1:
        if work.x_selected and slots[tile + alike] != slots[tile]:
            break
        if work.intersecting and cycles[tile + alike] != cycles[tile]:
            break
        alike += 1
    return alike


@compiled
def _time_row(
    state: State,
    array: Array,
    buffers: Buffers,
    work: Work,
    row_tile: int,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64],
) -> None:
    """One row of tiles of C with K in time: tile after tile of columns.

    The state is that after all tiles before ``tile``; each turn takes the ``alike`` tiles from
    there on, of which all have the same fold.
    """
    rows = min(array.rows, work.y_lanes - row_tile * array.rows)
    tiles = (work.x_lanes + array.cols - 1) // array.cols
    x_stays = _elements(slots, array, work) <= buffers.x_half
    tile = FIRST
    while tile < tiles:
        length = (
            slots[tile] if work.x_selected else slots[row_tile] if work.y_selected else slots[0]
        )
        streamed = (length + array.dot_width - 1) // array.dot_width
        if work.intersecting:
            streamed = cycles[tile]
        alike = _alike(work, slots, cycles, tile, tiles)
        cols = min(array.cols, work.x_lanes - tile * array.cols)
        x, y = cols * _stored(work.x_k, length), rows * _stored(work.y_k, length)
        x_loads = row_tile == 0 or not x_stays
        y_loads = tile == 0 or y > buffers.y_half
        x_load, y_load = x if x_loads else 0, y if y_loads else 0
        one = Fold(streamed, x, y, x_load, y_load, 0, 0, rows * cols)
        _folds(state, alike, array, buffers, one)
        state[ISSUED] += alike * rows * cols * length
        tile += alike


@compiled
def _stored(k: int, slots: int) -> int:
    """Stored elements along K of an operand."""
    return k if k > 0 else slots


@compiled
def _elements(slots: NDArray[np.int64], array: Array, work: Work) -> int:
    """Stored elements of x along K, of all its tiles together."""
    if work.x_k > 0:
        return work.x_lanes * work.x_k
    elements = 0
    for tile in range(len(slots)):
        elements += slots[tile] * min(array.cols, work.x_lanes - tile * array.cols)
    return elements


@compiled
def _time_copy(
    state: State,
    array: Array,
    buffers: Buffers,
    work: Work,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64],
) -> None:
    """One copy with K in time: row after row of tiles of C."""
    row_tiles = (work.y_lanes + array.rows - 1) // array.rows
    before = np.empty(STATE_SIZE, np.int64)
    row_tile = FIRST
    while row_tile < row_tiles:
        note(before, state)
        own = cycles[row_tile if work.intersecting else 0]
        _time_row(state, array, buffers, work, row_tile, slots, own)
        row_tile += 1
        if 1 < row_tile < row_tiles and only_shifted(before, state):
            alike = 0
            while row_tile + alike < row_tiles - 1:
                if work.y_selected and slots[row_tile + alike] != slots[row_tile - 1]:
                    break
                if work.intersecting and (cycles[row_tile + alike] != own).any():
                    break
                alike += 1
            repeat(before, state, alike)
            row_tile += alike


@compiled
def _skip_alike(
    before: State,
    state: State,
    work: Work,
    done: int,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64],
) -> int:
    """Copies done, those included that only repeat the last one and are added up here."""
    if done < 2 or not only_shifted(before, state):  # the first one waits for no drain
        return done
    alike, own, spent = 0, slots[done - 1], cycles[done - 1 if work.intersecting else 0]
    while done + alike < work.copies and (slots[done + alike] == own).all():
        if work.intersecting and (cycles[done + alike] != spent).any():
            break
        alike += 1
    repeat(before, state, alike)
    return done + alike


@compiled
def _sum_k_on_rows(
    array: Array,
    buffers: Buffers,
    work: Work,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64],
) -> NDArray[np.int64]:
    """All copies of a GEMM with K on the rows; the times and sums at its end.

    Apart from ``_sum_k_in_time``, so that only the nest that a run needs is compiled.
    """
    state, before = np.zeros(STATE_SIZE, np.int64), np.empty(STATE_SIZE, np.int64)
    copy = 0
    while copy < work.copies:
        note(before, state)
        _rows_copy(state, array, buffers, work, slots[copy])
        copy = _skip_alike(before, state, work, copy + 1, slots, cycles)
    state[0] = last_store(state)
    return state


@compiled
def _sum_k_in_time(
    array: Array,
    buffers: Buffers,
    work: Work,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64],
) -> NDArray[np.int64]:
    """All copies of a GEMM with K in time; the times and sums at its end."""
    state, before = np.zeros(STATE_SIZE, np.int64), np.empty(STATE_SIZE, np.int64)
    copy = 0
    while copy < work.copies:
        note(before, state)
        spent = cycles[copy if work.intersecting else 0]
        _time_copy(state, array, buffers, work, slots[copy], spent)
        copy = _skip_alike(before, state, work, copy + 1, slots, cycles)
    state[0] = last_store(state)
    return state


def _sum_folds(
    array: Array,
    buffers: Buffers,
    work: Work,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64],
    on_rows: bool,
) -> NDArray[np.int64]:
    """Times and sums at the end of a GEMM; only the nest of loops that it needs is compiled."""
    nest = _sum_k_on_rows if on_rows else _sum_k_in_time
    return nest(array, buffers, work, slots, cycles)


def sum_folds(
    array: Array,
    buffers: Buffers,
    work: Work,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64] | None = None,
    *,
    k_on_rows: bool,
) -> Sums:
    """Add up the folds of all copies of a GEMM: ticks, cycles and elements.

    Parameters
    ----------
    slots
        copies x tiles: K in slots of each tile of the selected operand's lanes; one tile if no
        operand is selected or its lanes stream.
    cycles
        copies x row tiles x column tiles: what each fold of an intersecting array streams.
    k_on_rows
        K lies on the rows and x is held (ws, is); otherwise in time and C is held (os).
    """
    spent = np.zeros((1, 1, 1), np.int64) if cycles is None else cycles
    state = _sum_folds(array, buffers, work, slots, spent, k_on_rows)
    return Sums(int(state[0]), *map(int, state[TIMES:]))
