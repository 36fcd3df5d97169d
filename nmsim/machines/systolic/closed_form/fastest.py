"""The fastest way to cut the folds of placements, by the closed forms, those of many GEMMs at once.

One kernel goes through the demands of all placements. What may not fit 64 bits it leaves to the
same formulas on Python's integers.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import CapacityError
from nmsim.jit import compiled, formula
from nmsim.machines.systolic.closed_form.counts import (
    FULL,
    RAGGED,
    Part,
    Tiles,
    in_time,
    on_rows,
    plus,
    tiles_at,
    times,
)
from nmsim.machines.systolic.closed_form.given import (
    Demand,
    Resources,
    Tiled,
    countable,
    demand_of,
    resources_of,
    tiled_of,
)
from nmsim.machines.systolic.closed_form.pipeline import Cutting, Times, run
from nmsim.machines.systolic.pipeline.capacity import (
    Half,
    half_of,
    least_of,
    least_pieces,
    next_count,
    refusal,
    room_of,
    short,
)
from nmsim.machines.systolic.pipeline.folds import Cut, Room
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.gathering import (
    Asked,
    Gathered,
    Reach,
    asked,
    gathered,
    loads_of,
    reach_by,
    remember,
)
from nmsim.machines.systolic.traffic.moves import Passed, Tile, passed_by
from nmsim.machines.systolic.traffic.residence import ELEMENTS

__all__ = ["Counts", "Run", "fastest", "runs"]

ANY = Cut(0, 0)
"""Folds are cut as is fastest."""


class Counts(NamedTuple):
    """What the folds of all copies count, cut in one way: elements, sums, MAC slots.

    ``rows`` stream in a fold, 0 with K in time. ``sums`` are those that are sent off, and come
    back; ``words``, ``passed_sums`` and ``made`` those of ``Passed``.
    """

    rows: int
    folds: int
    issued: int
    x_loaded: int
    y_loaded: int
    x_read: int
    y_read: int
    sums: int
    outputs: int
    words: int
    passed_sums: int
    made: int


class Run(NamedTuple):
    """A way to cut the folds of a GEMM: its cycles, and what is counted."""

    times: Times
    counts: Counts


class Table(NamedTuple):
    """Placements as the kernel takes them: arrays, or lists beyond 64 bits (``Demand``, ``Tiled``)."""

    demands: Any
    slots: Any
    beats: Any
    expected: Any
    gathered: Gathered


Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@formula
def _reaches(
    resources: Resources, demand: Demand, operands: Gathered, half: Half, rows: int
) -> tuple[Reach, Reach, float]:
    """What DRAM sends of x and y, and ``Cutting.least``, if so many rows stream in a fold."""
    x_bits = demand.x_bits * demand.x_behind / demand.x_size
    y_bits = demand.y_bits * demand.y_behind / demand.y_size
    x, y = Reach(x_bits, x_bits, half.x, x_bits), Reach(y_bits, y_bits, half.y, y_bits)
    least = -1.0
    if demand.x_walk >= 0:
        elements = operands.geometries[demand.x_walk][ELEMENTS]
        found = loads_of(operands, demand.x_walk, int(operands.walks[demand.x_walk][0]))
        x = reach_by(x_bits, demand.x_size, int(elements), found)
    if demand.y_walk >= 0:
        elements = operands.geometries[demand.y_walk][ELEMENTS]
        block = rows if resources.preloads else int(operands.walks[demand.y_walk][0])
        y = reach_by(y_bits, demand.y_size, int(elements), loads_of(operands, demand.y_walk, block))
        if resources.preloads:
            least = demand.y_lanes * demand.y_stored * y.row
    return x, y, least


class Placed(NamedTuple):
    """A placement on an array: its numbers, and what its tiles and half of each buffer hold.

    ``tile`` is the first one, ``most`` the most slots along K of any.
    """

    demand: Demand
    tiled: Tiled
    tile: Tiles
    least: int
    most: int
    half: Half


@formula
def _placed(resources: Resources, demand: Demand, tiled: Tiled) -> Placed:
    tile = tiles_at(resources, demand, tiled, FULL, FULL)
    found, least, most = False, 0, 0
    for down in (FULL, RAGGED):
        for across in (FULL, RAGGED):
            one = tiles_at(resources, demand, tiled, down, across)
            if one.across == 0 or one.down == 0:
                continue
            if not found:
                tile, least, most, found = one, one.slots, one.slots, True
            least, most = min(least, one.slots), max(most, one.slots)
    return Placed(demand, tiled, tile, least, most, half_of(resources, demand))


@formula
def _cut_so(
    resources: Resources, placed: Placed, operands: Gathered, cut: Cut
) -> tuple[Times, Part, float]:
    """What a placement takes whose folds are cut so, and what smaller chunks are not below."""
    demand, tiled = placed.demand, placed.tiled
    x, y, least = _reaches(resources, demand, operands, placed.half, cut.rows)
    half = Half(x.half, y.half, placed.half.sums)
    if resources.preloads:
        folds = on_rows(resources, demand, tiled, half, cut.rows)
    else:
        folds = in_time(resources, demand, tiled, half)
    cutting = Cutting(cut.rows, cut.pieces, placed.tile, x, y, least)
    found, least = run(resources, demand, cutting, folds)
    return found, times(plus(folds.first, folds.others), demand.copies), least


@formula
def _fastest(
    resources: Resources, placed: Placed, operands: Gathered, cut: Cut, space: Room
) -> tuple[Times, Counts]:
    """The fastest way to cut folds, or the one that is given.

    Numbers of chunks follow ``next_count``, whatever the buffer: a larger one adds smaller numbers
    to those that are tried, from the most rows that the C buffer holds on.
    """
    spills, lanes, rows = resources.spills, placed.demand.y_lanes, cut.rows
    if cut.pieces > 0 or not resources.preloads:
        pieces = cut.pieces if cut.pieces > 0 else least_pieces(spills, space, 0)
        best, part, _ = _cut_so(resources, placed, operands, Cut(rows, pieces))
        return best, _counts(resources, placed, part, rows)
    count, done, tried = 1, 0, False
    while done != 1:
        rows = -(-lanes // count)
        count = next_count(count)
        if rows > space.sum_rows or rows == done:
            continue
        way = Cut(rows, least_pieces(spills, space, rows))
        one, counted, least = _cut_so(resources, placed, operands, way)
        if not tried or one.cycles < best.cycles:
            best, part, best_rows, tried = one, counted, rows, True
        if spills or least >= best.cycles:  # more chunks can only make the last results fewer
            break
        done = rows
    return best, _counts(resources, placed, part, best_rows)


@formula
def _counts(resources: Resources, placed: Placed, part: Part, rows: int) -> Counts:
    """What is counted of folds of which so many rows stream."""
    moved = _passed(resources, placed, -(-placed.demand.y_lanes // rows) if rows > 0 else 1)
    return Counts(
        rows,
        part.folds,
        part.issued,
        part.x_loaded,
        part.y_loaded,
        part.x_read,
        part.y_read,
        part.sums,
        part.outputs,
        moved.words,
        moved.sums,
        moved.made,
    )


@formula
def _passed(resources: Resources, placed: Placed, chunks: int) -> Passed:
    """What moves from PE to PE: of tiles that expect as many slots as their lanes do."""
    words, sums, made, demand = 0, 0, 0, placed.demand
    for down in (FULL, RAGGED):
        for across in (FULL, RAGGED):
            one = tiles_at(resources, demand, placed.tiled, down, across)
            alike = demand.copies * one.across * one.down
            if alike == 0 or (resources.preloads and down == RAGGED):
                continue
            along, kept = one.slots, one.slots
            if resources.holds_groups:
                along, kept = demand.k, demand.x_k if demand.x_k > 0 else demand.k
            moved = passed_by(resources, Tile(alike, one.width, one.high, along, kept), chunks)
            words, sums, made = words + moved.words, sums + moved.sums, made + moved.made
    return Passed(words, sums, made)


@formula
def _run_at(
    resources: Resources, table: Table, at: int, cut: Cut
) -> tuple[bool, Times, Counts]:
    """The run of one placement, if buffers are large enough."""
    tiled = Tiled(table.slots[at], table.beats[at], table.expected[at])
    d = table.demands[at]
    demand = Demand(
        *(d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]),
        *(d[8], d[9], d[10], d[11], d[12], d[13], d[14], d[15]),
    )
    placed = _placed(resources, demand, tiled)
    least = least_of(resources, demand, (placed.least, placed.most))
    if short(placed.half, least):
        return False, NO_TIMES, NO_COUNTS
    space = room_of(resources, demand, placed.half, least, placed.most)
    times_found, counts = _fastest(resources, placed, table.gathered, cut, space)
    return True, times_found, counts


NO_TIMES = Times(*[-1.0] * len(Times._fields))
NO_COUNTS = Counts(*[0] * len(Counts._fields))


@compiled
def _run_all(
    resources: Resources, table: Table, cut: Cut, found_times: Floats, found_counts: Integers
) -> None:
    """The runs of all placements: rows of ``Times``, below 0 where a buffer is too small."""
    for at in range(len(table.demands)):
        _, one, counts = _run_at(resources, table, at, cut)
        for i in range(len(one)):
            found_times[at, i] = one[i]
        for i in range(len(counts)):
            found_counts[at, i] = counts[i]


def runs(
    machine: SystolicArray, placements: Sequence[Placement], cut: Cut | None = None
) -> list[Run | CapacityError]:
    """The fastest runs of placements, or why they cannot run.

    Parameters
    ----------
    cut
        How their folds are cut; None: as is fastest.
    """
    resources, way = resources_of(machine), cut or ANY
    demands, operands = _demands(machine, placements)
    tiles = [tiled_of(machine, one) for one in placements]
    known = gathered(operands)
    if all(countable(resources, demand) for demand in demands):
        found = _in_kernel(resources, _arrays(demands, tiles, known), way)
    else:
        table = Table(demands, *zip(*tiles, strict=True), known)
        each = (_run_at(resources, table, at, way) for at in range(len(demands)))
        found = [Run(cycles, counts) if fits else None for fits, cycles, counts in each]
    remember(operands, known)
    return [
        one or _refused(machine, placement, tiled)
        for one, placement, tiled in zip(found, placements, tiles, strict=True)
    ]


def _demands(
    machine: SystolicArray, placements: Sequence[Placement]
) -> tuple[list[Demand], list[Asked]]:
    """The numbers of placements, and the operands that some of them gather, each once."""
    operands: list[Asked] = []
    places: dict[int, int] = {}

    def place(one: Asked | None) -> int:
        if one is None:
            return -1
        at = places.setdefault(id(one.found), len(operands))
        if at == len(operands):
            operands.append(one)
        return at

    demands = []
    for one in placements:
        walks = place(asked(machine, one, one.x)), place(asked(machine, one, one.y))
        demands.append(demand_of(machine, one, walks))
    return demands, operands


def _arrays(demands: Sequence[Demand], tiles: Sequence[Tiled], known: Gathered) -> Table:
    """Placements as arrays."""
    n = len(demands)
    slots, beats, expected = zip(*tiles, strict=True) if n else ((), (), ())
    return Table(
        np.array(demands, np.int64).reshape(n, len(Demand._fields)),
        np.array(slots, np.int64).reshape(n, 2),
        np.array(beats, np.float64).reshape(n, 2, 2),
        np.array(expected, np.float64).reshape(n, 2, 2),
        known,
    )


def _in_kernel(resources: Resources, table: Table, cut: Cut) -> list[Run | None]:
    """The runs of all placements of a table, None where a buffer is too small."""
    n = len(table.demands)
    cycles = np.empty((n, len(Times._fields)), np.float64)
    counts = np.empty((n, len(Counts._fields)), np.int64)
    _run_all(resources, table, cut, cycles, counts)
    return [
        Run(Times._make(of_times), Counts._make(of_counts)) if of_times[0] >= 0 else None
        for of_times, of_counts in zip(cycles.tolist(), counts.tolist(), strict=True)
    ]


def _refused(machine: SystolicArray, placement: Placement, tiled: Tiled) -> CapacityError:
    resources, demand = resources_of(machine), demand_of(machine, placement)
    placed = _placed(resources, demand, tiled)
    return refusal(machine, placement, (placed.least, placed.most))


def fastest(machine: SystolicArray, placement: Placement, cut: Cut | None = None) -> Run:
    """The fastest way to cut the folds of a placement, or the one that is given.

    Raises
    ------
    CapacityError
        if a buffer cannot hold what it needs at least.
    """
    (found,) = runs(machine, [placement], cut)
    if isinstance(found, CapacityError):
        raise found
    return found
