"""The analytical model of a GPU: closed forms for tiles, waves, caches and launch.

A GEMM is cut into tiles of the chosen kernel, and its K into parts; threadblocks take the SMs in
waves. In a wave the slowest of these sets the pace: the tensor cores (or the shared memory that
feeds them) of the fullest SM, its port, and the loads in flight (a stage is asked for when an
earlier one is free, Little's law). A wave also fills its first slice, waits for it, and stores its
results. Main loops of all waves together take no less than L2, which serves all SMs, needs for all
tiles. Device memory is read once, and again where the operands do not stay in L2 (``l2.bound``),
but for what L2 still holds of an earlier launch; on-chip and DRAM time overlap but for a share of
the shorter one. A launch, the kernel that adds the parts of K, and the clock that long kernels lose
come on top.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.machines.gpu import direct
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.chip import (
    CTAS,
    MATRIX_VECTOR,
    STAGES,
    TK,
    TM,
    TN,
    WM,
    WN,
    Chip,
    Form,
    Size,
    held_share,
    read_by_lines,
    sharing,
)
from nmsim.machines.gpu.choice import MARGIN, Rules, at_least, choose, considered, rules_of
from nmsim.machines.gpu.direct import is_depthwise
from nmsim.machines.gpu.l2.bound import most_read
from nmsim.machines.gpu.launch import BOUNDS, SLOTS, Launch, launch_of, writeup
from nmsim.machines.gpu.preparation import cast_us
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.kind import Call, Sample
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = [
    "BOUNDS",
    "SPENT",
    "Estimate",
    "clocks_of",
    "estimate",
    "estimates",
    "fastest",
    "launched",
    "run_work",
    "simulate",
    "times",
]

CLOCKS, KERNEL, SPLIT, TILES, WAVES, BOUND, SHARES = range(7)
"""Columns of ``estimates``; from ``SHARES`` on, clocks by ``BOUNDS``."""

SPENT = (
    "tensor cores",
    "shared memory",
    "l2 bandwidth",
    "load latency",
    "sm port",
    "prologue",
    "dram bandwidth",
    "wave tail",
    "clock",
    "epilogue",
)
"""Where the clocks between launch and reduction go: an SM's mean, and its idle time as the tail."""

LOADS = 2048.0
"""Bytes of a row of B that a matrix-vector kernel asks for in a round."""

ROUNDS = 8.0
"""Rounds that it has under way: a later one is waited for by so much less."""


class Estimate(NamedTuple):
    """One GEMM: clocks in all, row of the kernel table or ``MATRIX_VECTOR``, parts of K, and more.

    ``tiles`` are threadblocks, ``waves`` are tiles over the GPU's slots; both 0 without tiles.
    ``shares`` are clocks by ``BOUNDS``; they may overlap. ``spent`` are clocks by ``SPENT``, which
    add up to all but the launch and the reduction.
    """

    clocks: float
    kernel: int
    split: float
    tiles: float
    waves: float
    read_bytes: float
    shares: NDArray[np.float64]
    spent: NDArray[np.float64]


@compiled
def _resident(chip: Chip, form: Form, size: Size) -> tuple[float, float, float]:
    """Shares of A and of B that L2 holds when the launch starts, and of C when it ends.

    A line is lost by what is moved between two of its uses (``held_share``). That is one launch for
    A, and all B of the series for B.
    """
    if form.in_turn == 0:
        return 0.0, 0.0, 0.0
    m, n, k, copies = size
    a, b, c = m * k * form.a * form.a_once, n * k * form.b * form.b_once, m * n * form.out
    held_a = held_share(chip, copies * (a + b + c))
    held_b = held_share(chip, copies * (a + form.in_turn * b + c))
    # A series writes the same C: what is still there is written over, not out.
    return held_a, held_b, held_a if chip.l2_kept > 0 else 0.0


@compiled
def _load(chip: Chip, held: float) -> float:
    """Clocks until a stage arrives of which L2 holds a share; from there it comes no later."""
    return chip.load + (min(chip.near, chip.load) - chip.load) * held


@compiled
def _asked(form: Form, row: NDArray[np.float64], size: Size, split: float) -> tuple[float, float]:
    """Bytes that a tile asks L2 for, and those of a step along K that pass its SM's port.

    Rows and columns beyond C are computed but not loaded from L2.
    """
    m, n, k, copies = size
    down, across = np.ceil(m / row[TM]), np.ceil(n / row[TN])
    along_a, along_b = sharing(row, down, across)
    a, b = form.a / along_a, form.b / along_b
    whole = k * copies * (m * a * across + n * b * down)
    return whole / (down * across * copies * split), row[TM] * a + row[TN] * b


@compiled
def _paces(
    chip: Chip,
    form: Form,
    row: NDArray[np.float64],
    depth: float,
    asked: tuple[float, float],
    deepest: float,
    running: float,
    load: float,
) -> NDArray[np.float64]:
    """Clocks of each part for one wave of ``running`` tiles, ``deepest`` on the fullest SM."""
    area = row[TM] * row[TN]
    loaded = row[TM] * form.a + row[TN] * form.b
    fed, ported = asked
    paces = np.empty(5)
    # Beside multiplying, CUDA cores unpack a tile's weights.
    paces[0] = deepest * depth * max(area / chip.macs, row[TN] * chip.unpack)
    fragments = area * (form.a / row[WN] + form.b / row[WM])
    paces[1] = deepest * (fragments + loaded) * depth / chip.shared
    paces[2] = running * fed / chip.l2
    paces[3] = max(0.0, depth / ((row[STAGES] - 1) * row[TK]) - 1) * load
    paces[4] = deepest * ported * depth / chip.port
    return paces


@compiled
def _spend(
    spent: NDArray[np.float64],
    paces: NDArray[np.float64],
    edges: tuple[float, float],
    waves: float,
    even: float,
) -> None:
    """Add what waves of one kind take to ``spent``, of the SMs' mean.

    ``edges`` are clocks outside the main loop, and those of them after it.
    ``even`` is the mean SM's share of the fullest one's threadblocks: what is left is the tail.
    """
    own = waves * even
    spent[0] += own * paces[0]
    spent[np.argmax(paces)] += own * (paces.max() - paces[0])
    spent[5] += own * (edges[0] - edges[1])
    spent[9] += own * edges[1]
    spent[7] += (waves - own) * (paces.max() + edges[0])


@compiled
def _reads(
    chip: Chip, form: Form, row: NDArray[np.float64], split: float, size: Size, held: float
) -> float:
    """Bytes of one copy from DRAM, part of K after part, ``held`` of them found in L2 before."""
    m, n, k, _ = size
    a, b = (m * form.a * form.a_once, n * form.b * form.b_once)
    down, across = np.ceil(m / row[TM]), np.ceil(n / row[TN])
    deep, slots = k / split, chip.sms * row[CTAS]
    read: float = split * most_read(a * deep, b * deep, down, across, slots, chip.l2_bytes) - held
    return read


@compiled
def estimate(
    chip: Chip,
    form: Form,
    row: NDArray[np.float64],
    split: float,
    size: Size,
) -> Estimate:
    """Clocks of a GEMM on a kernel, K in ``split`` parts.

    After each kind of wave, full ones and then the rest, ``own`` is the time of main loops so far,
    each at the slowest of what is an SM's own, and ``hidden`` is what the first of them take with
    their overheads, the next one weighing sqrt(2) - 1, and so on; ``shares`` are what every pace
    alone would have taken. All are sums and maxima of what more SMs, bandwidth or cache, or less
    latency, do not make longer.
    """
    m, n, k, copies = size
    down, across = np.ceil(m / row[TM]), np.ceil(n / row[TN])
    grid = down * across * copies
    tiles, slots = grid * split, chip.sms * row[CTAS]
    depth = np.ceil(np.ceil(k / row[TK]) / split) * row[TK]
    asked = _asked(form, row, size, split)
    rows, cols = min(row[TM], m), min(row[TN], n)
    out = form.out if split == 1 else 4.0
    stored = out * rows * cols / chip.store
    fill = row[TK] * (rows * form.a + cols * form.b) / chip.port
    held_a, held_b, held_c = _resident(chip, form, size)
    load = _load(chip, held_b)
    full = np.floor(tiles / slots)
    rest = tiles - full * slots
    shares, spent = np.zeros(9), np.zeros(10)
    own = hidden = 0.0
    for before, waves, deepest, running in (
        (0.0, full, row[CTAS], slots),
        (full, np.float64(rest > 0), np.ceil(rest / chip.sms), rest),
    ):
        paces = _paces(chip, form, row, depth, asked, deepest, running, load)
        overhead = fill + load + chip.wave + deepest * stored
        shares[:5] += waves * paces
        shares[5] += waves * overhead
        paces[2] = 0.0
        own += waves * paces.max()
        hidden += (np.sqrt(before + waves) - np.sqrt(before)) * (paces.max() + overhead)
        _spend(
            spent,
            paces,
            (overhead, deepest * stored),
            waves,
            running / max(1.0, deepest * chip.sms),
        )
    busy = max(own, shares[2]) + shares[5]
    spent[2] = max(0.0, shares[2] - own)
    held = held_a * m * form.a * form.a_once + held_b * n * form.b * form.b_once
    read = copies * max(
        _reads(chip, form, row, split, size, held * k), read_by_lines(chip, form, row, size)
    )
    dram = read / chip.dram + copies * m * n * form.out * (1 - held_c) / chip.write
    clocks = max(busy + chip.overlap * dram, dram + chip.overlap * hidden)
    spent[6], spent[8] = clocks - busy, -clocks
    multiplying = tiles * row[TM] * row[TN] * depth / (chip.macs * chip.sms) / clocks
    clocks *= 1 + chip.throttle * multiplying * clocks / (clocks + chip.throttle_half)
    spent[8] += clocks
    shares[6], shares[7] = dram, chip.launch
    if split > 1:
        sums = copies * m * n * (4.0 * split + form.out)
        shares[8] = chip.reduce + sums / (chip.sms * chip.store)
    total = chip.launch + clocks + shares[8]
    return Estimate(total, 0, split, tiles, tiles / slots, read, shares, spent)


@compiled
def _matrix_vector(chip: Chip, form: Form, size: Size) -> Estimate:
    """A kernel that reads B once for a few rows of A, one copy.

    What L2 holds of an earlier launch comes no sooner: measured times do not tell it apart.
    """
    m, n, k, _ = size
    moving = n * k * form.b / min(chip.gemv, chip.l2)
    shares = np.zeros(9)
    rounds = k * form.b / LOADS
    shares[3] = chip.load * (min(1.0, rounds) + rounds / ROUNDS)
    shares[6], shares[7] = moving, chip.launch
    read = (m * form.a + n * form.b) * k
    spent = np.zeros(10)
    spent[3], spent[6] = shares[3], moving
    return Estimate(shares.sum(), MATRIX_VECTOR, 1.0, 0.0, 0.0, read, shares, spent)


@compiled
def fastest(
    chip: Chip,
    form: Form,
    table: NDArray[np.float64],
    chosen: int,
    split: float,
    vector_rows: int,
    size: Size,
) -> Estimate:
    """A GEMM on the chosen kernel, or on a matrix-vector kernel that is there and faster."""
    found = estimate(chip, form, table[chosen], split, size)
    if size.m <= vector_rows and size.copies == 1:
        vector = _matrix_vector(chip, form, size)
        if vector.clocks < found.clocks:
            return vector
    return Estimate(
        found.clocks,
        chosen,
        split,
        found.tiles,
        found.waves,
        found.read_bytes,
        found.shares,
        found.spent,
    )


@compiled
def _cold(form: Form) -> Form:
    """Operands of which L2 holds nothing: no library knows what it does hold."""
    return Form(form.a, form.b, form.out, form.a_once, form.b_once, 0.0)


@compiled
def launched(
    chip: Chip,
    form: Form,
    table: NDArray[np.float64],
    splits: NDArray[np.float64],
    rules: Rules,
    vector_rows: int,
    size: Size,
) -> Estimate:
    """A GEMM on the kernel that a library launches: that of the rule, or one faster by ``MARGIN``.

    Faster on a GPU whose L2 holds nothing of earlier launches, and on this one.
    """
    chosen, split, _ = choose(chip, form, table, splits, rules, size)
    found = fastest(chip, form, table, chosen, split, vector_rows, size)
    cold = _cold(form)
    most = estimate(chip, cold, table[chosen], split, size).clocks / MARGIN
    rival, parts = -1, 1.0
    for one in considered(chip, table, splits, rules, size):
        row = table[int(one[0])]
        if at_least(chip, form, row, one[1], size) >= most:
            continue
        clocks = estimate(chip, cold, row, one[1], size).clocks
        if clocks < most:
            rival, parts, most = int(one[0]), one[1], clocks
    if rival < 0:
        return found
    other = fastest(chip, form, table, rival, parts, vector_rows, size)
    return other if other.clocks < found.clocks else found


@compiled
def _many(
    chip: Chip,
    form: Form,
    table: NDArray[np.float64],
    splits: NDArray[np.float64],
    rules: Rules,
    vector_rows: int,
    sizes: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    for i in range(len(sizes)):
        size = Size(sizes[i, 0], sizes[i, 1], sizes[i, 2], sizes[i, 3])
        found = launched(chip, form, table, splits, rules, vector_rows, size)
        out[i, CLOCKS] = found.clocks
        out[i, KERNEL] = found.kernel
        out[i, SPLIT] = found.split
        out[i, TILES] = found.tiles
        out[i, WAVES] = found.waves
        out[i, BOUND] = np.argmax(found.shares)
        for j in range(out.shape[1] - SHARES):
            out[i, SHARES + j] = found.shares[j]


def estimates(
    machine: Gpu, call: Call, sizes: NDArray[np.float64], *, shares: bool = False
) -> NDArray[np.float64]:
    """Estimates of many GEMMs of one call.

    Parameters
    ----------
    sizes
        GEMMs x 4: M, N, K and copies in one launch.
    shares
        Whether columns from ``SHARES`` on are there too: clocks by ``BOUNDS``, which may overlap.

    Returns
    -------
    float64 array, GEMMs x 6
        By ``CLOCKS``, ``KERNEL`` (row of the kernel table, or ``MATRIX_VECTOR``), ``SPLIT``,
        ``TILES``, ``WAVES`` and ``BOUND`` (place in ``BOUNDS``).
    """
    found = resolve(machine, call)
    out = np.empty((len(sizes), SHARES + len(BOUNDS) * shares))
    _many(
        found.chip,
        found.form,
        found.table,
        found.splits,
        rules_of(found),
        found.vector_rows,
        np.ascontiguousarray(sizes * np.array([1, 1, found.shrink, 1]), np.float64),
        out,
    )
    out[:, CLOCKS] += cast_us(machine, found.library.casts, call.dtype, sizes) * machine.clock_mhz
    return out


def times(machine: Gpu, call: Call, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times of many GEMMs (x 4: M, N, K and copies in one launch) of one call, microseconds."""
    return estimates(machine, call, sizes)[:, CLOCKS] / machine.clock_mhz


def _bound(found: Estimate) -> str:
    """The cause that takes most of a GEMM's time."""
    return BOUNDS[int(np.argmax(found.shares))]


def _estimated(launch: Launch) -> Estimate:
    own, rules = launch.resolved, rules_of(launch.resolved)
    found: Estimate = launched(
        own.chip, launch.form, own.table, own.splits, rules, own.vector_rows, launch.size
    )
    return found


def clocks_of(launch: Launch) -> float:
    """Clocks of a launch on the kernel that it is estimated on, without the copy before it."""
    return _estimated(launch).clocks


def run_work(machine: Gpu, work: SparseGemm) -> tuple[Launch, Estimate]:
    """What a sparse GEMM launches, with the kernel that it is estimated on, and the estimate."""
    launch = launch_of(machine, work, clocks_of)
    found = _estimated(launch)
    return replace(launch, row=found.kernel, split=found.split), found


def simulate(machine: Gpu, work: SparseGemm, _sample: Sample | None = None) -> Result:
    """Estimate what a sparse GEMM costs on a GPU, in closed form; there is nothing to sample."""
    if is_depthwise(work.gemm):
        return direct.simulate(machine, work)
    launch, found = run_work(machine, work)
    return writeup(
        machine,
        launch,
        clocks=found.clocks,
        multiplying=found.shares[0],
        tiles=found.tiles,
        read_bytes=found.read_bytes,
        bound=_bound(found),
        spent=_spent(launch, found),
    )


def _spent(launch: Launch, found: Estimate) -> dict[str, float]:
    """Clocks of the launch by ``SPENT``, with those outside its waves; slots of its tiles."""
    clocks = dict(zip(SPENT, map(float, found.spent), strict=True))
    shares = dict(zip(BOUNDS, map(float, found.shares), strict=True))
    clocks |= {name: shares[name] for name in ("launch", "split-k reduction")}
    if launch.row == MATRIX_VECTOR:
        del clocks["tensor cores"]
        return clocks
    row, native = launch.table_row, launch.resolved.native
    deep = math.ceil(math.ceil(launch.size.k / row[TK]) / launch.split) * row[TK]
    slots = float(found.tiles * row[TM] * row[TN] * deep)
    return {**clocks, SLOTS: slots * (1.0 if native.is_dense else native.density)}
