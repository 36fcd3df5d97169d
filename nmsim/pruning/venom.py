"""V:N:M by magnitude: V rows drop all columns of a group but four, then each row keeps N of those.

Castro et al. (VENOM, SC 2023) introduce the format, whose column selection makes any M run on an
instruction for 2:4. A column's importance is the sum of its magnitudes over the V rows (Zhao et
al., "Beyond 2:4", 2025); what a row keeps of the four columns are its largest, as in N:M pruning.
"""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.pattern import COLUMNS_KEPT
from nmsim.pruning import Block, pruner
from nmsim.pruning.parts.effort import vectors

__all__ = ["venom"]


@compiled
def _largest(sizes: NDArray[np.float64], keep: int, out: NDArray[np.bool_]) -> None:
    """Mark the largest of sizes that are not negative, of equals the first; all if so few."""
    out[:] = False
    for _ in range(min(keep, len(sizes))):
        best = -1
        for i in range(len(sizes)):
            if not out[i] and (best < 0 or sizes[i] > sizes[best]):
                best = i
        out[best] = True


@compiled
def _keep_of_vectors(
    sizes: NDArray[np.float64],
    vector: int,
    keep: int,
    group: int,
    columns: int,
    mask: NDArray[np.bool_],
) -> None:
    """Fill the mask of one matrix; rows from ``vector`` to ``vector`` share their columns."""
    rows, k = sizes.shape
    for top in range(0, rows, vector):
        bottom = min(top + vector, rows)
        for left in range(0, k, group):
            right = min(left + group, k)
            sums = np.zeros(right - left)
            for row in range(top, bottom):
                sums += sizes[row, left:right]
            chosen = np.empty(right - left, np.bool_)
            _largest(sums, columns, chosen)
            places = left + np.flatnonzero(chosen)
            held, kept = np.empty(len(places)), np.empty(len(places), np.bool_)
            mask[top:bottom, left:right] = False
            for row in range(top, bottom):
                for i in range(len(places)):
                    held[i] = sizes[row, places[i]]
                _largest(held, keep, kept)
                for i in range(len(places)):
                    mask[row, places[i]] = kept[i]


@pruner(
    "venom",
    summary="V rows keep the four columns of every M with the largest sums, each row the N "
    "largest of them; ties keep the lowest index",
    source="Castro et al., VENOM, SC 2023; column importance: Zhao et al., Beyond 2:4, 2025",
    regular=True,
    unit="vector",
    effort=vectors,
)
def venom(block: Block) -> None:
    """Keep N of the four columns that V rows of a group share; ties keep the lowest index.

    Without a V a row has all columns of its group to choose from, as by ``magnitude``.
    """
    pattern, (rows, k) = block.pattern, block.values.shape
    vector, columns = pattern.vector or 1, COLUMNS_KEPT if pattern.vector else pattern.group
    high = block.matrix_rows if rows % block.matrix_rows == 0 else rows
    if block.matrix_rows % vector == 0:  # a block is of whole vectors, wherever it starts
        high = rows
    sizes = np.abs(block.values.astype(np.float64))
    largest = float(sizes.max(initial=0.0))
    if largest > 1e300:  # sums of V of them stay finite
        sizes /= largest
    mask = np.empty((rows, k), np.bool_)
    for start in range(0, rows, max(high, 1)):
        part = slice(start, start + high)
        _keep_of_vectors(sizes[part], vector, pattern.keep, pattern.group, columns, mask[part])
    block.keep(mask)
