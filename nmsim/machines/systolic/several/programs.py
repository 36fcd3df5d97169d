"""The program of one array as runs of folds alike: what it loads, streams and stores, in order.

The loops are those of ``nmsim.machines.systolic.pipeline.folds``, written down instead of run: with
K on the rows column tiles outside, chunks of streamed rows next, folds along K inside; with K in
time row tiles outside, column tiles inside.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.systolic.pipeline.contention import Program
from nmsim.machines.systolic.pipeline.folds import Array, Buffers, Cut, Fold, Work, in_pieces

__all__ = ["program_of"]

Runs = tuple[tuple[Fold, int], ...]
"""Folds, and how often each in a row."""


def program_of(
    array: Array, buffers: Buffers, work: Work, cut: Cut, slots: NDArray[np.int64]
) -> Program:
    """All folds of all copies of a GEMM on one array.

    Parameters
    ----------
    slots
        copies x tiles: K in slots of each tile of the selected operand's lanes.
    """
    nest = _Nest(array, buffers, work, cut)
    numbers: dict[Fold, int] = {}
    written: dict[tuple[int, ...], NDArray[np.int64]] = {}
    parts = []
    for copy in slots.tolist():
        key = tuple(copy)
        if key not in written:
            walk = nest.on_rows(copy) if array.timing.held else nest.in_time(copy)
            runs = [(numbers.setdefault(one, len(numbers)), count) for one, count in walk if count]
            written[key] = np.array(runs, np.int64)
        parts.append(written[key])
    table = _joined(np.concatenate(parts))
    kinds = tuple(in_pieces(array, buffers, one) for one in numbers)
    return Program(kinds, table[:, 0], table[:, 1])


def _joined(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """Runs of one fold that stand next to each other as one."""
    first = np.flatnonzero(np.diff(table[:, 0], prepend=-1))
    return np.stack([table[first, 0], np.add.reduceat(table[:, 1], first)], axis=1)


class _Nest(NamedTuple):
    """The loops over one copy's folds."""

    array: Array
    buffers: Buffers
    work: Work
    cut: Cut

    def on_rows(self, slots: list[int]) -> Iterator[tuple[Fold, int]]:
        """K on the rows: the folds of one copy."""
        work, buffers, rows = self.work, self.buffers, self.cut.rows
        chunks = -(-work.y_lanes // rows)
        rest = work.y_lanes - (chunks - 1) * rows
        for tile, start in enumerate(range(0, work.x_lanes, self.array.cols)):
            cols = min(self.array.cols, work.x_lanes - start)
            length = slots[tile] if work.x_selected else slots[0]
            x_stays = cols * (work.x_k or length) <= buffers.x_half
            y_loads = tile == 0 or work.y_lanes * (work.y_k or length) > buffers.y_half
            for chunk in range(chunks):
                streamed = rest if chunk == chunks - 1 else rows
                x_loads = chunk == 0 or not x_stays
                yield from self._column(streamed, cols, length, x_loads, y_loads)

    def _column(self, streamed: int, cols: int, slots: int, x_loads: bool, y_loads: bool) -> Runs:
        """All folds along K of one tile of columns and one chunk."""
        work, buffers, pieces = self.work, self.buffers, self.cut.pieces
        deep = -(-slots // self.array.rows)
        over = max(0, streamed * cols - buffers.sums_half) if buffers.spill and deep > 1 else 0
        x_k, y_k = work.x_k or slots, work.y_k or slots
        x_part, y_part = self.array.rows * x_k // slots, self.array.rows * y_k // slots

        def fold(x_size: int, y_size: int, place: int) -> Fold:
            x, y = cols * x_size, streamed * y_size
            return Fold(
                streamed=streamed,
                x_read=x,
                y_read=y,
                x_load=x if x_loads else 0,
                y_load=y if y_loads else 0,
                sums_in=over if place > 0 else 0,
                sums_out=over if place < deep - 1 else 0,
                outputs=streamed * cols if place == deep - 1 else 0,
                pieces=pieces,
                shares=deep * pieces,
                opens=place == 0,
            )

        last = fold(x_k - (deep - 1) * x_part, y_k - (deep - 1) * y_part, deep - 1)
        if deep == 1:
            return ((last, 1),)
        return ((fold(x_part, y_part, 0), 1), (fold(x_part, y_part, 1), deep - 2), (last, 1))

    def in_time(self, slots: list[int]) -> Iterator[tuple[Fold, int]]:
        """K in time: the folds of one copy, each a tile of C."""
        work, buffers, array = self.work, self.buffers, self.array
        x_stays = self._x_elements(slots) <= buffers.x_half
        for row, down in enumerate(range(0, work.y_lanes, array.rows)):
            high = min(array.rows, work.y_lanes - down)
            for tile, across in enumerate(range(0, work.x_lanes, array.cols)):
                wide = min(array.cols, work.x_lanes - across)
                at = tile if work.x_selected else row if work.y_selected else 0
                x, y = wide * (work.x_k or slots[at]), high * (work.y_k or slots[at])
                one = Fold(
                    streamed=-(-slots[at] // array.dot_width),
                    x_read=x,
                    y_read=y,
                    x_load=x if row == 0 or not x_stays else 0,
                    y_load=y if tile == 0 or y > buffers.y_half else 0,
                    sums_in=0,
                    sums_out=0,
                    outputs=high * wide,
                    pieces=self.cut.pieces,
                    shares=self.cut.pieces,
                    opens=True,
                )
                yield one, 1

    def _x_elements(self, slots: list[int]) -> int:
        """Stored elements of x, of all its tiles together."""
        work, cols = self.work, self.array.cols
        if work.x_k:
            return work.x_lanes * work.x_k
        return sum(
            length * min(cols, work.x_lanes - tile * cols) for tile, length in enumerate(slots)
        )
