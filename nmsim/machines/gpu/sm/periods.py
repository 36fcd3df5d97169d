"""Runs a multiprocessor to its end, adding up the slices of K that recur.

All times are integers, so that equal futures have equal states. Once the whole state recurs, every
time in it shifted by one amount, whatever happened in between will happen again until a warp runs
out of slices to copy: it is added up without being simulated.
"""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import uncounted_kernel
from nmsim.machines.gpu.sm.core import account, arrivals, cycle
from nmsim.machines.gpu.sm.state import (
    ARRIVES,
    BUSY_SHARED,
    CAUSE,
    CORES,
    HEAD,
    ISSUED,
    LIVE,
    MEMORY_FREE,
    MET,
    NEVER,
    NOW,
    OF_SLICE,
    OF_WARP,
    PC,
    PERIOD_CYCLES,
    PERIOD_SLICES,
    QUEUED,
    REST,
    SHARED_FREE,
    SINCE,
    SIZE,
    SKIPPED,
    SLICE,
    STORE_FREE,
    TICKS,
    WAITS,
    WAKE,
    Core,
    Count,
    State,
)

__all__ = ["run_core"]


@uncounted_kernel
def _picture(core: Core, state: State, picture: NDArray[np.int64]) -> None:
    """All that the future depends on, as seen from now; what is over counts as just over."""
    sm, warps, now = state.sm, state.warps, state.sm[NOW]
    for i in range(len(picture)):
        picture[i] = 0
    picture[0] = max(sm[SHARED_FREE] - now, 0)
    picture[1] = max(sm[MEMORY_FREE] - now * TICKS, 0)
    picture[2] = max(sm[STORE_FREE] - now * TICKS, 0)
    at = 3  # bytes in flight and warps alive follow from the queue and the rows
    for place in range(core.sub_cores):
        picture[at] = sm[CORES + 2 * place]
        picture[at + 1] = max(sm[CORES + 2 * place + 1] - now * TICKS, 0)
        at += 2
    for warp in range(len(warps)):
        picture[at], picture[at + 1] = warps[warp, PC], warps[warp, CAUSE]
        picture[at + 2] = warps[warp, MET]
        wake = warps[warp, WAKE]
        picture[at + 3] = wake if wake == NEVER else max(wake - now, 0)
        at += 4
        for column in range(REST, warps.shape[1]):
            counts = column < REST + core.stages
            seen = warps[warp, column] if counts else max(warps[warp, column] - now, 0)
            picture[at] = seen
            at += 1
    for entry in range(sm[QUEUED]):
        row = (sm[HEAD] + entry) % len(state.queue)
        warp = state.queue[row, OF_WARP]
        picture[at], picture[at + 1] = state.queue[row, ARRIVES] - now, state.queue[row, SIZE]
        picture[at + 2] = warp
        picture[at + 3] = state.queue[row, OF_SLICE] - warps[warp, SLICE]
        at += 4


@uncounted_kernel
def _repeats(core: Core, state: State, before: State) -> Count:
    """How often what happened since ``before`` may be repeated before any warp runs out of K."""
    repeats: Count = NEVER
    for warp in range(len(state.warps)):
        now = state.warps[warp, SLICE]
        done = now - before.warps[warp, SLICE]
        if state.warps[warp, PC] < core.end and done > 0:
            left: Count = (core.slices - core.stages - now) // done
            repeats = min(repeats, left)
    return repeats if 0 < repeats < NEVER else 0


@uncounted_kernel
def _skip(core: Core, state: State, before: State) -> None:
    """Repeat what happened since ``before`` as often as slices allow."""
    sm, warps, queue = state.sm, state.warps, state.queue
    repeats = _repeats(core, state, before)
    shift = repeats * (sm[NOW] - before.sm[NOW])
    if sm[PERIOD_CYCLES] == 0:
        sm[PERIOD_CYCLES] = sm[NOW] - before.sm[NOW]
        for warp in range(len(warps)):
            sm[PERIOD_SLICES] += warps[warp, SLICE] - before.warps[warp, SLICE]
    sm[SKIPPED] += repeats
    for entry in range(sm[QUEUED]):
        row = (sm[HEAD] + entry) % len(queue)
        warp = queue[row, OF_WARP]
        queue[row, ARRIVES] += shift
        queue[row, OF_SLICE] += repeats * (warps[warp, SLICE] - before.warps[warp, SLICE])
    for warp in range(len(warps)):
        warps[warp, SLICE] += repeats * (warps[warp, SLICE] - before.warps[warp, SLICE])
        warps[warp, SINCE] += shift
        if warps[warp, WAKE] < NEVER:
            warps[warp, WAKE] += shift
        for time in range(REST + core.stages, warps.shape[1]):
            warps[warp, time] += shift
    for total in range(BUSY_SHARED, ISSUED + 1):
        sm[total] += repeats * (sm[total] - before.sm[total])
    for total in range(WAITS, CORES):
        sm[total] += repeats * (sm[total] - before.sm[total])
    for place in range(core.sub_cores):
        sm[CORES + 2 * place + 1] += shift * TICKS
    sm[NOW] += shift
    sm[SHARED_FREE] += shift
    sm[MEMORY_FREE] += shift * TICKS
    sm[STORE_FREE] += shift * TICKS


@uncounted_kernel
def _settle(core: Core, state: State) -> None:
    """Bring sums and shared memory up to now."""
    for warp in range(len(state.warps)):
        if state.warps[warp, PC] < core.end:
            account(core, state, warp)
    arrivals(core, state)


@uncounted_kernel
def _leader(core: Core, state: State) -> Count:
    """The first warp that has not ended, or −1 where some are not in their main loop."""
    leader = -1
    for warp in range(len(state.warps) - 1, -1, -1):
        at = state.warps[warp, PC]
        if at < core.body or core.epilogue <= at < core.end:
            return -1
        if at < core.end:
            leader = warp
    return leader


@uncounted_kernel
def _same(picture: NDArray[np.int64], saved: NDArray[np.int64]) -> bool:
    for i in range(len(picture)):  # noqa: SIM110
        if picture[i] != saved[i]:
            return False
    return True


@uncounted_kernel
def _keep(
    state: State, before: State, picture: NDArray[np.int64], saved: NDArray[np.int64]
) -> None:
    """Save what later states are compared with and counted from."""
    for i in range(len(picture)):
        saved[i] = picture[i]
    for i in range(len(state.sm)):
        before.sm[i] = state.sm[i]
    for warp in range(len(state.warps)):
        for column in range(state.warps.shape[1]):
            before.warps[warp, column] = state.warps[warp, column]


@uncounted_kernel
def run_core(
    core: Core,
    state: State,
    before: State,
    program: NDArray[np.int64],
    picture: NDArray[np.int64],
    saved: NDArray[np.int64],
) -> Count:
    """Run a core until its threadblocks have ended and their stores have left; cycles.

    ``before`` is another state of the same sizes, to count from; ``picture`` and ``saved`` are
    zeros, as many as a state has numbers. The picture compared with is replaced after 1, 2, 4, ...
    pictures (Brent, BIT 1980), so that a period of any length is found.
    """
    seen, since, power, live = np.int64(0), 0, 0, np.int64(0)
    while state.sm[LIVE] > 0:
        cycle(core, state, program)
        if state.sm[LIVE] != live:  # who has ended leaves another rhythm behind
            live, power = state.sm[LIVE], 0
        leader = _leader(core, state) if core.skips and power >= 0 else -1
        if leader < 0 or state.warps[leader, SLICE] == seen:
            continue
        seen = state.warps[leader, SLICE]
        _settle(core, state)
        _picture(core, state, picture)
        since += 1
        if power > 0 and _same(picture, saved):
            _skip(core, state, before)
            power = -1
        elif power in (0, since):
            power, since = max(1, 2 * power), 0
            _keep(state, before, picture, saved)
    ended: Count = max(state.sm[NOW], (state.sm[STORE_FREE] + TICKS - 1) // TICKS)
    return ended
