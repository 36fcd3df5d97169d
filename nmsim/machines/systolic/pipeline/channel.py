"""Several arrays on one channel, event by event: the kernel of ``pipeline.contention``.

An array is the recurrence of ``nmsim.machines.systolic.pipeline.memory``, taken step by step: where
a step moves anything, the array waits until its engine is free, then stands in line, then holds the
channel. So each array waits for one event at most, and the earliest of all is the next.

Of what happens at one time, that comes first which was asked for first; a channel that becomes free
is given on behind all that was asked for before it did. That order is part of the result, and what
``nmsim.machines.systolic.pipeline.periods`` compares is all that it depends on.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled, compiled_uncounted
from nmsim.machines.systolic.pipeline.memory import (
    CHANNEL_FREE,
    COUNTED,
    LEFT,
    SLOTS_BEFORE,
    STARTED,
    STARTED_BEFORE,
    Arrivals,
    Pieces,
    State,
    Timing,
    all_left,
    begin,
    close,
    end,
    leave,
    load,
    loads_x,
    owe,
    stream,
)

__all__ = [
    "AT",
    "CARRIED",
    "DOING",
    "DONE",
    "DUE",
    "FIRST_COMES",
    "FOLD",
    "GRANTED",
    "NOW",
    "OPENS",
    "OWED",
    "PIECE",
    "QUEUED",
    "RELEASED",
    "RUN",
    "SIZE",
    "SKIPPED",
    "STANDS",
    "STEP",
    "STEPS",
    "TURN",
    "Programs",
    "World",
    "advance",
    "carry",
    "give_on",
    "next_event",
    "stand_in_line",
    "world_of",
]

Numbers = NDArray[np.int64]

RUN, FOLD, PIECE, STEP, END = range(COUNTED, COUNTED + 5)
"""Where an array stands: the run of folds alike, the fold in it, the piece of that, its step;
and where its program ends."""

DOING, DUE, TURN, QUEUED = range(COUNTED + 5, COUNTED + 9)
"""What its engine does, until when (or since when it stands in line), when that was asked for among
all that is asked for; how long the load in hand waited for its turn."""

FIRST_COMES, OWED, CARRIED, AT = COUNTED + 9, COUNTED + 13, COUNTED + 14, COUNTED + 15
"""When words of the piece in hand come, four times as in ``Arrivals``; how often results became
owed; the time that the channel was the array's own; and when it was done."""

SIZE = COUNTED + 16

WAITS, GRANTED, HOLDS, STANDS, DONE = range(5)
"""What an engine does: it waits for a time, has its turn from now on, or moves, which is an event
each; it stands in line; or it is done."""

BEGINS, OPENS, LOADS, EMPTIES, OWES, SHARES, STREAMS = range(10, 17)
"""The steps of a piece, in order; what is owed leaves all at once (empties), or a share of it. They
are no numbers that say what an engine does: ``advance`` returns either."""

NOW, TURNS, HELD, RELEASED, STEPS, SKIPPED, NEXT, IN_LINE = range(8)
"""The time, how often anything was asked for, whether the channel is held, when in that order it
was given back and not yet given on (or -1), pieces so far, the time that was not run, and the line:
its head in a ring, and how many stand in it."""

WORLD_SIZE = 8


class Programs(NamedTuple):
    """What arrays do: folds by number, each so often in a row.

    Parameters
    ----------
    kinds
        int64, a row of each fold as ``Pieces`` has it.
    folds, counts
        int64: of each run of folds alike which kind, and how many; of all programs in a row.
    starts, ends
        int64: which of those are each array's.
    """

    kinds: Numbers
    folds: Numbers
    counts: Numbers
    starts: Numbers
    ends: Numbers


class World(NamedTuple):
    """All that changes: a row of each array, its recurrence first; the channel, and its line.

    Everything is int64; times are ticks.
    """

    arrays: Numbers
    shared: Numbers
    line: Numbers


@compiled
def world_of(programs: Programs) -> World:
    """All arrays before their first fold, at time 0, in order."""
    count = len(programs.starts)
    world = World(
        np.zeros((count, SIZE), np.int64),
        np.zeros(WORLD_SIZE, np.int64),
        np.zeros(count, np.int64),
    )
    world.shared[RELEASED] = -1
    for i in range(count):
        own = world.arrays[i]
        own[RUN], own[END], own[TURN] = programs.starts[i], programs.ends[i], i
        own[STEP] = BEGINS
    world.shared[TURNS] = count
    return world


OPENS_CHUNK = Pieces._fields.index("opens")


@compiled_uncounted
def _pieces(kinds: Numbers, k: int) -> Pieces:
    return Pieces(
        kinds[k, 0],
        kinds[k, 1],
        kinds[k, 2],
        kinds[k, 3],
        kinds[k, 4],
        kinds[k, 5] != 0,
        kinds[k, 6] != 0,
        kinds[k, 7],
        kinds[k, 8],
        kinds[k, 9],
        kinds[k, 10],
        kinds[k, 11],
        kinds[k, 12] != 0,
    )


@compiled_uncounted
def next_event(world: World) -> int:
    """Whose event is next; as many as there are arrays: the channel is given on; -1: none is."""
    arrays, shared = world.arrays, world.shared
    best, due, turn = -1, 2**62, 0
    if shared[RELEASED] >= 0:
        best, due, turn = len(arrays), shared[NOW], shared[RELEASED]
    for i in range(len(arrays)):
        if arrays[i, DOING] >= STANDS or arrays[i, DUE] > due:
            continue
        if arrays[i, DUE] < due or arrays[i, TURN] < turn:
            best, due, turn = i, arrays[i, DUE], arrays[i, TURN]
    return best


@compiled_uncounted
def _does(shared: Numbers, own: State, what: int, due: int) -> None:
    own[DOING], own[DUE], own[TURN] = what, due, shared[TURNS]
    shared[TURNS] += 1


@compiled_uncounted
def give_on(world: World) -> None:
    """Who stands in line first has the channel, if it is free."""
    shared = world.shared
    if shared[HELD] == 0 and shared[IN_LINE] > 0:
        first = world.line[shared[NEXT]]
        shared[NEXT] = (shared[NEXT] + 1) % len(world.line)
        shared[IN_LINE] -= 1
        shared[HELD] = 1
        world.arrays[first, DOING], world.arrays[first, DUE] = GRANTED, shared[NOW]
        world.arrays[first, TURN] = shared[TURNS]
        shared[TURNS] += 1


@compiled_uncounted
def _waits(shared: Numbers, own: State) -> bool:
    """Whether an array has to wait until its engine is free."""
    busy = own[CHANNEL_FREE] > shared[NOW]
    if busy:
        _does(shared, own, WAITS, own[CHANNEL_FREE])
    return bool(busy)


@compiled_uncounted
def stand_in_line(world: World, own: State, i: int) -> None:
    """An array asks for the channel, as soon as its engine is free: then its step comes again."""
    shared = world.shared
    if _waits(shared, own):
        return
    _does(shared, own, STANDS, shared[NOW])
    world.line[(shared[NEXT] + shared[IN_LINE]) % len(world.line)] = i
    shared[IN_LINE] += 1
    give_on(world)


@compiled_uncounted
def _begins(shared: Numbers, timing: Timing, own: State) -> bool:
    """A piece begins; behind the last one, what is owed leaves in two steps. Whether it waits."""
    if own[RUN] < own[END]:
        own[QUEUED] = begin(own)
        for k in range(4):
            own[FIRST_COMES + k] = 0
        own[STEP] = OPENS
        return _waits(shared, own)
    if own[PIECE] == 0:
        end(own, timing)
    if own[PIECE] == 2:
        own[AT] = all_left(own) + shared[SKIPPED]
        own[DOING] = DONE
        return True
    own[STEP] = EMPTIES
    return False


@compiled_uncounted
def _streams(shared: Numbers, programs: Programs, timing: Timing, own: State) -> None:
    """The piece in hand streams; then the next one begins."""
    own[STEP] = BEGINS
    run, piece = own[RUN], own[PIECE]
    own[PIECE] = piece + 1
    if run == own[END]:
        own[CHANNEL_FREE] = max(own[CHANNEL_FREE], own[STARTED])
        return
    shared[STEPS] += 1
    one = _pieces(programs.kinds, programs.folds[run])
    part, last = one.ticks // one.pieces, piece == one.pieces - 1
    ticks = one.ticks - piece * part if last else part
    k = FIRST_COMES
    comes = Arrivals(own[k], own[k + 1], own[k + 2], own[k + 3])
    stream(own, timing, one, ticks, piece == 0, own[QUEUED], comes)
    if last:
        close(own, timing, one)
        own[PIECE] = 0
        own[FOLD] += 1
        if own[FOLD] == programs.counts[run]:
            own[RUN], own[FOLD] = run + 1, 0


@compiled_uncounted
def _moves(programs: Programs, timing: Timing, own: State) -> bool:
    """Whether the array's step moves anything."""
    step = own[STEP]
    if step == LOADS:
        one = _pieces(programs.kinds, programs.folds[own[RUN]])
        return one.y_loads or loads_x(timing, one, own[PIECE] == 0)
    if step == EMPTIES:
        return bool(own[SLOTS_BEFORE] > 0 and own[LEFT] > 0)
    return bool(step == SHARES and own[LEFT] > 0)


@compiled_uncounted
def advance(shared: Numbers, programs: Programs, timing: Timing, own: State) -> int:
    """Take an array through its steps until it waits for something.

    Returns
    -------
    ``WAITS`` or ``DONE``; ``STANDS`` where it is to stand in line; ``OPENS`` before a fold that
    opens, from where it is to be taken on.
    """
    if own[DOING] == HOLDS:
        shared[HELD], shared[RELEASED] = 0, shared[TURNS]
        shared[TURNS] += 1
    while True:
        step = own[STEP]
        if step == BEGINS:
            if _begins(shared, timing, own):
                return int(own[DOING])
            continue
        if step == STREAMS:
            _streams(shared, programs, timing, own)
            continue
        if _moves(programs, timing, own):
            return STANDS
        own[STEP] = step + 1
        if step == OWES:
            own[OWED] += int(own[SLOTS_BEFORE] > 0)
            owe(own)
        if step == OPENS and own[PIECE] == 0:
            own[DOING], own[DUE] = WAITS, shared[NOW]
            return OPENS


@compiled_uncounted
def carry(shared: Numbers, programs: Programs, timing: Timing, own: State) -> None:
    """An array has its turn: what its step moves holds the channel from now on."""
    step, run, opens = own[STEP], own[RUN], own[PIECE] == 0
    began = own[CHANNEL_FREE] = shared[NOW]
    if step == LOADS:
        one = _pieces(programs.kinds, programs.folds[run])
        own[QUEUED] = began - own[STARTED_BEFORE]
        ticks = one.x if loads_x(timing, one, opens) else 0
        ticks += one.y if one.y_loads else 0
        comes = load(own, timing, one, opens)
        for k in range(4):
            own[FIRST_COMES + k] = comes[k]
    else:
        # All leaves at the end, where a chunk opens, and before others become owed.
        everything = run == own[END] or step == EMPTIES
        if not everything and opens:
            everything = programs.kinds[programs.folds[run], OPENS_CHUNK] != 0
        leave(own, own[LEFT] if everything else 1)
        ticks = own[CHANNEL_FREE] - began
    own[STEP] = step + 1
    own[CARRIED] += ticks
    _does(shared, own, HOLDS, began + ticks)
