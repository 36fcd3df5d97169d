"""What an operand that is gathered from a tensor loads on an array, pass by pass.

Under implicit im2col a convolution's columns are made on chip. What DRAM sends of them follows from
the windows over the tensor, the order of the folds and what half of the buffer holds
(``nmsim.machines.systolic.traffic.residence``). An operand whose windows nobody knows sends the
elements behind it once per pass, and all of it is held or none.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import formula
from nmsim.machines.systolic.pe.slots import expected_slots
from nmsim.machines.systolic.placement import Placement, Side
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.operands import element_bits, half_bits, windows_of
from nmsim.machines.systolic.traffic.residence import BUDGET, Walk, loads_of_each
from nmsim.windows import Axis, Windows

__all__ = [
    "BEHIND",
    "BLOCK",
    "Asked",
    "Known",
    "Reach",
    "asked",
    "elements_loaded",
    "elements_sent",
    "find_out",
    "geometry_of",
    "known_loads",
    "known_of",
    "least_bits",
    "loads_in",
    "reach_by",
    "reach_of",
    "walk_of",
]

PLAIN = Axis(1, 1, 1)
"""A dimension that a tensor does not have."""


class Reach(NamedTuple):
    """What DRAM sends for a stored element of an operand: bits in a first pass, and in later ones.

    ``half`` are the stored elements passed over that half of the buffer holds: all or none where it
    is counted which of them are. ``row`` is what is sent where nothing comes twice: so much a first
    row waits for.
    """

    first: float
    again: float
    half: float
    row: float


@lru_cache(maxsize=1024)
def _geometry(windows: Windows) -> NDArray[np.int64]:
    """Windows as the kernel takes them."""
    axes = (PLAIN,) * (3 - len(windows.axes)) + windows.axes
    numbers = [windows.images, windows.channels, int(windows.along == "rows"), windows.elements]
    for axis in axes:
        numbers += [axis.size, axis.windows, axis.taps, axis.stride, axis.step, axis.first]
    return np.array(numbers, np.int64)


UNKNOWN: NDArray[np.int64] = np.zeros((0, 3), np.int64)
"""What was found out of an operand that is not gathered."""

NOWHERE: NDArray[np.int64] = np.zeros(0, np.int64)
"""The geometry of an operand that is not gathered."""


def geometry_of(machine: SystolicArray, placement: Placement, position: Side) -> NDArray[np.int64]:
    """The windows of an operand as the kernel takes them; empty if it is not gathered."""
    windows = windows_of(machine, placement, position)
    return NOWHERE if windows is None else _geometry(windows)


def walk_of(machine: SystolicArray, placement: Placement, position: Side, rows: int) -> Walk:
    """In which order an operand is touched.

    Parameters
    ----------
    rows
        That stream in a fold, with K on the rows.
    """
    walk, block = _walk(machine, placement, position)
    return walk._replace(block=block or rows)


def _walk(machine: SystolicArray, placement: Placement, position: Side) -> tuple[Walk, int]:
    """The same with blocks of a row, and the rows of a block; 0: as many as stream."""
    way, stored = placement.way, placement.stored_as(position)
    held, is_x = way.dataflow.preloads, position == way.x
    dense = half_bits(machine, position) * placement.k / (stored.bits * stored.elements)
    block, part = machine.rows, machine.rows
    if is_x:
        block = machine.cols
        once = not held and placement.rows_of(way.y) <= machine.rows
    else:
        once = placement.rows_of(way.x) <= machine.cols
        block = 0 if held else block
    if held:
        part = max(1, machine.rows * placement.k // _slots(machine, placement))
    return Walk(1, part, int(dense), held == is_x, once), block


def _slots(machine: SystolicArray, placement: Placement) -> int:
    """Slots along K that a full tile is expected to take; both fidelities ask for these."""
    if not placement.selected:
        return placement.k
    rows = placement.rows_of(placement.selected)
    tile = {"rows": machine.rows, "cols": machine.cols, "time": rows}[placement.lanes]
    mask = placement.selected_mask
    return round(expected_slots(mask, placement.native, min(rows, tile), placement.k))


Found = dict[int, tuple[int, int]]
"""Elements that a first pass loads, and every later one, by the lanes of a block."""


@lru_cache(maxsize=1 << 16)
def _found(_windows: Windows, _walk: Walk) -> Found:
    """What was found out of a walk, whatever its ``block``, which is 1 here."""
    return {}


class Asked(NamedTuple):
    """A gathered operand of a placement: its windows, the walk over it, and what is known of it.

    ``walk`` is of blocks of one row; ``block`` are the rows that it has, 0 if it streams in chunks.
    """

    windows: Windows
    walk: Walk
    found: Found
    block: int


def asked(machine: SystolicArray, placement: Placement, position: Side, windows: Windows) -> Asked:
    """How an operand is gathered that has windows."""
    walk, block = _walk(machine, placement, position)
    return Asked(windows, walk, _found(windows, walk), block)


def find_out(operands: Iterable[tuple[Asked, int]]) -> None:
    """Find out what operands load in blocks of so many lanes, as far as it is not known."""
    new: dict[tuple[int, int], tuple[Asked, int]] = {}
    for one, block in operands:
        if block in one.found:
            continue
        between = _between(
            _levels(one.windows, one.walk._replace(block=block, room=0)), one.walk.room
        )
        if between is None:
            new[id(one.found), block] = one, block
        else:
            one.found[block] = between
    if not new:
        return
    geometries = np.array([_geometry(one.windows) for one, _ in new.values()])
    walks = [one.walk._replace(block=block) for one, block in new.values()]
    loaded = loads_of_each(geometries, np.array(walks, np.int64), BUDGET)
    for (one, block), (first, again) in zip(new.values(), loaded.tolist(), strict=True):
        one.found[block] = first, again
        level = _levels(one.windows, one.walk._replace(block=block, room=0))
        insort(level, (one.walk.room, first, again))


Levels = list[tuple[int, int, int]]
"""What half of a buffer holds, and the elements that a first pass loads then, and a later one."""


@lru_cache(maxsize=1 << 16)
def _levels(_windows: Windows, _walk: Walk) -> Levels:
    """What was found out of a walk, whatever its ``room``, which is 0 here."""
    return []


def _between(levels: Levels, room: int) -> tuple[int, int] | None:
    """What is loaded if half of the buffer holds so much; None: not known.

    A larger buffer never loads more: between two that load the same, all do.
    """
    at = bisect_left(levels, (room, 0, 0))
    if at < len(levels) and levels[at][0] == room:
        return levels[at][1:]
    if 0 < at < len(levels) and levels[at - 1][1:] == levels[at][1:]:
        return levels[at][1:]
    return None


def _loads(one: Asked, rows: int) -> tuple[int, int]:
    """What an operand loads if so many rows stream in a fold."""
    block = one.block or rows
    find_out([(one, block)])
    return one.found[block]


class Known(NamedTuple):
    """What is known of gathered operands, as a kernel takes it.

    Parameters
    ----------
    sides
        Of each operand ``BEHIND``, elements of the tensor, ``BLOCK``, lanes of a block unless it
        streams, and ``MANY``, for how many blocks its loads are known.
    loads
        Of each operand those blocks: lanes, first loads, later ones.
    """

    sides: NDArray[np.int64]
    loads: NDArray[np.int64]


BEHIND, BLOCK, MANY = range(3)


def known_of(operands: Sequence[Asked]) -> Known:
    """What is known of operands."""
    each = [[(block, *two) for block, two in list(one.found.items())] for one in operands]
    loaded = np.zeros((len(operands), max(map(len, each), default=0), 3), np.int64)
    for i, rows in enumerate(each):
        loaded[i, : len(rows)] = np.array(rows, np.int64).reshape(-1, 3)
    sides = [
        (one.windows.elements, one.block, len(rows))
        for one, rows in zip(operands, each, strict=True)
    ]
    return Known(np.array(sides, np.int64).reshape(-1, 3), loaded)


@formula
def loads_in(known: Known, at: int, block: int) -> tuple[int, int]:
    """Elements that the first pass over an operand loads, and every later one; -1: not known."""
    for i in range(known.sides[at, MANY]):
        if known.loads[at, i, 0] == block:
            return int(known.loads[at, i, 1]), int(known.loads[at, i, 2])
    return -1, -1


def known_loads(machine: SystolicArray, placement: Placement, position: Side) -> NDArray[np.int64]:
    """What was found out of an operand that streams: rows of a chunk, first loads, later ones.

    Closed forms try the same chunks as a cycle model.
    """
    windows = windows_of(machine, placement, position)
    if windows is None:
        return UNKNOWN
    one = asked(machine, placement, position, windows)
    rows = [(block, *passes) for block, passes in list(one.found.items())]  # others may add to it
    return np.array(rows, np.int64).reshape(-1, 3)


def reach_of(
    machine: SystolicArray,
    placement: Placement,
    position: Side,
    rows: int,
    half: float,
) -> Reach:
    """What DRAM sends of an operand.

    Parameters
    ----------
    rows
        That stream in a fold, with K on the rows.
    half
        Stored elements that half of its buffer holds.
    """
    bits = element_bits(machine, placement, position)
    windows = windows_of(machine, placement, position)
    if windows is None:
        return Reach(bits, bits, half, bits)
    found = _loads(asked(machine, placement, position, windows), rows)
    size = placement.rows_of(position) * placement.given.k
    return reach_by(bits, size, windows.elements, found)


@formula
def reach_by(bits: float, size: int, elements: int, found: tuple[int, int]) -> Reach:
    """What DRAM sends of a gathered operand.

    Parameters
    ----------
    bits
        Of a stored element.
    size, elements
        Elements of the operand, and those of the tensor behind it.
    found
        Elements that the first pass loads, and every later one.
    """
    first, again = found
    per_element, row = bits / size, bits * elements / size
    if again == 0:
        return Reach(first * per_element, first * per_element, np.inf, row)
    return Reach(first * per_element, again * per_element, -1.0, row)


def least_bits(machine: SystolicArray, placement: Placement, position: Side) -> float:
    """Bits that DRAM sends for a stored element of an operand if it sends none twice."""
    bits = element_bits(machine, placement, position)
    windows = windows_of(machine, placement, position)
    if windows is None:
        return bits
    return bits * windows.elements / (placement.rows_of(position) * placement.given.k)


def elements_loaded(
    machine: SystolicArray,
    placement: Placement,
    position: Side,
    rows: int,
    loaded: int,
    read: int,
) -> int:
    """Elements in memory that DRAM sent, all copies.

    Parameters
    ----------
    rows
        That stream in a fold, with K on the rows.
    loaded, read
        The operand's own, of all passes and copies: each pass reads it from the buffer once.
    """
    windows = windows_of(machine, placement, position)
    if windows is None:
        return loaded
    found = _loads(asked(machine, placement, position, windows), rows)
    other, tile = (
        (placement.y, machine.rows) if position == placement.x else (placement.x, machine.cols)
    )
    if placement.dataflow.preloads and position == placement.x:
        tile = rows
    once = read // -(-placement.rows_of(other) // tile)
    size = placement.rows_of(position) * placement.given.k
    return elements_sent(found, size, once, loaded)


def elements_sent(found: tuple[int, int], size: int, once: int, loaded: int) -> int:
    """Elements in memory that DRAM sent of a gathered operand.

    Parameters
    ----------
    found
        Elements that the first pass loads, and every later one, of one copy.
    size
        Elements of the operand, one copy.
    once, loaded
        Elements of the operand in a first pass, and in all, of all copies.
    """
    first, again = found
    return -(-(once * first + (loaded - once) * again) // size)
