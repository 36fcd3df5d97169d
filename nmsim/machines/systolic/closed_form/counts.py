"""What the folds of a GEMM count, in closed form: cycles, MAC slots and elements moved.

A GEMM is taken apart into rectangles of C whose folds are alike. With K on the rows (ws, is) these
are tiles of columns, of which the first loads what streams; with K in time (os) tiles of C, of
which the first row loads what lies along the columns.
"""

from typing import NamedTuple

from nmsim.jit import formula
from nmsim.machines.systolic.closed_form.given import Demand, Pace, Resources
from nmsim.machines.systolic.pipeline.capacity import Half
from nmsim.machines.systolic.pipeline.memory import BACK_TO_BACK, EXPOSED, HIDDEN, UNCOUNTED

__all__ = [
    "NOTHING",
    "RAGGED",
    "Folds",
    "Part",
    "Tiles",
    "in_time",
    "on_rows",
    "plus",
    "tiles_at",
    "times",
]

FULL, RAGGED = 0, 1
"""Tiles of lanes: as many as the array has, or what is left."""


class Part(NamedTuple):
    """Folds of a rectangle of C, and what they add up to: cycles, MAC slots, elements.

    ``whole`` of them load what streams, ``held`` only what is held, ``fresh`` what is held and
    maybe what streams. ``waited`` is the time, cycles, that folds wait for the path from the
    buffers, ``shown`` what shifts behind other folds show; ``sums`` are those that are sent off,
    and come back. Of what is loaded, ``x_again`` and ``y_again`` come in later passes over the
    operand.
    """

    folds: int
    whole: int
    held: int
    fresh: int
    streamed: float
    waited: float
    shown: float
    issued: int
    x_loaded: int
    y_loaded: int
    x_read: int
    y_read: int
    sums: int
    outputs: int
    x_again: int
    y_again: int


NOTHING = Part(0, 0, 0, 0, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@formula
def times(part: Part, count: int) -> Part:
    """So many rectangles alike."""
    return Part(
        count * part.folds,
        count * part.whole,
        count * part.held,
        count * part.fresh,
        count * part.streamed,
        count * part.waited,
        count * part.shown,
        count * part.issued,
        count * part.x_loaded,
        count * part.y_loaded,
        count * part.x_read,
        count * part.y_read,
        count * part.sums,
        count * part.outputs,
        count * part.x_again,
        count * part.y_again,
    )


@formula
def plus(one: Part, other: Part) -> Part:
    """Two rectangles together."""
    return Part(
        one.folds + other.folds,
        one.whole + other.whole,
        one.held + other.held,
        one.fresh + other.fresh,
        one.streamed + other.streamed,
        one.waited + other.waited,
        one.shown + other.shown,
        one.issued + other.issued,
        one.x_loaded + other.x_loaded,
        one.y_loaded + other.y_loaded,
        one.x_read + other.x_read,
        one.y_read + other.y_read,
        one.sums + other.sums,
        one.outputs + other.outputs,
        one.x_again + other.x_again,
        one.y_again + other.y_again,
    )


class Tiles(NamedTuple):
    """So many tiles alike across, and rows of them: their lanes, slots, stored elements along K.

    ``along`` is what their folds are cut from; ``beats`` of a row in a fold, a mean, and in the
    ``last`` one; ``expected`` are cycles that a tile of an intersecting array streams, below 0
    where slots say it.
    """

    across: int
    down: int
    width: int
    high: int
    slots: int
    x_k: int
    y_k: int
    along: int
    beats: float
    last: float
    expected: float


@formula
def _cut(lanes: int, size: int, kind: int) -> tuple[int, int]:
    """How many tiles there are, full ones or the ragged one, and the lanes of each."""
    if kind == FULL:
        return lanes // size, size
    rest = lanes % size
    return min(1, rest), rest


@formula
def tiles_at(resources: Resources, demand: Demand, pace: Pace, down: int, across: int) -> Tiles:
    """Tiles of one kind by rows and by columns; with K on the rows one has all lanes of y."""
    many_across, width = _cut(demand.x_lanes, resources.cols, across)
    many_down, high, kind = 1 - down, demand.y_lanes, FULL
    if not resources.preloads:
        many_down, high = _cut(demand.y_lanes, resources.rows, down)
        kind = down
    if demand.by_columns > 0:
        kind = across
    slots = demand.full_slots if kind == FULL else demand.ragged_slots
    return Tiles(
        many_across,
        many_down,
        width,
        high,
        slots,
        demand.x_k if demand.x_k > 0 else slots,
        demand.y_k if demand.y_k > 0 else slots,
        demand.k if resources.holds_groups else slots,
        pace[2 * kind],
        pace[2 * kind + 1],
        pace[4 + 2 * down + across],
    )


@formula
def _path_waits(
    resources: Resources, demand: Demand, streamed: float, x_read: int, y_read: int
) -> tuple[float, float]:
    """Cycles that one fold waits for the path from the buffers, streaming and shifting in."""
    if resources.path == 0.0:
        return 0.0, 0.0
    x = x_read * demand.x_bits / resources.path
    y = y_read * demand.y_bits / resources.path
    period = resources.period
    if resources.preloads and period in (EXPOSED, UNCOUNTED):
        late = max(0.0, x - resources.rows) if period == EXPOSED else 0.0
        return max(0.0, y - streamed), late
    return max(0.0, x + y - streamed), 0.0


class Folds(NamedTuple):
    """Folds of one copy: those that load for the first time, all others, and ``edge``.

    With K on the rows the first tile of columns loads y; with K in time the first row of tiles
    loads x. ``edge`` is what a shift would show at the end where no fold is beside it.
    """

    first: Part
    others: Part
    edge: float


@formula
def on_rows(resources: Resources, demand: Demand, pace: Pace, half: Half, rows: int) -> Folds:
    """K on the rows (ws, is): x held, y streaming in chunks of so many rows."""
    first, others, last, opened = NOTHING, NOTHING, 0.0, False
    for kind in (FULL, RAGGED):
        tiles = tiles_at(resources, demand, pace, FULL, kind)
        many = tiles.across
        if many == 0:
            continue
        part, last = _columns(resources, demand, tiles, half, rows)
        again = _passed_over(part, demand.y_lanes * tiles.y_k <= half.y)
        if not opened:
            first, opened, many = part, True, many - 1
        others = plus(others, times(again, many))
    return Folds(first, others, last)


@formula
def _passed_over(part: Part, stays: bool) -> Part:
    """A tile of columns that is not the first: y comes again, or stays."""
    return Part(
        part.folds,
        0 if stays else part.whole,
        part.fresh if stays else part.held,
        part.fresh,
        part.streamed,
        part.waited,
        part.shown,
        part.issued,
        part.x_loaded,
        0 if stays else part.y_loaded,
        part.x_read,
        part.y_read,
        part.sums,
        part.outputs,
        part.x_again,
        0 if stays else part.y_loaded,
    )


@formula
def _share(k: int, deep: int, full: int, last: bool) -> int:
    """Which part a fold along K takes of stored elements: each but the last has as many."""
    return k - (deep - 1) * full if last else full


@formula
def _columns(
    resources: Resources, demand: Demand, tiles: Tiles, half: Half, rows: int
) -> tuple[Part, float]:
    """One tile of columns that loads y, and what the last fold's shift would show behind it."""
    lanes, depth, along, width = demand.y_lanes, resources.depth, tiles.along, tiles.width
    deep, chunks = -(-along // depth), -(-lanes // rows)
    x_full, y_full = depth * tiles.x_k // along, depth * tiles.y_k // along
    x_stays = width * tiles.x_k <= half.x
    over = max(0, rows * width - half.sums) if resources.spills else 0
    waited, shown, last = 0.0, 0.0, 0.0
    for ragged in (False, True):
        many = 1 if ragged else chunks - 1
        words = lanes - (chunks - 1) * rows if ragged else rows
        for deepest in (False, True):
            count = many * (1 if deepest else deep - 1)
            if count == 0:
                continue
            streamed = words * (tiles.last if deepest else tiles.beats)
            x_read = width * _share(tiles.x_k, deep, x_full, deepest)
            y_read = words * _share(tiles.y_k, deep, y_full, deepest)
            wait, late = _path_waits(resources, demand, streamed, x_read, y_read)
            waited += count * (wait + late)
            last = 0.0
            if resources.period == BACK_TO_BACK:
                last = max(0.0, resources.rows - streamed - wait)
            shown += count * last
    loads = 1 if x_stays else chunks
    part = Part(
        deep * chunks,
        deep * chunks,
        0,
        deep * loads,
        lanes * ((deep - 1) * tiles.beats + tiles.last),
        waited,
        shown,
        width * lanes * tiles.slots,
        width * tiles.x_k * loads,
        lanes * tiles.y_k,
        width * tiles.x_k * chunks,
        lanes * tiles.y_k,
        (deep - 1) * over,
        width * lanes,
        width * tiles.x_k * (loads - 1),
        0,
    )
    return part, last


@formula
def in_time(resources: Resources, demand: Demand, pace: Pace, half: Half) -> Folds:
    """K in time (os): a tile of C held, rows of tiles from left to right."""
    first, others, edge, opened = NOTHING, NOTHING, 0.0, False
    for down in (FULL, RAGGED):
        fresh = 0 if opened else 1
        left = True
        for across in (FULL, RAGGED):
            tiles = tiles_at(resources, demand, pace, down, across)
            if tiles.across == 0 or tiles.down == 0:
                continue
            one = _tile(resources, demand, tiles)
            if not opened:
                edge, opened = one.shown, True
            x_stays = demand.x_lanes * tiles.x_k <= half.x
            y_stays = tiles.high * tiles.y_k <= half.y
            leftmost = 1 if left else 0
            left = False
            for begins in (True, False):  # rows of tiles: the left one, and those beside it
                y_loads = begins or not y_stays
                many = leftmost if begins else tiles.across - leftmost
                row = _loading(one, True, y_loads, False, not begins)
                first = plus(first, times(row, fresh * many))
                row = _loading(one, not x_stays, y_loads, True, not begins)
                others = plus(others, times(row, (tiles.down - fresh) * many))
    return Folds(first, others, edge)


@formula
def _tile(resources: Resources, demand: Demand, tiles: Tiles) -> Part:
    """One tile of C that loads nothing."""
    x, y = tiles.width * tiles.x_k, tiles.high * tiles.y_k
    streamed = tiles.expected
    if streamed < 0:
        streamed = float(-(-tiles.slots // resources.dot_width))
    waited, _ = _path_waits(resources, demand, streamed, x, y)
    shown = 0.0
    if resources.period in (HIDDEN, BACK_TO_BACK):
        behind = resources.fill if resources.period == HIDDEN else 0
        shown = max(0.0, resources.rows - behind - streamed - waited)
    outputs = tiles.high * tiles.width
    issued = outputs * tiles.slots
    return Part(1, 0, 0, 0, streamed, waited, shown, issued, 0, 0, x, y, 0, outputs, 0, 0)


@formula
def _loading(one: Part, x_loads: bool, y_loads: bool, x_again: bool, y_again: bool) -> Part:
    """A tile of C that loads x or y, for the first time or again."""
    x, y = one.x_read if x_loads else 0, one.y_read if y_loads else 0
    return Part(
        one.folds,
        1 if x_loads or y_loads else 0,
        0,
        0,
        one.streamed,
        one.waited,
        one.shown,
        one.issued,
        x,
        y,
        one.x_read,
        one.y_read,
        0,
        one.outputs,
        x if x_again else 0,
        y if y_again else 0,
    )
