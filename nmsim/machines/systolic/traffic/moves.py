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

from nmsim.jit import formula
from nmsim.machines.folders import columns_in
from nmsim.machines.systolic.closed_form.given import Resources
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray

__all__ = ["COLUMNS", "Passed", "Tile", "passed", "passed_bits", "passed_by", "tile_of", "tiles_of"]

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
    """What moves in one launch: words of x and of y and sums, from PE to PE.

    ``made`` are sums that folds write to the C buffer.
    """

    x_words: int
    y_words: int
    sums: int
    made: int


def passed(resources: Resources, tiles: Iterable[Tile], chunks: int = 1) -> Passed:
    """What moves from PE to PE in one launch, and what its folds make.

    Parameters
    ----------
    tiles
        Of all copies.
    chunks
        Into how many the rows are cut that stream, with K on the rows: as often is x held anew.
    """
    each = [passed_by(resources, tile, chunks) for tile in tiles]
    return Passed._make(map(sum, zip(*each, strict=True)))


class Widths(NamedTuple):
    """Bits that a PE hands on of x, and of y, for one slot: of a group its share of the slots."""

    x: int
    y: int


def passed_bits(machine: SystolicArray, placement: Placement, moved: Passed) -> int:
    """Bits of the words that move in one launch, groups whole."""
    widths = _widths(machine, placement)
    together = _sharing(machine) if placement.dataflow.preloads else 1
    return moved.x_words * widths.x + moved.y_words * widths.y * together


def _widths(machine: SystolicArray, placement: Placement) -> Widths:
    """Widths of a placement's operands.

    What is followed comes as values with their indices, the other operand by whole groups if PEs
    pick from these, one for all multipliers that share it; else elements come alone.
    """
    width, followed = machine.operand_bits, placement.selected
    if not followed or machine.selection == "fixed" or machine.passes == "selected":
        return Widths(width, width)
    slot = width + machine.metadata_bits(placement.native)
    group = width * placement.native.group // _sharing(machine)
    return Widths(*(slot if one == followed else group for one in (placement.x, placement.y)))


def _sharing(machine: SystolicArray) -> int:
    """Slots that are handed a word together: of multipliers that share a group, or a group's."""
    return machine.group if machine.holds_groups else machine.pe.macs_per_group


@formula
def passed_by(resources: Resources, tile: Tile, chunks: int) -> Passed:
    """The same of tiles alike."""
    if resources.preloads:
        return _on_rows(resources, tile, chunks)
    return _in_time(resources, tile)


@formula
def _on_rows(resources: Resources, tile: Tile, chunks: int) -> Passed:
    """K on the rows: x shifts down to its row, y streams right, sums run down.

    A word of row r passes r times; a streaming word passes C - 1 times, a sum R - 1 times. A row
    takes ``each`` of what lies along K; what it holds of that is kept. Multipliers that share a
    group are handed it as one word, and so is a PE that holds groups.
    """
    r, c, depth = resources.rows, resources.cols, resources.depth
    along, width, high, each = tile.along, tile.width, tile.high, depth // r
    full, rest = along // depth, along % depth
    of_rest, last = rest // each, rest % each
    down = full * each * (r * (r - 1) // 2) + each * (of_rest * (of_rest - 1) // 2) + last * of_rest
    held = width * (down * tile.kept // along)
    made = width * high * (full + min(1, rest))
    streamed = (c - 1) * high * -(-along // resources.together)
    alike = tile.alike
    return Passed(alike * chunks * held, alike * streamed, alike * (r - 1) * made, alike * made)


@formula
def _in_time(resources: Resources, tile: Tile) -> Passed:
    """K in time: both operands stream, to the right and down, and sums shift down and out.

    That of row r passes R - 1 - r times.
    """
    r, c, width, high = resources.rows, resources.cols, tile.width, tile.high
    along = tile.along if resources.skewed else 0
    sums, alike = width * (high * (r - 1) - high * (high - 1) // 2), tile.alike
    right, down = along * high * (c - 1), along * width * (r - 1)
    return Passed(alike * down, alike * right, alike * sums, alike * width * high)


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
