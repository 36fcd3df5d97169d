"""K in time (os): the nest of loops over the folds of a GEMM.

A tile of C stays while both operands stream: rows of tiles, a fold each.
"""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.machines.systolic.pipeline.copies import same, skip_alike
from nmsim.machines.systolic.pipeline.folds import (
    FIRST,
    ISSUED,
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

__all__ = ["sum_k_in_time"]


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
def _row(
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
        x, y = cols * stored(work.x_k, length), rows * stored(work.y_k, length)
        x_loads = row_tile == 0 or not x_stays
        y_loads = tile == 0 or y > buffers.y_half
        x_load, y_load = x if x_loads else 0, y if y_loads else 0
        pieces = cut.pieces
        one = Fold(streamed, streamed, x, y, x_load, y_load, 0, 0, rows * cols, pieces, pieces, YES)
        take(state, alike, array, passed_over(buffers, row_tile > 0, tile > 0), one)
        state[ISSUED] += alike * rows * cols * length
        tile += alike


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
def _copy(
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
        _row(state, array, buffers, work, cut, row_tile, slots, own)
        row_tile += 1
        more = repeats(before, state)
        if 1 < row_tile < row_tiles and more > 0:
            alike = 0
            while row_tile + alike < row_tiles - 1:
                if work.y_selected and slots[row_tile + alike] != slots[row_tile - 1]:
                    break
                if work.intersecting and not same(cycles, row_tile + alike, row_tile - 1):
                    break
                alike += 1
            alike = min(alike, more)
            repeat(before, state, alike)
            row_tile += alike


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
        _copy(state, array, buffers, work, cut, slots[copy], spent)
        copy = skip_alike(before, state, work, copy + 1, slots, cycles)
    return finish(state, array.timing)
