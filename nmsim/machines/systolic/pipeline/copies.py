"""Copies of a GEMM that only repeat the one before: added up, not run."""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.machines.systolic.pipeline.folds import FIRST, Work
from nmsim.machines.systolic.pipeline.memory import State, repeat, repeats

__all__ = ["same", "skip_alike"]


@compiled
def same(numbers: NDArray[np.int64], one: int, other: int) -> bool:
    """Whether two rows are alike; a loop, for numba takes long to compile comparisons of arrays."""
    i = 0
    while i < numbers.shape[1] and numbers[one, i] == numbers[other, i]:
        i += 1
    return bool(i == numbers.shape[1])


@compiled
def _same_tiles(cycles: NDArray[np.int64], one: int, other: int) -> bool:
    """Whether all tiles of two copies are alike."""
    for i in range(cycles.shape[1]):
        for j in range(cycles.shape[2]):
            if cycles[one, i, j] != cycles[other, i, j]:
                return False
    return True


@compiled
def skip_alike(
    before: State,
    state: State,
    work: Work,
    done: int,
    slots: NDArray[np.int64],
    cycles: NDArray[np.int64],
) -> int:
    """Copies done, those included that only repeat the last one and are added up here."""
    more = repeats(before, state)
    if done < 2 or more == 0:  # the first one waits for no fold before it
        return done
    alike = FIRST
    while done + alike < work.copies and same(slots, done + alike, done - 1):
        given = work.intersecting or work.whole_k > 0
        if given and not _same_tiles(cycles, done + alike, done - 1):
            break
        alike += 1
    alike = min(alike, more)
    repeat(before, state, alike)
    return done + alike
