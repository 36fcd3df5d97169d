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
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled, compiled_uncounted, map_blocks
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
    read_by_lines,
    sharing,
)
from nmsim.machines.gpu.choice import MARGIN, Rules, at_least, considered, first_of, rules_of
from nmsim.machines.gpu.direct import is_depthwise
from nmsim.machines.gpu.l2.bound import most_read
from nmsim.machines.gpu.l2.resident import load_clocks, resident
from nmsim.machines.gpu.launch import BOUNDS, Launch, launch_of
from nmsim.machines.gpu.preparation import cast_us
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.gpu.writeup import SLOTS, writeup
from nmsim.machines.kind import Call, Sample
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = [
    "BLOCK",
    "BOUNDS",
    "SPENT",
    "Estimate",
    "clocks_of",
    "estimate",
    "estimate_all",
    "estimates",
    "fastest",
    "launched",
    "run_work",
    "simulate",
    "timed",
    "times",
]

CLOCKS, KERNEL, SPLIT, TILES, WAVES, BOUND, SHARES = range(7)
"""Columns of ``estimates``; from ``SHARES`` on, clocks by ``BOUNDS``."""

READ = SHARES + len(BOUNDS)
"""Column behind them where all is told: bytes read; from the next one on, clocks by ``SPENT``."""

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

BLOCK = 2048
"""GEMMs that a thread estimates at a time: some milliseconds."""


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


class Cut(NamedTuple):
    """A GEMM cut into tiles of a kernel: what all its waves have in common.

    Parameters
    ----------
    down, across
        Tiles of C, rows and columns of them.
    tiles, slots
        Threadblocks in all, and those that the GPU holds at once.
    depth
        Of a threadblock's part of K, in whole slices.
    fed, ported
        Bytes that a tile asks L2 for, and those of a step along K that pass its SM's port.
    fill, load, stored
        Clocks of the first slice through the port, until a stage arrives, and of a tile's results.
    """

    down: float
    across: float
    tiles: float
    slots: float
    depth: float
    fed: float
    ported: float
    fill: float
    load: float
    stored: float


@compiled_uncounted
def _cut(
    chip: Chip, form: Form, row: NDArray[np.float64], split: float, size: Size, load: float
) -> Cut:
    """Cut a GEMM into tiles, and its K into parts.

    Rows and columns beyond C are computed but not loaded from L2.
    """
    m, n, k, copies = size
    down, across = np.ceil(m / row[TM]), np.ceil(n / row[TN])
    grid = down * across * copies
    along_a, along_b = sharing(row, down, across)
    a, b = form.a / along_a, form.b / along_b
    whole = k * copies * (m * a * across + n * b * down)
    rows, cols = min(row[TM], m), min(row[TN], n)
    out = form.out if split == 1 else 4.0
    return Cut(
        down,
        across,
        grid * split,
        chip.sms * row[CTAS],
        np.ceil(np.ceil(k / row[TK]) / split) * row[TK],
        whole / (down * across * copies * split),
        row[TM] * a + row[TN] * b,
        row[TK] * (rows * form.a + cols * form.b) / chip.port,
        load,
        out * rows * cols / chip.store,
    )


class Wave(NamedTuple):
    """Waves of one kind, the full ones or the rest, and one of them in clocks.

    Parameters
    ----------
    before, waves
        How many are over before them, and how many there are.
    deepest, running
        Threadblocks of the fullest SM, and of all.
    multiplied, shared, l2, latency, port
        What each part alone would take.
    slowest
        The most of these that is an SM's own: L2 serves all of them.
    around
        Outside the main loop.
    """

    before: float
    waves: float
    deepest: float
    running: float
    multiplied: float
    shared: float
    l2: float
    latency: float
    port: float
    slowest: float
    around: float


@compiled_uncounted
def _wave(chip: Chip, form: Form, row: NDArray[np.float64], cut: Cut, last: bool) -> Wave:
    """The full waves of a launch, or the rest of its threadblocks as the last wave."""
    tiles, slots, depth, fed = cut.tiles, cut.slots, cut.depth, cut.fed
    full = np.floor(tiles / slots)
    rest = tiles - full * slots
    if last:
        before, waves, deepest, running = full, np.float64(rest > 0), np.ceil(rest / chip.sms), rest
    else:
        before, waves, deepest, running = 0.0, full, row[CTAS], slots
    area = row[TM] * row[TN]
    loaded = row[TM] * form.a + row[TN] * form.b
    # Beside multiplying, CUDA cores unpack a tile's weights.
    multiplied = deepest * depth * max(area / chip.macs, row[TN] * chip.unpack)
    fragments = area * (form.a / row[WN] + form.b / row[WM])
    shared = deepest * (fragments + loaded) * depth / chip.shared
    latency = max(0.0, depth / ((row[STAGES] - 1) * row[TK]) - 1) * cut.load
    port = deepest * cut.ported * depth / chip.port
    return Wave(
        before,
        waves,
        deepest,
        running,
        multiplied,
        shared,
        running * fed / chip.l2,
        latency,
        port,
        max(multiplied, shared, latency, port),
        cut.fill + cut.load + chip.wave + deepest * cut.stored,
    )


@compiled
def _spend(spent: NDArray[np.float64], wave: Wave, chip: Chip, cut: Cut) -> None:
    """Add what waves of one kind take to ``spent``, of the SMs' mean.

    ``own`` is the mean SM's share of the fullest one's threadblocks: what is left is the tail.
    """
    own = wave.waves * (wave.running / max(1.0, wave.deepest * chip.sms))
    after = wave.deepest * cut.stored
    # Of equals the first counts.
    pace, slowest = 0, wave.slowest
    if wave.multiplied < slowest:
        pace = 1 if wave.shared == slowest else 3 if wave.latency == slowest else 4
    spent[0] += own * wave.multiplied
    spent[pace] += own * (slowest - wave.multiplied)
    spent[5] += own * (wave.around - after)
    spent[9] += own * after
    spent[7] += (wave.waves - own) * (slowest + wave.around)


@compiled_uncounted
def _reads(
    chip: Chip,
    form: Form,
    row: NDArray[np.float64],
    cut: Cut,
    split: float,
    size: Size,
    held: float,
) -> float:
    """Bytes of one copy from DRAM, part of K after part, ``held`` of them found in L2 before."""
    a, b = (size.m * form.a * form.a_once, size.n * form.b * form.b_once)
    deep = size.k / split
    most = most_read(a * deep, b * deep, cut.down, cut.across, cut.slots, chip.l2_bytes)
    return max(split * most - held, read_by_lines(chip, form, row, size))


class Timed(NamedTuple):
    """The clocks of a GEMM on a kernel, and what they are made of.

    Parameters
    ----------
    clocks, lasting, cool
        In all, without the launch and the reduction, and also before the clock comes down.
    own, l2, around
        Of all waves: main loops at the slowest of what is an SM's own, what L2 alone would take,
        and what is outside of main loops.
    read, dram, reduced
        Bytes from DRAM, the clocks of these and of results, and those of adding up parts of K.
    """

    clocks: float
    lasting: float
    cool: float
    own: float
    l2: float
    around: float
    read: float
    dram: float
    reduced: float


@compiled_uncounted
def timed(
    chip: Chip, form: Form, row: NDArray[np.float64], split: float, size: Size
) -> tuple[Timed, Cut]:
    """How long a GEMM takes on a kernel, K in ``split`` parts.

    After each kind of wave, full ones and then the rest, ``own`` is the time of main loops so far,
    each at the slowest of what is an SM's own, and ``hidden`` is what the first of them take with
    their overheads, the next one weighing sqrt(2) - 1, and so on. All are sums and maxima of what
    more SMs, bandwidth or cache, or less latency, do not make longer. No memory is asked for: a
    library's choice runs this for every kernel that it considers.
    """
    m, n, k, copies = size
    held_a, held_b, held_c = resident(chip, form, size)
    cut = _cut(chip, form, row, split, size, load_clocks(chip, held_b))
    own = hidden = l2 = around = 0.0
    for last in (False, True):
        wave = _wave(chip, form, row, cut, last)
        if wave.waves == 0:
            continue
        l2 += wave.waves * wave.l2
        around += wave.waves * wave.around
        own += wave.waves * wave.slowest
        weight = np.sqrt(wave.before + wave.waves) - np.sqrt(wave.before)
        hidden += weight * (wave.slowest + wave.around)
    busy = max(own, l2) + around
    held = held_a * m * form.a * form.a_once + held_b * n * form.b * form.b_once
    read = copies * _reads(chip, form, row, cut, split, size, held * k)
    dram = read / chip.dram + copies * m * n * form.out * (1 - held_c) / chip.write
    cool = max(busy + chip.overlap * dram, dram + chip.overlap * hidden)
    multiplying = cut.tiles * row[TM] * row[TN] * cut.depth / (chip.macs * chip.sms) / cool
    lasting = cool * (1 + chip.throttle * multiplying * cool / (cool + chip.throttle_half))
    reduced = 0.0
    if split > 1:
        sums = copies * m * n * (4.0 * split + form.out)
        reduced = chip.reduce + sums / (chip.sms * chip.store)
    total = chip.launch + lasting + reduced
    found = Timed(total, lasting, cool, own, l2, around, read, dram, reduced)
    return found, cut


@compiled
def estimate(
    chip: Chip,
    form: Form,
    row: NDArray[np.float64],
    split: float,
    size: Size,
) -> Estimate:
    """Clocks of a GEMM on a kernel, K in ``split`` parts, and what they go to.

    ``shares`` are what every pace alone would have taken.
    """
    found, cut = timed(chip, form, row, split, size)
    shares, spent = np.zeros(9), np.zeros(10)
    for last in (False, True):
        wave = _wave(chip, form, row, cut, last)
        shares[0] += wave.waves * wave.multiplied
        shares[1] += wave.waves * wave.shared
        shares[3] += wave.waves * wave.latency
        shares[4] += wave.waves * wave.port
        _spend(spent, wave, chip, cut)
    shares[2], shares[5] = found.l2, found.around
    shares[6], shares[7], shares[8] = found.dram, chip.launch, found.reduced
    busy = max(found.own, found.l2) + found.around
    spent[2] = max(0.0, found.l2 - found.own)
    spent[6], spent[8] = found.cool - busy, found.lasting - found.cool
    waves = cut.tiles / cut.slots
    return Estimate(found.clocks, 0, split, cut.tiles, waves, found.read, shares, spent)


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
    offered = considered(chip, table, splits, rules, size)
    chosen, split, _ = first_of(chip, form, table, offered, rules, size)
    found = fastest(chip, form, table, chosen, split, vector_rows, size)
    cold = _cold(form)
    most = timed(chip, cold, table[chosen], split, size)[0].clocks / MARGIN
    rival, parts = -1, 1.0
    for one in range(len(offered)):
        row, split = table[int(offered[one, 0])], offered[one, 1]
        if at_least(chip, form, row, split, size) >= most:
            continue
        clocks = timed(chip, cold, row, split, size)[0].clocks
        if clocks < most:
            rival, parts, most = int(offered[one, 0]), split, clocks
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
    """Fill the columns that there are; sizes may go on with what is read once of A and of B."""
    for i in range(len(sizes)):
        size = Size(sizes[i, 0], sizes[i, 1], sizes[i, 2], sizes[i, 3])
        own = form
        if sizes.shape[1] > 4:
            own = Form(form.a, form.b, form.out, sizes[i, 4], sizes[i, 5], form.in_turn)
        found = launched(chip, own, table, splits, rules, vector_rows, size)
        out[i, CLOCKS] = found.clocks
        out[i, KERNEL] = found.kernel
        out[i, SPLIT] = found.split
        out[i, TILES] = found.tiles
        out[i, WAVES] = found.waves
        out[i, BOUND] = np.argmax(found.shares)
        for j in range(min(len(found.shares), out.shape[1] - SHARES)):
            out[i, SHARES + j] = found.shares[j]
        if out.shape[1] > READ:
            out[i, READ] = found.read_bytes
            for j in range(len(found.spent)):
                out[i, READ + 1 + j] = found.spent[j]


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
    own = (found.chip, found.form, found.table, found.splits, rules_of(found), found.vector_rows)
    out = np.empty((len(sizes), SHARES + len(BOUNDS) * shares))
    seen = np.ascontiguousarray(sizes * np.array([1, 1, found.shrink, 1]), np.float64)

    def block(start: int, stop: int) -> None:
        _many(*own, seen[start:stop], out[start:stop])

    map_blocks(block, len(sizes), BLOCK)
    out[:, CLOCKS] += cast_us(machine, found.library.casts, call.dtype, sizes) * machine.clock_mhz
    return out


def times(machine: Gpu, call: Call, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times of many GEMMs (x 4: M, N, K and copies in one launch) of one call, microseconds."""
    return estimates(machine, call, sizes)[:, CLOCKS] / machine.clock_mhz


def _bound(found: Estimate) -> str:
    """The cause that takes most of a GEMM's time."""
    return BOUNDS[int(np.argmax(found.shares))]


def estimate_all(launches: Iterable[Launch]) -> None:
    """Estimate launches together, those of a routine at once; each keeps its estimate."""
    routines: dict[int, list[Launch]] = {}
    for launch in launches:
        if _NAME not in launch.known:
            routines.setdefault(id(launch.resolved), []).append(launch)
    for alike in routines.values():
        own = alike[0].resolved
        sizes = np.array([(*one.size, one.form.a_once, one.form.b_once) for one in alike])
        out = np.empty((len(alike), READ + 1 + len(SPENT)))
        rules = rules_of(own)
        _many(own.chip, own.form, own.table, own.splits, rules, own.vector_rows, sizes, out)
        for launch, found in zip(alike, out, strict=True):
            launch.known[_NAME] = _told(found)


_NAME = "analytical"


def _told(found: NDArray[np.float64]) -> Estimate:
    """A row of all columns as an estimate."""
    clocks, kernel, split, tiles, waves = found[:BOUND].tolist()
    shares, spent = found[SHARES:READ], found[READ + 1 :]
    return Estimate(clocks, int(kernel), split, tiles, waves, float(found[READ]), shares, spent)


def _estimated(launch: Launch) -> Estimate:
    if _NAME not in launch.known:
        estimate_all([launch])
    found: Estimate = launch.known[_NAME]
    return found


def clocks_of(launch: Launch) -> float:
    """Clocks of a launch on the kernel that it is estimated on, without the copy before it."""
    return _estimated(launch).clocks


def run_work(machine: Gpu, work: SparseGemm) -> tuple[Launch, Estimate]:
    """What a sparse GEMM launches, with the kernel that it is estimated on, and the estimate."""
    launch = launch_of(machine, work, clocks_of)
    found = _estimated(launch)
    return replace(launch, ran=(found.kernel, found.split)), found


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
