"""What the kernels of a multiprocessor work on: its figures, and everything that changes."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError

__all__ = [
    "CAUSES",
    "CORES",
    "NEVER",
    "REST",
    "TICKS",
    "WAITS",
    "Core",
    "Count",
    "FieldKind",
    "Kinds",
    "State",
    "kinds_of",
]

Count = int | np.int64

TICKS = 16
"""Ticks in a cycle: tensor cores and channels need times that are no whole cycles."""

NEVER = np.int64(2**62)

ISSUE, TENSOR, SHARED, MEMORY, BARRIER, DEPENDENCE, STORE = range(7)
CAUSES = 7
"""What a warp waits for: its turn, a tensor core, shared memory (queue or fragments), memory (a
stage, or room among the bytes in flight), other warps, an accumulator, room among the stores."""


class Core(NamedTuple):
    """Figures of a multiprocessor that do not change while it runs; cycles, or ticks if so said."""

    sub_cores: int
    shared_bytes: int
    shared_interval: int
    shared_latency: int
    shared_queue: int
    mma_ticks: int
    mma_latency: int
    barrier_latency: int
    in_flight: int
    memory_latency: int
    store_backlog: int
    """Ticks."""
    memory_rate: float
    """Bytes per cycle."""
    store_rate: float
    warps: int
    """Warps of a threadblock."""
    ctas: int
    slices: int
    stages: int
    ready: int
    """Column of the first register."""
    fragments: int
    """Fragments of both buffers: registers before the accumulators."""
    swaps: bool
    """The number of blocks is odd: the next slice begins in the other buffer."""
    body: int
    epilogue: int
    end: int
    skips: bool


class FieldKind(IntEnum):
    """What a number of the state is to the future, and what becomes of it when slices recur."""

    TIME = 0
    """Cycles: seen from now, what is over as just over; moves with time, but for ``NEVER``."""
    TICK = 1
    """The same in ticks."""
    COUNT = 2
    """What is there: seen as it is, and stays."""
    SLICE = 3
    """Of K: seen from its warp's own, and moves on with it."""
    TOTAL = 4
    """A sum: no future depends on it, and it grows by as much each time."""
    MARK = 5
    """Written down once, or where a ring begins: not seen, and stays."""


Table = dict[str, FieldKind]
"""Fields of a row, in their order, and what they are; a field that is not in it has no place."""

WARP: Table = {
    "pc": FieldKind.COUNT,
    "slice": FieldKind.SLICE,
    "wake": FieldKind.TIME,
    "cause": FieldKind.COUNT,
    "since": FieldKind.TIME,
    "met": FieldKind.COUNT,
}
PC, SLICE, WAKE, CAUSE, SINCE, MET = range(len(WARP))
REST = len(WARP)
"""Columns of a warp: its row and slice, when to look at it again, what it waits for and since when;
of a threadblock's first warp, how many are at the barrier. Then, for each stage from that of its
slice on, the copies that have not arrived and when the last of them was in shared memory; then for
each register when it has its value."""

ENTRY: Table = {
    "arrives": FieldKind.TIME,
    "size": FieldKind.COUNT,
    "of_warp": FieldKind.COUNT,
    "of_slice": FieldKind.SLICE,
}
ARRIVES, SIZE, OF_WARP, OF_SLICE = range(len(ENTRY))
"""Columns of a copy under way."""

SM: Table = {
    "now": FieldKind.TIME,
    "shared_free": FieldKind.TIME,
    "memory_free": FieldKind.TICK,
    "store_free": FieldKind.TICK,
    "head": FieldKind.MARK,
    "queued": FieldKind.COUNT,
    "flying": FieldKind.COUNT,
    "live": FieldKind.COUNT,
    "served": FieldKind.COUNT,
    "busy_shared": FieldKind.TOTAL,
    "busy_memory": FieldKind.TOTAL,
    "busy_tensor": FieldKind.TOTAL,
    "issued": FieldKind.TOTAL,
    "first_slice": FieldKind.MARK,
    "last_slice": FieldKind.MARK,
    "period_cycles": FieldKind.MARK,
    "period_slices": FieldKind.MARK,
    "skipped": FieldKind.MARK,
    "logged": FieldKind.MARK,
}
(
    NOW,
    SHARED_FREE,
    MEMORY_FREE,
    STORE_FREE,
    HEAD,
    QUEUED,
    FLYING,
    LIVE,
    NEXT_SERVED,
    BUSY_SHARED,
    BUSY_MEMORY,
    BUSY_TENSOR,
    ISSUED,
    FIRST_SLICE,
    LAST_SLICE,
    PERIOD_CYCLES,
    PERIOD_SLICES,
    SKIPPED,
    LOGGED,
) = range(len(SM))
WAITS = len(SM)
CORES = WAITS + 3 * CAUSES
"""Places of the multiprocessor: the time; when shared memory (cycles) and the channels from and to
memory (ticks) are free; first copy under way, how many, how many bytes; warps that have not ended;
the warp that memory serves next; sums; marks. Then waits of prologue, slices and epilogue; then
``SUB_CORE`` of each sub-core."""

SUB_CORE: Table = {"turn": FieldKind.COUNT, "tensor_free": FieldKind.TICK}
"""The warp whose turn it is to issue, and when its tensor core is free."""


class State(NamedTuple):
    """All that changes while a multiprocessor runs; times are counted from the launch."""

    warps: NDArray[np.int64]
    """Warps x (``REST`` + 2 x stages + registers)."""
    sm: NDArray[np.int64]
    """``SM``, waits, and ``SUB_CORE`` of each sub-core."""
    queue: NDArray[np.int64]
    """A ring of copies under way x (arrival, bytes, warp, slice)."""
    log: NDArray[np.int64]
    """Rows of (cycle, warp, row of the program, when it is done); none unless asked for."""


class Kinds(NamedTuple):
    """``FieldKind`` of every column of a warp, place of the multiprocessor and column of a copy.

    The log has none: it is written and never read while the core runs.
    """

    warps: NDArray[np.int64]
    sm: NDArray[np.int64]
    queue: NDArray[np.int64]


def kinds_of(core: Core, state: State) -> Kinds:
    """What every number of a state is, by the tables of its fields.

    Raises
    ------
    ShapeError
        if the state holds a number that no table has.
    """
    registers = [FieldKind.TIME] * (state.warps.shape[1] - core.ready)
    stages = [FieldKind.COUNT] * core.stages + [FieldKind.TIME] * core.stages
    waits = [FieldKind.TOTAL] * (CORES - WAITS)
    kinds = {
        "warps": [*WARP.values(), *stages, *registers],
        "sm": [*SM.values(), *waits, *core.sub_cores * tuple(SUB_CORE.values())],
        "queue": [*ENTRY.values()],
    }
    for name, own in kinds.items():
        held = getattr(state, name).shape[-1]
        if held != len(own):
            raise ShapeError(f"{name} of a state: {held} numbers, expected {len(own)} of a kind")
    return Kinds(*(np.array([FieldKind(one) for one in kinds[name]]) for name in Kinds._fields))
