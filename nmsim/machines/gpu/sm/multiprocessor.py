"""A streaming multiprocessor, cycle by cycle: the time of a tile and what its warps waited for.

The kernels are ``core`` (a cycle) and ``periods`` (all of them); ``program`` has what a warp runs,
``state`` what changes.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError
from nmsim.machines.gpu.sm.periods import run_core
from nmsim.machines.gpu.sm.program import Instruction, Kind, Program, Tile, fragments, stream
from nmsim.machines.gpu.sm.state import (
    BUSY_MEMORY,
    BUSY_SHARED,
    BUSY_TENSOR,
    CAUSES,
    CORES,
    FIRST_SLICE,
    ISSUED,
    LAST_SLICE,
    LIVE,
    NOW,
    PERIOD_CYCLES,
    PERIOD_SLICES,
    REST,
    SKIPPED,
    SUB_CORE,
    TICKS,
    WAITS,
    Core,
    State,
    kinds_of,
)

__all__ = ["Feed", "Sm", "TileTime", "Waits", "last_state", "mma_ticks", "rate", "time_tile"]


class Sm(NamedTuple):
    """What a streaming multiprocessor is; cycles of its own clock.

    Parameters
    ----------
    sub_cores
        Each issues one warp instruction a cycle and has a tensor core. Warp w runs on sub-core
        w mod ``sub_cores``.
    shared_bytes
        Moved by shared memory in a cycle.
    shared_interval
        Cycles between two accesses, however small.
    shared_latency
        From the end of an access to the use of its data.
    shared_queue
        Cycles of accesses that wait at most; none is issued beyond.
    register_reads
        32-bit registers of a warp that a sub-core reads in a cycle: banks of its register file.
    selection_cycles
        For which a tensor core is held up by an instruction that selects by metadata.
    barrier_latency
        From the last warp's arrival until all go on.
    in_flight
        Bytes that may be on their way from memory.
    store_queue
        Bytes that may wait to be written to memory.
    """

    sub_cores: int
    shared_bytes: int
    shared_interval: int
    shared_latency: int
    shared_queue: int
    register_reads: int
    selection_cycles: float
    barrier_latency: int
    in_flight: int
    store_queue: int


class Feed(NamedTuple):
    """What memory gives one multiprocessor: cycles until bytes arrive, bytes per cycle each way."""

    latency: int
    bytes_per_cycle: float
    store_bytes_per_cycle: float


class Waits(NamedTuple):
    """Cycles in which warps did not issue, summed over warps, by what they waited for.

    Parameters
    ----------
    issue
        Ready, but another warp of the sub-core issued.
    tensor
        The tensor core was taken.
    shared
        Shared memory had too much to do, or had not delivered a fragment.
    memory
        A stage had not landed, or too many bytes were in flight.
    barrier
        Other warps.
    dependence
        An accumulator was still being computed.
    store
        Stores had not left.
    """

    issue: int
    tensor: int
    shared: int
    memory: int
    barrier: int
    dependence: int
    store: int

    @property
    def most(self) -> str:
        """What kept warps waiting longest while tensor cores had nothing to do.

        That is neither a tensor core nor a barrier, where one waits for what the last warp waits.
        """
        causes = [field for field in self._fields if field not in ("barrier", "tensor")]
        return max(causes, key=lambda field: int(getattr(self, field)))


SATURATED = 0.8
"""Busy for more than this share of the time, a pipe is what binds."""


class TileTime(NamedTuple):
    """How long the threadblocks resident on a multiprocessor take, all started at once.

    Parameters
    ----------
    prologue, main, epilogue
        Cycles until the first warp begins its main loop, until the last has issued the last
        instruction of it, and until results have left. They add up to ``cycles``.
    drain
        The end of the epilogue, when all warps have ended and only results are on their way.
    cycles_per_slice
        In the steady state, for one slice of K of every threadblock; without a steady state, the
        mean.
    prologue_waits, main_waits, epilogue_waits
        What warps waited for in each part of their program.
    tensor_cycles, shared_cycles, memory_cycles
        For which a tensor core (all of them added up), shared memory and the channel from memory
        were busy.
    instructions
        Issued by all warps.
    utilization
        Share of the tensor cores' cycles, over all, that multiply; what registers and metadata
        cost beyond ``Instruction.cycles`` is not in it.
    bound
        ``tensor``, ``shared``, ``memory`` or ``issue`` where that was busy for over 80 % of the
        time, else ``Waits.most`` of all cycles: a field of ``Waits``.
    skipped
        Periods of the steady state that were added up without being simulated.
    """

    cycles: int
    prologue: int
    main: int
    epilogue: int
    drain: int
    cycles_per_slice: float
    prologue_waits: Waits
    main_waits: Waits
    epilogue_waits: Waits
    tensor_cycles: float
    shared_cycles: int
    memory_cycles: float
    instructions: int
    utilization: float
    bound: str
    skipped: int


def mma_ticks(sm: Sm, instruction: Instruction) -> int:
    """Ticks between two such instructions on one tensor core.

    Multipliers and operand fetch work side by side, so the slower sets the pace. Fetch reads all
    registers, ``register_reads`` a cycle, and if A is compressed takes ``selection_cycles`` more.
    An instruction with operands in shared memory takes its cycles; its reads are accesses there.

    On an A100, with two registers a cycle and 2 cycles for selection (assumptions), ``mma.sp``
    m16n8k32 takes 8.5 cycles and m16n8k16 6.5: 1928 and 1260 multiply-adds per cycle of a
    multiprocessor, where Sun et al. (TPDS 2023, Table 6) measured 1979 and 1290. The two cycles
    are inferred from those two figures, which leave 0.48 cycles a register and 2.0 for selection.
    They were measured with four instructions under way on a sub-core, so a latency of 33.1 and 25.4
    cycles would explain them too: that is ``selection_cycles`` 0 and ``Instruction.latency``.
    Machines use the first reading (``gpu.tile.core_of``), because the figures were published as
    what the instructions reach at best, and latency would be hidden by the many accumulators of a
    GEMM's main loop; they take for selection what their own sparse rate leaves.
    """
    if instruction.sharers:
        return math.ceil(instruction.cycles * TICKS)
    fetch = instruction.registers / sm.register_reads
    if instruction.keep < instruction.group:
        fetch += sm.selection_cycles
    return math.ceil(max(instruction.cycles, fetch) * TICKS)


def _core(sm: Sm, tile: Tile, feed: Feed, slices: int, ctas: int, program: Program) -> Core:
    return Core(
        sub_cores=sm.sub_cores,
        shared_bytes=sm.shared_bytes,
        shared_interval=sm.shared_interval,
        shared_latency=sm.shared_latency,
        shared_queue=sm.shared_queue,
        mma_ticks=mma_ticks(sm, tile.instruction),
        mma_latency=tile.instruction.latency,
        barrier_latency=sm.barrier_latency,
        in_flight=sm.in_flight,
        memory_latency=feed.latency,
        store_backlog=max(1, math.ceil(sm.store_queue * TICKS / feed.store_bytes_per_cycle)),
        memory_rate=feed.bytes_per_cycle,
        store_rate=feed.store_bytes_per_cycle,
        warps=tile.warps,
        ctas=ctas,
        slices=slices,
        stages=tile.stages,
        ready=REST + 2 * tile.stages,
        fragments=2 * fragments(tile).total,
        swaps=tile.blocks % 2 == 1,
        body=program.body,
        epilogue=program.epilogue,
        end=len(program.rows),
        skips=True,
    )


def _state(core: Core, tile: Tile, program: Program, events: int) -> State:
    """The state at the launch, in which nothing has happened; a log with room for ``events``."""
    warps, held = core.warps * core.ctas, fragments(tile)
    copies = int((program.rows[: program.body, 0] == Kind.COPY).sum()) // (tile.stages - 1)
    state = State(
        warps=np.zeros((warps, core.ready + core.fragments + held.a * held.b), np.int64),
        sm=np.zeros(CORES + len(SUB_CORE) * core.sub_cores, np.int64),
        queue=np.zeros((warps * tile.stages * copies, 4), np.int64),
        log=np.zeros((events, 4), np.int64),
    )
    state.sm[CORES::2] = range(core.sub_cores)
    state.sm[FIRST_SLICE] = -1
    state.sm[LIVE] = warps
    return state


@lru_cache(maxsize=256)
def _program(tile: Tile) -> Program:
    """The program of a tile's warps, remembered: nothing writes to a program."""
    return stream(tile)


def _refuse(sm: Sm, feed: Feed, slices: int, ctas: int) -> None:
    least = (slices, ctas, sm.barrier_latency, sm.shared_queue, sm.shared_bytes, sm.sub_cores)
    if min(least) < 1 or min(feed.bytes_per_cycle, feed.store_bytes_per_cycle) <= 0:
        raise ShapeError(
            f"{slices} slices, {ctas} threadblocks, {feed}, {sm}: expected 1 slice and threadblock "
            "or more, positive rates, queues and barrier latency"
        )


def _run(core: Core, tile: Tile, state: State, program: Program) -> int:
    before = _state(core, tile, program, 0)
    size = state.sm.size + state.warps.size + state.queue.size
    picture, saved = np.zeros(size, np.int64), np.zeros(size, np.int64)
    kinds = kinds_of(core, state)
    return int(run_core(core, state, kinds, before, program.rows, picture, saved))


def last_state(
    sm: Sm, tile: Tile, feed: Feed, slices: int, ctas: int, skip: bool, events: int = 0
) -> tuple[int, State]:
    """Cycles of threadblocks as ``time_tile`` has them, and the state at the end of these.

    ``events`` is the room of its log: so many instructions, the first to be issued.
    """
    _refuse(sm, feed, slices, ctas)
    program = _program(tile)
    core = _core(sm, tile, feed, slices, ctas, program)._replace(skips=skip)
    state = _state(core, tile, program, events)
    return _run(core, tile, state, program), state


def time_tile(
    sm: Sm, tile: Tile, feed: Feed, slices: int, *, ctas: int = 1, skip: bool = True
) -> TileTime:
    """Time ``ctas`` threadblocks of one tile each, K of ``slices`` slices, on one multiprocessor.

    Parameters
    ----------
    skip
        Add up recurring slices instead of simulating them; changes nothing but the time it takes.

    Raises
    ------
    ShapeError
        if the tile does not divide, or there is nothing to run or to run it with.
    """
    cycles, state = last_state(sm, tile, feed, slices, ctas, skip)
    return _tile_time(sm, tile, slices, cycles, state, ctas)


def _tile_time(sm: Sm, tile: Tile, slices: int, cycles: int, state: State, ctas: int) -> TileTime:
    marks = busy = state.sm
    held = fragments(tile)
    waits = state.sm[WAITS:CORES].reshape(3, CAUSES)
    begun, ended = int(marks[FIRST_SLICE]), int(marks[LAST_SLICE])
    multiplications = held.a * held.b * tile.blocks * slices * tile.warps * ctas
    per_slice = (ended - begun) / slices
    if marks[PERIOD_SLICES]:
        per_slice = float(marks[PERIOD_CYCLES] * tile.warps * ctas / marks[PERIOD_SLICES])
    shares = {
        "tensor": busy[BUSY_TENSOR] / (TICKS * sm.sub_cores * cycles),
        "shared": busy[BUSY_SHARED] / cycles,
        "memory": busy[BUSY_MEMORY] / (TICKS * cycles),
        "issue": busy[ISSUED] / (sm.sub_cores * cycles),
    }
    return TileTime(
        cycles=cycles,
        prologue=begun,
        main=ended - begun,
        epilogue=cycles - ended,
        drain=cycles - int(marks[NOW]),
        cycles_per_slice=per_slice,
        prologue_waits=_waits(waits[0]),
        main_waits=_waits(waits[1]),
        epilogue_waits=_waits(waits[2]),
        tensor_cycles=float(busy[BUSY_TENSOR] / TICKS),
        shared_cycles=int(busy[BUSY_SHARED]),
        memory_cycles=float(busy[BUSY_MEMORY] / TICKS),
        instructions=int(busy[ISSUED]),
        utilization=multiplications * tile.instruction.cycles / (sm.sub_cores * cycles),
        bound=_bound(shares, _waits(waits.sum(axis=0))),
        skipped=int(marks[SKIPPED]),
    )


def _bound(shares: dict[str, float], waits: Waits) -> str:
    busiest = max(shares, key=lambda pipe: shares[pipe])
    return busiest if shares[busiest] > SATURATED else waits.most


def _waits(row: NDArray[np.int64]) -> Waits:
    return Waits(*map(int, row))


def rate(sm: Sm, instruction: Instruction, *, warps: int, ilp: int, rounds: int = 1000) -> float:
    """Multiply-adds per cycle, counted densely, of a loop of nothing but matrix instructions.

    Each of ``warps`` warps has ``ilp`` accumulators and adds to one after the other.
    """
    alone = Tile(
        instruction.m * ilp, instruction.n * warps, instruction.k, 1, warps, 2, instruction
    )
    rows = stream(alone).rows
    kinds = rows[:, 0]
    body = rows[(kinds == Kind.MMA) | (kinds == Kind.WGMMA)]
    idle = np.where(np.arange(rows.shape[1]) == 0, int(Kind.OTHER), -1)[None]
    idle[0, 1] = 0
    program = Program(np.concatenate([idle, body, idle]), 1, 1 + len(body))
    core = _core(sm, alone, Feed(0, 1.0, 1.0), rounds, 1, program)._replace(swaps=False)
    state = _state(core, alone, program, 0)
    _run(core, alone, state, program)
    cycles = int(state.sm[LAST_SLICE] - state.sm[FIRST_SLICE])
    return instruction.m * instruction.n * instruction.k * ilp * warps * rounds / cycles
