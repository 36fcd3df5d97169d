"""Arrays on one channel that stand as they stood before: what lies between repeats itself.

All that the future depends on is how the arrays and the channel stand, times as seen from when the
channel is free, whose turns come next, and what follows in every program. If all of it is as it was
some time ago, what has happened since happens again, and is added up instead of run, as often as
every program goes on alike. Shares of results that leave one by one only make one number smaller:
that is a repeat, too, but for the last.

What has been seen is kept in a table of bounded size, each in one place that what it is decides;
newer drives out older. A period of many more states than the table has places is seldom found.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled, compiled_uncounted
from nmsim.machines.systolic.pipeline.memory import (
    BANDWIDTH,
    CHANNEL_FREE,
    KEPT,
    LATENCY,
    LEFT,
    WRITE_BACK,
    is_time,
)
from nmsim.machines.systolic.pipeline.turns import (
    CARRIED,
    DONE,
    FIRST_COMES,
    FOLD,
    FREE,
    OUT_OF,
    OWED,
    PASSED,
    PIECE,
    QUEUED,
    RUN,
    SKIPPED,
    STEP,
    Programs,
    World,
)

__all__ = ["NUMBERS", "Seen", "nothing_seen", "observe"]

Numbers = NDArray[np.int64]

NUMBERS = 2**20
"""Numbers that a table of what has been seen has room for, about: 8 MiB."""

_OWN = 9
"""Numbers of how an array stands that the recurrence does not keep, the first ones of its part."""

_WIDTH = _OWN + KEPT

_NOBODY, _NEVER, _NOT_YET = -1, -(2**62), 2**62

_RUN, _FOLD, _PASSED, _LEFT, _OWED, _BANDWIDTH, _LATENCY, _WRITE_BACK, _CARRIED = range(9)
_TOLD = 9
"""What is noted of an array beside how it stands: where in its program, what is owed, sums."""

_ALWAYS = 2**62

_FIRST_REACH = 64
"""Runs beyond two periods by which two places of a program are compared, to begin with."""


class Seen(NamedTuple):
    """What has been seen, and in which place of the table: int64 arrays.

    Parameters
    ----------
    when
        The time, what was skipped included; -1: the place is free.
    stood
        How all arrays stood, a row each.
    told
        Of every array in a row where in its program it was, and what it had counted.
    now
        Room for how they stand.
    """

    when: Numbers
    stood: Numbers
    told: Numbers
    now: Numbers


def nothing_seen(arrays: int, numbers: int = NUMBERS) -> Seen:
    """A table for so many arrays, of so many numbers or a few more; of none, nothing is skipped."""
    width = arrays * _WIDTH
    places = -(-numbers // width)
    return Seen(
        np.full(places, -1, np.int64),
        np.empty((places, width), np.int64),
        np.empty((places, arrays * _TOLD), np.int64),
        np.empty(width, np.int64),
    )


@compiled
def observe(seen: Seen, world: World, programs: Programs, who: int) -> None:
    """A fold of an array opens: skip what repeats itself, if that is the first of them.

    As turns come, it is done no sooner than nothing is left to load for any other.
    """
    if who > 0 or len(seen.when) == 0:
        return
    place = _stand(seen.now, world, programs) % len(seen.when)
    if seen.when[place] >= 0 and _same(seen, place):
        _skip(seen, place, world, programs)
    seen.when[place] = world.channel[FREE] + world.channel[SKIPPED]
    for k in range(len(seen.now)):
        seen.stood[place, k] = seen.now[k]
    _tell(seen.told, place, world)


@compiled_uncounted
def _same(seen: Seen, place: int) -> bool:
    k, numbers = 0, len(seen.now)
    while k < numbers and seen.stood[place, k] == seen.now[k]:
        k += 1
    return k == numbers


@compiled_uncounted
def _stand(now: Numbers, world: World, programs: Programs) -> int:
    """Write down how all arrays stand, times as seen from now: a number of it, for a table.

    Now is when the channel is free; no transfer begins before the first engine is, too.
    """
    arrays, channel = world.arrays, world.channel
    engines = _NOT_YET
    for i in range(len(arrays)):
        if arrays[i, STEP] != DONE:
            engines = min(engines, arrays[i, CHANNEL_FREE])
    channel[FREE] = max(channel[FREE], engines)
    for i in range(len(arrays)):
        _stand_of(now, world, programs, i)
    mixed = 0
    for k in range(len(now)):
        mixed = ((mixed & 0x7FFFFFFF) * 1000003) ^ (mixed >> 31) ^ (now[k] & 0x3FFFFFFF)
    return mixed


@compiled_uncounted
def _stand_of(now: Numbers, world: World, programs: Programs, i: int) -> None:
    place, at, time = world.arrays, i * _WIDTH, world.channel[FREE]
    if place[i, STEP] == DONE:
        for k in range(at, at + _WIDTH):
            now[k] = _NEVER
        return
    run = place[i, RUN]
    now[at] = programs.folds[run] if run < programs.ends[i] else _NOBODY
    now[at + 1], now[at + 2], now[at + 3] = place[i, PIECE], place[i, STEP], place[i, QUEUED]
    # Where all have passed one part of their pieces since, turns come in the same order again.
    now[at + 4] = place[i, PASSED] * place[0, OUT_OF] - place[0, PASSED] * place[i, OUT_OF]
    for k in range(4):
        comes = place[i, FIRST_COMES + k]
        now[at + 5 + k] = comes - time if comes > 0 else _NEVER
    at += _OWN
    for k in range(KEPT):
        now[at + k] = world.arrays[i, k] - (time if is_time(k) else 0)
    now[at + LEFT] = 0


@compiled_uncounted
def _tell(told: Numbers, row: int, world: World) -> None:
    """Note where in its program every array is, and what it has counted."""
    arrays = world.arrays
    for i in range(len(arrays)):
        at = i * _TOLD
        told[row, at + _RUN], told[row, at + _FOLD] = arrays[i, RUN], arrays[i, FOLD]
        told[row, at + _PASSED] = arrays[i, PASSED]
        told[row, at + _LEFT], told[row, at + _OWED] = arrays[i, LEFT], arrays[i, OWED]
        told[row, at + _BANDWIDTH] = arrays[i, BANDWIDTH]
        told[row, at + _LATENCY] = arrays[i, LATENCY]
        told[row, at + _WRITE_BACK] = arrays[i, WRITE_BACK]
        told[row, at + _CARRIED] = arrays[i, CARRIED]


@compiled_uncounted
def _owed_alike(world: World, i: int, left: int, owed: int) -> int:
    """As often as shares leave one by one; the last of them is not like those before it.

    Where all of them left at once and others became owed, it takes as many to be alike.
    """
    still = world.arrays[i, LEFT]
    if left == still:
        return _ALWAYS
    if left < still or owed != world.arrays[i, OWED]:
        return 0
    return int(max(0, still - 1) // (left - still))


@compiled_uncounted
def _agree(programs: Programs, i: int, run: int, later: int, reach: int) -> int:
    """How many runs from ``later`` on are those from ``run`` on, of so many at most."""
    alike, most = 0, min(reach, programs.ends[i] - later)
    while alike < most:
        one, other = run + alike, later + alike
        if programs.folds[one] != programs.folds[other]:
            break
        if programs.counts[one] != programs.counts[other]:
            break
        alike += 1
    return alike


@compiled_uncounted
def _alike(seen: Seen, place: int, world: World, programs: Programs, i: int, reach: int) -> int:
    """How often what an array did since may be repeated, by its program and what it owes."""
    at, told = i * _TOLD, seen.told
    if world.arrays[i, STEP] == DONE:
        return _ALWAYS
    run, fold = told[place, at + _RUN], told[place, at + _FOLD]
    now, now_fold = world.arrays[i, RUN], world.arrays[i, FOLD]
    if now == programs.ends[i]:
        return 0
    times = _owed_alike(world, i, told[place, at + _LEFT], told[place, at + _OWED])
    if run == now:
        moved = now_fold - fold
        rest = int(programs.counts[run]) - 1 - now_fold
        return int(min(times, rest // moved)) if moved > 0 else 0
    if fold != now_fold:
        return 0
    moved = now - run
    return int(min(times, (_agree(programs, i, run, now, reach + 2 * moved) - 1) // moved))


@compiled_uncounted
def _all_alike(seen: Seen, place: int, world: World, programs: Programs, reach: int) -> int:
    times = _ALWAYS
    for i in range(len(world.arrays)):
        times = min(times, _alike(seen, place, world, programs, i, reach))
        if times <= 0:
            return 0
    return times


@compiled_uncounted
def _skip(seen: Seen, place: int, world: World, programs: Programs) -> None:
    """Add up what has happened since, as often as all programs repeat themselves.

    They are compared no farther ahead than about eight times what is skipped.
    """
    reach, times, more = _FIRST_REACH, 0, _all_alike(seen, place, world, programs, _FIRST_REACH)
    while more > times:
        reach, times = 8 * reach, more
        more = _all_alike(seen, place, world, programs, reach)
    if times == 0:
        return
    channel, told = world.channel, seen.told
    channel[SKIPPED] += times * (channel[FREE] + channel[SKIPPED] - seen.when[place])
    for i in range(len(world.arrays)):
        own, at = world.arrays, i * _TOLD
        if own[i, RUN] == told[place, at + _RUN]:
            own[i, FOLD] += times * (own[i, FOLD] - told[place, at + _FOLD])
        else:
            own[i, RUN] += times * (own[i, RUN] - told[place, at + _RUN])
        own[i, PASSED] += times * (own[i, PASSED] - told[place, at + _PASSED])
        own[i, CARRIED] += times * (own[i, CARRIED] - told[place, at + _CARRIED])
        own[i, OWED] += times * (own[i, OWED] - told[place, at + _OWED])
        own[i, LEFT] -= times * (told[place, at + _LEFT] - own[i, LEFT])
        own[i, BANDWIDTH] += times * (own[i, BANDWIDTH] - told[place, at + _BANDWIDTH])
        own[i, LATENCY] += times * (own[i, LATENCY] - told[place, at + _LATENCY])
        own[i, WRITE_BACK] += times * (own[i, WRITE_BACK] - told[place, at + _WRITE_BACK])
