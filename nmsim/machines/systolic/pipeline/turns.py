"""Several arrays on one channel, turn by turn: the kernel of ``pipeline.contention``.

An array is the recurrence of ``nmsim.machines.systolic.pipeline.memory``, taken step by step: a
piece loads, stores what was owed before, stores a share of what is owed now, and streams. The turns
of all arrays are in one order, by the share of its pieces that an array has passed: the steps of
arrays with as many pieces follow each other, and one with half as many has every other turn. A
turn without a transfer takes nothing; one with a transfer begins when the array's engine and the
channel are free, and until it has begun the channel waits, whoever else might use it.

The order does not depend on any time, so that all times are maxima of sums in a fixed order, as
those of one array are: with more bandwidth, less latency or fewer bytes no time grows.
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
    "DONE",
    "FIRST_COMES",
    "FOLD",
    "FREE",
    "LOADS",
    "OUT_OF",
    "OWED",
    "PASSED",
    "PIECE",
    "QUEUED",
    "RUN",
    "SIZE",
    "SKIPPED",
    "STEP",
    "STEPS",
    "Programs",
    "World",
    "next_turn",
    "take_turn",
    "world_of",
]

Numbers = NDArray[np.int64]

RUN, FOLD, PIECE, STEP = range(COUNTED, COUNTED + 4)
"""Where an array stands: the run of folds alike, the fold in it, the piece of that, its step."""

PASSED, OUT_OF, QUEUED, OWED, CARRIED, AT = range(COUNTED + 4, COUNTED + 10)
"""Pieces so far, and of how many (of all arrays' by their greatest common divisor); how long the
load in hand waited for its turn; how often results became owed; the time that the channel was the
array's own; and when it was done."""

FIRST_COMES = COUNTED + 10
"""When words of the piece in hand come, four times as in ``Arrivals``."""

SIZE = COUNTED + 14

LOADS, EMPTIES, SHARES, DONE = range(4)
"""The steps of a piece, each a turn: what was owed leaves at once (empties) before other results
become owed, then a share of these does; behind the last of them it streams. Or all is done."""

FREE, STEPS, SKIPPED = range(3)
"""Of the channel: when it is free; pieces so far; and the time that was not run."""


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
    pieces
        int64: how many each array has, divided by their greatest common divisor.
    """

    kinds: Numbers
    folds: Numbers
    counts: Numbers
    starts: Numbers
    ends: Numbers
    pieces: Numbers


class World(NamedTuple):
    """All that changes: a row of each array, its recurrence first; and the channel.

    Everything is int64; times are ticks.
    """

    arrays: Numbers
    channel: Numbers


@compiled
def world_of(programs: Programs) -> World:
    """All arrays before their first fold, at time 0, in order."""
    count = len(programs.starts)
    world = World(np.zeros((count, SIZE), np.int64), np.zeros(3, np.int64))
    for i in range(count):
        world.arrays[i, RUN] = programs.starts[i]
        world.arrays[i, OUT_OF] = programs.pieces[i]
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
def next_turn(world: World) -> int:
    """Whose turn is next: the first of those that have passed the least of their pieces; -1: none.

    Turns of one piece are thirds of it.
    """
    arrays, first, least = world.arrays, -1, np.inf
    for i in range(len(arrays)):
        own = arrays[i]
        if own[STEP] == DONE:
            continue
        passed = (3 * own[PASSED] + own[STEP]) / own[OUT_OF]
        if passed < least:
            first, least = i, passed
    return first


@compiled_uncounted
def _begun(channel: Numbers, own: State) -> int:
    """The array's engine and the channel are free: when."""
    own[CHANNEL_FREE] = max(own[CHANNEL_FREE], channel[FREE])
    return int(own[CHANNEL_FREE])


@compiled_uncounted
def _carried(channel: Numbers, own: State, began: int, ticks: int) -> None:
    """The channel was the array's for so long, from then on."""
    channel[FREE] = began + ticks
    own[CARRIED] += ticks


@compiled_uncounted
def _loads(channel: Numbers, timing: Timing, own: State, one: Pieces) -> None:
    """The first turn of a piece: what it loads."""
    opens = own[PIECE] == 0
    own[QUEUED] = begin(own)
    if not one.y_loads and not loads_x(timing, one, opens):
        comes = Arrivals(0, 0, 0, 0)
    else:
        began = _begun(channel, own)
        own[QUEUED] = began - own[STARTED_BEFORE]
        comes = load(own, timing, one, opens)
        x = one.x if loads_x(timing, one, opens) else 0
        _carried(channel, own, began, x + (one.y if one.y_loads else 0))
    for k in range(4):
        own[FIRST_COMES + k] = comes[k]


@compiled_uncounted
def _leaves(channel: Numbers, own: State, shares: int) -> None:
    """So many shares of what is owed leave, if any is."""
    if own[LEFT] > 0:
        began = _begun(channel, own)
        leave(own, shares)
        _carried(channel, own, began, own[CHANNEL_FREE] - began)


@compiled_uncounted
def _empties(channel: Numbers, own: State) -> None:
    """The second turn: what is owed leaves if other results become owed."""
    if own[SLOTS_BEFORE] > 0:
        _leaves(channel, own, own[LEFT])
        own[OWED] += 1
    owe(own)


@compiled_uncounted
def _streams(channel: Numbers, programs: Programs, timing: Timing, own: State) -> None:
    """The piece in hand streams; then the next one is in hand."""
    channel[STEPS] += 1
    one, piece = _pieces(programs.kinds, programs.folds[own[RUN]]), own[PIECE]
    part, last = one.ticks // one.pieces, piece == one.pieces - 1
    ticks, k = one.ticks - piece * part if last else part, FIRST_COMES
    comes = Arrivals(own[k], own[k + 1], own[k + 2], own[k + 3])
    stream(own, timing, one, ticks, piece == 0, own[QUEUED], comes)
    own[PIECE] += 1
    if last:
        close(own, timing, one)
        own[PIECE] = 0
        own[FOLD] += 1
        if own[FOLD] == programs.counts[own[RUN]]:
            own[RUN], own[FOLD] = own[RUN] + 1, 0


@compiled_uncounted
def _ends(timing: Timing, own: State) -> None:
    """Behind the last piece what is owed leaves in two steps, counted as pieces."""
    if own[PIECE] == 0:
        end(own, timing)
    else:
        own[CHANNEL_FREE] = max(own[CHANNEL_FREE], own[STARTED])


@compiled_uncounted
def take_turn(world: World, programs: Programs, timing: Timing, i: int) -> None:
    """An array takes its turn, and does what it does by itself until its next one."""
    channel, own = world.channel, world.arrays[i]
    step, behind = own[STEP], own[RUN] == programs.ends[i]
    kind = programs.folds[0 if behind else own[RUN]]
    if step == LOADS:
        own[STEP] = EMPTIES
        if behind:
            _ends(timing, own)
        else:
            _loads(channel, timing, own, _pieces(programs.kinds, kind))
    elif step == EMPTIES:
        own[STEP] = SHARES
        _empties(channel, own)
    else:
        own[STEP] = LOADS
        own[PASSED] += 1
        everything = behind or (own[PIECE] == 0 and programs.kinds[kind, OPENS_CHUNK] != 0)
        _leaves(channel, own, own[LEFT] if everything else 1)
        if not behind:
            _streams(channel, programs, timing, own)
            return
        own[PIECE] += 1
        if own[PIECE] == 2:
            own[STEP], own[AT] = DONE, all_left(own) + channel[SKIPPED]
