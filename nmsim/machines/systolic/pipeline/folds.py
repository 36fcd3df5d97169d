"""Systolic arrays, fold by fold through the memory pipeline: what a fold is, and folds alike.

Stall-free cycles of a fold are those of data moving through registers: T rows enter skewed by one
cycle a row and leave skewed by one a column, T + R + C - 2 in all; shifting the stationary operand
in (ws, is) or the outputs out (os) takes R more. Ragged folds pass through the whole array.

The operand whose lanes lie along the columns is called x, the other one y. In which order the folds
of a GEMM come is told by two nests of loops, ``pipeline.on_rows`` and ``pipeline.in_time``.

A fold waits for the path from the buffers where that carries fewer bits in a cycle than the fold
asks for: what streams takes as long as its bits, and so does a preload.

Repeated folds, chunks, tiles and copies are added up as soon as they only shift the pipeline in
time (``nmsim.machines.systolic.pipeline.memory``), so the cost grows with distinct folds, not with
cycles.
"""

from typing import NamedTuple, cast

import numpy as np

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
    "stored",
    "take",
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
def take(state: State, count: int, array: Array, buffers: Buffers, one: Fold) -> None:
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
def stored(k: int, slots: int) -> int:
    """Stored elements along K of an operand."""
    return k if k > 0 else slots
