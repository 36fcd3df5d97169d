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
time (``nmsim.machines.systolic.pipeline.memory``), so the cost grows with distinct folds, not with
cycles.
"""

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.machines.systolic.pipeline.memory import (
    COUNTED,
    EXPOSED,
    KEPT,
    PATH,
    STREAMED,
    TICKS,
    UNCOUNTED,
    Pieces,
    State,
    Timing,
    finish,
    fold,
    note,
    repeat,
    repeats,
)

__all__ = [
    "FIRST",
    "ISSUED",
    "LOADING",
    "NO",
    "ONCE",
    "OUTPUTS",
    "STATE_SIZE",
    "SUMS_IN",
    "SUMS_OUT",
    "X_LOADED",
    "YES",
    "Y_LOADED",
    "Array",
    "Buffers",
    "Cut",
    "Fold",
    "Room",
    "Sums",
    "Work",
    "in_pieces",
    "passed_over",
    "sum_k_in_time",
    "sum_k_on_rows",
]


class Array(NamedTuple):
    """R, C, products along K that a PE sums per cycle, and how folds follow each other.

    ``depth`` is what a fold takes along K with K on the rows, of what ``Work`` says folds are cut
    from. ``x_delivery`` and ``y_delivery`` are the time of a stored element on the path from the
    buffers, ticks.
    """

    rows: int
    cols: int
    dot_width: int
    depth: int
    timing: Timing
    x_delivery: float
    y_delivery: float


class Buffers(NamedTuple):
    """Channel time per element, ticks, and what half of each buffer holds, elements.

    ``x_again`` and ``y_again`` are that time where an operand is passed over again, ``y_row`` that
    of the first row that streams in a fold.
    """

    x_ticks: float
    y_ticks: float
    x_again: float
    y_again: float
    y_row: float
    sum_ticks: float
    output_ticks: float
    x_half: float
    y_half: float
    sums_half: int
    spill: bool


class Work(NamedTuple):
    """Copies, lanes of both operands, and their stored elements along K.

    ``x_k`` and ``y_k`` are 0 for an operand that stores as many elements as it has slots.
    ``x_selected`` and ``y_selected`` say whose lanes the tiles of slots follow. An intersecting
    array streams as many cycles as each fold is given, whatever the slots. With K on the rows folds
    are cut from slots, or from ``whole_k`` elements if that is not 0: then every row streams as
    many beats as each fold is given.
    """

    copies: int
    x_lanes: int
    y_lanes: int
    x_k: int
    y_k: int
    x_selected: bool
    y_selected: bool
    intersecting: bool
    whole_k: int


class Cut(NamedTuple):
    """How folds are cut: streamed rows of each (K on the rows), and pieces of its time."""

    rows: int
    pieces: int


class Room(NamedTuple):
    """What half of each buffer holds of a fold, and how much of it there is.

    Parameters
    ----------
    sum_rows
        Streamed rows whose sums the C buffer holds (K on the rows); all where sums may spill.
    spill_rows
        Streamed rows whose sums it holds without sending any off.
    x_size, y_size
        Elements along K of a lane of each operand (K in time).
    x_room, y_room
        As many of those, in all lanes of a tile, as half a buffer holds; with K on the rows
        ``y_room`` counts streamed rows.
    """

    sum_rows: int
    spill_rows: int
    x_size: int
    y_size: int
    x_room: int
    y_room: int


class Tile(NamedTuple):
    """A tile of columns: how many, its slots along K, and whether it loads what streams."""

    cols: int
    slots: int
    y_loads: bool


class Chunk(NamedTuple):
    """A tile of columns and a chunk of streamed rows: rows, columns, slots along K.

    ``x_k`` and ``y_k`` are the stored elements of both operands along that K; folds are cut from
    ``along`` it, and into so many ``pieces``.
    """

    rows: int
    cols: int
    slots: int
    x_k: int
    y_k: int
    along: int
    pieces: int


class Fold(NamedTuple):
    """One fold: cycles that stream, and elements read from the buffers, loaded, and written.

    ``words`` are those that stream of every lane: fewer than cycles where one takes several beats.
    ``sums_in`` and ``sums_out`` are partial sums that the C buffer cannot hold. ``pieces`` are
    those of the fold, ``shares`` those of the chunk or tile, and the first fold ``opens`` it.
    """

    streamed: int
    words: int
    x_read: int
    y_read: int
    x_load: int
    y_load: int
    sums_in: int
    sums_out: int
    outputs: int
    pieces: int
    shares: int
    opens: bool


class Sums(NamedTuple):
    """What the folds of all copies add up to: ticks, cycles and elements.

    ``total``, until the last result has left; ``compute``, the part in which memory does not keep
    the array waiting; and the waits for DRAM's bandwidth, its latency and results to leave are in
    ticks, as are ``shifted``, what shifts behind other folds show, ``streamed``, that feeds
    operands, and ``waited``, for the path from the buffers. ``issued`` counts MAC slots; ``cut`` is
    how folds were cut.
    """

    total: int
    compute: int
    cut: Cut
    folds: int
    bandwidth: int
    latency: int
    write_back: int
    shifted: int
    streamed: int
    waited: int
    issued: int
    x_loaded: int
    y_loaded: int
    x_read: int
    y_read: int
    sums_in: int
    sums_out: int
    outputs: int


(
    LOADING,
    ISSUED,
    X_LOADED,
    Y_LOADED,
    X_READ,
    Y_READ,
    SUMS_IN,
    SUMS_OUT,
    OUTPUTS,
) = range(COUNTED, COUNTED + 9)
STATE_SIZE = COUNTED + 9

# Kernels are compiled anew for a literal argument: these are none.
FIRST, ONCE, YES, NO = cast(
    "tuple[int, int, bool, bool]", (np.int64(0), np.int64(1), np.bool_(True), np.bool_(False))
)


@compiled
def _path_waits(array: Array, one: Fold) -> tuple[int, int]:
    """Ticks that a fold waits for the path from the buffers while it streams, and shifts in."""
    x, y = one.x_read * array.x_delivery, one.y_read * array.y_delivery
    held, period = array.timing.held, array.timing.period
    apart = held and period in (EXPOSED, UNCOUNTED)
    streaming = y if apart else x + y
    wait = int(max(0.0, np.ceil(streaming) - one.streamed * TICKS))
    if held and period == EXPOSED:
        return wait, int(max(0.0, np.ceil(x) - array.timing.shift))
    return wait, 0


@compiled
def in_pieces(array: Array, buffers: Buffers, one: Fold) -> Pieces:
    """A fold as the pipeline takes it."""
    wait, late = _path_waits(array, one)
    x, y = one.x_load * buffers.x_ticks, one.y_load * buffers.y_ticks
    steps = max(1, one.words)
    parts = 1 if array.timing.held else one.pieces
    x_rows = array.rows if array.timing.held else steps
    sums = one.sums_in * buffers.sum_ticks
    out = one.sums_out * buffers.sum_ticks
    results = one.outputs * buffers.output_ticks
    return Pieces(
        pieces=one.pieces,
        ticks=one.streamed * TICKS + wait,
        shift=array.timing.shift + late,
        x=int(np.ceil(x / parts)),
        y=int(np.ceil((y + sums) / one.pieces)),
        x_loads=one.x_load > 0,
        y_loads=one.y_load + one.sums_in > 0,
        x_row=int(np.ceil(x / x_rows)),
        y_row=int(np.ceil(one.y_load * buffers.y_row / steps)),
        spilled=int(np.ceil(out / one.pieces)),
        share=int(np.ceil(results / one.shares)),
        shares=one.shares,
        opens=one.opens,
    )


@compiled
def passed_over(buffers: Buffers, x: bool, y: bool) -> Buffers:
    """The buffers' numbers in a later pass over x, and over y."""
    return Buffers(
        buffers.x_again if x else buffers.x_ticks,
        buffers.y_again if y else buffers.y_ticks,
        *buffers[2:],
    )


@compiled
def _folds(state: State, count: int, array: Array, buffers: Buffers, one: Fold) -> None:
    """Take ``count`` folds alike through the memory pipeline, one by one until they recur.

    After ``done`` folds the times are those of so many. Once a fold has only shifted all of them,
    every later one does the same again; the sums are linear in folds, and are added at the end.
    """
    pieces = in_pieces(array, buffers, one)
    before, room = np.empty(STREAMED, np.int64), np.empty(KEPT, np.int64)
    done = FIRST
    while done < count:
        note(before, state)
        fold(state, room, array.timing, pieces)
        done += 1
        alike = min(repeats(before, state), count - done)
        if alike > 0:
            repeat(before, state, alike)
            done += alike
    wait, late = _path_waits(array, one)
    streams = pieces.y_loads or (pieces.x_loads and not array.timing.held)
    state[LOADING] += count if streams else 0
    state[STREAMED] += count * one.streamed * TICKS
    state[PATH] += count * (wait + late)
    state[X_READ] += count * one.x_read
    state[Y_READ] += count * one.y_read
    state[X_LOADED] += count * one.x_load
    state[Y_LOADED] += count * one.y_load
    state[SUMS_IN] += count * one.sums_in
    state[SUMS_OUT] += count * one.sums_out
    state[OUTPUTS] += count * one.outputs


@compiled
def _column(
    state: State,
    array: Array,
    buffers: Buffers,
    chunk: Chunk,
    beats: NDArray[np.int64],
    loads: tuple[bool, bool],
) -> None:
    """All folds along K of one tile of columns and one chunk of streamed rows.

    The state is that after all folds before ``fold``; each turn takes those alike from there on.
    ``beats`` of every fold; of none if a row takes one. ``loads`` tells whether x and y are loaded.
    """
    rows, cols, slots, x_k, y_k, along, pieces = chunk
    folds = (along + array.depth - 1) // array.depth
    shares = folds * pieces
    x_part, y_part = array.depth * x_k // along, array.depth * y_k // along
    overflow = max(0, rows * cols - buffers.sums_half) if buffers.spill else 0
    fold = FIRST
    while fold < folds:
        opens, ends = fold == 0, fold == folds - 1
        x = cols * (x_k - (folds - 1) * x_part if ends else x_part)
        y = rows * (y_k - (folds - 1) * y_part if ends else y_part)
        beat = beats[fold] if len(beats) > 0 else 1
        alike = 1 if opens or ends else _same_beats(beats, fold, folds - 1)
        x_load, y_load = x if loads[0] else 0, y if loads[1] else 0
        sums_in, sums_out = 0 if opens else overflow, 0 if ends else overflow
        outputs = rows * cols if ends else 0
        one = Fold(
            rows * beat,
            rows,
            x,
            y,
            x_load,
            y_load,
            sums_in,
            sums_out,
            outputs,
            pieces,
            shares,
            opens,
        )
        _folds(state, alike, array, buffers, one)
        fold += alike
    state[ISSUED] += rows * cols * slots


@compiled
def _same_beats(beats: NDArray[np.int64], fold: int, folds: int) -> int:
    """Folds from ``fold`` on, before the last, whose rows take as many beats."""
    if len(beats) == 0:
        return folds - fold
    alike = 1
    while fold + alike < folds and beats[fold + alike] == beats[fold]:
        alike += 1
    return alike


@compiled
def _chunks(
    state: State,
    array: Array,
    buffers: Buffers,
    work: Work,
    cut: Cut,
    tile: Tile,
    beats: NDArray[np.int64],
) -> None:
    """One tile of columns: chunks of streamed rows whose sums the C buffer holds."""
    cols, slots, y_loads = tile
    x_k, y_k = _stored(work.x_k, slots), _stored(work.y_k, slots)
    rows = cut.rows
    chunks = (work.y_lanes + rows - 1) // rows
    x_stays = cols * x_k <= buffers.x_half
    along = work.whole_k if work.whole_k > 0 else slots
    last = work.y_lanes - (chunks - 1) * rows
    whole = Chunk(rows, cols, slots, x_k, y_k, along, cut.pieces)
    rest = Chunk(last, cols, slots, x_k, y_k, along, cut.pieces)
    before = np.empty(STATE_SIZE, np.int64)
    passed, same = passed_over(buffers, YES, NO), not x_stays and buffers.x_again == buffers.x_ticks
    chunk = FIRST
    while chunk < chunks - 1:
        note(before, state)
        own = passed if chunk > 0 else buffers
        _column(state, array, own, whole, beats, (chunk == 0 or not x_stays, y_loads))
        chunk += 1
        alike = min(repeats(before, state), chunks - 1 - chunk)
        if (chunk > 1 or same) and alike > 0:
            repeat(before, state, alike)
            chunk += alike
    own = passed if chunks > 1 else buffers
    _column(state, array, own, rest, beats, (chunks == 1 or not x_stays, y_loads))


@compiled
def _rows_copy(
    state: State,
    array: Array,
    buffers: Buffers,
    work: Work,
    cut: Cut,
    slots: NDArray[np.int64],
    beats: NDArray[np.int64],
) -> None:
    """One copy with K on the rows: tile after tile of columns.

    ``beats`` of every fold of every tile; of no fold if a row takes one.
    """
    tiles = (work.x_lanes + array.cols - 1) // array.cols
    before = np.empty(STATE_SIZE, np.int64)
    passed, same = passed_over(buffers, NO, YES), buffers.y_again == buffers.y_ticks
    tile = FIRST
    while tile < tiles:
        full = tile < tiles - 1
        cols = array.cols if full else work.x_lanes - tile * array.cols
        own = tile if work.x_selected else FIRST
        length = slots[own]
        y_k = _stored(work.y_k, length)
        y_stays = work.y_lanes * y_k <= buffers.y_half
        note(before, state)
        each = beats[own if work.whole_k > 0 else 0]
        one = Tile(cols, length, tile == 0 or not y_stays)
        _chunks(state, array, passed if tile > 0 else buffers, work, cut, one, each)
        tile += 1
        more = repeats(before, state)
        if full and (tile > 1 or (same and not y_stays)) and more > 0:
            alike = 0
            while tile + alike < tiles - 1:
                if work.x_selected and slots[tile + alike] != length:
                    break
                if work.x_selected and not _same(beats, tile + alike, own):
                    break
                alike += 1
            alike = min(alike, more)
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
    cut: Cut,
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
        pieces = cut.pieces
        one = Fold(streamed, streamed, x, y, x_load, y_load, 0, 0, rows * cols, pieces, pieces, YES)
        _folds(state, alike, array, passed_over(buffers, row_tile > 0, tile > 0), one)
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
def _same(numbers: NDArray[np.int64], one: int, other: int) -> bool:
    """Whether two rows are alike; a loop, for numba takes long to compile comparisons of arrays."""
    i = 0
    while i < numbers.shape[1] and numbers[one, i] == numbers[other, i]:
        i += 1
    return bool(i == numbers.shape[1])


@compiled
def _time_copy(
    state: State,
    array: Array,
    buffers: Buffers,
    work: Work,
    cut: Cut,
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
        _time_row(state, array, buffers, work, cut, row_tile, slots, own)
        row_tile += 1
        more = repeats(before, state)
        if 1 < row_tile < row_tiles and more > 0:
            alike = 0
            while row_tile + alike < row_tiles - 1:
                if work.y_selected and slots[row_tile + alike] != slots[row_tile - 1]:
                    break
                if work.intersecting and not _same(cycles, row_tile + alike, row_tile - 1):
                    break
                alike += 1
            alike = min(alike, more)
            repeat(before, state, alike)
            row_tile += alike


@compiled
def _same_tiles(cycles: NDArray[np.int64], one: int, other: int) -> bool:
    """Whether all tiles of two copies are alike."""
    for i in range(cycles.shape[1]):
        for j in range(cycles.shape[2]):
            if cycles[one, i, j] != cycles[other, i, j]:
                return False
    return True


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
    more = repeats(before, state)
    if done < 2 or more == 0:  # the first one waits for no fold before it
        return done
    alike = FIRST
    while done + alike < work.copies and _same(slots, done + alike, done - 1):
        given = work.intersecting or work.whole_k > 0
        if given and not _same_tiles(cycles, done + alike, done - 1):
            break
        alike += 1
    alike = min(alike, more)
    repeat(before, state, alike)
    return done + alike


@compiled
def sum_k_on_rows(
    state: State,
    array: Array,
    buffers: Buffers,
    work: Work,
    cut: Cut,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64],
) -> int:
    """All copies of a GEMM with K on the rows: the time at its end, and the sums in ``state``.

    Apart from ``sum_k_in_time``, so that only the nest that a run needs is compiled.
    """
    before = np.empty(STATE_SIZE, np.int64)
    for i in range(STATE_SIZE):
        state[i] = 0
    copy = 0
    while copy < work.copies:
        note(before, state)
        beats = cycles[copy if work.whole_k > 0 else 0]
        _rows_copy(state, array, buffers, work, cut, slots[copy], beats)
        copy = _skip_alike(before, state, work, copy + 1, slots, cycles)
    return finish(state, array.timing)


@compiled
def sum_k_in_time(
    state: State,
    array: Array,
    buffers: Buffers,
    work: Work,
    cut: Cut,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64],
) -> int:
    """All copies of a GEMM with K in time: the time at its end, and the sums in ``state``."""
    before = np.empty(STATE_SIZE, np.int64)
    for i in range(STATE_SIZE):
        state[i] = 0
    copy = 0
    while copy < work.copies:
        note(before, state)
        spent = cycles[copy if work.intersecting else 0]
        _time_copy(state, array, buffers, work, cut, slots[copy], spent)
        copy = _skip_alike(before, state, work, copy + 1, slots, cycles)
    return finish(state, array.timing)
