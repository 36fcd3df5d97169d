"""Runs a multiprocessor to its end, adding up the slices of K that recur.

All times are integers, so that equal futures have equal states. Once the whole state recurs, every
time in it shifted by one amount, whatever happened in between will happen again until a warp runs
out of slices to copy: it is added up without being simulated. What each number of the state is to
that, tables in ``state`` say (``FieldKind``).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled_uncounted
from nmsim.machines.gpu.sm.core import account, arrivals, cycle
from nmsim.machines.gpu.sm.state import (
    HEAD,
    LIVE,
    NEVER,
    NOW,
    OF_WARP,
    PC,
    PERIOD_CYCLES,
    PERIOD_SLICES,
    QUEUED,
    SKIPPED,
    SLICE,
    STORE_FREE,
    TICKS,
    Core,
    Count,
    FieldKind,
    Kinds,
    State,
)

__all__ = ["run_core"]


TIME, TICK, COUNT, OF_K, TOTAL = (
    int(FieldKind.TIME),
    int(FieldKind.TICK),
    int(FieldKind.COUNT),
    int(FieldKind.SLICE),
    int(FieldKind.TOTAL),
)


class Again(NamedTuple):
    """How often a period is repeated, and the cycles that pass meanwhile."""

    repeats: Count
    cycles: Count


@compiled_uncounted
def _seen(kind: Count, value: Count, now: Count, own: Count) -> Count:
    """A number as the future depends on it; ``own`` is the slice of its warp."""
    if kind == TIME:
        return value if value == NEVER else max(value - now, 0)
    if kind == TICK:
        return max(value - now * TICKS, 0)
    if kind == OF_K:
        return value - own
    return value if kind == COUNT else 0


@compiled_uncounted
def _moved(kind: Count, value: Count, before: Count, again: Again, slices: Count) -> Count:
    """A number after what happened since ``before`` has been repeated; its warp did ``slices``."""
    if kind == TIME:
        return value if value == NEVER else value + again.cycles
    if kind == TICK:
        return value + again.cycles * TICKS
    if kind == OF_K:
        return value + slices
    return value + again.repeats * (value - before) if kind == TOTAL else value


@compiled_uncounted
def _picture(state: State, kinds: Kinds, picture: NDArray[np.int64]) -> None:
    """All that the future depends on, as seen from now."""
    sm, warps, queue, now = state.sm, state.warps, state.queue, state.sm[NOW]
    for place in range(len(sm)):
        picture[place] = _seen(kinds.sm[place], sm[place], now, 0)
    at = len(sm)
    for warp in range(len(warps)):
        for column in range(warps.shape[1]):
            own = warps[warp, SLICE]
            picture[at] = _seen(kinds.warps[column], warps[warp, column], now, own)
            at += 1
    # The ring is seen from its head on: where in it the head lies makes no difference.
    for entry in range(sm[QUEUED]):
        row = (sm[HEAD] + entry) % len(queue)
        own = warps[queue[row, OF_WARP], SLICE]
        for column in range(queue.shape[1]):
            picture[at] = _seen(kinds.queue[column], queue[row, column], now, own)
            at += 1
    for i in range(at, len(picture)):
        picture[i] = 0


@compiled_uncounted
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


@compiled_uncounted
def _skip(core: Core, state: State, kinds: Kinds, before: State) -> None:
    """Repeat what happened since ``before`` as often as slices allow.

    Copies move before warps, and warps a row at a time: until then they say how far each has come.
    Every number that was moved is as if its slices had been simulated (``FieldKind``).
    """
    sm, warps, queue = state.sm, state.warps, state.queue
    repeats = _repeats(core, state, before)
    again = Again(repeats, repeats * (sm[NOW] - before.sm[NOW]))
    if sm[PERIOD_CYCLES] == 0:
        sm[PERIOD_CYCLES] = sm[NOW] - before.sm[NOW]
        for warp in range(len(warps)):
            sm[PERIOD_SLICES] += warps[warp, SLICE] - before.warps[warp, SLICE]
    sm[SKIPPED] += repeats
    for entry in range(sm[QUEUED]):
        row = (sm[HEAD] + entry) % len(queue)
        warp = queue[row, OF_WARP]
        slices = repeats * (warps[warp, SLICE] - before.warps[warp, SLICE])
        for column in range(queue.shape[1]):
            value = queue[row, column]
            queue[row, column] = _moved(kinds.queue[column], value, value, again, slices)
    for warp in range(len(warps)):
        slices = repeats * (warps[warp, SLICE] - before.warps[warp, SLICE])
        for column in range(warps.shape[1]):
            value, was = warps[warp, column], before.warps[warp, column]
            warps[warp, column] = _moved(kinds.warps[column], value, was, again, slices)
    for place in range(len(sm)):
        sm[place] = _moved(kinds.sm[place], sm[place], before.sm[place], again, 0)


@compiled_uncounted
def _settle(core: Core, state: State) -> None:
    """Bring sums and shared memory up to now."""
    for warp in range(len(state.warps)):
        if state.warps[warp, PC] < core.end:
            account(core, state, warp)
    arrivals(core, state)


@compiled_uncounted
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


@compiled_uncounted
def _same(picture: NDArray[np.int64], saved: NDArray[np.int64]) -> bool:
    for i in range(len(picture)):  # noqa: SIM110
        if picture[i] != saved[i]:
            return False
    return True


@compiled_uncounted
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


@compiled_uncounted
def run_core(
    core: Core,
    state: State,
    kinds: Kinds,
    before: State,
    program: NDArray[np.int64],
    picture: NDArray[np.int64],
    saved: NDArray[np.int64],
) -> Count:
    """Run a core until its threadblocks have ended and their stores have left; cycles.

    ``kinds`` are those of the state's numbers; ``before`` is another state of the same sizes, to
    count from; ``picture`` and ``saved`` are zeros, as many as a state has numbers. The picture
    compared with is replaced after 1, 2, 4, ... pictures (Brent, BIT 1980), so that a period of any
    length is found.
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
        _picture(state, kinds, picture)
        since += 1
        if power > 0 and _same(picture, saved):
            _skip(core, state, kinds, before)
            power = -1
        elif power in (0, since):
            power, since = max(1, 2 * power), 0
            _keep(state, before, picture, saved)
    ended: Count = max(state.sm[NOW], (state.sm[STORE_FREE] + TICKS - 1) // TICKS)
    return ended
