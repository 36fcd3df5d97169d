"""One cycle of a streaming multiprocessor: warps, tensor cores, shared memory, copies.

In a cycle, first the copies that have arrived are noted. Then each sub-core looks at the warp whose
turn it is and issues its instruction if it is ready. Turns do not depend on time: warps of a
threadblock issue row by row, and where it would stand still the next threadblock of the sub-core
goes on. Memory serves all warps in the same order. An instruction is ready when, looked at in this
order,

1. the stage that it waits for has landed;
2. the fragments that it reads have been loaded; then, the accumulators written;
3. what it uses takes more: the tensor core is free before the cycle ends, shared memory has less
   than ``shared_queue`` cycles of accesses before it, the bytes being copied stay within
   ``in_flight``, the stores under way within ``store_backlog``.

A multiplication out of shared memory reads there from its start on and keeps the tensor core until
it has read. Shared memory and the two memory channels serve in order, one access at a time.
"""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled_uncounted
from nmsim.machines.gpu.sm.program import (
    ACC,
    AHEAD,
    BYTES,
    DST,
    DSTS,
    KIND,
    LAST,
    SRC_A,
    SRC_B,
    SRC_E,
    YIELDS,
    Kind,
)
from nmsim.machines.gpu.sm.state import (
    ARRIVES,
    BARRIER,
    BUSY_MEMORY,
    BUSY_SHARED,
    BUSY_TENSOR,
    CAUSE,
    CAUSES,
    CORES,
    DEPENDENCE,
    FIRST_SLICE,
    FLYING,
    HEAD,
    ISSUE,
    ISSUED,
    LAST_SLICE,
    LIVE,
    LOGGED,
    MEMORY,
    MEMORY_FREE,
    MET,
    NEVER,
    NEXT_SERVED,
    NOW,
    OF_SLICE,
    OF_WARP,
    PC,
    QUEUED,
    REST,
    SHARED,
    SHARED_FREE,
    SINCE,
    SIZE,
    SLICE,
    STORE,
    STORE_FREE,
    TENSOR,
    TICKS,
    WAITS,
    WAKE,
    Core,
    Count,
    State,
)

__all__ = ["account", "arrivals", "cycle"]

K_OTHER, K_COPY, K_WAIT, K_BARRIER = (
    int(Kind.OTHER),
    int(Kind.COPY),
    int(Kind.WAIT),
    int(Kind.BARRIER),
)
K_LOAD, K_MMA, K_KEEP, K_STORE = int(Kind.LOAD), int(Kind.MMA), int(Kind.KEEP), int(Kind.STORE)
K_WGMMA = int(Kind.WGMMA)


@compiled_uncounted
def _access(core: Core, size: Count) -> Count:
    """Cycles of an access to shared memory."""
    cycles: Count = max(core.shared_interval, (size + core.shared_bytes - 1) // core.shared_bytes)
    return cycles


@compiled_uncounted
def _enter(core: Core, state: State, now: Count, size: Count) -> Count:
    """Queue an access to shared memory; the time when it is done."""
    cycles = _access(core, size)
    done: Count = max(state.sm[SHARED_FREE], now) + cycles
    state.sm[SHARED_FREE] = done
    state.sm[BUSY_SHARED] += cycles
    return done


@compiled_uncounted
def arrivals(core: Core, state: State) -> None:
    """Tell warps when what has arrived by now is in shared memory."""
    sm, queue = state.sm, state.queue
    while sm[QUEUED] > 0 and queue[sm[HEAD], ARRIVES] <= sm[NOW]:
        head = sm[HEAD]
        warp, size = queue[head, OF_WARP], queue[head, SIZE]
        stage = queue[head, OF_SLICE] - state.warps[warp, SLICE]
        done = queue[head, ARRIVES] + _access(core, size)
        # A smaller copy that came later may have been written earlier.
        landed = REST + core.stages + stage
        state.warps[warp, landed] = max(state.warps[warp, landed], done)
        state.warps[warp, REST + stage] -= 1
        sm[FLYING] -= size
        sm[HEAD] = (head + 1) % len(queue)
        sm[QUEUED] -= 1


@compiled_uncounted
def _operands(
    core: Core, state: State, program: NDArray[np.int64], warp: Count, at: Count
) -> tuple[Count, Count]:
    """When the fragments are loaded or else the accumulator written, and which of them it is."""
    when = np.int64(0)
    for source in (SRC_A, SRC_B, SRC_E):
        register = program[at, source]
        if register >= 0:
            when = max(when, state.warps[warp, core.ready + register])
    if when > state.sm[NOW]:
        return when, SHARED
    if program[at, ACC] >= 0:
        when = state.warps[warp, core.ready + program[at, ACC]]
    return when, DEPENDENCE


@compiled_uncounted
def _room(core: Core, state: State, kind: Count, size: Count, place: Count) -> tuple[Count, Count]:
    """When a pipe or queue takes one more, and which."""
    sm = state.sm
    if kind in (K_MMA, K_WGMMA):
        return sm[CORES + 2 * place + 1] // TICKS, TENSOR
    if kind in (K_LOAD, K_KEEP):
        return sm[SHARED_FREE] - core.shared_queue + 1, SHARED
    if kind == K_COPY:
        full = sm[FLYING] > 0 and sm[FLYING] + size > core.in_flight
        return (state.queue[sm[HEAD], ARRIVES] if full else sm[NOW]), MEMORY
    if kind == K_STORE:
        return (sm[STORE_FREE] - core.store_backlog) // TICKS + 1, STORE
    return sm[NOW], ISSUE


@compiled_uncounted
def _look(
    core: Core, state: State, program: NDArray[np.int64], warp: Count, place: Count
) -> tuple[Count, Count]:
    """When to look at the warp again and what it waits for until then; not later than now: ready.

    No event before that time can make it ready.
    """
    at, now = state.warps[warp, PC], state.sm[NOW]
    ahead, kind = program[at, AHEAD], program[at, KIND]
    if state.warps[warp, SLICE] + ahead >= core.slices:
        return now, ISSUE
    if kind == K_WAIT:
        if state.warps[warp, REST + ahead] > 0:
            return state.queue[state.sm[HEAD], ARRIVES], MEMORY
        return state.warps[warp, REST + core.stages + ahead], MEMORY
    when, cause = _operands(core, state, program, warp, at)
    if when > now:
        return when, cause
    return _room(core, state, kind, program[at, BYTES], place)


@compiled_uncounted
def _copy(core: Core, state: State, warp: Count, ahead: Count, size: Count) -> Count:
    """Send a copy to memory; the time when it arrives.

    Its writing to shared memory is queued where it is asked for, not where it arrives: when that is
    must not decide before which reads it comes.
    """
    sm, queue = state.sm, state.queue
    _enter(core, state, sm[NOW], size)
    ticks = np.int64(np.ceil(size * TICKS / core.memory_rate))
    free = max(sm[MEMORY_FREE], sm[NOW] * TICKS) + ticks
    sm[MEMORY_FREE] = free
    sm[BUSY_MEMORY] += ticks
    arrives: Count = (free + TICKS - 1) // TICKS + core.memory_latency
    entry = (sm[HEAD] + sm[QUEUED]) % len(queue)
    queue[entry, ARRIVES], queue[entry, SIZE] = arrives, size
    queue[entry, OF_WARP], queue[entry, OF_SLICE] = warp, state.warps[warp, SLICE] + ahead
    sm[QUEUED] += 1
    sm[FLYING] += size
    state.warps[warp, REST + ahead] += 1
    return arrives


@compiled_uncounted
def _meet(core: Core, state: State, warp: Count) -> None:
    """Wait at the barrier; the last warp to come lets all of them go on."""
    first = warp - warp % core.warps
    state.warps[warp, CAUSE], state.warps[warp, WAKE] = BARRIER, NEVER
    state.warps[first, MET] += 1
    if state.warps[first, MET] == core.warps:
        state.warps[first, MET] = 0
        for other in range(first, first + core.warps):
            state.warps[other, WAKE] = state.sm[NOW] + core.barrier_latency


@compiled_uncounted
def _mma(core: Core, state: State, warp: Count, acc: Count, place: Count) -> Count:
    """Start a multiplication; the time when its result may be read."""
    sm, pipe = state.sm, CORES + 2 * place + 1
    start = max(sm[pipe], sm[NOW] * TICKS)
    sm[pipe] = start + core.mma_ticks
    sm[BUSY_TENSOR] += core.mma_ticks
    done: Count = (start + TICKS - 1) // TICKS + core.mma_latency
    state.warps[warp, core.ready + acc] = done
    return done


@compiled_uncounted
def _wgmma(core: Core, state: State, warp: Count, acc: Count, size: Count, place: Count) -> Count:
    """Start a multiplication that lasts until its operands have been read, if not longer."""
    sm, pipe = state.sm, CORES + 2 * place + 1
    done = _mma(core, state, warp, acc, place)
    read = _enter(core, state, sm[NOW], size)
    sm[pipe] = max(sm[pipe], read * TICKS)
    done = max(done, read)
    state.warps[warp, core.ready + acc] = done
    return done


@compiled_uncounted
def _store(core: Core, state: State, size: Count) -> Count:
    """Send results to memory; the time when they have left."""
    ticks = np.int64(np.ceil(size * TICKS / core.store_rate))
    free = max(state.sm[STORE_FREE], state.sm[NOW] * TICKS) + ticks
    state.sm[STORE_FREE] = free
    left: Count = (free + TICKS - 1) // TICKS
    return left


@compiled_uncounted
def _act(
    core: Core, state: State, program: NDArray[np.int64], warp: Count, at: Count, place: Count
) -> Count:
    """What an instruction does; the time when it is done."""
    kind, ahead, size = program[at, KIND], program[at, AHEAD], program[at, BYTES]
    done: Count = state.sm[NOW] + 1
    if state.warps[warp, SLICE] + ahead >= core.slices:
        return done
    if kind == K_MMA:
        done = _mma(core, state, warp, program[at, ACC], place)
    elif kind == K_WGMMA:
        done = _wgmma(core, state, warp, program[at, ACC], size, place)
    elif kind in (K_LOAD, K_KEEP):
        done = _enter(core, state, state.sm[NOW], size) + core.shared_latency
        first = core.ready + program[at, DST]
        for register in range(first, first + program[at, DSTS]):
            state.warps[warp, register] = done
    elif kind == K_COPY:
        done = _copy(core, state, warp, ahead, size)
    elif kind == K_BARRIER:
        _meet(core, state, warp)
    elif kind == K_STORE:
        done = _store(core, state, size)
    return done


@compiled_uncounted
def _next_slice(core: Core, state: State, warp: Count) -> None:
    """Count the stages, and if need be the buffers, from the next slice on."""
    warps = state.warps
    warps[warp, SLICE] += 1
    warps[warp, PC] = core.body
    for first in (REST, REST + core.stages):
        last = first + core.stages - 1
        for stage in range(first, last):
            warps[warp, stage] = warps[warp, stage + 1]
        warps[warp, last] = 0
    if core.swaps:
        half = core.fragments // 2
        for i in range(core.ready, core.ready + half):
            warps[warp, i], warps[warp, half + i] = warps[warp, half + i], warps[warp, i]


@compiled_uncounted
def _issue(core: Core, state: State, program: NDArray[np.int64], warp: Count, place: Count) -> None:
    """Issue a warp's instruction and move it to its next row."""
    warps, sm = state.warps, state.sm
    at, after = warps[warp, PC], sm[NOW] + 1
    warps[warp, WAKE], warps[warp, CAUSE], warps[warp, SINCE] = after, ISSUE, after
    done = _act(core, state, program, warp, at, place)
    sm[ISSUED] += 1
    if sm[LOGGED] < len(state.log):
        entry = sm[LOGGED]
        state.log[entry, 0], state.log[entry, 1] = sm[NOW], warp
        state.log[entry, 2], state.log[entry, 3] = at, done
        sm[LOGGED] += 1
    warps[warp, PC] = at + 1
    if at + 1 == core.body and sm[FIRST_SLICE] < 0:
        sm[FIRST_SLICE] = after
    elif at + 1 == core.epilogue and warps[warp, SLICE] + 1 < core.slices:
        _next_slice(core, state, warp)
    elif at + 1 == core.epilogue:
        sm[LAST_SLICE] = after
    elif at + 1 == core.end:
        warps[warp, WAKE] = NEVER
        sm[LIVE] -= 1


@compiled_uncounted
def account(core: Core, state: State, warp: Count) -> None:
    """Add up what a warp has waited until now."""
    warps, now = state.warps, state.sm[NOW]
    if now > warps[warp, SINCE]:
        at = warps[warp, PC]
        phase = int(at >= core.body) + int(at >= core.epilogue)
        state.sm[WAITS + phase * CAUSES + warps[warp, CAUSE]] += now - warps[warp, SINCE]
        warps[warp, SINCE] = now


@compiled_uncounted
def _pass_on(
    core: Core, state: State, program: NDArray[np.int64], warp: Count, at: Count, place: Count
) -> None:
    """Give the sub-core's turn to the warp that is to issue after this one, which issued ``at``.

    Within a threadblock warps take turns row by row, so that they are all at one row when the last
    of them has issued.
    """
    own = warp // core.warps
    after = warp + core.sub_cores
    if after >= (own + 1) * core.warps:
        if program[at, YIELDS] == 1:
            own = _next_block(core, state, own, place)
        after = _first_of(core, own, place)
    state.sm[CORES + 2 * place] = after


@compiled_uncounted
def _served(core: Core, state: State, program: NDArray[np.int64], warp: Count, at: Count) -> None:
    """Say whom memory serves after this warp, which issued ``at``: as on sub-cores, row by row.

    Threadblocks that are too small to meet on a sub-core go side by side, as a team.
    """
    blocks = max(1, core.sub_cores // core.warps)
    team, size, teams = _team(core, warp, blocks)
    after: Count = warp + 1
    if after >= min(len(state.warps), (team + 1) * size):
        if program[at, LAST] == 1:
            for step in range(1, teams + 1):
                other = (team + step) % teams
                if state.warps[other * size, PC] < core.end:
                    team = other
                    break
        after = team * size
    state.sm[NEXT_SERVED] = after


@compiled_uncounted
def _team(core: Core, warp: Count, blocks: Count) -> tuple[Count, Count, Count]:
    """The team of a warp, warps of a team, and how many teams there are."""
    size = blocks * core.warps
    return warp // size, size, (core.ctas + blocks - 1) // blocks


@compiled_uncounted
def _is_served(kind: Count) -> bool:
    return kind in (K_COPY, K_LOAD, K_KEEP, K_STORE, K_WGMMA)


@compiled_uncounted
def _first_of(core: Core, block: Count, place: Count) -> Count:
    """The first warp of a threadblock on a sub-core."""
    first: Count = block * core.warps
    return first + (place - first) % core.sub_cores


@compiled_uncounted
def _next_block(core: Core, state: State, block: Count, place: Count) -> Count:
    """The next threadblock that has warps on a sub-core and has not ended; if none is, the same."""
    for step in range(1, core.ctas + 1):
        other: Count = (block + step) % core.ctas
        first = _first_of(core, other, place)
        if first < (other + 1) * core.warps and state.warps[first, PC] < core.end:
            return other
    return block


@compiled_uncounted
def _sub_core(core: Core, state: State, program: NDArray[np.int64], place: Count) -> Count:
    """One sub-core, one cycle: issue the warp whose turn it is if it is ready; when to look again.

    Whose turn it is does not depend on time, nor does whom memory serves next. So all times are
    maxima of sums, and whatever comes earlier makes nothing later.
    """
    now, warp = state.sm[NOW], state.sm[CORES + 2 * place]
    if warp >= len(state.warps) or state.warps[warp, PC] == core.end:
        return NEVER
    wake: Count = state.warps[warp, WAKE]
    if wake > now:
        return wake
    account(core, state, warp)
    when, cause = _look(core, state, program, warp, place)
    if when > now:
        state.warps[warp, WAKE], state.warps[warp, CAUSE] = when, cause
        return when
    at = state.warps[warp, PC]
    served = _is_served(program[at, KIND])
    if served and state.sm[NEXT_SERVED] != warp:
        state.warps[warp, CAUSE] = ISSUE
        return NEVER
    _issue(core, state, program, warp, place)
    _pass_on(core, state, program, warp, at, place)
    if served:
        _served(core, state, program, warp, at)
    wake = now + 1
    return wake  # noqa: RET504 - else mypy sees numpy's Any


@compiled_uncounted
def cycle(core: Core, state: State, program: NDArray[np.int64]) -> None:
    """One cycle of all sub-cores, then on to the next in which there is something to look at.

    A warp that waits at a barrier, or for memory to serve others first, is let go by a warp of
    another sub-core; then all are looked at again in the next cycle.
    """
    arrivals(core, state)
    wake: Count = NEVER
    for place in range(core.sub_cores):
        wake = min(wake, _sub_core(core, state, program, place))
    state.sm[NOW] = wake if state.sm[LIVE] > 0 else state.sm[NOW] + 1
