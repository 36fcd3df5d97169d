"""The optimal transposable mask: N:M along rows and along columns, most magnitude kept.

Hubara et al. (NeurIPS 2021, Eq. 3 and Figure 4) reduce it to a minimum-cost flow on tiles of M x M.
The flow is solved here by successive shortest paths with node prices (Edmonds and Karp, JACM 19,
1972; Tomizawa, Networks 1, 1971), started from a dual solution that leaves little to do: every row
keeps its N largest, all columns are priced zero. That is optimal but for columns that hold too
many, and each shortest path takes one element out of such a column, through rows that swap one
element for another, into a column with room (or, where at most N are asked for, out of the tile).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.pattern import Pattern
from nmsim.pruning import Block, pruner
from nmsim.pruning.parts.effort import flow
from nmsim.pruning.parts.tiles import tiles, untile

__all__ = ["transposable"]

_OUT = -1
_LARGEST_GROUP = 32


class _Tile(NamedTuple):
    """A tile of M x M magnitudes, its mask, and the prices that prove the mask optimal.

    With gain = size - row_price - column_price, what is kept has gain >= 0 and what is not has
    gain <= 0; a column with room is priced 0, and so is a row with room; no price is negative
    (but rows may be where exactly N are asked for). Kept is then optimal for what is held.
    """

    sizes: NDArray[np.float64]
    kept: NDArray[np.bool_]
    held: NDArray[np.int64]
    row_price: NDArray[np.float64]
    column_price: NDArray[np.float64]


class _Search(NamedTuple):
    """Distances of rows and columns from the columns that hold too many, and the way there."""

    row_far: NDArray[np.float64]
    row_done: NDArray[np.bool_]
    row_from: NDArray[np.int64]
    column_far: NDArray[np.float64]
    column_done: NDArray[np.bool_]
    column_from: NDArray[np.int64]


class _End(NamedTuple):
    """Where a path ends: in a column with room, or out of the tile (column is _OUT)."""

    far: float
    row: int
    column: int


@compiled
def _keep_row_tops(keep: int, tile: _Tile) -> None:
    """Keep the N largest of every row, priced at the smallest of them, or 0 if it has room."""
    height, width = tile.sizes.shape
    tile.held[:] = 0
    tile.column_price[:] = 0.0
    for i in range(height):
        row = tile.sizes[i]
        least = np.inf
        for j in range(width):
            larger = 0
            for other in range(j):
                larger += row[other] >= row[j]
            for other in range(j + 1, width):
                larger += row[other] > row[j]
            tile.kept[i, j] = larger < keep
            if larger < keep:
                tile.held[j] += 1
                least = min(least, row[j])
        tile.row_price[i] = least if width > keep else 0.0


@compiled
def _nearest(search: _Search) -> tuple[float, int, bool]:
    """Find the nearest node that is not done: distance, index, whether it is a row."""
    far, at, is_row = np.inf, 0, False
    for j in range(len(search.column_far)):
        if search.column_far[j] < far and not search.column_done[j]:
            far, at = search.column_far[j], j
    for i in range(len(search.row_far)):
        if search.row_far[i] < far and not search.row_done[i]:
            far, at, is_row = search.row_far[i], i, True
    return far, at, is_row


@compiled
def _scan_row(
    i: int, far: float, end: _End, limits: tuple[int, bool], tile: _Tile, search: _Search
) -> _End:
    """Reach columns through an element that row ``i`` would take; give the best path end so far."""
    keep, exact = limits
    price = tile.row_price[i]
    # Rounding can leave a gain on the wrong side of zero, hence max().
    if not exact and far + max(price, 0.0) < end.far:
        end = _End(far + max(price, 0.0), i, _OUT)
    for j in range(tile.sizes.shape[1]):
        if tile.kept[i, j]:
            continue
        reach = far + max(price + tile.column_price[j] - tile.sizes[i, j], 0.0)
        if reach < search.column_far[j]:
            search.column_far[j] = reach
            search.column_from[j] = i
            better = reach < end.far or (reach == end.far and end.column == _OUT)
            if tile.held[j] < keep and better:
                end = _End(reach, i, j)
    return end


@compiled
def _scan_column(j: int, far: float, tile: _Tile, search: _Search) -> None:
    """Reach rows through an element of column ``j`` that they would give up."""
    for i in range(tile.sizes.shape[0]):
        if tile.kept[i, j]:
            gain = tile.sizes[i, j] - tile.row_price[i] - tile.column_price[j]
            reach = far + max(gain, 0.0)
            if reach < search.row_far[i]:
                search.row_far[i] = reach
                search.row_from[i] = j


@compiled
def _shortest_path(limits: tuple[int, bool], tile: _Tile, search: _Search) -> _End:
    """Run Dijkstra's algorithm from all columns that hold too many, to the nearest end."""
    search.row_far[:] = np.inf
    search.row_done[:] = False
    for j in range(len(tile.held)):
        source = tile.held[j] > limits[0]
        search.column_done[j] = source
        search.column_far[j] = 0.0 if source else np.inf
        search.column_from[j] = _OUT
        if source:
            _scan_column(j, 0.0, tile, search)
    end = _End(np.inf, _OUT, _OUT)
    while True:
        far, at, is_row = _nearest(search)
        if far >= end.far:
            return end
        if is_row:
            search.row_done[at] = True
            end = _scan_row(at, far, end, limits, tile, search)
        else:
            search.column_done[at] = True
            _scan_column(at, far, tile, search)


@compiled
def _augment(end: _End, tile: _Tile, search: _Search) -> None:
    """Swap along the path and move the prices, so that the tile is optimal for what it holds."""
    for j in range(len(tile.held)):
        tile.column_price[j] += max(end.far - search.column_far[j], 0.0)
    for i in range(len(tile.row_price)):
        tile.row_price[i] -= max(end.far - search.row_far[i], 0.0)
    row = end.row
    if end.column != _OUT:
        tile.kept[row, end.column] = True
        tile.held[end.column] += 1
    while True:
        column = search.row_from[row]
        tile.kept[row, column] = False
        row = search.column_from[column]
        if row == _OUT:
            tile.held[column] -= 1
            return
        tile.kept[row, column] = True


@compiled
def _solve(
    sizes: NDArray[np.float64],
    heights: NDArray[np.int64],
    widths: NDArray[np.int64],
    limits: tuple[int, bool],
    kept: NDArray[np.bool_],
) -> None:
    """Find the optimal masks of tiles x M x M magnitudes, each by its real height and width."""
    group = sizes.shape[1]
    far, price = np.empty((2, group)), np.empty((2, group))
    done, came = np.empty((2, group), np.bool_), np.empty((2, group), np.int64)
    held = np.empty(group, np.int64)
    for t in range(len(sizes)):
        h, w = heights[t], widths[t]
        tile = _Tile(sizes[t, :h, :w], kept[t, :h, :w], held[:w], price[0, :h], price[1, :w])
        search = _Search(far[0, :h], done[0, :h], came[0, :h], far[1, :w], done[1, :w], came[1, :w])
        _keep_row_tops(limits[0], tile)
        for _ in range(np.maximum(tile.held - limits[0], 0).sum()):
            _augment(_shortest_path(limits, tile, search), tile, search)


def _prefer_real_zeros(
    sizes: NDArray[np.float64], heights: NDArray[np.int64], widths: NDArray[np.int64]
) -> None:
    """Tell real zeros of short tiles from padding by a bonus too small for any other choice."""
    group = sizes.shape[1]
    for t in np.flatnonzero((heights < group) | (widths < group)):
        real = sizes[t, : heights[t], : widths[t]]
        real[real == 0.0] = (real.max(initial=0.0) or 1.0) * 2.0**-48


def _within_solver(pattern: Pattern) -> str:
    if pattern.group <= _LARGEST_GROUP:
        return ""
    return f"tiles of {pattern.group} x {pattern.group}, expected at most {_LARGEST_GROUP}"


@pruner(
    "transposable",
    summary="keeps the most magnitude with N:M along rows and columns, on tiles of M x M",
    source="Hubara et al., NeurIPS 2021, Eq. 3 (at most N per row and column; exactly N: exact)",
    regular=False,
    transposable=True,
    unit="tile",
    limits=_within_solver,
    effort=flow,
)
def transposable(block: Block, *, exact: bool = False) -> None:
    """Keep the most magnitude with N:M along the rows and the columns of every M x M tile.

    Sum of |w| kept is the maximum, in binary64. Which of several optimal masks is taken is not
    defined. Hardware needs at most N in a row or column, which can keep more magnitude than
    exactly N (Eq. 3 of Hubara et al., NeurIPS 2021, with N read as the kept count).

    Parameters
    ----------
    block
        Whole tiles; edge tiles may be short.
    exact
        Exactly N in every row and column. A short tile is padded with zeros, which stand in for
        real elements only where its rows and columns cannot hold N each.
    """
    sizes, heights, widths = tiles(block)
    group = block.pattern.group
    if exact:
        _prefer_real_zeros(sizes, heights, widths)
        heights, widths = np.full_like(heights, group), np.full_like(widths, group)
    kept = np.zeros(sizes.shape, np.bool_)
    _solve(sizes, heights, widths, (block.pattern.keep, exact), kept)
    block.keep(untile(block, kept))
