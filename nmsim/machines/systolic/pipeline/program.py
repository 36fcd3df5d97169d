"""The folds of a GEMM one by one, in the order of ``nmsim.machines.systolic.pipeline.folds``.

Kernels add folds up; here they are told, for who looks at single ones. A test holds what they come
to as events against the kernels' sums.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.systolic.pipeline.folds import Array, Buffers, Cut, Fold, Work

__all__ = ["folds_of"]

Counts = NDArray[np.int64]


def folds_of(
    array: Array,
    buffers: Buffers,
    work: Work,
    cut: Cut,
    slots: Counts,
    cycles: Counts | None = None,
) -> Iterator[Fold]:
    """All folds of all copies of a GEMM, in order.

    Parameters
    ----------
    slots, cycles
        As ``nmsim.machines.systolic.pipeline.cutting.sum_folds`` takes them.
    """
    for copy in range(work.copies):
        of_tile = slots[copy].tolist()
        if array.timing.held:
            yield from _on_rows(array, buffers, work, cut, of_tile)
        else:
            spent = None if cycles is None else cycles[copy].tolist()
            yield from _in_time(array, buffers, work, cut, of_tile, spent)


def _on_rows(
    array: Array, buffers: Buffers, work: Work, cut: Cut, slots: list[int]
) -> Iterator[Fold]:
    """K on the rows: tiles of columns, chunks of streamed rows, folds along K."""
    for tile, left in enumerate(range(0, work.x_lanes, array.cols)):
        cols = min(array.cols, work.x_lanes - left)
        length = slots[tile] if work.x_selected else slots[0]
        x_stays = cols * (work.x_k or length) <= buffers.x_half
        y_loads = tile == 0 or work.y_lanes * (work.y_k or length) > buffers.y_half
        for top in range(0, work.y_lanes, cut.rows):
            streamed = min(cut.rows, work.y_lanes - top)
            for one in _column(array, buffers, work, length, (streamed, cols), cut.pieces):
                x_loads = top == 0 or not x_stays
                yield one._replace(
                    x_load=one.x_read if x_loads else 0, y_load=one.y_read if y_loads else 0
                )


def _column(
    array: Array, buffers: Buffers, work: Work, slots: int, size: tuple[int, int], pieces: int
) -> Iterator[Fold]:
    """Folds along K of so many streamed rows and columns, nothing loaded."""
    streamed, cols = size
    deep = -(-slots // array.rows)
    over = max(0, streamed * cols - buffers.sums_half) if buffers.spill and deep > 1 else 0
    x_k, y_k = work.x_k or slots, work.y_k or slots
    x_part, y_part = array.rows * x_k // slots, array.rows * y_k // slots
    for at in range(deep):
        last = at == deep - 1
        yield Fold(
            streamed=streamed,
            x_read=cols * (x_k - at * x_part if last else x_part),
            y_read=streamed * (y_k - at * y_part if last else y_part),
            x_load=0,
            y_load=0,
            sums_in=over if at else 0,
            sums_out=0 if last else over,
            outputs=streamed * cols if last else 0,
            pieces=pieces,
            shares=deep * pieces,
            opens=at == 0,
        )


def _in_time(
    array: Array,
    buffers: Buffers,
    work: Work,
    cut: Cut,
    slots: list[int],
    spent: list[list[int]] | None,
) -> Iterator[Fold]:
    """K in time: rows of tiles of C, each a fold."""
    widths = [min(array.cols, work.x_lanes - at) for at in range(0, work.x_lanes, array.cols)]
    of_x = [slots[tile if work.x_selected else 0] for tile in range(len(widths))]
    held = sum(width * (work.x_k or length) for width, length in zip(widths, of_x, strict=True))
    for row, top in enumerate(range(0, work.y_lanes, array.rows)):
        high = min(array.rows, work.y_lanes - top)
        for tile, width in enumerate(widths):
            length = slots[row] if work.y_selected else of_x[tile]
            x, y = width * (work.x_k or length), high * (work.y_k or length)
            steps = -(-length // array.dot_width) if spent is None else spent[row][tile]
            yield Fold(
                streamed=steps,
                x_read=x,
                y_read=y,
                x_load=x if row == 0 or held > buffers.x_half else 0,
                y_load=y if tile == 0 or y > buffers.y_half else 0,
                sums_in=0,
                sums_out=0,
                outputs=high * width,
                pieces=cut.pieces,
                shares=cut.pieces,
                opens=True,
            )
