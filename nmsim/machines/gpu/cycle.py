"""The cycle model of a GPU: threadblocks cycle by cycle on multiprocessors, waves by recurrence.

A launch has two kinds of wave: full ones, and what is left over, with fewer threadblocks on a
multiprocessor. ``waves`` times both, ``slots`` puts their tiles on the slots; beside them L2 and
device memory serve the launch as a whole. Launch, the kernel that adds up the parts of K, and the
clock that long kernels lose come on top. No launch is faster than device memory can read its
operands and take its results.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.gpu import direct
from nmsim.machines.gpu.call import Resolved, resolve
from nmsim.machines.gpu.chip import CTAS, MATRIX_VECTOR, STREAM_K, TM, TN, Chip, Form, Size
from nmsim.machines.gpu.choice import MARGIN, at_least, choose, considered, rules_of
from nmsim.machines.gpu.direct import is_depthwise
from nmsim.machines.gpu.launch import BOUNDS as WORDS
from nmsim.machines.gpu.launch import Launch, launch_of
from nmsim.machines.gpu.preparation import cast_us
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.gpu.sm import slots
from nmsim.machines.gpu.sm.program import Tile
from nmsim.machines.gpu.tile import core_of, instruction_of, packing_of, tile_of
from nmsim.machines.gpu.waves import (
    Grid,
    Sizes,
    Wave,
    drained,
    grid_of,
    idle_latency,
    least_latency,
    leaving_of,
    served,
    settled,
    unstored,
    waves_of,
)
from nmsim.machines.gpu.writeup import SLOTS, writeup
from nmsim.machines.kind import Call, Sample
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = [
    "BOUNDS",
    "Outcome",
    "fastest",
    "launched",
    "loop_bound",
    "run_kernel",
    "run_work",
    "simulate",
    "times",
]

BOUNDS = (*WORDS, "wave tail", "instruction issue", "dependent sums")
"""What a GEMM's time goes to: the words of the analytical model, and three that it cannot tell."""

PARTIAL = 4.0
"""Bytes of an element of C that is not yet added up."""

EVENNESS = 8.0
"""Of the norm that puts SMs and memory together, an assumption: 9 % more where they are even."""

ROUND = 2048
"""Bytes of a row of B that a matrix-vector kernel asks for at a time."""

UNDER_WAY = 8
"""Such rounds that it has asked for before the first has come."""

DEALT = (1, 2, 4)
"""Threadblocks for each tile, of those that slices of K are dealt out to; SMs at most."""


class Outcome(NamedTuple):
    """What a GEMM takes on one kernel: clocks, bytes, waves and what they wait for.

    Parameters
    ----------
    clocks
        In all.
    tiles
        Threadblocks.
    waves
        Full ones, then the rest.
    multiplying
        Clocks in which the tensor cores of the fullest SM work.
    read_bytes
        Of the operands, from device memory.
    shares
        Clocks by ``BOUNDS``; only those that had a part.
    own
        Clocks of the waves if L2 and device memory served them at once.
    late
        Clocks that come to those, by what memory is late with.
    split
        Parts of K; slices that are dealt out are none.
    dealt
        Threadblocks for each tile that slices are dealt out to; 0: whole tiles.
    """

    clocks: float
    tiles: int
    waves: tuple[Wave, ...]
    multiplying: float
    read_bytes: float
    shares: dict[str, float]
    own: float
    late: dict[str, float]
    split: int = 1
    dealt: int = 0

    @property
    def bound(self) -> str:
        """The cause that takes most of the GEMM's time."""
        return max(self.shares, key=lambda cause: self.shares[cause])


def loop_bound(wave: Wave) -> str:
    """What the main loop of a wave waits for, in the words of ``BOUNDS``."""
    words = {
        "tensor": "compute",
        "shared": "shared memory",
        "issue": "instruction issue",
        "dependence": "dependent sums",
        "store": "wave overhead",
    }
    time = wave.tile
    if time.bound != "memory":
        return words[time.bound]
    saturated = time.memory_cycles > 0.8 * (time.prologue + time.main)
    return "sm port" if saturated else "load latency"


def _own_clocks(grid: Grid, found: tuple[Wave, ...]) -> int:
    """Clocks of a launch's waves if L2 and device memory served them at once."""
    if found[0].turns > 1 or grid.dealt:
        return found[0].held + found[0].left
    durations = np.array([wave.held for wave in found], np.int64)
    counts = np.array([wave.rounds * wave.running for wave in found], np.int64)
    # Slots that no tile takes change nothing.
    return slots.schedule(durations, counts, min(grid.slots, grid.tiles)).cycles + found[-1].left


def _stored_clocks(chip: Chip, grid: Grid, found: tuple[Wave, ...]) -> float:
    """Clocks of the waves if device memory takes results beside neither loads nor products.

    But for those that wait to leave a multiprocessor while it has gone on to its next tiles.
    """
    ran = found[0].ran
    results = grid.slots / grid.sms * ran.tile.m * ran.tile.n * ran.tile.output_bits / 8
    waiting = min(1.0, ran.core.store_queue / (results * grid.stored))
    loops = sum(wave.rounds * (chip.start + unstored(wave)) for wave in found)
    left = waiting * leaving_of(ran.tile, chip, grid)
    return max(float(_own_clocks(grid, found)), loops + (1 - waiting) * drained(chip, grid) + left)


def _together(own: float, shared: float) -> float:
    """Clocks of SMs and memory side by side: of the longer, and more where neither is.

    What comes late to one then keeps the other waiting: a norm, of which ``EVENNESS`` says how near
    to the maximum it is.
    """
    longer, shorter = max(own, shared), min(own, shared)
    return float(longer * (1 + (shorter / longer) ** EVENNESS) ** (1 / EVENNESS))


def _moving(chip: Chip, grid: Grid) -> float:
    """Clocks that device memory takes to read operands and take results, but what L2 absorbs."""
    return grid.read / chip.dram + max(0.0, grid.written - chip.absorbed) / chip.write


def _shares(grid: Grid, found: tuple[Wave, ...]) -> dict[str, float]:
    """Clocks of a launch's waves by what they go to, each one of ``BOUNDS``."""
    shares: dict[str, float] = {}

    def add(cause: str, clocks: float) -> None:
        shares[cause] = shares.get(cause, 0.0) + clocks

    whole = len(found) > 1 or found[0].turns > 1
    for wave in found:
        edges = wave.held - wave.tile.main
        idle = 1 - wave.running / grid.slots if whole else 0.0
        add("wave overhead", wave.rounds * edges * (1 - idle))
        add(loop_bound(wave), wave.rounds * wave.tile.main * (1 - idle))
        add("wave tail", wave.rounds * (wave.tile.main + edges) * idle)
    return shares


class _Cut(NamedTuple):
    """Parts of K, each a threadblock's; or threadblocks for each tile that slices are dealt to."""

    split: int
    dealt: int = 0


def run_kernel(
    machine: Gpu,
    call: Call,
    found: Resolved,
    row: NDArray[np.float64],
    split: int,
    sizes: Sizes,
    form: Form | None = None,
    *,
    idle: bool = False,
) -> Outcome:
    """Run a GEMM on one kernel, wave by wave: its clocks and what they went to.

    Where the kernel also comes as one that deals out slices of K, the fastest of them.

    Parameters
    ----------
    row
        Of the kernel table.
    split
        Parts of K.
    sizes
        M, N, K and copies.
    form
        Of the operands, if other than the call's.
    idle
        Whether loads find memory idle, which takes one run of a multiprocessor where latency that
        settles takes several: no clock more than that.
    """
    form = form or found.form
    cuts = [_Cut(split), *(_Cut(1, each) for each in _deals(found, row, sizes))]
    ran = (_run(machine, call, found, row, cut, sizes, form, idle=idle) for cut in cuts)
    return min(ran, key=lambda one: one.clocks)


def _deals(found: Resolved, row: NDArray[np.float64], sizes: Sizes) -> list[int]:
    """Threadblocks for each tile that slices of K may be dealt to; none on other kernels.

    More than there are slots for only cost more.
    """
    if not (found.kernels.persistent and row[STREAM_K]):
        return []
    m, n, _, copies = sizes
    tiles = math.ceil(m / row[TM]) * math.ceil(n / row[TN]) * copies
    slots = found.cycle_chip.sms * row[CTAS]
    return [each for each in DEALT if each == 1 or each * tiles < 2 * slots]


def _tile(
    machine: Gpu, call: Call, found: Resolved, row: NDArray[np.float64], output_bits: int
) -> Tile:
    instruction = instruction_of(machine, call.dtype, found)
    packing = packing_of(machine, call.dtype, found.native)
    return tile_of(row, instruction, output_bits, packing, swapped=call.sparse_operand == "b")


def _run(
    machine: Gpu,
    call: Call,
    found: Resolved,
    row: NDArray[np.float64],
    cut: _Cut,
    sizes: Sizes,
    form: Form,
    *,
    idle: bool,
) -> Outcome:
    """Run a GEMM in whole tiles, or with slices dealt to so many threadblocks for each tile."""
    split, dealt = cut
    chip = found.cycle_chip
    bulk = found.kernels.operands == "shared"
    core = core_of(machine, call.dtype, found.library, bulk=bulk, accumulator=call.accumulator)
    tile = _tile(machine, call, found, row, int(8 * (form.out if split == 1 else PARTIAL)))
    grid = grid_of(chip, form, row, tile, split, sizes)
    grid = grid._replace(persistent=found.kernels.persistent and row[CTAS] == 1, dealt=dealt)

    def waves(latency: int) -> tuple[Wave, ...]:
        return waves_of(core, tile, chip, grid, latency)

    def stored_after(latency: int) -> float:
        return _stored_clocks(chip, grid, waves(latency))

    leaving = leaving_of(tile, chip, grid)
    latency = least_latency(chip, grid)
    if idle:
        stored = stored_after(latency)
    else:
        latency, stored = settled(chip, grid, stored_after)
    ran, shared = waves(latency), served(chip, grid)
    own = _own_clocks(grid, ran)
    # The first load finds memory idle.
    edges = idle_latency(chip, grid) + chip.start + leaving
    pace = max(shared, key=lambda cause: shared[cause])
    served_by = _together(stored, shared[pace] + edges)
    clocks = max(served_by, _moving(chip, grid))
    late = {"dram bandwidth": stored - own + clocks - served_by}
    late[pace] = late.get(pace, 0.0) + served_by - stored
    multiplying = sum(wave.rounds * wave.tile.tensor_cycles / machine.sm.sub_cores for wave in ran)
    used = min(
        1.0, multiplying * grid.blocks / (math.ceil(grid.blocks / grid.sms) * grid.sms) / clocks
    )
    clocks *= 1 + chip.throttle * used * clocks / (clocks + chip.throttle_half)
    shares = _shares(grid, ran)
    shares["launch"] = chip.launch
    shares |= {cause: taken for cause, taken in shared.items() if taken + edges > stored}
    if split > 1:
        m, n, _, copies = sizes
        parts = copies * m * n * PARTIAL * split / chip.l2
        sums = grid.written / (grid.sms * chip.store)
        shares["split-k reduction"] = chip.reduce + parts + sums
        clocks += shares["split-k reduction"]
    total = chip.launch + clocks
    split = 1 if dealt else split
    return Outcome(total, grid.tiles, ran, multiplying, grid.read, shares, own, late, split, dealt)


def _matrix_vector(chip: Chip, form: Form, sizes: Sizes) -> Outcome:
    """A kernel that reads B once for a few rows of A, in closed form: no threadblock is run.

    What L2 holds of an earlier launch comes no sooner: measured times do not tell it apart.
    """
    m, n, k, _ = sizes
    latency = max(chip.latency, chip.near) + chip.queue
    rounds = k * form.b / ROUND
    shares = {
        "launch": chip.launch,
        "load latency": latency * (min(1.0, rounds) + rounds / UNDER_WAY),
        "dram bandwidth": n * k * form.b / min(chip.gemv, chip.l2),
    }
    return Outcome(sum(shares.values()), 0, (), 0.0, (m * form.a + n * form.b) * k, shares, 0.0, {})


def fastest(
    machine: Gpu,
    call: Call,
    found: Resolved,
    row: int,
    split: int,
    sizes: Sizes,
    form: Form | None = None,
) -> tuple[Outcome, int]:
    """A GEMM on a kernel, or on a matrix-vector kernel that is there and faster.

    Parameters
    ----------
    row
        Of the kernel table.

    Returns
    -------
    Outcome, int
        and the row, or ``MATRIX_VECTOR``.
    """
    outcome = run_kernel(machine, call, found, found.table[row], split, sizes, form)
    if sizes[0] <= found.vector_rows and sizes[3] == 1:
        vector = _matrix_vector(found.cycle_chip, form or found.form, sizes)
        if vector.clocks < outcome.clocks:
            return vector, MATRIX_VECTOR
    return outcome, row


def _rival(
    machine: Gpu, call: Call, found: Resolved, size: Size, form: Form, most: float
) -> tuple[int, int] | None:
    """The fastest kernel and split considered, if it takes fewer clocks than ``most``; else None.

    Bounds come first, then runs in which memory is idle: what these do not rule out is run, from
    the least on, until no bound is below what was run.
    """
    chip, (m, n, k, copies) = found.cycle_chip, map(int, size)

    def clocks(row: int, split: int, *, idle: bool) -> float:
        sizes = (m, n, k, copies)
        return run_kernel(
            machine, call, found, found.table[row], split, sizes, form, idle=idle
        ).clocks

    open_to = considered(found.chip, found.table, found.splits, rules_of(found), size)
    bounded = [
        (int(row), int(split))
        for row, split in open_to
        if at_least(chip, form, found.table[int(row)], split, size) < most
    ]
    fastest_of: tuple[int, int] | None = None
    for least, one in sorted((clocks(*one, idle=True), one) for one in bounded):
        if least >= most:
            break
        taken = clocks(*one, idle=False)
        if taken < most:
            most, fastest_of = taken, one
    return fastest_of


def launched(
    machine: Gpu, call: Call, found: Resolved, size: Size, form: Form | None = None
) -> tuple[Outcome, int, int]:
    """A GEMM on the kernel that a library launches: that of the rule, or one faster by ``MARGIN``.

    Faster on a GPU whose L2 holds nothing of earlier launches, and on this one.

    Parameters
    ----------
    form
        Of the operands, if other than the call's.

    Returns
    -------
    Outcome, int, int
        and the row of the kernel table, or ``MATRIX_VECTOR``, and the parts of K.
    """
    form = form or found.form
    row, split, _ = choose(found.chip, form, found.table, found.splits, rules_of(found), size)
    m, n, k, copies = map(int, size)
    sizes, first = (m, n, k, copies), (int(row), int(split))
    ran = fastest(machine, call, found, *first, sizes, form)
    cold = form._replace(in_turn=0.0)
    alone = fastest(machine, call, found, *first, sizes, cold)[0] if form.in_turn else ran[0]
    rival = _rival(machine, call, found, size, cold, alone.clocks / MARGIN)
    if rival is not None:
        other = fastest(machine, call, found, *rival, sizes, form)
        if other[0].clocks < ran[0].clocks:
            ran = other
    return *ran, ran[0].split


def times(machine: Gpu, call: Call, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times of many GEMMs of one call, microseconds; equal ones are run once.

    Parameters
    ----------
    sizes
        GEMMs x 4: M, N, K and copies in one launch.
    """
    found = resolve(machine, call)
    wanted = np.array(sizes, np.float64).reshape(-1, 4)
    wanted[:, 2] = np.ceil(wanted[:, 2] * found.shrink)
    distinct, where = np.unique(wanted, axis=0, return_inverse=True)
    clocks = np.empty(len(distinct))
    for i, (m, n, k, copies) in enumerate(distinct):
        clocks[i] = launched(machine, call, found, Size(m, n, k, copies))[0].clocks
    cast = cast_us(machine, found.library.casts, call.dtype, np.asarray(sizes, np.float64))
    return clocks[where.reshape(-1)] / machine.clock_mhz + cast


def run_work(machine: Gpu, work: SparseGemm) -> tuple[Launch, Outcome]:
    """Run what a sparse GEMM launches: the launch, with the kernel that it ran on, and its time.

    Which operand is compressed and by which library, where several are open, the rule of thumb
    says: to run them all would take as many times as long.
    """
    launch = launch_of(machine, work)
    outcome, row, split = launched(machine, launch.call, launch.resolved, launch.size, launch.form)
    launch = replace(launch, ran=(row, float(split)), dealt=outcome.dealt)
    return launch, outcome


def simulate(machine: Gpu, work: SparseGemm, _sample: Sample | None = None) -> Result:
    """Run what a sparse GEMM launches on a GPU; there is nothing to sample."""
    if is_depthwise(work.gemm):
        return direct.simulate(machine, work)
    launch, found = run_work(machine, work)
    return writeup(
        machine,
        launch,
        clocks=found.clocks,
        multiplying=found.multiplying,
        tiles=found.tiles,
        read_bytes=found.read_bytes,
        bound=found.bound,
        spent=_spent(machine, launch, found),
    )


def _spent(machine: Gpu, launch: Launch, found: Outcome) -> dict[str, float]:
    """Clocks of the launch by cause, of the mean SM in its waves; slots of its tiles."""
    outside = {name: found.shares.get(name, 0.0) for name in ("launch", "split-k reduction")}
    if launch.row == MATRIX_VECTOR:
        return {**found.shares, **outside}
    native, slots = launch.resolved.native, 0.0
    clocks = dict.fromkeys(("tensor cores", "prologue", "epilogue", "wave tail"), 0.0)
    for wave in found.waves:
        even = wave.running / (wave.ran.ctas * machine.sms)
        for name, taken in _of_wave(wave, machine.sm.sub_cores).items():
            clocks[name] = clocks.get(name, 0.0) + even * wave.rounds * taken
        clocks["wave tail"] += (1 - even) * wave.rounds * wave.held
        deep = wave.ran.slices * wave.ran.tile.k * (1.0 if native.is_dense else native.density)
        slots += wave.rounds * wave.running * wave.ran.tile.m * wave.ran.tile.n * deep
    clocks["epilogue"] += float(found.waves[-1].left)
    for cause, late in found.late.items():
        clocks[cause] = clocks.get(cause, 0.0) + late
    waves = found.clocks - sum(outside.values())
    clocks["clock"] = waves - found.own - sum(found.late.values())
    return {**clocks, **outside, SLOTS: slots}


def _of_wave(wave: Wave, sub_cores: int) -> dict[str, float]:
    """Clocks for which a threadblock of a wave holds its slot, by what the fullest SM does."""
    one = wave.tile.tensor_cycles / sub_cores
    main = max(one, wave.tile.main)
    started = wave.held + wave.left - wave.tile.cycles
    before = min(wave.held - main, started + wave.tile.prologue)
    # A loop that waits for results to leave waits for those of the tile before.
    words = {"compute": "main loop", "wave overhead": "epilogue"}
    cause = loop_bound(wave)
    clocks = {"tensor cores": one, "prologue": before, "epilogue": wave.held - main - before}
    waits = words.get(cause, cause)
    return {**clocks, waits: clocks.get(waits, 0.0) + main - one}
