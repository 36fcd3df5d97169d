"""Cycles of an intersecting array, from the bits of both masks.

An output-stationary fold of R x C processing elements (PEs) skips every product with a zero: PE
(r, c) spends one cycle on each surviving product, an element of K that both its rows of A and of B
keep. Elements stream in groups, and a PE may run at most d groups ahead of the fold's slowest::

    t(r, c, g) = max(t(r, c, g - 1), F(g - 1 - d)) + popcount(a[r, g] & b[c, g])
    F(g)       = max over the fold's PEs of t(., ., g);  F(negative) = 0

d = 0 is lock-step, the sum over groups of the fullest PE; d = infinity is perfect, the largest sum
of any PE; every other d lies between. A group in which no PE has a survivor takes no cycle, and so
does an element that a short last group lacks. Filling and draining the array is not counted here.
"""

from typing import Any, NamedTuple

import numpy as np

from nmsim.jit import compiled, map_blocks
from nmsim.machines.systolic.intersect.survivors import (
    Counts,
    Lanes,
    check_operands,
    load_lanes,
    tile_spans,
)
from nmsim.mask import Mask
from nmsim.mask.words import Words, popcount

__all__ = ["Fabric", "fold_cycles", "fold_spans", "run_folds"]

_DEEP = 16  # words along K between two visits to a row of A: of 128 columns they take 16 KiB of L1
_BLOCKS = 16  # pieces of work for threads: enough to balance, few enough to load rows seldom


class Fabric(NamedTuple):
    """The PEs of an intersecting array: rows, columns, elements of a group, and look-ahead.

    Parameters
    ----------
    rows, cols
        Of PEs.
    group
        Elements of K in a group, 1 to 64; the last group may be short.
    lookahead
        Groups d that a PE may run ahead of the slowest one: 0 lock-step, None without limit.
    """

    rows: int
    cols: int
    group: int
    lookahead: int | None


class _Along(NamedTuple):
    """K, the elements of a group of it, and how many groups a PE may run ahead."""

    k: int
    group: int
    lookahead: int


@compiled
def _survivor_lines(a: Lanes, b: Lanes, line: Counts, seen: Counts, table: Lanes) -> None:
    """Survivors of one group in every PE, one line of the table for each distinct value of A.

    Rows of A repeat: a group of 4 has 16 values at most, so 128 rows need few lines. ``seen`` finds
    them for groups up to 8; it is empty for longer ones, and each row gets its own line.
    """
    lines = 0
    seen[:] = -1
    for row in range(len(a)):
        if len(seen) and seen[a[row]] >= 0:
            line[row] = seen[a[row]]
            continue
        if len(seen):
            seen[a[row]] = lines
        line[row] = lines
        for column in range(len(b)):
            table[lines, column] = popcount(a[row] & b[column])
        lines += 1


@compiled
def _advance(state: Lanes, table: Lanes, line: Counts, step: Lanes, tops: Lanes) -> int:
    """Run one group in every PE; the latest finish, relative to the floor of this group.

    ``state`` holds finishes relative to the floor of the group before, ``step`` how far the floor
    rose. Column maxima instead of one running maximum let the loop vectorise without reductions.
    """
    tops[:] = 0
    for row in range(state.shape[0]):
        finish, survivors = state[row], table[line[row]]
        for column in range(state.shape[1]):
            ahead = max(finish[column], step[0]) - step[0]
            finish[column] = ahead + survivors[column]
            tops[column] = max(tops[column], finish[column])
    return int(tops.max())


@compiled
def _ahead_fold(a: Lanes, b: Lanes, state: Lanes, lookahead: int, group: int) -> int:
    """Cycles of one fold whose PEs wait for each other; d below the number of groups."""
    groups, rows = a.shape
    finish = np.zeros(groups + 1, np.int64)
    line = np.empty(rows, np.int64)
    seen = np.empty(256 if group <= 8 else 0, np.int64)
    table, step, tops = np.empty_like(state), np.empty_like(state[0, :1]), np.empty_like(state[0])
    state[:] = 0
    floor = np.int64(0)
    for g in range(groups):
        rise = finish[max(g - lookahead, 0)] - floor
        floor += rise
        step[0] = rise
        _survivor_lines(a[g], b[g], line, seen, table)
        finish[g + 1] = floor + _advance(state, table, line, step, tops)
    return int(finish[groups])


@compiled
def _free_fold(a: Lanes, b: Lanes, columns: int, sums: Counts) -> int:
    """The largest sum of any PE of one fold; groups are whole words, four at a time.

    Words are taken in blocks of ``_DEEP``, whose rows of B stay near the processor while all rows
    of A pass; ``sums``, rows x columns, holds what the blocks before have found.
    """
    groups, rows = a.shape
    sums[:] = 0
    for start in range(0, groups, _DEEP):
        stop = min(start + _DEEP, groups)
        whole = stop - (stop - start) % 4
        for row in range(rows):
            own = sums[row]
            for g in range(start, whole, 4):
                a0, a1, a2, a3 = a[g, row], a[g + 1, row], a[g + 2, row], a[g + 3, row]
                b0, b1, b2, b3 = b[g], b[g + 1], b[g + 2], b[g + 3]
                for column in range(columns):
                    own[column] += (popcount(a0 & b0[column]) + popcount(a1 & b1[column])) + (
                        popcount(a2 & b2[column]) + popcount(a3 & b3[column])
                    )
            for g in range(whole, stop):
                a0, b0 = a[g, row], b[g]
                for column in range(columns):
                    own[column] += popcount(a0 & b0[column])
    largest = np.int64(0)
    for row in range(rows):
        for column in range(columns):
            largest = max(largest, sums[row, column])
    return int(largest)


@compiled
def _load_tiles(words: Words, spans: Counts, k: int, group: int, out: Lanes) -> None:
    for i in range(len(spans)):
        load_lanes(words, spans[i, 0], spans[i, 1], k, group, out[i])


@compiled
def _ahead_folds(
    a: Words, b: Lanes, jobs: Counts, along: _Along, lanes: Lanes, state: Lanes, out: Counts
) -> None:
    """Cycles of folds (first row, last row, tile of B, columns), look-ahead d."""
    k, group, lookahead = along
    loaded = np.int64(-1)
    for i in range(len(jobs)):
        first, last, tile, columns = jobs[i]
        if first != loaded:
            load_lanes(a, first, last, k, group, lanes)
            loaded = first
        rows = last - first
        own = state[: rows * columns].reshape((rows, columns))
        out[i] = _ahead_fold(lanes[:, :rows], b[tile][:, :columns], own, lookahead, group)


@compiled
def _free_folds(a: Words, b: Lanes, jobs: Counts, k: int, lanes: Lanes, out: Counts) -> None:
    """Cycles of folds (first row, last row, tile of B, columns), no limit to look-ahead."""
    loaded = np.int64(-1)
    sums = np.empty((lanes.shape[1], b.shape[2]), np.int64)
    for i in range(len(jobs)):
        first, last, tile, columns = jobs[i]
        if first != loaded:
            load_lanes(a, first, last, k, 64, lanes)
            loaded = first
        # Whole tiles of B, not slices: the inner loop must see that its words are neighbours.
        out[i] = _free_fold(lanes[:, : last - first], b[tile], columns, sums)


def _state_type(reach: int) -> Any:
    # Finishes are kept relative to the floor, which no PE passes by more than d + 1 full groups;
    # the narrower they are, the more PEs a vector instruction advances.
    return np.uint8 if reach <= 0xFF else np.uint32


def run_folds(a: Mask, b: Mask, jobs: tuple[Counts, Counts], fabric: Fabric) -> Counts:
    """Cycles of the folds given by their spans of rows of A and of B, each folds x 2."""
    lookahead = fabric.lookahead
    free = lookahead is None or lookahead >= -(-a.k // fabric.group)
    group = 64 if free else fabric.group
    kind = np.uint8 if group <= 8 else np.uint64
    groups = -(-a.k // group)
    spans, tile = np.unique(jobs[1], axis=0, return_inverse=True)
    b_lanes = np.zeros((len(spans), groups, fabric.cols), kind)
    _load_tiles(b.words, spans, a.k, group, b_lanes)
    width = jobs[1][:, 1] - jobs[1][:, 0]
    table = np.column_stack([jobs[0], tile.reshape(-1), width])
    out = np.zeros(len(table), np.int64)
    words = a.words

    def work(start: int, stop: int) -> None:
        lanes = np.zeros((groups, fabric.rows), kind)
        own = table[start:stop]
        if free or lookahead is None:
            _free_folds(words, b_lanes, own, a.k, lanes, out[start:stop])
            return
        state = np.empty(fabric.rows * fabric.cols, _state_type((lookahead + 1) * group))
        along = _Along(a.k, group, lookahead)
        _ahead_folds(words, b_lanes, own, along, lanes, state, out[start:stop])

    map_blocks(work, len(table), max(1, len(table) // _BLOCKS))
    return out


def fold_spans(
    a: Mask, b: Mask, copies: int, rows: int, cols: int
) -> tuple[Counts, Counts, tuple[int, int, int]]:
    """Spans of A and of B of every fold, and copies x row tiles x column tiles."""
    sides = (tile_spans(a.rows, copies, rows), tile_spans(b.rows, copies, cols))
    shape = (copies, len(sides[0]) // copies, len(sides[1]) // copies)
    copy, i, j = np.indices(shape).reshape(3, -1)
    return sides[0][copy * shape[1] + i], sides[1][copy * shape[2] + j], shape


def fold_cycles(a: Mask, b: Mask, copies: int, fabric: Fabric) -> Counts:
    """Cycles that every fold spends on surviving products.

    Parameters
    ----------
    a, b
        Masks of copies.M x K and copies.N x K: A runs down the rows of the array, B along columns.
    copies
        Copies of the GEMM in one launch.
    fabric
        PEs of the array.

    Returns
    -------
    int64 array, copies x row tiles x column tiles

    Raises
    ------
    ShapeError
        if the masks differ in K or do not hold whole copies, or group or look-ahead is impossible.
    """
    check_operands(a, b, copies, fabric.group, fabric.lookahead)
    tiles_a, tiles_b, shape = fold_spans(a, b, copies, fabric.rows, fabric.cols)
    return run_folds(a, b, (tiles_a, tiles_b), fabric).reshape(shape)
