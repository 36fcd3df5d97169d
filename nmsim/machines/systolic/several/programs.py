"""The program of one array as runs of folds alike: what it loads, streams and stores, in order."""

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.systolic.pipeline.contention import Program
from nmsim.machines.systolic.pipeline.folds import Array, Buffers, Cut, Work
from nmsim.machines.systolic.pipeline.memory import Pieces
from nmsim.machines.systolic.pipeline.program import pieces_of

__all__ = ["program_of"]


def program_of(
    array: Array,
    buffers: Buffers,
    work: Work,
    cut: Cut,
    slots: NDArray[np.int64],
    beats: NDArray[np.int64] | None = None,
) -> Program:
    """All folds of all copies of a GEMM on one array; copies alike are written down once.

    Parameters
    ----------
    buffers
        As ``nmsim.machines.systolic.pipeline.cutting.gathered`` makes them for this cut.
    slots, beats
        As ``nmsim.machines.systolic.pipeline.cutting.sum_folds`` takes them.
    """
    numbers: dict[Pieces, int] = {}
    written: dict[tuple[bytes, ...], NDArray[np.int64]] = {}
    parts = []
    for copy in range(work.copies):
        own = [None if each is None else each[copy : copy + 1] for each in (slots, beats)]
        key = tuple(b"" if each is None else each.tobytes() for each in own)
        if key not in written:
            folds = pieces_of(array, buffers, work._replace(copies=1), cut, slots[copy:], own[1])
            runs = [(numbers.setdefault(one, len(numbers)), count) for one, count in folds]
            written[key] = np.array(runs, np.int64)
        parts.append(written[key])
    table = _joined(np.concatenate(parts))
    return Program(tuple(numbers), table[:, 0], table[:, 1])


def _joined(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Runs of one fold that stand next to each other as one."""
    first = np.flatnonzero(np.diff(table[:, 0], prepend=-1))
    return np.stack([table[first, 0], np.add.reduceat(table[:, 1], first)], axis=1)
