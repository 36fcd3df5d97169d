"""Several arrays that share a DRAM channel, event by event (simpy): first come, first served.

Each array is one process. It walks its program of loads and stores as the recurrence of
``nmsim.machines.systolic.pipeline.memory`` does, and asks the channel for every transfer when that
recurrence says that its engine is free. The channel belongs to one transfer at a time, at its full
bandwidth; who has asked for it first has it next. One array alone gives exactly the recurrence.

Everything that the future depends on is in the arrays' numbers, so that repeats need not be run: if
all of them stand as they stood before, but for one shift in time, and what follows in every program
is what followed then, then what lies between repeats itself, and is added up.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import simpy
from numpy.typing import NDArray

from nmsim.machines.systolic.pipeline.memory import Pieces, Timing
from nmsim.machines.systolic.pipeline.progress import Progress, loads_x

__all__ = ["STEPS", "Contended", "Finished", "Program", "contend"]

Events = Generator[simpy.Event, Any, None]

STEPS = 50_000
"""Pieces that are run at most before a period is taken to be steady by its places alone."""


class Program(NamedTuple):
    """What an array does: folds by number, each so often in a row.

    Parameters
    ----------
    kinds
        Distinct folds.
    folds, counts
        int64 arrays, one element for each run of folds alike: which kind, and how many.
    """

    kinds: Sequence[Pieces]
    folds: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, folds: Sequence[Pieces]) -> "Program":
        """The program of some folds, one after the other."""
        number: dict[Pieces, int] = {}
        runs: list[list[int]] = []
        for one in folds:
            kind = number.setdefault(one, len(number))
            if runs and runs[-1][0] == kind:
                runs[-1][1] += 1
            else:
                runs.append([kind, 1])
        table = np.array(runs, np.int64).reshape(-1, 2)
        return cls(tuple(number), table[:, 0], table[:, 1])


class Finished(NamedTuple):
    """When an array's last result has left, what it waited for, and what it moved: ticks.

    ``bandwidth``, ``latency`` and ``write_back`` are its waits by cause: standing in line for the
    channel is waiting for bandwidth. ``carried`` is the time that the channel was its own.
    """

    at: int
    bandwidth: int
    latency: int
    write_back: int
    carried: int


class Contended(NamedTuple):
    """What became of each array; pieces that were run, and whether skipping was exact."""

    arrays: list[Finished]
    steps: int
    exact: bool


def contend(programs: Sequence[Program], timing: Timing, steps: int = STEPS) -> Contended:
    """Run the programs of several arrays that share a channel, all from time 0 on.

    Parameters
    ----------
    steps
        After so many pieces, arrays need only stand at the same places of their programs as some
        pieces ago, half as many at most, for what lies between to be repeated, whatever the times:
        then ``exact`` is False.
    """
    world = _World(simpy.Environment(), timing, most=steps, window=steps // 2)
    for number, program in enumerate(programs):
        array = _Array(world, number, program)
        world.arrays.append(array)
        world.env.process(array.run())
    world.env.run()
    finished = [one.finished for one in world.arrays if one.finished is not None]
    return Contended(finished, world.steps, world.exact)


class _Seen(NamedTuple):
    """When all arrays stood somewhere, what was skipped included, where, and what was counted."""

    at: int
    places: list[tuple[int, int, int]]
    counted: list[tuple[int, ...]]


@dataclass
class _World:
    """The channel, the arrays, and what has been seen of them.

    Parameters
    ----------
    most, window
        After ``most`` pieces what has been seen in the last ``window`` of them may be repeated if
        only the places in all programs are alike.
    skipped
        The time that was not run: what happens now happens so much later.
    seen, placed
        By how all arrays stood, and by where in their programs alone.
    """

    env: simpy.Environment
    timing: Timing
    most: int
    window: int
    arrays: "list[_Array]" = field(default_factory=list)
    steps: int = 0
    exact: bool = True
    skipped: int = 0
    turns: int = 0
    seen: dict[Any, _Seen] = field(default_factory=dict)
    placed: dict[Any, _Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.channel = simpy.Resource(self.env, capacity=1)

    def observe(self, who: "_Array") -> None:
        """A fold opens: skip what repeats itself, if the first array that is at work opens it."""
        if next(one for one in self.arrays if not one.done) is not who:
            return
        now = int(self.env.now)
        # Of what happens at one time, that comes first which was asked for first.
        order = sorted(self.arrays, key=lambda one: (one.due, one.turn))
        stands = [one.stands(now) for one in self.arrays]
        key = (*stands, *(one.number for one in order if not one.done))
        before = self.seen.get(key)
        if before is not None:
            self._skip(before)
        self.seen[key] = self._now()
        if self.steps >= self.most - self.window:
            self._take_for_steady(tuple(one[: _Array.PLACE] for one in stands))

    def _now(self) -> _Seen:
        return _Seen(
            int(self.env.now) + self.skipped,
            [one.place for one in self.arrays],
            [one.counted for one in self.arrays],
        )

    def _take_for_steady(self, key: tuple[Any, ...]) -> None:
        """Repeat what lies between two like places, a window of pieces apart at most."""
        before = self.placed.setdefault(key, self._now())
        if self.steps >= self.most and self._skip(before):
            self.exact = False
            self.placed.clear()
            self.most = self.steps + self.window

    def _skip(self, before: _Seen) -> bool:
        """Add up what has happened since, as often as all programs repeat themselves."""
        times = min(map(_Array.alike, self.arrays, before.places))
        if times <= 0:
            return False
        self.skipped += times * (int(self.env.now) + self.skipped - before.at)
        for one, place, counted in zip(self.arrays, before.places, before.counted, strict=True):
            one.skip(place, counted, times)
        return True


_WAITS, _STANDS, _HOLDS = range(3)
"""What an array's engine does: it waits for a time, stands in line for the channel, or holds it."""

_OPENS, _LOADS, _EMPTIES, _SHARES, _ENDS = range(5)
"""In which step of its program: results leave all at once (empties), or a share of them."""

_COUNTED = ("bandwidth", "latency", "write_back")


class _Array:
    """One array as a process: its progress, and where in its program it stands."""

    def __init__(self, world: _World, number: int, program: Program) -> None:
        self.world, self.env, self.number, self.program = world, world.env, number, program
        self.progress = Progress(world.timing)
        self.run_at = self.fold_at = self.piece = self.carried = 0
        self.doing, self.step, self.due, self.turn = _WAITS, _OPENS, 0, 0
        self.finished: Finished | None = None

    @property
    def done(self) -> bool:
        """Whether its last result has left."""
        return self.finished is not None

    @property
    def place(self) -> tuple[int, int, int]:
        """The run of folds, the fold in it, and the shares of results that are owed."""
        return self.run_at, self.fold_at, self.progress.left

    @property
    def counted(self) -> tuple[int, ...]:
        """What has been counted so far."""
        return (*(getattr(self.progress, name) for name in _COUNTED), self.carried)

    PLACE = 3
    """The first elements of how an array stands: its fold, piece and step."""

    def stands(self, now: int) -> tuple[Any, ...]:
        """How the array stands, times as seen from ``now``."""
        if self.done:
            return ("done",)
        ends = self.run_at == len(self.program.folds)
        here = -1 if ends else int(self.program.folds[self.run_at]), self.piece, self.step
        return *here, self.doing, self.due - now, *self.progress.since(now)

    def alike(self, before: tuple[int, int, int]) -> int:
        """How often what it did since it stood at a place may be repeated, by its program."""
        if self.done:
            return 2**62
        run, fold, left = before
        if self.run_at == len(self.program.folds):
            return 0
        times = self._owed_alike(left)
        if run == self.run_at:
            moved = self.fold_at - fold
            rest = int(self.program.counts[run]) - 1 - self.fold_at
            return min(times, rest // moved) if moved > 0 else 0
        if fold != self.fold_at:
            return 0
        moved = self.run_at - run
        return min(times, (_agree(self.program, run, self.run_at) - 1) // moved)

    def _owed_alike(self, left: int) -> int:
        """As often as shares leave one by one; the last of them is not like those before it."""
        gone = left - self.progress.left
        if gone == 0:
            return 2**62
        if gone < 0 or self.step == _EMPTIES:
            return 0
        return max(0, (self.progress.left - 1) // gone)

    def skip(self, place: tuple[int, int, int], counted: tuple[int, ...], times: int) -> None:
        """Be where it is after so many repeats more of what it did since it stood at a place."""
        run, fold, left = place
        if run == self.run_at:
            self.fold_at += times * (self.fold_at - fold)
        else:
            self.run_at += times * (self.run_at - run)
        self.progress.left -= times * (left - self.progress.left)
        for name, value in zip(_COUNTED, counted, strict=False):
            now = getattr(self.progress, name)
            setattr(self.progress, name, now + times * (now - value))
        self.carried += times * (self.carried - counted[-1])

    def run(self) -> Events:
        """The process: fold after fold, and what is owed at the end."""
        kinds, (_, folds, counts) = self.program.kinds, self.program
        while self.run_at < len(folds):
            self.piece, self.step = 0, _OPENS
            yield from self._begin()
            self.world.observe(self)
            yield from self._fold(kinds[folds[self.run_at]])
            self.fold_at += 1
            if self.fold_at == counts[self.run_at]:
                self.run_at, self.fold_at = self.run_at + 1, 0
        self.progress.ends()
        for self.piece in range(2):
            yield from self._store(everything=True)
            self.progress.free = max(self.progress.free, self.progress.started)
        at = self.progress.left_all() + self.world.skipped
        self.finished = Finished(at, *self.counted)

    def _fold(self, one: Pieces) -> Events:
        part = one.ticks // one.pieces
        for piece in range(one.pieces):
            opens = piece == 0
            self.piece = piece
            if not opens:
                yield from self._begin()
            self.world.steps += 1
            yield from self._load(one, opens)
            yield from self._store(everything=opens and one.opens)
            last = piece == one.pieces - 1
            ticks = one.ticks - piece * part if last else part
            self.progress.streams(one, ticks, opens)
        self.progress.closes(one)

    def _begin(self) -> Events:
        """Wait until the step of a piece may begin."""
        self.progress.begins()
        yield from self._until_free()

    def _load(self, one: Pieces, opens: bool) -> Events:
        x_loads = loads_x(one, opens, self.world.timing.held)
        if x_loads or one.y_loads:
            self.step = _LOADS
            ticks = (one.x if x_loads else 0) + (one.y if one.y_loads else 0)
            yield from self._carry(ticks)
            self.progress.loaded(one, opens, ticks)

    def _store(self, *, everything: bool) -> Events:
        """Results of the piece before the last become owed, and a share, or all, leaves."""
        if self.progress.slots_before > 0:
            yield from self._leave(everything=True)
        self.progress.owes()
        yield from self._leave(everything=everything)

    def _leave(self, *, everything: bool) -> Events:
        if self.progress.left > 0:
            self.step = _EMPTIES if everything else _SHARES
            gone = self.progress.left if everything else 1
            yield from self._carry(gone * self.progress.share)
            self.progress.left_shares(gone)

    def _until_free(self) -> Events:
        """Wait until the engine is free."""
        now = int(self.env.now)
        if self.progress.free > now:
            self._does(_WAITS, self.progress.free)
            yield self.env.timeout(self.progress.free - now)

    def _carry(self, ticks: int) -> Events:
        """A transfer of so many ticks, once the engine is free and the channel its own."""
        yield from self._until_free()
        self._does(_STANDS, int(self.env.now))
        with self.world.channel.request() as turn:
            yield turn
            self.progress.free = int(self.env.now) + ticks
            self._does(_HOLDS, self.progress.free)
            yield self.env.timeout(ticks)
        self.carried += ticks

    def _does(self, what: int, due: int) -> None:
        self.doing, self.due, self.turn = what, due, self.world.turns
        self.world.turns += 1


def _agree(program: Program, run: int, later: int) -> int:
    """How many runs of folds from ``later`` on are those from ``run`` on."""
    length = len(program.folds) - later
    differs = program.folds[later:] != program.folds[run : run + length]
    differs |= program.counts[later:] != program.counts[run : run + length]
    return int(differs.argmax()) if differs.any() else length
