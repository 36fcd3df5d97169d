"""Several arrays that share a DRAM channel: each moves what it has to in its turn.

Each array walks its program of loads and stores as the recurrence of
``nmsim.machines.systolic.pipeline.memory`` does. The channel belongs to one transfer at a time, at
its full bandwidth, in an order that the programs alone decide (``pipeline.turns``). One array alone
gives exactly the recurrence; of several, more of a resource costs none of them time.

What repeats itself is not run (``pipeline.periods``), which is exact. Time and memory are bounded:
behind so many pieces each array is taken to go on at the pace that it has had.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.machines.systolic.pipeline.memory import (
    BANDWIDTH,
    ENDED,
    LATENCY,
    WRITE_BACK,
    Pieces,
    Timing,
)
from nmsim.machines.systolic.pipeline.periods import NUMBERS, Seen, nothing_seen, observe
from nmsim.machines.systolic.pipeline.turns import (
    AT,
    CARRIED,
    DONE,
    FOLD,
    LOADS,
    PIECE,
    RUN,
    SKIPPED,
    STEP,
    STEPS,
    Programs,
    World,
    next_turn,
    take_turn,
    world_of,
)

__all__ = ["MOST", "Contended", "Finished", "Program", "contend"]

MOST = 2**22
"""Pieces that are run at most."""


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

    @property
    def pieces(self) -> int:
        """Pieces of all folds."""
        each = np.array([one.pieces for one in self.kinds], np.int64)
        return int(each[self.folds] @ self.counts)

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

    ``bandwidth``, ``latency`` and ``write_back`` are its waits by cause: waiting for its turn is
    waiting for bandwidth. ``carried`` is the time that the channel was its own.
    """

    at: int
    bandwidth: int
    latency: int
    write_back: int
    carried: int


class Contended(NamedTuple):
    """What became of each array; pieces that were run, and whether that is exact."""

    arrays: list[Finished]
    steps: int
    exact: bool


def contend(
    programs: Sequence[Program], timing: Timing, most: int = MOST, remembered: int = NUMBERS
) -> Contended:
    """Run the programs of several arrays that share a channel, all from time 0 on.

    Parameters
    ----------
    most
        Pieces that are run; what is left then takes each array as long as what it has done did, as
        its folds take alone, and ``exact`` is False.
    remembered
        Numbers that what has been seen may fill; 0: every piece is run, whatever repeats itself.
    """
    table = _table(programs)
    world = _run(table, timing, most, nothing_seen(len(programs), remembered))
    exact = bool((world.arrays[:, STEP] == DONE).all())
    finished = [
        _finished(world, i)
        if world.arrays[i, STEP] == DONE
        else _at_its_pace(world, table, timing, i)
        for i in range(len(programs))
    ]
    return Contended(finished, int(world.channel[STEPS]), exact)


def _table(programs: Sequence[Program]) -> Programs:
    """Programs as the kernel takes them; the same one is written down once."""
    distinct = list({id(one): one for one in programs}.values())
    kinds = np.array([one for of in distinct for one in of.kinds], np.int64)
    offsets = np.cumsum([0, *(len(one.kinds) for one in distinct)])
    lengths = np.cumsum([0, *(len(one.folds) for one in distinct)])
    which = {id(one): i for i, one in enumerate(distinct)}
    own = np.array([which[id(one)] for one in programs])
    pieces = np.array([one.pieces for one in distinct], np.int64)
    return Programs(
        kinds.reshape(-1, len(Pieces._fields)),
        np.concatenate([one.folds + at for one, at in zip(distinct, offsets, strict=False)]),
        np.concatenate([one.counts for one in distinct]),
        lengths[own],
        lengths[own + 1],
        pieces[own] // np.gcd.reduce(pieces),
    )


@compiled
def _run(programs: Programs, timing: Timing, most: int, seen: Seen) -> World:
    """Turn after turn until all arrays are done."""
    world = world_of(programs)
    i = next_turn(world)
    while i >= 0 and world.channel[STEPS] < most:
        if world.arrays[i, STEP] == LOADS and world.arrays[i, PIECE] == 0:
            observe(seen, world, programs, i)
        take_turn(world, programs, timing, i)
        i = next_turn(world)
    return world


def _finished(world: World, i: int) -> Finished:
    at, bandwidth, latency, write_back, carried = world.arrays[
        i, [AT, BANDWIDTH, LATENCY, WRITE_BACK, CARRIED]
    ].tolist()
    return Finished(at, bandwidth, latency, write_back, carried)


def _at_its_pace(world: World, programs: Programs, timing: Timing, i: int) -> Finished:
    """An array that is not done: its time and its waits grow with its folds, as they take alone."""
    own = slice(programs.starts[i], programs.ends[i])
    folds, counts = programs.folds[own], programs.counts[own]
    kinds = dict(zip(Pieces._fields, programs.kinds.T, strict=True))
    moves = _moves(kinds, timing)[folds]
    takes = np.maximum(kinds["ticks"][folds], moves).astype(float)
    run, fold, piece = world.arrays[i, [RUN, FOLD, PIECE]].tolist()
    run -= int(programs.starts[i])
    done = float(takes[:run] @ counts[:run])
    if run < len(folds):
        done += takes[run] * (fold + piece / kinds["pieces"][folds[run]])
    pace = float(takes @ counts) / max(1.0, done)
    now, so_far = int(world.arrays[i, ENDED] + world.channel[SKIPPED]), _finished(world, i)
    return Finished(
        int(pace * now),
        int(pace * so_far.bandwidth),
        int(pace * so_far.latency),
        int(pace * so_far.write_back),
        int(moves @ counts),
    )


def _moves(kinds: Mapping[str, NDArray[np.int64]], timing: Timing) -> NDArray[np.int64]:
    """Channel time of all that each fold moves, ticks."""
    pieces = kinds["pieces"]
    x = kinds["x_loads"] * kinds["x"] * (1 if timing.held else pieces)
    y = kinds["y_loads"] * kinds["y"] * pieces
    moved: NDArray[np.int64] = x + y + kinds["spilled"] * pieces + kinds["share"] * kinds["shares"]
    return moved
