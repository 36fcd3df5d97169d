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

from nmsim.machines.gpu import direct, slots
from nmsim.machines.gpu.call import Resolved, resolve
from nmsim.machines.gpu.chip import MATRIX_VECTOR, Chip, Form, Size
from nmsim.machines.gpu.choice import choose, rules_of
from nmsim.machines.gpu.direct import is_depthwise
from nmsim.machines.gpu.launch import BOUNDS as WORDS
from nmsim.machines.gpu.launch import SLOTS, Launch, launch_of, writeup
from nmsim.machines.gpu.preparation import cast_us
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.gpu.tile import core_of, instruction_of, packing_of, tile_of
from nmsim.machines.gpu.waves import (
    Grid,
    Sizes,
    Wave,
    drained,
    grid_of,
    idle_latency,
    leaving_of,
    served,
    settled,
    unstored,
    waves_of,
)
from nmsim.machines.kind import Call, Sample
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = [
    "BOUNDS",
    "Outcome",
    "fastest",
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
    """

    clocks: float
    tiles: int
    waves: tuple[Wave, ...]
    multiplying: float
    read_bytes: float
    shares: dict[str, float]
    own: float
    late: dict[str, float]

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

    whole = len(found) > 1
    for wave in found:
        edges = wave.held - wave.tile.main
        idle = 1 - wave.running / grid.slots if whole else 0.0
        add("wave overhead", wave.rounds * edges * (1 - idle))
        add(loop_bound(wave), wave.rounds * wave.tile.main * (1 - idle))
        add("wave tail", wave.rounds * (wave.tile.main + edges) * idle)
    return shares


def run_kernel(
    machine: Gpu,
    call: Call,
    found: Resolved,
    row: NDArray[np.float64],
    split: int,
    sizes: Sizes,
    form: Form | None = None,
) -> Outcome:
    """Run a GEMM on one kernel, wave by wave: its clocks and what they went to.

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
    """
    form = form or found.form
    chip = found.cycle_chip
    bulk = found.kernels.operands == "shared"
    core = core_of(machine, call.dtype, found.library, bulk=bulk, accumulator=call.accumulator)
    bits = int(8 * (form.out if split == 1 else PARTIAL))
    instruction = instruction_of(machine, call.dtype, found)
    packing = packing_of(machine, call.dtype, found.native)
    tile = tile_of(row, instruction, bits, packing, swapped=call.sparse_operand == "b")
    grid = grid_of(chip, form, row, tile, split, sizes)

    def waves(latency: int) -> tuple[Wave, ...]:
        return waves_of(core, tile, chip, grid, latency)

    leaving = leaving_of(tile, chip, grid)
    latency, stored = settled(
        chip, grid, lambda latency: _stored_clocks(chip, grid, waves(latency))
    )
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
        1.0, multiplying * grid.tiles / (math.ceil(grid.tiles / grid.sms) * grid.sms) / clocks
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
    return Outcome(total, grid.tiles, ran, multiplying, grid.read, shares, own, late)


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
    """A GEMM on the chosen kernel, or on a matrix-vector kernel that is there and faster.

    Parameters
    ----------
    row
        Of the kernel table, chosen.

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


def times(machine: Gpu, call: Call, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times of many GEMMs of one call, microseconds; equal ones are run once.

    Parameters
    ----------
    sizes
        GEMMs x 4: M, N, K and copies in one launch.
    """
    found = resolve(machine, call)
    rules = rules_of(found)
    wanted = np.array(sizes, np.float64).reshape(-1, 4)
    wanted[:, 2] = np.ceil(wanted[:, 2] * found.shrink)
    distinct, where = np.unique(wanted, axis=0, return_inverse=True)
    clocks = np.empty(len(distinct))
    for i, (m, n, k, copies) in enumerate(distinct):
        row, split, _ = choose(
            found.chip, found.form, found.table, found.splits, rules, Size(m, n, k, copies)
        )
        size = (int(m), int(n), int(k), int(copies))
        clocks[i] = fastest(machine, call, found, int(row), int(split), size)[0].clocks
    cast = cast_us(machine, found.library.casts, call.dtype, np.asarray(sizes, np.float64))
    return clocks[where.reshape(-1)] / machine.clock_mhz + cast


def run_work(machine: Gpu, work: SparseGemm) -> tuple[Launch, Outcome]:
    """Run what a sparse GEMM launches: the launch, with the kernel that it ran on, and its time."""
    launch = launch_of(machine, work)
    m, n, k, copies = map(int, launch.size)
    outcome, row = fastest(
        machine,
        launch.call,
        launch.resolved,
        launch.row,
        int(launch.split),
        (m, n, k, copies),
        launch.form,
    )
    split = 1.0 if row == MATRIX_VECTOR else launch.split
    return replace(launch, row=row, split=split), outcome


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
