"""Transposable masks in nearly linear time: two greedy algorithms that are not the same one.

Hubara et al. (NeurIPS 2021) print Algorithm 1, which prunes from light to heavy, and release code
which keeps from heavy to light. The first bounds what is pruned (at most twice the optimum), the
second what is kept (at least half of the optimum).
"""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.pruning import Block, pruner
from nmsim.pruning.parts.effort import tile_sort
from nmsim.pruning.parts.tiles import tiles, untile

__all__ = ["keep_greedily", "transposable_2approx", "transposable_greedy"]


@compiled
def _descending(sizes: NDArray[np.float64], order: NDArray[np.int64]) -> None:
    """Flat indices by descending size, ties lowest index first.

    Counting what precedes each element vectorises, and on tiles it beats a sort.
    """
    for i in range(len(sizes)):
        size, before = sizes[i], 0
        for j in range(i):
            before += sizes[j] >= size
        for j in range(i + 1, len(sizes)):
            before += sizes[j] > size
        order[before] = i


@compiled
def keep_greedily(
    sizes: NDArray[np.float64],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    keep: int,
    kept: NDArray[np.bool_],
) -> None:
    """Mark elements of tiles in descending order while their row and column have room."""
    group = sizes.shape[1]
    order = np.empty(group * group, np.int64)
    in_row, in_column = np.empty(group, np.int64), np.empty(group, np.int64)
    flat, place = np.empty(group * group), np.empty((group * group, 2), np.int64)
    for t in range(len(sizes)):
        h, w = heights[t], widths[t]
        for i in range(h):
            for j in range(w):
                flat[i * w + j] = sizes[t, i, j]
                place[i * w + j, 0], place[i * w + j, 1] = i, j
        _descending(flat[: h * w], order)
        in_row[:] = 0
        in_column[:] = 0
        for at in order[: h * w]:
            i, j = place[at, 0], place[at, 1]
            if in_row[i] < keep and in_column[j] < keep:
                kept[t, i, j] = True
                in_row[i] += 1
                in_column[j] += 1


@compiled
def _keep_common_tops(
    sizes: NDArray[np.float64],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    keep: int,
    kept: NDArray[np.bool_],
) -> None:
    larger_in_column = np.empty(sizes.shape[1], np.int64)
    for t in range(len(sizes)):
        h, w = heights[t], widths[t]
        for i in range(h):
            row = sizes[t, i]
            larger_in_column[:] = 0
            for other in range(h):
                for j in range(w):
                    size = sizes[t, other, j]
                    larger_in_column[j] += (size > row[j]) | ((size == row[j]) & (other > i))
            for j in range(w):
                larger = 0
                for other in range(w):
                    larger += (row[other] > row[j]) | ((row[other] == row[j]) & (other > j))
                kept[t, i, j] = larger < keep and larger_in_column[j] < keep


@pruner(
    "transposable-greedy",
    summary="keeps from heavy to light where row and column of the M x M tile have room",
    source="the code released with Hubara et al., NeurIPS 2021 (not its Algorithm 1)",
    regular=False,
    transposable=True,
    unit="tile",
    effort=tile_sort,
)
def transposable_greedy(block: Block) -> None:
    """Go through a tile in descending magnitude; keep an element if its row and column have room.

    Keeps at least half of the magnitude that the optimal mask keeps, and at most N in every row
    and column. Among equals the lowest flat index of the tile goes first.
    """
    tile = tiles(block)
    kept = np.zeros(tile.sizes.shape, np.bool_)
    keep_greedily(*tile, block.pattern.keep, kept)
    block.keep(untile(block, kept))


@pruner(
    "transposable-2approx",
    summary="keeps what is among the N largest of its row and of its column of the M x M tile",
    source="Hubara et al., NeurIPS 2021, Algorithm 1 with < for <=, and its lemma",
    regular=False,
    transposable=True,
    unit="tile",
    effort=tile_sort,
)
def transposable_2approx(block: Block) -> None:
    """Algorithm 1 of Hubara et al. (NeurIPS 2021): prune from light to heavy.

    An element is pruned if fewer than M - N are pruned in its row or in its column. An element is
    then kept if and only if both its row and its column have M - N that go before it: it is among
    the N largest of both. The pruned magnitude is at most twice that of the optimal mask with
    exactly N in every row and column. The algorithm prunes the lowest flat index first, so among
    equals the highest index is kept. (As printed, with <=, it prunes one more per row and column.)
    """
    tile = tiles(block)
    kept = np.zeros(tile.sizes.shape, np.bool_)
    _keep_common_tops(*tile, block.pattern.keep, kept)
    block.keep(untile(block, kept))
