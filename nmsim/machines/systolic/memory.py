"""The memory pipeline: fold i + 1 loads while fold i computes, and the results of fold i - 1 drain.

One DRAM channel serves requests in the order in which they are made. Around fold i they are

1. its load, made when fold i - 1 starts: half of each buffer is free from then on;
2. the results of fold i - 1, made when it ends;
3. what of its load does not fit half a buffer, streamed while the fold computes.

Fold i starts when fold i - 1 has ended, its load has arrived and the results of fold i - 2 have
left their half of the buffer. Times are integers, ticks of 1/1024 cycle, so that the recurrence is
exact: once a repeated piece of work shifts every time by the same amount, all later repeats do too,
and they are added up without being simulated.
"""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled

__all__ = ["TICKS", "TIMES", "fold", "last_store", "note", "only_shifted", "repeat"]

TICKS = 1024
"""Ticks in a cycle."""

State = NDArray[np.int64]
"""Five times in ticks, then any number of sums that the caller keeps."""

CHANNEL_FREE, STARTED, ENDED, STORED, PENDING = range(5)
"""When the channel is free; when the last fold started and ended; when the results of the fold
before it had left; how long the results of the last fold, not yet sent, will take."""

TIMES = 5


@compiled
def fold(state: State, ticks: int, load: int, stream: int, store: int, latency: int) -> None:
    """Advance the pipeline by one fold: its load, its stream, its results.

    Parameters
    ----------
    state
        Changed in place.
    ticks
        The fold's compute time, ticks.
    load, stream, store
        Channel time of its load, of what streams in while it computes and of its results, ticks.
    latency
        From the end of a transfer's channel time to its arrival, ticks.
    """
    free, started, ended = state[CHANNEL_FREE], state[STARTED], state[ENDED]
    start = max(ended, state[STORED])
    if load > 0:
        free = max(free, started) + load
        start = max(start, free + latency)
    stored = ended
    if state[PENDING] > 0:
        free = max(free, ended) + state[PENDING]
        stored = free
    end = start + ticks
    if stream > 0:
        free = max(free, start) + stream
        end = max(end, free + latency)
    # Nothing is asked of the channel before this fold starts, nor of its results before it ends:
    # earlier times are brought up to those, so that equal futures have equal states.
    state[CHANNEL_FREE], state[STARTED], state[ENDED] = max(free, start), start, end
    state[STORED], state[PENDING] = max(stored, end), store


@compiled
def last_store(state: State) -> np.int64:
    """The time at which the last fold has ended and its results have left, ticks."""
    if state[PENDING] == 0:
        return np.int64(state[ENDED])
    return np.int64(max(state[CHANNEL_FREE], state[ENDED]) + state[PENDING])


@compiled
def only_shifted(before: State, after: State) -> bool:
    """Whether a piece of work moved all times by one amount and left the rest alike."""
    shift = after[ENDED] - before[ENDED]
    for time in range(TIMES):
        expected = np.int64(0) if time == PENDING else shift
        if after[time] - before[time] != expected:
            return False
    return True


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
