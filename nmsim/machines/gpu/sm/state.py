"""What the kernels of a multiprocessor work on: its figures, and everything that changes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["CAUSES", "CORES", "NEVER", "REST", "TICKS", "WAITS", "Core", "Count", "State"]

Count = int | np.int64

TICKS = 16
"""Ticks in a cycle: tensor cores and channels need times that are no whole cycles."""

NEVER = np.int64(2**62)

ISSUE, TENSOR, SHARED, MEMORY, BARRIER, DEPENDENCE, STORE = range(7)
CAUSES = 7
"""What a warp waits for: its turn, a tensor core, shared memory (queue or fragments), memory (a
stage, or room among the bytes in flight), other warps, an accumulator, room among the stores."""


class Core(NamedTuple):
    """Everything that does not change while the core runs; cycles unless it says ticks."""

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
    """Of a threadblock."""
    ctas: int
    slices: int
    stages: int
    ready: int
    """Column of the first register."""
    fragments: int
    """Of both buffers: registers before the accumulators."""
    swaps: bool
    """The number of blocks is odd: the next slice begins in the other buffer."""
    body: int
    epilogue: int
    end: int
    skips: bool


PC, SLICE, WAKE, CAUSE, SINCE, MET, REST = range(7)
"""Columns of a warp: its row and slice, when to look at it again, what it waits for and since when;
of a threadblock's first warp, how many are at the barrier. Then, for each stage from that of its
slice on, the copies that have not arrived and when the last of them was in shared memory; then for
each register when it has its value."""

ARRIVES, SIZE, OF_WARP, OF_SLICE = range(4)

(
    NOW,
    SHARED_FREE,
    MEMORY_FREE,
    STORE_FREE,
    HEAD,
    QUEUED,
    FLYING,
    LIVE,
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
    WAITS,
) = range(19)
CORES = WAITS + 3 * CAUSES
"""Places of the multiprocessor: the time; when shared memory (cycles) and the channels from and to
memory (ticks) are free; first copy under way, how many, how many bytes; warps that have not ended;
sums; marks; waits of prologue, slices and epilogue; then two of each sub-core, whose warp issued
last and when its tensor core is free (ticks)."""


class State(NamedTuple):
    """Everything that changes; all times are counted from the launch."""

    warps: NDArray[np.int64]
    """Warps x (``REST`` + 2 x stages + registers)."""
    sm: NDArray[np.int64]
    queue: NDArray[np.int64]
    """A ring of copies under way x (arrival, bytes, warp, slice)."""
    log: NDArray[np.int64]
    """Rows of (cycle, warp, row of the program, when it is done); none unless asked for."""
