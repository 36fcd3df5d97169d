"""Cells of a multiply-accumulate unit, by its number format: from synthesis, or between two of it.

``macs.csv`` holds MACs alone as Yosys makes them of ``y = c + a * b`` or of several such products
(lanes), with its own multiplier and with Booth's, which is smaller. How large a MAC is depends on
the flow far more than anything beside it does, so that a whole PE is known within a band and what
stands beside the MAC exactly. Lanes of integers share the adder that carries: another product takes
two thirds to nine tenths of a MAC.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from nmsim.cost.bill import CELLS, Cell
from nmsim.cost.technology.schema import between

__all__ = ["MULTIPLIERS", "Mac", "Multiplier", "cells_in", "mac_of"]

Multiplier = Literal["default", "booth"]
"""Yosys' own multiplier, and Booth's (``synth -booth``)."""

MULTIPLIERS: tuple[Multiplier, ...] = get_args(Multiplier)

_TABLE = Path(__file__).parent / "macs.csv"

_USUAL_SUM = 32

_FULL_ADDER: Mapping[Cell, float] = {"xor2": 2, "nand2": 3}
"""Cells of a full adder."""


class Mac(NamedTuple):
    """A MAC of one or several products.

    Parameters
    ----------
    operand_bits, sum_bits, lanes
        Its widths, and the products that it adds to a sum.
    cells
        Of all of it, by kind.
    levels
        Cells on its longest path.
    basis
        Where both come from.
    """

    operand_bits: int
    sum_bits: int
    lanes: int
    cells: Mapping[Cell, float]
    levels: int
    basis: str

    @property
    def size(self) -> float:
        """Cells of any kind."""
        return math.fsum(self.cells.values())


@cache
def mac_of(
    operand_bits: int,
    sum_bits: int,
    lanes: int = 1,
    *,
    floating: bool = False,
    multiplier: Multiplier = "booth",
) -> Mac:
    """A MAC as it was synthesised, or between those that were.

    A width that was not synthesised lies between two that were, or beyond them, by a power of the
    width; a sum of other bits has a full adder a bit more or less. Lanes that were not take as much
    each as those of the nearest width and number that were.

    Examples
    --------
    >>> one, four = mac_of(8, 32), mac_of(8, 32, 4)
    >>> 3 < four.size / one.size < 4
    True
    """
    table = _table(floating, multiplier)
    for one in table:
        if (one.operand_bits, one.sum_bits, one.lanes) == (operand_bits, sum_bits, lanes):
            return one
    lone = _of_width([one for one in table if one.lanes == 1], operand_bits, sum_bits)
    if lanes == 1:
        return lone
    return _of_lanes(lone, lanes, table)


@cache
def _table(floating: bool, multiplier: Multiplier) -> tuple[Mac, ...]:
    kind = "float" if floating else "int"
    with _TABLE.open(newline="") as file:
        return tuple(
            Mac(
                int(one["operand_bits"]),
                int(one["sum_bits"]),
                int(one["lanes"]),
                cells_in(one["cells"]),
                int(one["levels"]),
                f"synthesised, multiplier {multiplier}",
            )
            for one in csv.DictReader(file)
            if (one["arithmetic"], one["multiplier"]) == (kind, multiplier)
        )


def cells_in(text: str) -> dict[Cell, int]:
    """Cells by kind, as a column of a synthesised table has them: ``and2:17 not:3``."""
    found = dict(one.split(":") for one in text.split())
    return {cell: int(found[cell]) for cell in CELLS if cell in found}


def _of_width(known: Sequence[Mac], operand_bits: int, sum_bits: int) -> Mac:
    """A MAC of one product, as those of the nearest widths and sums of 32 bits let it be."""
    for one in known:
        if (one.operand_bits, one.sum_bits) == (operand_bits, sum_bits):
            return one
    usual = sorted(one for one in known if one.sum_bits == _USUAL_SUM)
    near = min(usual, key=lambda one: abs(one.operand_bits - operand_bits))
    factor = (operand_bits / near.operand_bits) ** 2
    if len(usual) > 1:
        sizes = [(one.operand_bits, one.size) for one in usual]
        factor = between(sizes, operand_bits) / near.size
    cells = {cell: count * factor for cell, count in near.cells.items()}
    for cell, count in _FULL_ADDER.items():
        cells[cell] = max(0.0, cells.get(cell, 0.0) + count * (sum_bits - _USUAL_SUM))
    levels = near.levels + round(4 * math.log2(operand_bits / near.operand_bits))
    basis = f"estimate from widths that were {near.basis}"
    return Mac(operand_bits, sum_bits, 1, cells, max(1, levels), basis)


def _of_lanes(lone: Mac, lanes: int, table: Sequence[Mac]) -> Mac:
    """A MAC of several products, each further one as large as in the nearest MAC that has any.

    Of other widths than those a product is as much of its lone MAC; levels grow with the logarithm.
    """
    near = min(
        (one for one in table if one.lanes > 1),
        key=lambda one: (
            abs(math.log(one.operand_bits / lone.operand_bits)),
            abs(math.log(one.lanes / lanes)),
        ),
    )
    (its,) = (
        one for one in table if one.lanes == 1 and one[:2] == (near.operand_bits, near.sum_bits)
    )
    grows = 1 + (lanes - 1) * (near.size / its.size - 1) / (near.lanes - 1)
    deeper = (near.levels - its.levels) * math.log2(lanes) / math.log2(near.lanes)
    return lone._replace(
        lanes=lanes,
        cells={cell: count * grows for cell, count in lone.cells.items()},
        levels=lone.levels + round(deeper),
        basis=f"estimate from numbers of products that were {its.basis}",
    )
