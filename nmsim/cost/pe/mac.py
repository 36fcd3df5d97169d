"""Cells of a multiply-accumulate unit, by its number format: from synthesis, or between two of it.

``macs.csv`` holds MACs alone as Yosys makes them of ``y = c + a * b``, with its own multiplier and
with Booth's, which is smaller. How large a MAC is depends on the flow far more than anything beside
it does, so that a whole PE is known within a band and what stands beside the MAC exactly.
"""

import csv
import math
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from nmsim.cost.bill import CELLS, Cell

__all__ = ["Multiplier", "mac_cells", "mac_levels"]

Multiplier = Literal["booth", "default"]

_TABLE = Path(__file__).parent / "macs.csv"

_USUAL_SUM = 32


class _Mac(NamedTuple):
    """A MAC as it was synthesised."""

    floating: bool
    operand_bits: int
    sum_bits: int
    levels: int
    cells: Mapping[Cell, int]


@cache
def _macs(multiplier: Multiplier) -> tuple[_Mac, ...]:
    with _TABLE.open(newline="") as file:
        return tuple(
            _Mac(
                one["arithmetic"] == "float",
                int(one["operand_bits"]),
                int(one["sum_bits"]),
                int(one["levels"]),
                _cells(one["cells"]),
            )
            for one in csv.DictReader(file)
            if one["multiplier"] == multiplier
        )


def _cells(text: str) -> dict[Cell, int]:
    found = dict(one.split(":") for one in text.split())
    return {cell: int(found[cell]) for cell in CELLS if cell in found}


def mac_cells(
    operand_bits: int, sum_bits: int, *, floating: bool, multiplier: Multiplier = "booth"
) -> tuple[dict[Cell, float], str]:
    """Cells of a MAC by kind, and where they come from.

    A width that was not synthesised lies between two that were, or beyond them, by a power of the
    width; a sum of other bits has a full adder a bit more or less.
    """
    cells, _, basis = _mac(operand_bits, sum_bits, floating, multiplier)
    return dict(cells), basis


def mac_levels(
    operand_bits: int, sum_bits: int, *, floating: bool, multiplier: Multiplier = "booth"
) -> int:
    """Cells on the longest path through a MAC."""
    return _mac(operand_bits, sum_bits, floating, multiplier)[1]


@cache
def _mac(
    operand_bits: int, sum_bits: int, floating: bool, multiplier: Multiplier
) -> tuple[Mapping[Cell, float], int, str]:
    own = [one for one in _macs(multiplier) if one.floating == floating]
    flow = f"synthesised, multiplier {multiplier}"
    for one in own:
        if (one.operand_bits, one.sum_bits) == (operand_bits, sum_bits):
            return one.cells, one.levels, flow
    usual = sorted(one for one in own if one.sum_bits == _USUAL_SUM)
    low, high = _around(usual, operand_bits)
    if low is high:
        exponent = 2.0
    else:
        exponent = math.log(_size(high) / _size(low)) / math.log(
            high.operand_bits / low.operand_bits
        )
    near = min((low, high), key=lambda one: abs(one.operand_bits - operand_bits))
    factor = (operand_bits / near.operand_bits) ** exponent
    cells: dict[Cell, float] = {cell: count * factor for cell, count in near.cells.items()}
    for cell, count in _FULL_ADDER.items():
        cells[cell] = max(0.0, cells.get(cell, 0.0) + count * (sum_bits - _USUAL_SUM))
    levels = near.levels + round(4 * math.log2(operand_bits / near.operand_bits))
    return cells, max(1, levels), f"estimate from widths that were {flow}"


_FULL_ADDER: Mapping[Cell, float] = {"xor2": 2, "nand2": 3}
"""Cells of a full adder."""


def _size(mac: _Mac) -> int:
    return sum(mac.cells.values())


def _around(macs: list[_Mac], bits: int) -> tuple[_Mac, _Mac]:
    """The two MACs between whose widths a width lies, or the two that are nearest to it."""
    if len(macs) == 1:
        return macs[0], macs[0]
    for low, high in pairwise(macs):
        if bits <= high.operand_bits:
            return low, high
    return macs[-2], macs[-1]
