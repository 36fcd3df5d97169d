"""Whether a chip that follows masks is worth its area, held against a dense one in three ways.

At *equal area* the chip has fewer columns, so that all PEs together are no larger than those of the
dense one, and runs at the clock that it reaches. At *equal power* what counts is the energy of a
step: as many steps a second as energy allows. At *equal bandwidth* both have as many multipliers,
the same memory, and the same path from the buffers to the PEs, as wide as the dense ones need: a
chip that picks from groups is handed more words for as many products, and waits for them.
"""

import dataclasses
import math
from typing import Literal, NamedTuple, get_args

from nmsim.cost.bill import Bill
from nmsim.cost.chip import Chip, bill_of_chip
from nmsim.cost.pe.built import bill_of
from nmsim.cost.pe.mac import Multiplier
from nmsim.cost.technology import Technology

__all__ = ["WAYS", "Gain", "Size", "Step", "Way", "columns_within", "gain", "logic_ge", "sized"]

Way = Literal["area", "power", "bandwidth"]
"""What a chip and a dense one have as much of."""

WAYS: tuple[Way, ...] = get_args(Way)


def logic_ge(chip: Chip, technology: Technology, multiplier: Multiplier = "booth") -> float:
    """Gate equivalents of all PEs and what stands at their edges; buffers are not in it."""
    bill: Bill = bill_of_chip(chip, bill_of(chip.pe, multiplier))
    return technology.ge(bill.cells())


def columns_within(
    chip: Chip, area_ge: float, technology: Technology, multiplier: Multiplier = "booth"
) -> int:
    """The most columns with which a chip's logic is no larger than an area; 0 if not one is.

    Examples
    --------
    >>> from nmsim.cost.pe.structure import PeStructure
    >>> from nmsim.cost.technology import load_technology
    >>> table, dense = load_technology(), Chip(PeStructure(), 64, 64)
    >>> wide = Chip(PeStructure.selecting(2, 4), 64, 64, density=0.5)
    >>> [columns_within(one, logic_ge(dense, table), table) for one in (dense, wide)]
    [64, 52]
    """

    def area(columns: int) -> float:
        return logic_ge(dataclasses.replace(chip, cols=columns), technology, multiplier)

    fits = math.floor(chip.cols * area_ge / area(chip.cols))  # edges are not proportional
    while fits > 0 and area(fits) > area_ge:
        fits -= 1
    while area(fits + 1) <= area_ge:
        fits += 1
    return fits


class Size(NamedTuple):
    """Columns of a chip, and bits a cycle that reach its PEs; None: as many as they take."""

    cols: int
    path_bits: int | None = None


def sized(
    way: Way, chip: Chip, dense: Chip, technology: Technology, multiplier: Multiplier = "booth"
) -> Size:
    """How large a chip is if it has as much as a dense one of what a way asks for."""
    if way == "area":
        area = logic_ge(dense, technology, multiplier)
        return Size(columns_within(chip, area, technology, multiplier))
    return Size(chip.cols, dense.path_bits if way == "bandwidth" else None)


class Step(NamedTuple):
    """A step of a network on a chip: its time at the clock that the chip reaches, energy, area."""

    time_us: float
    energy_pj: float
    area_ge: float


class Gain(NamedTuple):
    """What a chip gains over a dense one; above 1 it is worth it.

    Parameters
    ----------
    speedup
        Of the step.
    per_area
        Of the step and unit of area.
    energy_delay
        Energy times time of the dense chip's step over those of this one.
    """

    speedup: float
    per_area: float
    energy_delay: float


def gain(way: Way, chip: Step, dense: Step) -> Gain:
    """What a step on a chip gains over one on a dense chip.

    At equal power so many copies of the chip work as draw what the dense one draws: they do as many
    steps as energy allows, on as many times the area.

    Examples
    --------
    >>> chip, dense = Step(5.0, 8.0, 1.5), Step(10.0, 10.0, 1.0)
    >>> [round(gain(way, chip, dense).speedup, 2) for way in WAYS]
    [2.0, 1.25, 2.0]
    >>> round(gain("bandwidth", chip, dense).per_area, 2)
    1.33
    """
    faster = dense.time_us / chip.time_us
    energy = dense.energy_pj / chip.energy_pj
    return Gain(
        speedup=energy if way == "power" else faster,
        per_area=faster * dense.area_ge / chip.area_ge,
        energy_delay=energy * faster,
    )
