"""What the folds of a GEMM count, in closed form: cycles, MAC slots and elements moved.

A GEMM is taken apart into rectangles of C whose folds are alike. With K on the rows (ws, is) these
are tiles of columns, of which the first loads what streams; with K in time (os) tiles of C, of
which the first row loads what lies along the columns.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from nmsim.machines.systolic.intersect.analytical import Expected, expected_fold_cycles
from nmsim.machines.systolic.intersect.folds import Fabric
from nmsim.machines.systolic.pe.beats import expected_beats, pe_groups
from nmsim.machines.systolic.pe.slots import expected_slots
from nmsim.machines.systolic.pipeline.capacity import Halves, halves
from nmsim.machines.systolic.placement import Placement, along_folds, period_of
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.mask import SparseGemm

__all__ = ["Part", "Shape", "in_time", "on_rows", "shape", "total"]


class Part(NamedTuple):
    """Folds of a rectangle of C, and what they add up to: cycles, MAC slots, elements.

    ``whole`` of them load what streams, ``held`` only what is held, ``fresh`` what is held and
    maybe what streams. ``waited`` is the time, cycles,
    that folds wait for the path from the buffers, ``shown`` what shifts behind other folds show;
    ``sums`` are those that are sent off, and come back. Of what is loaded, ``x_again`` and
    ``y_again`` come in later passes over the operand.
    """

    folds: int = 0
    whole: int = 0
    held: int = 0
    fresh: int = 0
    streamed: float = 0
    waited: float = 0
    shown: float = 0
    issued: int = 0
    x_loaded: int = 0
    y_loaded: int = 0
    x_read: int = 0
    y_read: int = 0
    sums: int = 0
    outputs: int = 0
    x_again: int = 0
    y_again: int = 0

    def times(self, count: int) -> "Part":
        """So many rectangles alike."""
        return self if count == 1 else Part._make([count * value for value in self])


def total(parts: Iterable[Part]) -> Part:
    """All of some rectangles together."""
    return Part._make(map(sum, zip(*parts, strict=True)))


class Tiles(NamedTuple):
    """So many tiles alike across, and rows of them: their lanes, slots, stored elements along K.

    ``along`` is what their folds are cut from; ``beats`` of a row in a fold, a mean, and in the
    last one.
    """

    across: int
    down: int
    width: int
    high: int
    slots: int
    x_k: int
    y_k: int
    along: int
    beats: tuple[float, float]


class Shape(NamedTuple):
    """What the counts of a placement rest on.

    Parameters
    ----------
    tiles
        Full tiles of columns and the ragged one (K on the rows), or of every tile of C.
    least, most
        Slots along K of any tile.
    half
        What half of each buffer holds of an operand that is passed over again, and of sums.
    """

    tiles: tuple[Tiles, ...]
    least: int
    most: int
    half: Halves


def shape(machine: SystolicArray, placement: Placement) -> Shape:
    """Tiles of a placement, those of the selected operand with the slots that they expect."""
    y_lanes = placement.rows_of(placement.y)
    columns = placement.lanes == "cols"
    tiles = tuple(
        Tiles(across, down, width, high, *_along_k(machine, placement, width if columns else high))
        for down, high in (
            [(1, y_lanes)] if placement.dataflow.preloads else _tiles(y_lanes, machine.rows)
        )
        for across, width in _tiles(placement.rows_of(placement.x), machine.cols)
    )
    slots = [one.slots for one in tiles]
    return Shape(tiles, min(slots), max(slots), halves(machine, placement))


def _tiles(lanes: int, size: int) -> list[tuple[int, int]]:
    """Full tiles and the ragged one, as (how many, lanes in each)."""
    full, rest = divmod(lanes, size)
    return [(count, width) for count, width in ((full, size), (1, rest)) if count and width]


def _along_k(
    machine: SystolicArray, placement: Placement, lanes: int
) -> tuple[int, int, int, int, tuple[float, float]]:
    """The fields of ``Tiles`` from its slots on, where lanes run in lock-step."""
    tile = placement.selected_mask, placement.native, lanes, placement.k
    beats = (1.0, 1.0)
    if machine.holds_groups:
        each, expected = expected_beats(*tile, pe_groups(machine))
        beats = float(each[:-1].mean()) if len(each) > 1 else 0.0, float(each[-1])
        slots = round(expected)
    else:
        slots = round(expected_slots(*tile))
    x_k, y_k = (placement.along_k(p) or slots for p in (placement.x, placement.y))
    return slots, x_k, y_k, along_folds(machine, placement, slots), beats


def path_waits(
    machine: SystolicArray, placement: Placement, streamed: float, x_read: int, y_read: int
) -> tuple[float, float]:
    """Cycles that one fold waits for the path from the buffers, streaming and shifting in."""
    if machine.delivery is None:
        return 0.0, 0.0
    x, y = (
        read * placement.stored_as(position).bits / machine.delivery.bits_per_cycle
        for read, position in ((x_read, placement.x), (y_read, placement.y))
    )
    period = period_of(machine, placement)
    if placement.dataflow.preloads and period in ("exposed", "uncounted"):
        late = max(0.0, x - machine.rows) if period == "exposed" else 0.0
        return max(0.0, y - streamed), late
    return max(0.0, x + y - streamed), 0.0


def on_rows(
    machine: SystolicArray, placement: Placement, given: Shape, rows: int
) -> tuple[Part, Part, float]:
    """K on the rows (ws, is): x held, y streaming in chunks of so many rows.

    Returns
    -------
    Of one copy, the tile that loads y and all others; and what the last fold's shift would show if
    there were a fold behind it.
    """
    lanes = placement.rows_of(placement.y)
    parts: list[Part] = []
    last = 0.0
    for tiles in given.tiles:
        stays = lanes * tiles.y_k <= given.half.y
        part, last = _columns(machine, placement, given, tiles, rows)
        again = part._replace(y_again=part.y_loaded)
        if stays:
            again = part._replace(y_loaded=0, whole=0, held=part.fresh)
        first = [part] if not parts else []
        parts += [*first, again.times(tiles.across - len(first))]
    return parts[0], total(parts[1:]), last


def _columns(
    machine: SystolicArray, placement: Placement, given: Shape, tiles: Tiles, rows: int
) -> tuple[Part, float]:
    """One tile of columns that loads y, and what the last fold's shift would show behind it."""
    _, _, width, _, slots, x_k, y_k, along, _ = tiles
    lanes = placement.rows_of(placement.y)
    deep, chunks = -(-along // machine.depth), -(-lanes // rows)
    x_stays = width * x_k <= given.half.x
    spills = machine.partial_sums == "spill"
    over = max(0, rows * width - given.half.sums) if spills else 0
    waited, shown, last = 0.0, 0.0, 0.0
    for many, words in ((chunks - 1, rows), (1, lanes - (chunks - 1) * rows)):
        for (times, share), beats in zip(
            _shares(along, deep, machine.depth), tiles.beats, strict=True
        ):
            if not times * many:
                continue
            streamed = words * beats
            wait, late = path_waits(
                machine, placement, streamed, width * share(x_k), words * share(y_k)
            )
            waited += times * many * (wait + late)
            last = 0.0
            if machine.fold_period == "back_to_back":
                last = max(0.0, machine.rows - streamed - wait)
            shown += times * many * last
    return Part(
        folds=deep * chunks,
        whole=deep * chunks,
        fresh=deep * (1 if x_stays else chunks),
        streamed=lanes * ((deep - 1) * tiles.beats[0] + tiles.beats[1]),
        waited=waited,
        shown=shown,
        issued=width * lanes * slots,
        x_loaded=width * x_k * (1 if x_stays else chunks),
        x_again=width * x_k * (0 if x_stays else chunks - 1),
        y_loaded=lanes * y_k,
        x_read=width * x_k * chunks,
        y_read=lanes * y_k,
        sums=(deep - 1) * over,
        outputs=width * lanes,
    ), last


def _shares(along: int, deep: int, depth: int) -> tuple[tuple[int, Callable[[int], int]], ...]:
    """Folds along K alike, and which part they take of an operand's stored elements along K."""

    def full(k: int) -> int:
        return depth * k // along

    return ((deep - 1, full), (1, lambda k: k - (deep - 1) * full(k)))


def _intersected(machine: SystolicArray, work: SparseGemm) -> Expected | None:
    """Expected cycles of the folds of an intersecting array; None if nothing is masked: K."""
    pe = machine.intersecting
    if pe is None or (work.a.is_dense and work.b.is_dense):
        return None
    fabric = Fabric(machine.rows, machine.cols, pe.group, pe.lookahead)
    return expected_fold_cycles(work.a, work.b, work.gemm.count, fabric)


def in_time(machine: SystolicArray, placement: Placement, given: Shape) -> tuple[Part, Part, float]:
    """K in time (os): a tile of C held, rows of tiles from left to right.

    Returns
    -------
    Of one copy, the row of tiles that loads x and all others; and what the drain before the first
    fold would show if there were a fold before it.
    """
    expected = _intersected(machine, placement.work)
    first_row: list[Part] = []
    others: list[Part] = []
    for tiles in given.tiles:
        one = _tile(machine, placement, tiles, _streamed(machine, tiles, expected))
        x_stays = placement.rows_of(placement.x) * tiles.x_k <= given.half.x
        fresh = 0 if first_row and tiles.high != given.tiles[0].high else 1
        first_row += _row(one, tiles, given, fresh, x_loads=True)
        later = _row(one, tiles, given, tiles.down - fresh, x_loads=not x_stays)
        others += [row._replace(x_again=row.x_loaded) for row in later]
    at = given.tiles[0]
    edge = _tile(machine, placement, at, _streamed(machine, at, expected))
    return total(first_row), total(others), edge.shown


def _streamed(machine: SystolicArray, tiles: Tiles, expected: Expected | None) -> float:
    """Cycles that a tile of C streams."""
    if expected is None:
        return math.ceil(tiles.slots / machine.dot_width)
    # Full tiles come first, the ragged one is the last.
    down = slice(0, tiles.down) if tiles.high == machine.rows else slice(-1, None)
    across = slice(0, tiles.across) if tiles.width == machine.cols else slice(-1, None)
    return float(expected.cycles[:, down, across].mean())


def _tile(machine: SystolicArray, placement: Placement, tiles: Tiles, streamed: float) -> Part:
    """One tile of C that loads nothing."""
    x, y = tiles.width * tiles.x_k, tiles.high * tiles.y_k
    waited, _ = path_waits(machine, placement, streamed, x, y)
    shown = 0.0
    if machine.drain in ("overlapped", "back_to_back"):
        behind = machine.fill_cycles if machine.drain == "overlapped" else 0
        shown = max(0.0, machine.rows - behind - streamed - waited)
    return Part(
        folds=1,
        streamed=streamed,
        waited=waited,
        shown=shown,
        issued=tiles.high * tiles.width * tiles.slots,
        x_read=x,
        y_read=y,
        outputs=tiles.high * tiles.width,
    )


def _row(one: Part, tiles: Tiles, given: Shape, down: int, *, x_loads: bool) -> Iterator[Part]:
    """So many rows of tiles alike: the left one loads y, the others where it does not stay."""
    left = 1 if tiles.width == given.tiles[0].width else 0
    y_stays = tiles.high * tiles.y_k <= given.half.y
    for first, across, y_loads in ((True, left, True), (False, tiles.across - left, not y_stays)):
        loads = one._replace(
            whole=int(x_loads or y_loads),
            x_loaded=one.x_read if x_loads else 0,
            y_loaded=one.y_read if y_loads else 0,
        ).times(down * across)
        yield loads if first else loads._replace(y_again=loads.y_loaded)
