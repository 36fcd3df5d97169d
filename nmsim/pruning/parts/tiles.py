"""Tiles of M x M elements: a matrix taken apart, and a mask put together again."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.pruning.parts.contract import Block

__all__ = ["Tiles", "tiles", "untile"]

_LARGEST_SIZE = 2.0**1000
"""Above it, sums over a tile could overflow."""


class Tiles(NamedTuple):
    """Magnitudes of tiles x M x M, padded with zeros, and how much of each tile is real."""

    sizes: NDArray[np.float64]
    heights: NDArray[np.int64]
    widths: NDArray[np.int64]


def _lengths(total: int, group: int) -> NDArray[np.int64]:
    starts = np.arange(0, total, group)
    return np.minimum(group, total - starts)


def _padded(block: Block) -> tuple[int, int, int, int]:
    """Matrices in the block, rows of each, and tiles down and across."""
    rows, k = block.values.shape
    group = block.pattern.group
    whole_matrices = block.matrix_rows % group != 0 and rows % block.matrix_rows == 0
    matrices = rows // block.matrix_rows if whole_matrices else 1
    high = rows // matrices
    return matrices, high, -(-high // group), -(-k // group)


def tiles(block: Block) -> Tiles:
    """Cut the magnitudes of a block, as binary64, into tiles; scale those whose sums overflow.

    A block holds whole tiles: of one matrix, or of several whole matrices.
    """
    matrices, high, down, across = _padded(block)
    group, k = block.pattern.group, block.values.shape[1]
    padded = np.zeros((matrices, down * group, across * group))
    np.abs(block.values.reshape(matrices, high, k), out=padded[:, :high, :k], dtype=np.float64)
    sizes = padded.reshape(matrices, down, group, across, group).swapaxes(2, 3)
    if padded.size and padded.max() > _LARGEST_SIZE:
        huge = sizes.max(axis=(3, 4), keepdims=True) > _LARGEST_SIZE
        sizes = np.where(huge, sizes * (1.0 / _LARGEST_SIZE), sizes)
    heights = np.broadcast_to(_lengths(high, group)[:, None], (matrices, down, across))
    widths = np.broadcast_to(_lengths(k, group), (matrices, down, across))
    return Tiles(
        np.ascontiguousarray(sizes).reshape(-1, group, group),
        np.ascontiguousarray(heights).reshape(-1),
        np.ascontiguousarray(widths).reshape(-1),
    )


def untile(block: Block, kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Put the mask of a block, rows x K, together from those of its tiles."""
    matrices, high, down, across = _padded(block)
    group, (rows, k) = block.pattern.group, block.values.shape
    mask = kept.reshape(matrices, down, across, group, group).swapaxes(2, 3)
    return mask.reshape(matrices, down * group, across * group)[:, :high, :k].reshape(rows, k)
