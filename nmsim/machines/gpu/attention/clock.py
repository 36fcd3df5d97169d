"""How long fused attention takes: threadblocks over multiprocessors, bytes, launches.

A call takes its launches, then the kernel that copies K and V into a cache if the library has one,
then the longer of the time on chip and in DRAM and a share of the shorter, then the kernel that
combines the parts of split keys.

On chip a block takes its products at the tensor cores' rate and, in sequence, what they do not
hide of the softmax: one exponential a score, of which an SM makes ``EXPONENTIALS`` a clock.
Threadblocks that share an SM share its rate. A threadblock with few keys (causal) is done sooner;
the last to finish is bounded from below (``_makespan``).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.gpu.attention.grid import (
    BATCH,
    BLOCKS,
    COUNT,
    HEAD_DIM,
    HEADS,
    KEYS,
    KV_HEADS,
    LONGEST,
    PASS,
    QUERIES,
    RANKS,
    RESIDENT,
    ROWS,
    SHORTEST,
    SPLITS,
    STAY,
    TILE,
    V_HEAD_DIM,
    VISITED,
    tile_table,
)
from nmsim.machines.gpu.attention.kernels import AttentionConstants, AttentionKernels
from nmsim.machines.gpu.schema import Gpu

__all__ = ["EXPONENTIALS", "Bytes", "Parts", "Slots", "bytes_of", "slots_of", "times"]

Vector = NDArray[np.float64]

EXPONENTIALS = 16.0
"""Exponentials of an SM per clock, compute capability 7.0 to 9.0 (CUDA C++ Programming Guide)."""

UNSORTED = 0.5
"""Of the spread of threadblocks' times, what the last comes after the mean where short ones start
first: starts are spread evenly, and so are ends."""

ACCUMULATOR = 4
"""Bytes of an element of dQ, and of partial O, while it is summed: fp32."""

STATISTIC = 4


class Bytes(NamedTuple):
    """Bytes of each call, by what moves them.

    Parameters
    ----------
    read, written
        By the attention kernel: each tensor once.
    copied
        By the kernel before it, reads and writes together.
    beside
        By the kernels after it: partial O and its statistics, the sums of dQ, dK and dV.
    """

    read: Vector
    written: Vector
    copied: Vector
    beside: Vector


class Slots(NamedTuple):
    """What the SMs work through: MAC slots, and bytes of the blocks that they load."""

    macs: Vector
    loaded: Vector


class Parts(NamedTuple):
    """Microseconds of each call, whole and by part; ``chip`` and ``dram`` overlap partly."""

    total: Vector
    launch: Vector
    chip: Vector
    dram: Vector
    before: Vector
    after: Vector


def bytes_of(
    shapes: NDArray[np.int64], grid: Vector, kernels: AttentionKernels, phase: str, element: float
) -> Bytes:
    """Bytes that each call moves, ``element`` bytes to an element."""
    s = shapes.astype(np.float64).T
    rows, cached = s[BATCH] * s[HEADS] * s[QUERIES], s[BATCH] * s[KV_HEADS] * s[KEYS]
    q, o = rows * s[HEAD_DIM] * element, rows * s[V_HEAD_DIM] * element
    kv = cached * (s[HEAD_DIM] + s[V_HEAD_DIM]) * element
    new = np.minimum(s[QUERIES], s[KEYS]) / s[KEYS] * kv
    if phase == "backward":
        grouped = s[HEADS] > s[KV_HEADS]
        every = kv * s[HEADS] / s[KV_HEADS]
        sums = rows * s[HEAD_DIM] * ACCUMULATOR
        # dO.O per row, dQ zeroed, and read as sums and written; dK and dV of every head, added up.
        beside = 2 * o + rows * STATISTIC + 2 * sums + q + np.where(grouped, 2 * every + kv, 0.0)
        read = q + kv + 2 * o + 2 * rows * STATISTIC
        return Bytes(read, q + kv, np.zeros_like(q), beside)
    partial = rows * (s[V_HEAD_DIM] * ACCUMULATOR + STATISTIC) * grid[:, SPLITS]
    copied = {"nothing": 0.0 * new, "keys": 2 * new, "all": 2 * (new + q)}[kernels.before]
    beside = np.where(grid[:, SPLITS] > 1, 2 * partial, 0.0)
    return Bytes(q + kv, o + rows * STATISTIC, copied, beside)


class _Rates(NamedTuple):
    """A GPU in bytes per microsecond and clocks per microsecond, for one set of constants."""

    clock: float
    macs: float
    sms: float
    feed: float
    l2: float
    l2_bytes: float
    dram: float


def _rates(machine: Gpu, constants: AttentionConstants) -> _Rates:
    clock, l2 = machine.clock_mhz, machine.l2.gbps * 1e3
    return _Rates(
        clock=clock,
        macs=machine.format(machine.dtype).macs_per_clk * constants.efficiency,
        sms=machine.sms,
        feed=min(machine.sm.port_bytes_per_clk * clock, l2 / machine.sms),
        l2=l2,
        l2_bytes=machine.l2.mib * 2**20,
        dram=machine.dram.gbps * 1e3 * constants.dram_share,
    )


def _moved(moved: Vector, footprint: Vector, rates: _Rates, *, replayed: bool) -> Vector:
    """Microseconds of bytes from DRAM; from L2 what a replay of the same tensors finds there.

    All of a footprint up to half of L2 is found, nothing of one beyond one and a half.
    """
    missed = np.clip(footprint / rates.l2_bytes - 0.5, 0, 1) if replayed else 1.0
    return moved * (missed / rates.dram + (1 - missed) / rates.l2)


class _Pace(NamedTuple):
    """Microseconds of a block, and of a threadblock beside its blocks."""

    tensor: Vector
    fed: Vector
    least: float
    cta: Vector

    def block(self, resident: Vector) -> Vector:
        """A block of a threadblock that shares its SM with others, ``resident`` in all."""
        return np.maximum(np.maximum(self.tensor, self.fed) * resident, self.least)


def _padded(s: Vector, kernels: AttentionKernels) -> tuple[Vector, Vector]:
    """Features of a query and of a value, as a kernel pads them."""
    d, dv = (np.ceil(s[which] / kernels.head_dim_step) for which in (HEAD_DIM, V_HEAD_DIM))
    return d * kernels.head_dim_step, dv * kernels.head_dim_step


def _products(d: Vector, dv: Vector, backward: bool) -> Vector:
    """Multiply-adds of a pair; backward makes its score again."""
    return 3 * d + 2 * dv if backward else d + dv


def slots_of(
    shapes: NDArray[np.int64], grid: Vector, kernels: AttentionKernels, phase: str, element: float
) -> Slots:
    """What each call works through: blocks are computed whole, what stays is loaded once."""
    (d, dv), backward = _padded(shapes.astype(np.float64).T, kernels), phase == "backward"
    tile = tile_table(kernels)[grid[:, TILE].astype(np.int64)].astype(np.float64)
    passed, stays = grid[:, VISITED] * tile[:, PASS], grid[:, COUNT] * tile[:, STAY]
    kept = stays * (d + dv if backward else d)
    macs = passed * tile[:, STAY] * _products(d, dv, backward)
    return Slots(macs, (passed * (d + dv) + kept) * element)


def _pace(
    s: Vector, grid: Vector, tile: Vector, kernels: AttentionKernels, rates: _Rates, backward: bool
) -> _Pace:
    constants, (d, dv) = kernels.constants, _padded(s, kernels)
    stay, passing = tile[:, STAY], tile[:, PASS]
    products = _products(d, dv, backward)
    macs = rates.macs * (constants.backward if backward else 1.0)
    clocks = stay * passing * (products / macs + constants.softmax / EXPONENTIALS)
    fed = passing * (d + dv) * 2.0 + (passing * d * ACCUMULATOR if backward else 0.0)
    own = grid[:, ROWS] * (d + dv) * (4.0 if backward else 2.0)
    cta = constants.cta_us + own / rates.feed
    return _Pace(clocks / rates.clock, fed / rates.feed, constants.block_us, cta)


def _makespan(grid: Vector, pace: _Pace, rates: _Rates, *, sorted_first: bool) -> Vector:
    """When the last threadblock ends, microseconds; exact where all are alike.

    With S slots and threadblocks in falling order of time, one slot takes two of the first S + 1,
    three of the first 2S + 1 and so on: the k-th such sum is at least (k + 1) times the shortest of
    them. Nor is the end before the mean of all slots, nor after that of threadblocks as long as the
    longest. In the last round an SM has fewer of them, which are quicker.
    """
    resident = grid[:, RESIDENT]
    slots = rates.sms * resident
    block = pace.block(resident)
    rounds = np.floor((grid[:, COUNT] - 1) / slots)
    alone = pace.block(
        np.minimum(resident, np.ceil(grid[:, COUNT] / rates.sms - rounds * resident))
    )

    def ended(blocks: Vector, before: Vector) -> Vector:
        """The end of a slot with so many rounds of threadblocks of so many blocks, and one more."""
        last = np.where(before == rounds, alone, block)
        return before * (blocks * block + pace.cta) + blocks * last + pace.cta

    longest, shortest = (grid[:, which] * block + pace.cta for which in (LONGEST, SHORTEST))
    mean = (grid[:, BLOCKS] * block + grid[:, COUNT] * pace.cta) / slots
    least = np.maximum(mean, ended(grid[:, SHORTEST], rounds))
    for k in range(RANKS + 1):
        blocks = grid[:, LONGEST if k == 0 else 7 + k]
        later = np.maximum(least, ended(blocks, np.full(len(grid), k)))
        least = np.where(blocks > 0, later, least)
    late = mean + (0.0 if sorted_first else UNSORTED) * (longest - shortest)
    return np.minimum(np.maximum(least, late), ended(grid[:, LONGEST], rounds))


def _copying(machine: Gpu, kernels: AttentionKernels, s: Vector) -> Vector:
    """Microseconds of a kernel that copies one token a threadblock, by the blocks that fit an SM.

    Threads that have no element to copy take their place all the same.
    """
    if kernels.before == "nothing":
        return np.zeros_like(s[BATCH])
    elements = s[KV_HEADS] * np.maximum(s[HEAD_DIM], s[V_HEAD_DIM])
    threads = np.minimum(kernels.copy_threads, elements)
    held = np.clip(machine.sm.threads // threads, 1, machine.sm.ctas)
    blocks: Vector = s[BATCH] * s[QUERIES] / (machine.sms * held)
    return blocks * kernels.constants.token_us


def times(
    machine: Gpu,
    kernels: AttentionKernels,
    phase: str,
    shapes: NDArray[np.int64],
    grid: Vector,
    tiles: NDArray[np.int64],
    *,
    replayed: bool,
) -> Parts:
    """Microseconds of each call on a GPU.

    Parameters
    ----------
    shapes, grid, tiles
        Of ``nmsim.machines.gpu.attention.grid``.
    replayed
        The same tensors have just been used, as in a benchmark's loop.
    """
    constants, backward = kernels.constants, phase == "backward"
    rates = _rates(machine, constants)
    s = shapes.astype(np.float64).T
    tile = tiles[grid[:, TILE].astype(np.int64)].astype(np.float64)
    pace = _pace(s, grid, tile, kernels, rates, backward)
    chip = _makespan(grid, pace, rates, sorted_first=kernels.longest_first)
    element = machine.format(machine.dtype).bits / 8
    moved = bytes_of(shapes, grid, kernels, phase, element)
    used = moved.read + moved.written
    dram = _moved(used, used, rates, replayed=replayed)
    before = np.maximum(
        _moved(moved.copied, used + moved.copied / 2, rates, replayed=replayed),
        _copying(machine, kernels, s),
    )
    launches = 2.0 if backward else (grid[:, SPLITS] > 1).astype(float)
    # Partial results are read soon after they are written, and stand in L2 if it holds them.
    after = _moved(moved.beside, moved.beside, rates, replayed=True)
    after = after + launches * (machine.timing.reduce_us or 0.0)
    launch = np.full(len(shapes), constants.launch_us)
    hidden = constants.overlap * np.minimum(chip, dram)
    total = launch + before + np.maximum(chip, dram) + hidden + after
    return Parts(total, launch, chip, dram, before, after)
