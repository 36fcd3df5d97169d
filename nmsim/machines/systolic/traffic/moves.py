"""What moves on an array, counted in closed form: words from PE to PE, sums, bytes of the buffers.

Counts for a table of energies, which has a price for each. A *word* is what a register between PEs
holds: an element of an operand, or the group that a selecting PE picks one of. Words that an
operand has are counted, padding of ragged folds is not; but a word passes on to the array's edge,
through PEs that have nothing to do with it, too.

The C buffer holds sums at full width: every fold writes its own, having read those before it, and
results are read once more when they leave. Sums that it has no room for pass through it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.folders import columns_in
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray

__all__ = ["COLUMNS", "Passed", "Tile", "passed", "tile_of", "tiles_of"]

COLUMNS = columns_in(Path(__file__).parents[1], "moves")
"""Columns of a result table that say what moves on an array."""


class Tile(NamedTuple):
    """So many tiles of C alike: columns and rows that have lanes, and what PEs take along K.

    That is slots, or elements where PEs hold whole groups. With K on the rows a tile has as many
    rows as there are lanes that stream, and ``kept`` is what of the held operand is stored along K.
    """

    alike: int
    width: int
    high: int
    along: int
    kept: int


class Passed(NamedTuple):
    """Words and sums of one launch from PE to PE, and sums that folds write to the C buffer."""

    words: int
    sums: int
    made: int


def passed(
    machine: SystolicArray, placement: Placement, tiles: Iterable[Tile], chunks: int = 1
) -> Passed:
    """What moves from PE to PE in one launch, and what its folds make.

    Parameters
    ----------
    tiles
        Of all copies.
    chunks
        Into how many the rows are cut that stream, with K on the rows: as often is x held anew.
    """
    one = _on_rows if placement.dataflow.preloads else _in_time
    each = [one(machine, tile, chunks) for tile in tiles]
    return Passed._make(map(sum, zip(*each, strict=True)))


def _on_rows(machine: SystolicArray, tile: Tile, chunks: int) -> Passed:
    """K on the rows: x shifts down to its row, y streams right, sums run down.

    A word of row r passes r times; a streaming word passes C - 1 times, a sum R - 1 times. A row
    takes ``each`` of what lies along K; what it holds of that is kept. Multipliers that share a
    group are handed it as one word, and so is a PE that holds groups.
    """
    r, c = machine.rows, machine.cols
    alike, width, high, along, kept = tile
    each = machine.depth // r
    full, rest = divmod(along, machine.depth)
    of_rest, last = divmod(rest, each)
    down = full * each * (r * (r - 1) // 2) + each * (of_rest * (of_rest - 1) // 2) + last * of_rest
    held = width * (down * kept // along)
    made = width * high * (full + (rest > 0))
    together = machine.group if machine.holds_groups else machine.pe.macs_per_group
    words = chunks * held + (c - 1) * high * -(-along // together)
    return Passed(alike * words, alike * (r - 1) * made, alike * made)


def _in_time(machine: SystolicArray, tile: Tile, _chunks: int) -> Passed:
    """K in time: both operands stream, to the right and down, and sums shift down and out.

    That of row r passes R - 1 - r times.
    """
    r, c = machine.rows, machine.cols
    alike, width, high, along, _ = tile
    words = along * (high * (c - 1) + width * (r - 1)) if machine.feed == "skewed" else 0
    sums = width * (high * (r - 1) - high * (high - 1) // 2)
    return Passed(alike * words, alike * sums, alike * width * high)


def tiles_of(machine: SystolicArray, placement: Placement, slots: NDArray[np.int64]) -> list[Tile]:
    """The tiles of a placement, those alike together, from slots along K: copies x tiles.

    Tiles of slots are those of the selected operand's lanes; there is one if no other is needed.
    """
    x, y = placement.rows_of(placement.x), placement.rows_of(placement.y)
    across = _cut(x, machine.cols)
    down = [(1, y)] if placement.dataflow.preloads else _cut(y, machine.rows)
    if slots.shape[1] == 1:
        found = _alike(slots[:, 0])
        each = [(n * i * j, w, h, k) for n, (k,) in found for i, w in across for j, h in down]
    else:
        columns = placement.lanes == "cols"
        (first, size), (_, last) = (
            (across if columns else down)[0],
            (across if columns else down)[-1],
        )
        lanes = np.where(np.arange(slots.shape[1]) < first, size, last)
        found = _alike(np.broadcast_to(lanes, slots.shape).ravel(), slots.ravel())
        each = [
            (n * i, lanes, other, k) if columns else (n * i, other, lanes, k)
            for n, (lanes, k) in found
            for i, other in (down if columns else across)
        ]
    return [tile_of(machine, placement, *one) for one in each]


def _alike(*columns: NDArray[np.int64]) -> list[tuple[int, tuple[int, ...]]]:
    """Distinct rows of some columns, and how often each is there."""
    if all((one == one[0]).all() for one in columns):  # as of most masks: nothing to sort
        return [(len(columns[0]), tuple(int(one[0]) for one in columns))]
    rows, counts = np.unique(np.stack(columns, axis=1), axis=0, return_counts=True)
    return [(n, tuple(row)) for row, n in zip(rows.tolist(), counts.tolist(), strict=True)]


def tile_of(
    machine: SystolicArray, placement: Placement, alike: int, width: int, high: int, slots: int
) -> Tile:
    """So many tiles of a placement alike, which take so many slots along K."""
    if not machine.holds_groups:
        return Tile(alike, width, high, slots, slots)
    kept = placement.along_k(placement.x) or placement.k
    return Tile(alike, width, high, placement.k, kept)


def _cut(lanes: int, size: int) -> list[tuple[int, int]]:
    """Tiles of so many lanes: full ones and the ragged one, as (how many, lanes in each)."""
    full, rest = divmod(lanes, size)
    return [(count, lanes) for count, lanes in ((full, size), (1, rest)) if count and lanes]
