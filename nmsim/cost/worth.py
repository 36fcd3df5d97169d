"""Whether a chip that follows masks is worth its area: held against a dense one that is as large.

At *equal area* the chip has fewer columns, so that all PEs together are no larger than those of the
dense one, and runs at the clock that it reaches. At *equal power* what counts is the energy of a
step: as many steps a second as energy allows. At *equal bandwidth* both have as many multipliers
and the same memory, and area is not asked for.
"""

import dataclasses
import math
from typing import NamedTuple

from nmsim.cost.bill import Bill
from nmsim.cost.chip import Chip, bill_of_chip
from nmsim.cost.pe.built import bill_of
from nmsim.cost.pe.mac import Multiplier
from nmsim.cost.technology import Technology

__all__ = ["Step", "Worth", "columns_within", "logic_ge", "worth"]


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


class Step(NamedTuple):
    """A step of a network on a chip: its time at the clock that the chip reaches, energy, area."""

    time_us: float
    energy_pj: float
    area_ge: float


class Worth(NamedTuple):
    """What a chip gains over a dense one; above 1 it is worth it.

    Parameters
    ----------
    speedup
        Of the step, as both chips are.
    per_area
        Of the step and unit of area.
    at_equal_power
        Steps for the same energy.
    energy_delay
        Energy times time of the dense chip's step over those of this one.
    """

    speedup: float
    per_area: float
    at_equal_power: float
    energy_delay: float


def worth(chip: Step, dense: Step) -> Worth:
    """What a step on a chip gains over one on a dense chip.

    Examples
    --------
    >>> worth(Step(5.0, 8.0, 1.5), Step(10.0, 10.0, 1.0)).per_area
    1.3333333333333333
    """
    speedup = dense.time_us / chip.time_us
    energy = dense.energy_pj / chip.energy_pj
    return Worth(speedup, speedup * dense.area_ge / chip.area_ge, energy, energy * speedup)
