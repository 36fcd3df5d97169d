"""What half of each buffer holds of a fold, and which buffers are too small for a placement.

Two pieces of every operand that is loaded fit its buffer, one in each half; an operand that is held
comes as a whole tile. What is too small for the least of pieces is refused.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

from nmsim.errors import CapacityError
from nmsim.machines.systolic.pipeline.folds import Room
from nmsim.machines.systolic.placement import Placement, along_folds
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.writeup import element_bits

__all__ = [
    "Halves",
    "half_bits",
    "halves",
    "least_pieces",
    "next_count",
    "room",
    "row_counts",
]


class Halves(NamedTuple):
    """Stored elements of x and y, and partial sums, that half of their buffers hold."""

    x: float
    y: float
    sums: int


def halves(machine: SystolicArray, placement: Placement) -> Halves:
    """What half of each buffer holds, in the elements of a placement."""
    return Halves(
        half_bits(machine, placement.x) / element_bits(machine, placement, placement.x),
        half_bits(machine, placement.y) / element_bits(machine, placement, placement.y),
        int(machine.sram.c_kib * 4096 / machine.accumulator_bits),
    )


def half_bits(machine: SystolicArray, position: str) -> float:
    """Bits of half of an operand's buffer."""
    return 4096 * (machine.sram.a_kib if position == "a" else machine.sram.b_kib)


def room(
    machine: SystolicArray, placement: Placement, half: Halves, slots: tuple[int, int]
) -> Room:
    """What half of each buffer holds of a fold.

    Parameters
    ----------
    half
        The same in elements.
    slots
        The least and the most slots along K that a tile of lanes takes.

    Raises
    ------
    CapacityError
        if a buffer cannot hold two of the least pieces.
    """
    least = tuple(_least(machine, placement, slots))
    for need, has in zip(least, half, strict=True):
        if need > has:
            raise CapacityError(_refusal(machine, placement, least, half))
    x_least, y_least, cols = least
    most = slots[1]
    on_rows = placement.dataflow.preloads
    return Room(
        sum_rows=_split_rows(machine, placement, half, cols),
        spill_rows=half.sums // max(1, cols),
        x_size=0 if on_rows else placement.along_k(placement.x) or most,
        y_size=0 if on_rows else placement.along_k(placement.y) or most,
        x_room=int(half.x // x_least),
        y_room=int(half.y // y_least),
    )


def _split_rows(machine: SystolicArray, placement: Placement, half: Halves, cols: int) -> int:
    if machine.partial_sums == "spill" or not cols:
        return placement.rows_of(placement.y)
    return half.sums // cols


def _least(machine: SystolicArray, placement: Placement, slots: tuple[int, int]) -> Iterator[int]:
    """Elements of x, of y, and sums that half of each buffer must hold at least."""
    cols = min(machine.cols, placement.rows_of(placement.x))
    if not placement.dataflow.preloads:
        yield from (cols, min(machine.rows, placement.rows_of(placement.y)), 0)
        return
    cut = (along_folds(machine, placement, slots[0]), along_folds(machine, placement, slots[1]))
    x, y = (
        _deepest(
            machine.depth, placement.along_k(p) or (slots[1] if machine.holds_groups else 0), cut
        )
        for p in (placement.x, placement.y)
    )
    yield from (cols * x, y, 0 if machine.partial_sums == "spill" else cols)


def _deepest(depth: int, k: int, slots: tuple[int, int]) -> int:
    """Stored elements of a lane, k along K, that a fold of so many slots takes at most."""
    least, most = slots
    if not k:
        return min(depth, most)
    part = depth * k // least
    return max(part, k - (-(-least // depth) - 1) * part) if least > depth else k


def _refusal(
    machine: SystolicArray, placement: Placement, least: tuple[int, ...], half: Halves
) -> str:
    bits = (
        element_bits(machine, placement, placement.x),
        element_bits(machine, placement, placement.y),
        machine.accumulator_bits,
    )
    short = []
    for position, need, has, width in zip(
        (placement.x, placement.y, "c"), least, half, bits, strict=True
    ):
        if need > has:
            kib = math.ceil(need * width / 4) / 1024
            now = getattr(machine.sram, f"{position}_kib")
            short.append(f"sram.{position}_kib is {now}, expected at least {kib}")
    g = placement.work.gemm
    return (
        f"{machine.name}: {' and '.join(short)} KiB, so that GEMM {g.layer!r} {g.phase}, "
        f"{g.m} x {g.n} x {g.k}, has two pieces of each operand in its buffer"
    )


def row_counts(machine: SystolicArray, placement: Placement, space: Room) -> Iterator[int]:
    """Rows that may stream in every fold, of ws and is, from the most that the C buffer holds on.

    Numbers of chunks follow ``next_count``, whatever the buffer: a larger one adds smaller numbers
    to those that are tried.
    """
    lanes = placement.rows_of(placement.y)
    count, done = 1, 0
    while done != 1:
        rows = -(-lanes // count)
        count = next_count(count)
        if rows <= space.sum_rows and rows != done:
            yield rows
            done = rows
            if machine.partial_sums == "spill":
                return


def next_count(count: int) -> int:
    """The next number of chunks that is tried: all up to 8, then four in an octave."""
    step = 1
    while count >= 8 * step:
        step *= 2
    return count + step


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
