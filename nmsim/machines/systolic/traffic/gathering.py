"""What an operand that is gathered from a tensor loads on an array, pass by pass.

Under implicit im2col a convolution's columns are made on chip. What DRAM sends of them follows from
the windows over the tensor, the order of the folds and what half of the buffer holds
(``nmsim.machines.systolic.traffic.residence``). An operand whose windows nobody knows sends the
elements behind it once per pass, and all of it is held or none.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.systolic.pe.slots import expected_slots
from nmsim.machines.systolic.pipeline.capacity import half_bits
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.residence import BUDGET, Walk, loads
from nmsim.machines.systolic.traffic.writeup import element_bits, windows_of
from nmsim.windows import Axis, Windows

__all__ = [
    "Reach",
    "Side",
    "elements_loaded",
    "geometry_of",
    "known_loads",
    "least_bits",
    "reach_of",
    "walk_of",
]

Side = Literal["a", "b"]
"""An operand of a GEMM."""

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
    held, is_x = placement.dataflow.preloads, position == placement.x
    x_tiles = -(-placement.rows_of(placement.x) // machine.cols)
    stored = placement.stored_as(position)
    dense = half_bits(machine, position) * placement.k / (stored.bits * stored.elements)
    block, part, once = machine.rows, machine.rows, x_tiles == 1
    if is_x:
        block = machine.cols
        once = not held and placement.rows_of(placement.y) <= machine.rows
    elif held:
        block = rows
    if held:
        part = max(1, machine.rows * placement.k // _slots(machine, placement))
    return Walk(block, part, int(dense), by_block=held == is_x, once=once)


def _slots(machine: SystolicArray, placement: Placement) -> int:
    """Slots along K that a full tile is expected to take; both fidelities ask for these."""
    if not placement.selected:
        return placement.k
    rows = placement.rows_of(placement.selected)
    tile = {"rows": machine.rows, "cols": machine.cols, "time": rows}[placement.lanes]
    mask = placement.selected_mask
    return round(expected_slots(mask, placement.native, min(rows, tile), placement.k))


@lru_cache(maxsize=4096)
def _found(_windows: Windows, _walk: Walk) -> dict[int, tuple[int, int]]:
    """What was found out of a walk, by the lanes of its blocks; these are 1 in ``walk``."""
    return {}


def _loads(windows: Windows, walk: Walk) -> tuple[int, int]:
    found = _found(windows, walk._replace(block=1))
    if walk.block not in found:
        first, again = loads(_geometry(windows), walk, BUDGET)
        found[walk.block] = int(first), int(again)
    return found[walk.block]


def known_loads(machine: SystolicArray, placement: Placement, position: Side) -> NDArray[np.int64]:
    """What was found out of an operand that streams: rows of a chunk, first loads, later ones.

    Closed forms try the same chunks as a cycle model.
    """
    windows = windows_of(machine, placement, position)
    if windows is None:
        return UNKNOWN
    found = _found(windows, walk_of(machine, placement, position, 1))
    rows = [(block, *passes) for block, passes in list(found.items())]  # others may add to it
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
    first, again = _loads(windows, walk_of(machine, placement, position, rows))
    size = placement.rows_of(position) * placement.work.k
    per_element, row = bits / size, bits * windows.elements / size
    if not again:
        return Reach(first * per_element, first * per_element, float("inf"), row)
    return Reach(first * per_element, again * per_element, -1.0, row)


def least_bits(machine: SystolicArray, placement: Placement, position: Side) -> float:
    """Bits that DRAM sends for a stored element of an operand if it sends none twice."""
    bits = element_bits(machine, placement, position)
    windows = windows_of(machine, placement, position)
    if windows is None:
        return bits
    return bits * windows.elements / (placement.rows_of(position) * placement.work.k)


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
    first, again = _loads(windows, walk_of(machine, placement, position, rows))
    other, tile = (
        (placement.y, machine.rows) if position == placement.x else (placement.x, machine.cols)
    )
    if placement.dataflow.preloads and position == placement.x:
        tile = rows
    once = read // -(-placement.rows_of(other) // tile)
    size = placement.rows_of(position) * placement.work.k
    return -(-(once * first + (loaded - once) * again) // size)
