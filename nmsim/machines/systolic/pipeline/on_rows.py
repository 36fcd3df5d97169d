"""K on the rows (ws, is): the nest of loops over the folds of a GEMM.

A tile of x is held fold by fold along K while y streams, in chunks whose partial sums fit the C
buffer: tiles of columns, chunks of streamed rows, folds along K.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.machines.systolic.pipeline.copies import same, skip_alike
from nmsim.machines.systolic.pipeline.folds import (
    FIRST,
    ISSUED,
    NO,
    STATE_SIZE,
    YES,
    Array,
    Buffers,
    Cut,
    Fold,
    Work,
    passed_over,
    stored,
    take,
)
from nmsim.machines.systolic.pipeline.memory import State, finish, note, repeat, repeats

__all__ = ["sum_k_on_rows"]


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
        take(state, alike, array, buffers, one)
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
    x_k, y_k = stored(work.x_k, slots), stored(work.y_k, slots)
    rows = cut.rows
    chunks = (work.y_lanes + rows - 1) // rows
    x_stays = cols * x_k <= buffers.x_half
    along = work.whole_k if work.whole_k > 0 else slots
    last = work.y_lanes - (chunks - 1) * rows
    whole = Chunk(rows, cols, slots, x_k, y_k, along, cut.pieces)
    rest = Chunk(last, cols, slots, x_k, y_k, along, cut.pieces)
    before = np.empty(STATE_SIZE, np.int64)
    passed, unchanged = (
        passed_over(buffers, YES, NO),
        not x_stays and buffers.x_again == buffers.x_ticks,
    )
    chunk = FIRST
    while chunk < chunks - 1:
        note(before, state)
        own = passed if chunk > 0 else buffers
        _column(state, array, own, whole, beats, (chunk == 0 or not x_stays, y_loads))
        chunk += 1
        alike = min(repeats(before, state), chunks - 1 - chunk)
        if (chunk > 1 or unchanged) and alike > 0:
            repeat(before, state, alike)
            chunk += alike
    own = passed if chunks > 1 else buffers
    _column(state, array, own, rest, beats, (chunks == 1 or not x_stays, y_loads))


@compiled
def _copy(
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
    passed, unchanged = passed_over(buffers, NO, YES), buffers.y_again == buffers.y_ticks
    tile = FIRST
    while tile < tiles:
        full = tile < tiles - 1
        cols = array.cols if full else work.x_lanes - tile * array.cols
        own = tile if work.x_selected else FIRST
        length = slots[own]
        y_k = stored(work.y_k, length)
        y_stays = work.y_lanes * y_k <= buffers.y_half
        note(before, state)
        each = beats[own if work.whole_k > 0 else 0]
        one = Tile(cols, length, tile == 0 or not y_stays)
        _chunks(state, array, passed if tile > 0 else buffers, work, cut, one, each)
        tile += 1
        more = repeats(before, state)
        if full and (tile > 1 or (unchanged and not y_stays)) and more > 0:
            alike = 0
            while tile + alike < tiles - 1:
                if work.x_selected and slots[tile + alike] != length:
                    break
                if work.x_selected and not same(beats, tile + alike, own):
                    break
                alike += 1
            alike = min(alike, more)
            repeat(before, state, alike)
            tile += alike


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
        _copy(state, array, buffers, work, cut, slots[copy], beats)
        copy = skip_alike(before, state, work, copy + 1, slots, cycles)
    return finish(state, array.timing)
