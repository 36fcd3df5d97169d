"""The memory pipeline: a DMA engine with a program of loads and stores in order, and the array.

A fold is cut into *pieces* of its time. What streams is loaded piece by piece, two pieces ahead; an
operand that is held comes with the fold's first piece. Step q of the program begins when piece
q - 2 starts to stream, and is

1. the load of piece q, which has its room once piece q - 2 has streamed;
2. a share of the results that are owed: those of a chunk of folds (or of a tile of C) leave in
   equal shares, one a step, from two steps after its last piece on;
3. the piece itself: it starts once the piece before it has streamed, its first row has arrived,
   what is held has shifted in, and, where a chunk opens, the results of the chunk before the last
   have left. It ends no earlier than its last word has arrived.

All of that is a maximum of sums in a fixed order: with more bandwidth, less latency or fewer bytes
no time grows. Times are integers, ticks of 1/1024 cycle, so that the recurrence is exact: once a
repeated piece of work shifts every time by the same amount, all later repeats do too, and they are
added up without being simulated.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled, compiled_uncounted

__all__ = [
    "BACK_TO_BACK",
    "CHANNEL_FREE",
    "COUNTED",
    "EXPOSED",
    "HIDDEN",
    "KEPT",
    "LEFT",
    "SLOTS_BEFORE",
    "STARTED",
    "STARTED_BEFORE",
    "TICKS",
    "UNCOUNTED",
    "Arrivals",
    "Pieces",
    "State",
    "Timing",
    "all_left",
    "begin",
    "close",
    "end",
    "finish",
    "fold",
    "is_time",
    "leave",
    "load",
    "loads_x",
    "note",
    "owe",
    "repeat",
    "repeats",
    "stall_free",
    "stream",
]

TICKS = 1024
"""Ticks in a cycle."""

State = NDArray[np.int64]
"""What the pipeline remembers and has counted, and any number of sums that the caller keeps."""

EXPOSED, HIDDEN, BACK_TO_BACK, UNCOUNTED = range(4)
"""How the shift of a fold, its preload or its drain, stands to the fold beside it."""

CHANNEL_FREE, STARTED, STARTED_BEFORE, ENDED, ENDED_BEFORE = range(5)
"""When the engine is free for its next step, and when the last two pieces started and ended."""

LEFT, OWN_BANDWIDTH, OWN_LATENCY = range(5, 8)
"""Shares of results still owed; what the last fold has waited since it started."""

FOLD_STARTED, STORED, FIRST, FIRST_BEFORE, FINISHED, DRAINED = range(8, 14)
"""When the last fold started; when the last results had left that were owed in whole; when the
first results of the last two pieces are there; when the last result of all folds is; and when the
outputs of the fold before have made room for those of this one (os, back to back)."""

SHARE, SLOTS, SHARES, SLOTS_BEFORE, SHARES_BEFORE, LAST_TICKS, WARM = range(14, 21)
"""Channel time of a share; into how many the results of the last two pieces will be cut, and the
time of each; how long the last fold streams; how many folds there were, two at most."""

KEPT = 21
"""How many numbers the pipeline remembers; what follows has been counted."""

FOLDS, BANDWIDTH, LATENCY, WRITE_BACK, SHIFTED, STREAMED, PATH, HEAD = range(KEPT, KEPT + 8)
"""Folds; ticks that the array waited, by cause; ticks that a shift behind another fold shows;
ticks that stream, and that a fold waits for the path from the buffers; the first fold's wait."""

COUNTED = KEPT + 8
"""Where the caller's sums begin."""

_PIECE = 8
"""The leading numbers that a piece changes which neither opens nor ends a fold."""


class Timing(NamedTuple):
    """How an array times its folds, ticks.

    Parameters
    ----------
    period
        How a fold's shift stands to its neighbour.
    held
        An operand is held and shifts in before its fold; otherwise results are, and shift out.
    shift
        That shift, R cycles.
    fill
        Skew in and out of the array.
    latency
        From the end of a transfer's channel time to its arrival.
    """

    period: int
    held: bool
    shift: int
    fill: int
    latency: int


class Arrivals(NamedTuple):
    """When the first and the last word come of what a piece holds, and of what streams; 0: none.

    All times of the pipeline are 0 at the start, so that a 0 delays nothing.
    """

    held_first: int
    held_last: int
    first: int
    last: int


class Pieces(NamedTuple):
    """A fold as the pipeline takes it: so many pieces, and channel time in ticks.

    Parameters
    ----------
    pieces
        How many, all alike; the last one takes what is left of the time.
    ticks
        What all of them stream.
    shift
        What shifting in takes, the path's delay included.
    x, y
        Channel time of x: with the first piece if it is held, of every piece otherwise; and of y of
        every piece.
    x_loads, y_loads
        Whether they are loaded at all.
    x_row, y_row
        Channel time until the first row of each is there.
    spilled
        Channel time of the sums that every piece sends off.
    share, shares
        Channel time of a share of the fold's results, and how many there are; 0: no results.
    opens
        The fold opens a chunk or a tile.
    """

    pieces: int
    ticks: int
    shift: int
    x: int
    y: int
    x_loads: bool
    y_loads: bool
    x_row: int
    y_row: int
    spilled: int
    share: int
    shares: int
    opens: bool


@compiled_uncounted
def begin(state: State) -> int:
    """The step of a piece begins: how long the engine was busy since it might have, ticks."""
    asked = state[STARTED_BEFORE]
    state[CHANNEL_FREE] = max(state[CHANNEL_FREE], asked)
    return int(state[CHANNEL_FREE] - asked)


@compiled_uncounted
def loads_x(timing: Timing, one: Pieces, opens: bool) -> bool:
    """Whether a piece loads x: what is held comes with the first piece of its fold."""
    return one.x_loads and (opens or not timing.held)


@compiled_uncounted
def load(state: State, timing: Timing, one: Pieces, opens: bool) -> Arrivals:
    """Step 1: when the first and the last of what is held, and of what streams, have arrived.

    What streams of two operands comes row by row of both.
    """
    x_loads = loads_x(timing, one, opens)
    if not x_loads and not one.y_loads:
        return Arrivals(0, 0, 0, 0)
    x = one.x if x_loads else 0
    y = one.y if one.y_loads else 0
    begins = state[CHANNEL_FREE]
    state[CHANNEL_FREE] = max(begins + x + y, state[ENDED_BEFORE])
    last = state[CHANNEL_FREE] + timing.latency
    rows = (one.x_row if x_loads else 0) + (one.y_row if one.y_loads else 0)
    if not timing.held:
        return Arrivals(0, 0, begins + rows + timing.latency, last)
    y_first = begins + x + one.y_row + timing.latency
    x_first, x_last = begins + one.x_row + timing.latency, begins + x + timing.latency
    if not x_loads:
        return Arrivals(0, 0, y_first, last)
    streams = one.y_loads
    return Arrivals(x_first, x_last, y_first if streams else 0, last if streams else 0)


@compiled_uncounted
def leave(state: State, shares: int) -> None:
    """So many shares of the results that are owed leave, at most as many as there are."""
    if state[LEFT] > 0:
        gone = min(shares, state[LEFT])
        state[CHANNEL_FREE] += gone * state[SHARE]
        state[LEFT] -= gone
        if state[LEFT] == 0:
            state[STORED] = state[CHANNEL_FREE]
            state[SHARE] = 0


@compiled_uncounted
def owe(state: State) -> None:
    """Results of the piece before the last become owed: what was owed before has left."""
    if state[SLOTS_BEFORE] > 0:
        state[CHANNEL_FREE] = max(state[CHANNEL_FREE], state[FIRST_BEFORE])
        state[LEFT], state[SHARE] = state[SLOTS_BEFORE], state[SHARES_BEFORE]
    state[SLOTS_BEFORE], state[SHARES_BEFORE] = state[SLOTS], state[SHARES]
    state[FIRST_BEFORE] = state[FIRST]
    state[SLOTS] = state[SHARES] = 0


@compiled_uncounted
def _store(state: State, opens: bool) -> None:
    """Step 2: results of the piece before the last become owed, and a share of what is leaves."""
    if state[SLOTS_BEFORE] > 0:
        leave(state, state[LEFT])
    owe(state)
    leave(state, state[LEFT] if opens else 1)


@compiled_uncounted
def _shown(state: State, timing: Timing) -> None:
    """Of a shift behind the fold before, what shows without any wait; what waits hid is no wait."""
    behind = timing.fill if timing.period == HIDDEN else 0
    shown = max(0, timing.shift - state[LAST_TICKS] - behind)
    seen = max(0, state[FOLD_STARTED] + timing.shift - state[ENDED] - behind)
    state[SHIFTED] += shown
    _hidden(state, shown - seen)


@compiled_uncounted
def _hidden(state: State, ticks: int) -> None:
    """So much of what a fold has waited hid a shift: it is none."""
    bandwidth = min(ticks, state[OWN_BANDWIDTH])
    latency = min(ticks - bandwidth, state[OWN_LATENCY])
    state[OWN_BANDWIDTH] -= bandwidth
    state[OWN_LATENCY] -= latency
    state[WRITE_BACK] -= ticks - bandwidth - latency


@compiled_uncounted
def _drain(state: State, timing: Timing, one: Pieces) -> None:
    """The last words of a fold wait until outputs of the fold before have made room (os)."""
    shown = max(0, timing.shift - one.ticks) if state[WARM] > 1 else 0
    seen = max(0, state[DRAINED] - state[ENDED])
    state[SHIFTED] += shown
    state[ENDED] += seen
    _hidden(state, shown - seen)


@compiled_uncounted
def _behind(state: State, timing: Timing) -> int:
    """When a fold could start if it neither shifted anything in nor loaded; or behind a shift."""
    period, warm = timing.period, state[WARM]
    free = state[ENDED]
    if warm > 0 and period != BACK_TO_BACK:
        free += timing.fill
    if period == HIDDEN and (warm > 1 or timing.held):
        if not timing.held:
            _shown(state, timing)
        free = max(free, state[FOLD_STARTED] + timing.shift)
    if period == BACK_TO_BACK and warm > 0 and timing.held:
        _shown(state, timing)
        free = max(free, state[FOLD_STARTED] + timing.shift)
    return int(free)


@compiled_uncounted
def _open(state: State, timing: Timing, one: Pieces, x_first: int, x_last: int) -> tuple[int, int]:
    """When a fold could start if nothing had to be loaded, and when it can with what it holds."""
    ready = _behind(state, timing)
    if timing.period == EXPOSED and (state[WARM] > 0 or timing.held):
        ready += one.shift
    if timing.period == UNCOUNTED or not timing.held:
        return ready, max(ready, x_last)
    lead = 0
    if timing.period == BACK_TO_BACK:  # a cycle passes between shifting in and the stream
        lead = TICKS
        ready = max(ready, timing.shift + lead)
    return ready, max(ready, max(x_first + one.shift, x_last) + lead)


@compiled_uncounted
def _waits(state: State, latency: int, before: int, after: int, opens: bool) -> None:
    """Count what a piece waited for its load before it started and after, latency first."""
    late, later = min(before, latency), min(after, max(0, latency - before))
    if opens:
        state[LATENCY] += late
        state[BANDWIDTH] += before - late
    else:
        state[OWN_LATENCY] += late
        state[OWN_BANDWIDTH] += before - late
    state[OWN_LATENCY] += later
    state[OWN_BANDWIDTH] += after - later


@compiled_uncounted
def _settle(state: State) -> None:
    """What the last fold has waited is counted."""
    state[BANDWIDTH] += state[OWN_BANDWIDTH]
    state[LATENCY] += state[OWN_LATENCY]
    state[OWN_BANDWIDTH] = state[OWN_LATENCY] = 0


@compiled_uncounted
def stream(
    state: State,
    timing: Timing,
    one: Pieces,
    ticks: int,
    opens: bool,
    queued: int,
    comes: Arrivals,
) -> None:
    """Step 3: the piece streams as soon as all that it waits for is there.

    ``queued`` is how long its load waited for its turn since it might have been asked for.
    """
    ready = wanted = state[ENDED]
    if opens:
        ready, wanted = _open(state, timing, one, comes.held_first, comes.held_last)
        _settle(state)
    wanted = max(wanted, comes.first)
    start = max(wanted, state[STORED]) if opens and one.opens else wanted
    end = max(start + ticks, comes.last)
    late = max(0, timing.latency - queued)  # what waits in the queue waits for bandwidth
    _waits(state, late, wanted - ready, end - start - ticks, opens and timing.held)
    state[WRITE_BACK] += start - wanted
    state[STARTED_BEFORE], state[STARTED] = state[STARTED], start
    state[ENDED_BEFORE], state[ENDED] = state[ENDED], end
    state[CHANNEL_FREE] = max(state[CHANNEL_FREE], state[STARTED_BEFORE])
    if opens:
        state[FOLD_STARTED] = start
        state[DRAINED] = state[ENDED_BEFORE] + (timing.shift if state[WARM] > 0 else 0)
        if state[WARM] == 0:
            state[HEAD] = start - ready
        state[WARM] = min(2, state[WARM] + 1)
    if one.spilled > 0:
        state[SLOTS], state[SHARES], state[FIRST] = 1, one.spilled, start + timing.shift


@compiled_uncounted
def _piece(state: State, timing: Timing, one: Pieces, ticks: int, opens: bool) -> None:
    """One step of the program, and what it streams."""
    queued = begin(state)
    comes = load(state, timing, one, opens)
    _store(state, opens and one.opens)
    stream(state, timing, one, ticks, opens, queued, comes)


@compiled_uncounted
def _more(before: State, state: State, left: int) -> int:
    """How many of so many pieces left only do what the last one did; nothing opens or ends."""
    shift = state[ENDED] - before[ENDED]
    for time in range(LEFT):
        if state[time] - before[time] != shift:
            return 0
    if before[LEFT] > 0:  # the last share is not like those before it
        return int(max(0, min(left, state[LEFT] - 1)))
    return left


@compiled
def fold(state: State, before: State, timing: Timing, one: Pieces) -> None:
    """Take a fold through the pipeline.

    Parameters
    ----------
    state
        Changed in place.
    before
        Room to note what a piece changes.
    """
    part = one.ticks // one.pieces
    rest = one.ticks - (one.pieces - 1) * part
    _piece(state, timing, one, part if one.pieces > 1 else rest, True)
    done = 1
    while done < one.pieces:
        steady = state[SLOTS] == 0 and state[SLOTS_BEFORE] == 0 and one.spilled == 0
        for i in range(_PIECE):
            before[i] = state[i]
        _piece(state, timing, one, part if done < one.pieces - 1 else rest, False)
        done += 1
        alike = one.pieces - done - int(part != rest)
        if steady and alike > 0:
            alike = _more(before, state, alike)
            for i in range(_PIECE):
                state[i] += alike * (state[i] - before[i])
            done += alike
    close(state, timing, one)


@compiled_uncounted
def close(state: State, timing: Timing, one: Pieces) -> None:
    """A fold has streamed: its results, and what shifts behind it.

    Times that no longer matter are brought up to its end, so that folds recur.
    """
    if timing.period == BACK_TO_BACK and not timing.held:
        _drain(state, timing, one)
    state[LAST_TICKS] = one.ticks
    state[FOLDS] += 1
    ended = state[ENDED]
    first = state[FOLD_STARTED] + timing.shift
    if not timing.held:
        behind = first if state[WARM] > 1 and timing.period == HIDDEN else 0
        first = max(ended + timing.fill, behind)
    state[FINISHED] = ended + timing.fill
    if not timing.held:
        state[FINISHED] = first + (0 if timing.period == UNCOUNTED else timing.shift)
    if one.share > 0:
        state[SLOTS], state[SHARES], state[FIRST] = one.shares, one.share, first
    state[STORED] = max(state[STORED], ended)
    state[DRAINED] = ended
    if state[SLOTS] == 0:
        state[FIRST] = ended
    if state[SLOTS_BEFORE] == 0:
        state[FIRST_BEFORE] = ended


@compiled_uncounted
def end(state: State, timing: Timing) -> None:
    """All folds have streamed: what is waited for from now on is for results to leave."""
    if state[WARM] > 1 and timing.period == HIDDEN and not timing.held:
        _shown(state, timing)
    _settle(state)


@compiled
def finish(state: State, timing: Timing) -> int:
    """The time at which the last fold has ended and all results have left, ticks."""
    end(state, timing)
    _store(state, True)
    state[CHANNEL_FREE] = max(state[CHANNEL_FREE], state[STARTED])
    _store(state, True)
    return all_left(state)


@compiled_uncounted
def all_left(state: State) -> int:
    """The last results have left: when the array is done, ticks."""
    left = max(state[FINISHED], state[CHANNEL_FREE])
    state[WRITE_BACK] += left - state[FINISHED]
    return int(left)


@compiled
def stall_free(state: State, timing: Timing) -> int:
    """What all folds so far take where memory never makes them wait, ticks."""
    folds, shift = state[FOLDS], timing.shift
    own = state[STREAMED] + state[PATH] + state[SHIFTED]
    if timing.period == BACK_TO_BACK:
        return int(own + shift + timing.fill + (TICKS if timing.held else 0))
    own += folds * timing.fill
    if timing.period == EXPOSED:
        return int(own + folds * shift)
    return int(own + (shift if timing.period == HIDDEN else 0))


@compiled_uncounted
def is_time(number: int) -> bool:
    """Whether a number that the pipeline remembers is a time."""
    return number < LEFT or FOLD_STARTED <= number <= DRAINED


@compiled
def repeats(before: State, after: State) -> int:
    """How often a piece of work may be repeated that moved all times by one amount.

    0 where it did something else. Where a share of owed results left at every step, as often as
    there are shares but one: the last one is not like those before it.
    """
    shift = after[ENDED] - before[ENDED]
    for i in range(KEPT):
        if i != LEFT and after[i] - before[i] != (shift if is_time(i) else 0):
            return 0
    gone = before[LEFT] - after[LEFT]
    if gone == 0:
        return 2**62
    return max(0, int((after[LEFT] - 1) // gone)) if gone > 0 else 0


@compiled
def note(before: State, state: State) -> None:
    """Note the leading numbers of a state, as many as ``before`` holds, before work changes them.

    A loop, because numba compiles the error messages of ``before[:] = state`` for two seconds.
    """
    for i in range(len(before)):
        before[i] = state[i]


@compiled
def repeat(before: State, state: State, times: int) -> None:
    """Add what changed since ``before`` was noted ``times`` more."""
    for i in range(len(before)):
        state[i] += times * (state[i] - before[i])
