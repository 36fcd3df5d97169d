"""Tiles over the slots of a GPU: the next tile in launch order goes to the slot that is free first.

A slot is room for one threadblock; a multiprocessor has ``ctas_per_sm`` of them. Tiles come as runs
of equal duration: those of a row of tiles and the shorter one at its edge, say, then again for the
next row, copy or part of a split K. Once all slots are free within one duration of each other, a
whole wave of a run takes every slot once, so that waves are added up without being simulated; so
are repeats of the whole launch, once it leaves the slots as it found them.

Durations do not depend on what runs beside a tile: that is the caller's to put into them.
``tests/wave_events.py`` has tiles that share a channel.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError
from nmsim.jit import compiled

__all__ = ["Schedule", "schedule"]

Times = NDArray[np.int64]


class Schedule(NamedTuple):
    """When tiles that were given to the slots of a GPU have ended, and how busy the slots were.

    Parameters
    ----------
    cycles
        When the last tile ends.
    busy
        Cycles of all tiles, added up.
    ends
        When each slot has ended its last tile, ascending: the tail of the launch.
    """

    cycles: int
    busy: int
    ends: Times

    @property
    def occupancy(self) -> float:
        """Share of the slots' time, until the last tile has ended, in which they hold a tile."""
        return self.busy / (self.cycles * len(self.ends)) if self.cycles else 0.0


@compiled
def _sift(free: Times, longer: int) -> None:
    """Make the first slot of a heap busy for longer."""
    size, at = len(free), 0
    time = free[0] + longer
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and free[child + 1] < free[child]:
            child += 1
        if free[child] >= time:
            break
        free[at] = free[child]
        at = child
    free[at] = time


@compiled
def _latest(free: Times) -> np.int64:
    """Time when the last slot of a heap is free."""
    latest: np.int64 = free[0]
    for time in free:
        latest = max(latest, time)
    return latest


@compiled
def _delay(free: Times, longer: int) -> None:
    """Make all slots of a heap busy for longer, by the same time."""
    for i in range(len(free)):
        free[i] += longer


@compiled
def _copy(source: Times, target: Times) -> None:
    """Copy by a loop: numba compiles the error messages of ``[:]`` for two seconds."""
    for i in range(len(source)):
        target[i] = source[i]


@compiled
def _shifted(before: Times, free: Times) -> bool:
    """Whether all slots are free later by the same time."""
    for i in range(len(free)):  # noqa: SIM110 - the generator of ``all`` is no loop for numba
        if free[i] - before[i] != free[0] - before[0]:
            return False
    return True


@compiled
def _run(free: Times, duration: int, count: int) -> None:
    """Give ``count`` tiles of one duration to a heap of slots."""
    slots, left = len(free), count
    while left > 0:
        if left >= slots and _latest(free) - free[0] <= duration:
            # The slot that is free last is so before any other can take two.
            _delay(free, left // slots * duration)
            left %= slots
            continue
        _sift(free, duration)
        left -= 1


@compiled
def _ascend(free: Times, ordered: Times) -> None:
    """Sort a heap through ``ordered``, of its size: what is left of the heap gives up its first.

    ``np.sort`` would take a second to compile.
    """
    size = len(free)
    for left in range(size - 1, -1, -1):
        ordered[size - 1 - left] = free[0]
        if left > 0:
            _sift(free[:left], free[left] - free[0])
    _copy(ordered, free)


@compiled
def _repeat(free: Times, durations: Times, counts: Times, repeats: int) -> None:
    """Give the same runs to the slots again and again; ``free`` ascends before and after."""
    before, ordered = np.zeros(len(free), np.int64), np.empty(len(free), np.int64)
    _copy(free, before)
    since, power, done = 0, 1, 0
    while done < repeats:
        for i in range(len(durations)):
            _run(free, durations[i], counts[i])
        _ascend(free, ordered)
        done += 1
        since += 1
        if _shifted(before, free):
            _delay(free, (repeats - done) // since * (free[0] - before[0]))
            done = repeats - (repeats - done) % since
            since = 0
        if since in (0, power):  # Brent (BIT 1980): a period of any length is found
            _copy(free, before)
            since, power = 0, 2 * power


def schedule(durations: Times, counts: Times, slots: int, *, repeats: int = 1) -> Schedule:
    """Run tiles: ``counts[0]`` of ``durations[0]`` cycles and so on, all of it ``repeats`` times.

    Raises
    ------
    ShapeError
        if the runs do not match, last no time at all, or their sum might not fit 64 bits.
    """
    durations, counts = np.asarray(durations, np.int64), np.asarray(counts, np.int64)
    if durations.shape != counts.shape or durations.ndim != 1 or slots < 1 or repeats < 1:
        raise ShapeError(
            f"{durations.shape} durations of {counts.shape} tiles, {repeats} times, on {slots} "
            "slots: expected as many durations as counts, 1 repeat and 1 slot or more"
        )
    if (durations < 1).any() or (counts < 0).any():
        raise ShapeError("durations and counts of tiles: expected 1 cycle and 0 tiles or more")
    busy = sum(int(d) * int(c) for d, c in zip(durations, counts, strict=True)) * repeats
    if busy > 2**62:
        raise ShapeError(f"{busy} cycles of tiles: too many to count in 64 bits")
    free = np.zeros(slots, np.int64)
    _repeat(free, durations, counts, repeats)
    return Schedule(int(free[-1]), busy, free)
