"""What half of each buffer holds of a fold, and which buffers are too small for a placement.

Two pieces of every operand that is loaded fit its buffer, one in each half; an operand that is held
comes as a whole tile. What is too small for the least of pieces is refused.
"""

import math
from typing import NamedTuple

from nmsim.errors import CapacityError
from nmsim.jit import formula
from nmsim.machines.systolic.closed_form.given import Demand, Resources, given_of, resources_of
from nmsim.machines.systolic.pipeline.folds import Room
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.operands import element_bits

__all__ = [
    "Half",
    "Least",
    "half_of",
    "halves",
    "least_of",
    "least_pieces",
    "next_count",
    "refusal",
    "room",
    "room_of",
    "short",
]


class Half(NamedTuple):
    """What half of each buffer holds: stored elements of x and y that are passed over, and sums."""

    x: float
    y: float
    sums: int


class Least(NamedTuple):
    """Elements of x, of y, and sums that half of each buffer must hold at least."""

    x: int
    y: int
    sums: int


@formula
def half_of(resources: Resources, demand: Demand) -> Half:
    """What half of each buffer holds, in the elements of a placement."""
    return Half(
        resources.x_half / (demand.x_bits * demand.x_behind / demand.x_size),
        resources.y_half / (demand.y_bits * demand.y_behind / demand.y_size),
        resources.sums_half,
    )


@formula
def least_of(resources: Resources, demand: Demand, slots: tuple[int, int]) -> Least:
    """What half of each buffer must hold, of tiles that take so many slots, the least and the most.

    Slots are those along K.
    """
    cols = min(resources.cols, demand.x_lanes)
    if not resources.preloads:
        return Least(cols, min(resources.rows, demand.y_lanes), 0)
    least, most = slots
    of_slots = 0
    if resources.holds_groups:  # folds are cut from elements
        of_slots, least, most = most, demand.k, demand.k
    x = _deepest(resources.depth, demand.x_k if demand.x_k > 0 else of_slots, least, most)
    y = _deepest(resources.depth, demand.y_k if demand.y_k > 0 else of_slots, least, most)
    return Least(cols * x, y, 0 if resources.spills else cols)


@formula
def _deepest(depth: int, k: int, least: int, most: int) -> int:
    """Stored elements of a lane, k along K, that a fold of so many slots takes at most."""
    if k == 0:
        return min(depth, most)
    if least <= depth:
        return k
    part = depth * k // least
    return max(part, k - (-(-least // depth) - 1) * part)


@formula
def short(half: Half, least: Least) -> bool:
    """Whether a buffer cannot hold two of the least pieces."""
    return least.x > half.x or least.y > half.y or least.sums > half.sums


@formula
def room_of(resources: Resources, demand: Demand, half: Half, least: Least, most: int) -> Room:
    """What half of each buffer holds of a fold, of tiles that take so many slots at most."""
    held = resources.preloads
    split = not resources.spills and least.sums > 0
    return Room(
        half.sums // least.sums if split else demand.y_lanes,
        half.sums // max(1, least.sums),
        0 if held else (demand.x_k if demand.x_k > 0 else most),
        0 if held else (demand.y_k if demand.y_k > 0 else most),
        int(half.x // least.x),
        int(half.y // least.y),
    )


def halves(machine: SystolicArray, placement: Placement) -> Half:
    """What half of each buffer of an array holds, in the elements of a placement."""
    return half_of(resources_of(machine), given_of(machine, placement).demand)


def room(machine: SystolicArray, placement: Placement, slots: tuple[int, int]) -> Room:
    """What half of each buffer holds of a fold.

    Parameters
    ----------
    slots
        The least and the most slots along K that a tile of lanes takes.

    Raises
    ------
    CapacityError
        if a buffer cannot hold two of the least pieces.
    """
    resources, demand = resources_of(machine), given_of(machine, placement).demand
    half, least = half_of(resources, demand), least_of(resources, demand, slots)
    if short(half, least):
        raise refusal(machine, placement, slots)
    return room_of(resources, demand, half, least, slots[1])


def refusal(machine: SystolicArray, placement: Placement, slots: tuple[int, int]) -> CapacityError:
    """Why a placement cannot run whose tiles take so many slots, the least and the most."""
    resources, demand = resources_of(machine), given_of(machine, placement).demand
    half, least = half_of(resources, demand), least_of(resources, demand, slots)
    bits = (
        element_bits(machine, placement, placement.x),
        element_bits(machine, placement, placement.y),
        machine.accumulator_bits,
    )
    too_small = []
    for position, need, has, width in zip(
        (placement.x, placement.y, "c"), least, half, bits, strict=True
    ):
        if need > has:
            kib = math.ceil(need * width / 4) / 1024
            now = getattr(machine.sram, f"{position}_kib")
            too_small.append(f"sram.{position}_kib is {now}, expected at least {kib}")
    g = placement.work.gemm
    return CapacityError(
        f"{machine.name}: {' and '.join(too_small)} KiB, so that GEMM {g.layer!r} {g.phase}, "
        f"{g.m} x {g.n} x {g.k}, has two pieces of each operand in its buffer"
    )


@formula
def next_count(count: int) -> int:
    """The next number of chunks that is tried: all up to 8, then four in an octave."""
    step = 1
    while count >= 8 * step:
        step *= 2
    return count + step


@formula
def least_pieces(spills: bool, space: Room, rows: int) -> int:
    """Into how many pieces a fold must be cut at least, a power of two.

    Parameters
    ----------
    spills
        Sums that the C buffer does not hold go off: then they must be out before they come back.
    rows
        That stream in a fold, with K on the rows; 0 with K in time.
    """
    pieces = 1
    if rows == 0:
        while (space.x_size + pieces - 1) // pieces > space.x_room or (
            space.y_size + pieces - 1
        ) // pieces > space.y_room:
            pieces *= 2
        return pieces
    if spills and rows > space.spill_rows:
        pieces = 4
    while (rows + pieces - 1) // pieces > space.y_room:
        pieces *= 2
    return pieces
