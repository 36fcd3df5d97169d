"""The fastest way to cut the folds of placements, by the closed forms, those of many GEMMs at once.

One kernel goes through the demands of all placements. What may not fit 64 bits it leaves to the
same formulas on Python's integers.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import CapacityError
from nmsim.jit import compiled_unless_brief, formula
from nmsim.machines.systolic.closed_form.counts import (
    NOTHING,
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
    Given,
    Pace,
    Resources,
    countable,
    given_by,
    resources_at,
    resources_of,
)
from nmsim.machines.systolic.closed_form.pipeline import Cutting, Sent, Times, run
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
from nmsim.machines.systolic.placement import Placement, Side
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.gathering import (
    BEHIND,
    BLOCK,
    Asked,
    Known,
    Reach,
    asked,
    find_out,
    known_of,
    loads_in,
    reach_by,
)
from nmsim.machines.systolic.traffic.moves import Passed, Tile, passed_by
from nmsim.machines.systolic.traffic.operands import Operand, operand_of

__all__ = ["Counts", "Run", "fastest", "runs"]

ANY = Cut(0, 0)
"""Folds are cut as is fastest."""


class Counts(NamedTuple):
    """What the folds of all copies count, cut in one way: elements, sums, MAC slots.

    ``rows`` stream in a fold, 0 with K in time. ``sums`` are those that are sent off, and come
    back; ``x_words``, ``y_words``, ``passed_sums`` and ``made`` those of ``Passed``. Of an operand
    that is gathered, a first pass loads ``x_first`` elements of the tensor, every later one
    ``x_later``; these are below 0 of others.
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
    x_words: int
    y_words: int
    passed_sums: int
    made: int
    x_first: int
    x_later: int
    y_first: int
    y_later: int


class Run(NamedTuple):
    """A way to cut the folds of a GEMM: its cycles, and what is counted."""

    times: Times
    counts: Counts


class Table(NamedTuple):
    """Placements as the kernel takes them, rows of ``Demand`` and of ``Pace``, and their array.

    Arrays; or Python's integers where 64 bits may not do. What a kernel takes as a tuple of numbers
    takes numba long to unpack, so that the array's are an array, too.
    """

    resources: Any
    demands: Any
    paces: Any


Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


SHORT, ASKING = (Times(value, *[0.0] * (len(Times._fields) - 1)) for value in (-1.0, -2.0))
"""Times of placements that do not run: a buffer is too small, or something is to be found out."""


class Placed(NamedTuple):
    """A placement on an array: its numbers, and what its tiles and half of each buffer hold.

    ``tile`` is the first one, ``least`` and ``most`` slots along K of any.
    """

    demand: Demand
    pace: Pace
    tile: Tiles
    least: int
    most: int
    half: Half


@formula
def _placed(resources: Resources, demand: Demand, pace: Pace) -> Placed:
    """What follows from the numbers of a placement."""
    tile = tiles_at(resources, demand, pace, RAGGED, RAGGED)
    least, most = tile.slots, tile.slots
    for kind in (3, 2, 1, 0):
        one = tiles_at(resources, demand, pace, kind // 2, kind % 2)
        if one.across > 0 and one.down > 0:
            if tile.across == 0 or tile.down == 0:
                least, most = one.slots, one.slots
            tile, least, most = one, min(least, one.slots), max(most, one.slots)
    return Placed(demand, pace, tile, least, most, half_of(resources, demand))


@formula
def _sent(resources: Resources, placed: Placed, known: Known, rows: int) -> Sent:
    """What DRAM sends of both operands if so many rows stream in a fold.

    Of one that streams and is gathered that may be not known yet: then ``first`` is below 0.
    """
    demand, half = placed.demand, placed.half
    x_bits = demand.x_bits * demand.x_behind / demand.x_size
    y_bits = demand.y_bits * demand.y_behind / demand.y_size
    x, y, least = Reach(x_bits, x_bits, half.x, x_bits), Reach(y_bits, y_bits, half.y, y_bits), -1.0
    x_loads, y_loads = _loads(resources, demand, known, rows)
    if demand.x_walk >= 0:
        x = reach_by(x_bits, demand.x_size, known.sides[demand.x_walk, BEHIND], x_loads)
    if demand.y_walk >= 0:
        y = reach_by(y_bits, demand.y_size, known.sides[demand.y_walk, BEHIND], y_loads)
        if resources.preloads:
            least = demand.y_lanes * demand.y_stored * y.row
    return Sent(x, y, least)


Pair = tuple[int, int]


@formula
def _loads(resources: Resources, demand: Demand, known: Known, rows: int) -> tuple[Pair, Pair]:
    """Elements that a first pass loads, and every later one, of x and of y; -1: not gathered."""
    x, y = (-1, -1), (-1, -1)
    if demand.x_walk >= 0:
        x = loads_in(known, demand.x_walk, known.sides[demand.x_walk, BLOCK])
    if demand.y_walk >= 0:
        block = rows if resources.preloads else known.sides[demand.y_walk, BLOCK]
        y = loads_in(known, demand.y_walk, block)
    return x, y


@formula
def _cut_so(
    resources: Resources, placed: Placed, sent: Sent, cut: Cut
) -> tuple[Times, Part, float]:
    """What a placement takes whose folds are cut so, and what smaller chunks are not below."""
    demand = placed.demand
    half = Half(sent.x.half, sent.y.half, placed.half.sums)
    if resources.preloads:
        folds = on_rows(resources, demand, placed.pace, half, cut.rows)
    else:
        folds = in_time(resources, demand, placed.pace, half)
    cutting = Cutting(cut.rows, cut.pieces, placed.tile, sent)
    found, least = run(resources, demand, cutting, folds)
    return found, times(plus(folds.first, folds.others), demand.copies), least


@formula
def _fastest(
    resources: Resources, placed: Placed, known: Known, cut: Cut, space: Room
) -> tuple[Times, Counts]:
    """The fastest way to cut folds, or the one that is given.

    Numbers of chunks follow ``next_count``, whatever the buffer: a larger one adds smaller numbers
    to those that are tried, from the most rows that the C buffer holds on. With K in time there is
    one chunk, of no rows.
    """
    lanes = placed.demand.y_lanes if resources.preloads else 0
    count, rows, best_rows, done = 1, lanes, -1, -1
    best, part = SHORT, NOTHING
    while done != 1:
        if cut.pieces > 0:
            rows = cut.rows
        elif lanes > 0:
            rows = -(-lanes // count)
            count = next_count(count)
            if rows > space.sum_rows or rows == done:
                continue
        pieces = cut.pieces if cut.pieces > 0 else least_pieces(resources.spills, space, rows)
        sent = _sent(resources, placed, known, rows)
        if sent.y.first < 0:
            return ASKING, _counts(resources, placed, known, NOTHING, rows)
        one, counted, least = _cut_so(resources, placed, sent, Cut(rows, pieces))
        if best_rows < 0 or one.cycles < best.cycles:
            best, part, best_rows = one, counted, rows
        # More chunks can only make the last results fewer.
        if cut.pieces > 0 or lanes == 0 or resources.spills or least >= best.cycles:
            break
        done = rows
    return best, _counts(resources, placed, known, part, best_rows)


@formula
def _counts(resources: Resources, placed: Placed, known: Known, part: Part, rows: int) -> Counts:
    """What is counted of folds of which so many rows stream."""
    x_loads, y_loads = _loads(resources, placed.demand, known, rows)
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
        moved.x_words,
        moved.y_words,
        moved.sums,
        moved.made,
        x_loads[0],
        x_loads[1],
        y_loads[0],
        y_loads[1],
    )


@formula
def _passed(resources: Resources, placed: Placed, chunks: int) -> Passed:
    """What moves from PE to PE: of tiles that expect as many slots as their lanes do."""
    x_words, y_words, sums, made, demand = 0, 0, 0, 0, placed.demand
    for kind in (0, 1, 2, 3):
        one = tiles_at(resources, demand, placed.pace, kind // 2, kind % 2)
        alike = demand.copies * one.across * one.down
        if alike == 0:
            continue
        along, kept = one.slots, one.slots
        if resources.holds_groups:
            along, kept = demand.k, demand.x_k if demand.x_k > 0 else demand.k
        moved = passed_by(resources, Tile(alike, one.width, one.high, along, kept), chunks)
        x_words, y_words = x_words + moved.x_words, y_words + moved.y_words
        sums, made = sums + moved.sums, made + moved.made
    return Passed(x_words, y_words, sums, made)


@compiled_unless_brief
def _run_all(
    table: Table, known: Known, cut: tuple[int, int], found_times: Floats, found_counts: Integers
) -> None:
    """The runs of all placements: rows of ``Times`` and ``Counts``.

    Times begin with -1 where a buffer is too small, and the first counts are the least and the most
    slots along K of any tile; with -2 where it has to be found out what DRAM sends of y if as many
    rows stream as the first count says.
    """
    resources = resources_at(table.resources)
    for at in range(len(table.demands)):
        d, p = table.demands[at], table.paces[at]
        demand = Demand(
            *(d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7], d[8]),
            *(d[9], d[10], d[11], d[12], d[13], d[14], d[15], d[16], d[17]),
        )
        pace = Pace(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7])
        placed = _placed(resources, demand, pace)
        least = least_of(resources, demand, (placed.least, placed.most))
        if short(placed.half, least):
            found_times[at, 0] = SHORT.cycles
            found_counts[at, 0], found_counts[at, 1] = placed.least, placed.most
            continue
        space = room_of(resources, demand, placed.half, least, placed.most)
        one, counts = _fastest(resources, placed, known, Cut(cut[0], cut[1]), space)
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
    given, operands = _given(machine, placements)
    find_out((one, one.block) for one in operands if one.block)
    found: dict[int, Run | CapacityError] = {}
    left: Sequence[int] = range(len(placements))
    while left:
        table = [given[at] for at in left]
        asking: list[tuple[int, Asked, int]] = []
        for at, one in zip(left, _run_once(machine, table, known_of(operands), cut), strict=True):
            if one.times.cycles == ASKING.cycles:
                asking.append((at, operands[given[at].demand.y_walk], one.counts.rows))
            elif one.times.cycles == SHORT.cycles:
                found[at] = refusal(machine, placements[at], one.counts[:2])
            else:
                found[at] = one
        find_out((operand, rows) for _, operand, rows in asking)
        left = [at for at, _, _ in asking]
    return [found[at] for at in range(len(placements))]


def _run_once(
    machine: SystolicArray, given: Sequence[Given], known: Known, cut: Cut | None
) -> list[Run]:
    """The runs of placements, as far as what they load is known."""
    resources, way = resources_of(machine), cut or ANY
    fits = all(countable(resources, one.demand) for one in given)
    cycles = np.empty((len(given), len(Times._fields)), np.float64 if fits else object)
    counts = np.empty((len(given), len(Counts._fields)), np.int64 if fits else object)
    demands, paces = zip(*given, strict=True)
    if fits:
        table = Table(*(np.array(one) for one in (resources, demands, paces)))
        _run_all(table, known, (way.rows, way.pieces), cycles, counts)
    else:
        run_all = vars(_run_all)["__wrapped__"]
        run_all(Table(resources, demands, paces), known, way, cycles, counts)
    return [
        Run(Times._make(of_times), Counts._make(of_counts))
        for of_times, of_counts in zip(cycles.tolist(), counts.tolist(), strict=True)
    ]


def _given(
    machine: SystolicArray, placements: Sequence[Placement]
) -> tuple[list[Given], list[Asked]]:
    """The numbers of placements, and the operands that some of them gather, each once."""
    operands: list[Asked] = []
    places: dict[int, int] = {}

    def place(placement: Placement, position: Side, operand: Operand) -> int:
        if operand.windows is None:
            return -1
        one = asked(machine, placement, position, operand.windows)
        at = places.setdefault(id(one.found), len(operands))
        if at == len(operands):
            operands.append(one)
        return at

    given = []
    for one in placements:
        x, y = operand_of(machine, one, one.x), operand_of(machine, one, one.y)
        walks = place(one, one.x, x), place(one, one.y, y)
        given.append(given_by(machine, one, x, y, walks))
    return given, operands


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
