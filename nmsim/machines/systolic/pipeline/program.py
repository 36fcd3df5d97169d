"""The folds of a GEMM one by one, in the order in which the kernels add them up.

Kernels add folds up; here they are told, for who looks at single ones or lets several arrays run
beside each other. A test holds what they come to as events against the kernels' sums.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.systolic.pipeline.folds import (
    Array,
    Buffers,
    Cut,
    Fold,
    Work,
    in_pieces,
    passed_over,
)
from nmsim.machines.systolic.pipeline.memory import Pieces

__all__ = ["Run", "pieces_of", "runs_of"]

Counts = NDArray[np.int64]


class Run(NamedTuple):
    """So many folds alike, one after the other, and which operands they pass over again: x, y."""

    fold: Fold
    times: int
    again: tuple[bool, bool]


def runs_of(
    array: Array,
    buffers: Buffers,
    work: Work,
    cut: Cut,
    slots: Counts,
    cycles: Counts | None = None,
) -> Iterator[Run]:
    """All folds of all copies of a GEMM, in order.

    Parameters
    ----------
    slots, cycles
        As ``nmsim.machines.systolic.pipeline.cutting.sum_folds`` takes them.
    """
    nest = _Nest(array, buffers, work, cut)
    walk = nest.on_rows if array.timing.held else nest.in_time
    for copy in range(work.copies):
        spent = None if cycles is None else cycles[copy].tolist()
        yield from walk(slots[copy].tolist(), spent)


def pieces_of(
    array: Array,
    buffers: Buffers,
    work: Work,
    cut: Cut,
    slots: Counts,
    cycles: Counts | None = None,
) -> Iterator[tuple[Pieces, int]]:
    """The same as the pipeline takes them, and how many of each.

    Parameters
    ----------
    buffers
        As ``nmsim.machines.systolic.pipeline.cutting.gathered`` makes them for this cut.
    """
    known: dict[tuple[Fold, tuple[bool, bool]], Pieces] = {}
    for fold, times, again in runs_of(array, buffers, work, cut, slots, cycles):
        if (fold, again) not in known:
            known[fold, again] = in_pieces(array, passed_over(buffers, *again), fold)
        yield known[fold, again], times


class _Nest(NamedTuple):
    """The loops over one copy's folds."""

    array: Array
    buffers: Buffers
    work: Work
    cut: Cut

    def on_rows(self, slots: list[int], beats: list[list[int]] | None) -> Iterator[Run]:
        """K on the rows: tiles of columns, chunks of streamed rows, folds along K."""
        work, buffers, rows = self.work, self.buffers, self.cut.rows
        for tile, left in enumerate(range(0, work.x_lanes, self.array.cols)):
            cols = min(self.array.cols, work.x_lanes - left)
            own = tile if work.x_selected else 0
            length = slots[own]
            x_stays = cols * (work.x_k or length) <= buffers.x_half
            y_loads = tile == 0 or work.y_lanes * (work.y_k or length) > buffers.y_half
            for top in range(0, work.y_lanes, rows):
                streamed = min(rows, work.y_lanes - top)
                again = top > 0, tile > 0
                x_loads = top == 0 or not x_stays
                folds = self._column(length, (streamed, cols), beats[own] if beats else None)
                for fold, count in folds:
                    x, y = fold.x_read if x_loads else 0, fold.y_read if y_loads else 0
                    yield Run(fold._replace(x_load=x, y_load=y), count, again)

    def _column(
        self, slots: int, size: tuple[int, int], beats: Sequence[int] | None
    ) -> Iterator[tuple[Fold, int]]:
        """Folds along K of so many streamed rows and columns, nothing loaded, those alike at once.

        The first and the last stand alone: they open and end a chunk.
        """
        work, buffers, depth = self.work, self.buffers, self.array.depth
        streamed, cols = size
        along = work.whole_k or slots
        deep = -(-along // depth)
        over = max(0, streamed * cols - buffers.sums_half) if buffers.spill and deep > 1 else 0
        x_k, y_k = work.x_k or slots, work.y_k or slots
        x_part, y_part = depth * x_k // along, depth * y_k // along
        of_fold = beats[:deep] if beats else [1] * deep
        places = [(place == 0, place == deep - 1, beat) for place, beat in enumerate(of_fold)]
        for (opens, ends, beat), alike in groupby(places):
            yield (
                Fold(
                    streamed=streamed * beat,
                    words=streamed,
                    x_read=cols * (x_k - (deep - 1) * x_part if ends else x_part),
                    y_read=streamed * (y_k - (deep - 1) * y_part if ends else y_part),
                    x_load=0,
                    y_load=0,
                    sums_in=0 if opens else over,
                    sums_out=0 if ends else over,
                    outputs=streamed * cols if ends else 0,
                    pieces=self.cut.pieces,
                    shares=deep * self.cut.pieces,
                    opens=opens,
                ),
                len(list(alike)),
            )

    def in_time(self, slots: list[int], spent: list[list[int]] | None) -> Iterator[Run]:
        """K in time: rows of tiles of C, each a fold."""
        array, buffers, work, pieces = self.array, self.buffers, self.work, self.cut.pieces
        widths = [min(array.cols, work.x_lanes - at) for at in range(0, work.x_lanes, array.cols)]
        of_x = [slots[tile if work.x_selected else 0] for tile in range(len(widths))]
        held = sum(width * (work.x_k or length) for width, length in zip(widths, of_x, strict=True))
        runs = _alike(widths, of_x) if spent is None else [(i, 1) for i in range(len(widths))]
        for row, top in enumerate(range(0, work.y_lanes, array.rows)):
            high = min(array.rows, work.y_lanes - top)
            for tile, times in runs:
                width = widths[tile]
                length = slots[row] if work.y_selected else of_x[tile]
                x, y = width * (work.x_k or length), high * (work.y_k or length)
                steps = -(-length // array.dot_width) if spent is None else spent[row][tile]
                fold = Fold(
                    streamed=steps,
                    words=steps,
                    x_read=x,
                    y_read=y,
                    x_load=x if row == 0 or held > buffers.x_half else 0,
                    y_load=y if tile == 0 or y > buffers.y_half else 0,
                    sums_in=0,
                    sums_out=0,
                    outputs=high * width,
                    pieces=pieces,
                    shares=pieces,
                    opens=True,
                )
                yield Run(fold, times, (row > 0, tile > 0))


def _alike(widths: Sequence[int], lengths: Sequence[int]) -> list[tuple[int, int]]:
    """The first of each run of tiles alike, and how many there are; the very first is on its own.

    It loads what the others of its row find.
    """
    places = ((i == 0, *both) for i, both in enumerate(zip(widths, lengths, strict=True)))
    counts = [len(list(run)) for _, run in groupby(places)]
    return list(zip([0, *accumulate(counts)], counts, strict=False))
