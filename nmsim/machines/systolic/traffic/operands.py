"""What stands in memory behind a stored element of an operand, and the channel's time for it.

Under implicit im2col a convolution's columns are made on chip: memory holds, and DRAM sends, the
pixels behind them.
"""

from typing import NamedTuple

from nmsim.machines.systolic.placement import Placement, Side
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.windows import Windows

__all__ = [
    "Operand",
    "distinct",
    "element_bits",
    "half_bits",
    "operand_of",
    "transfer_cycles",
    "windows_of",
]


class Operand(NamedTuple):
    """An operand in memory, one copy.

    Parameters
    ----------
    windows
        Those that its columns are made of on chip; None if that is not so. Nor are windows of any
        account that share no pixel and see no padding: columns are pixels.
    behind, size
        Elements that one pass sends of it, and elements that it has: the same where windows say
        which of them are sent.
    """

    windows: Windows | None
    behind: int
    size: int


def operand_of(machine: SystolicArray, placement: Placement, position: Side) -> Operand:
    """An operand of a placement, as it stands in memory."""
    size = placement.rows_of(position) * placement.given.k
    behind, windows = placement.behind(position)
    if behind is None or machine.im2col == "explicit":
        return Operand(None, size, size)
    if windows is None:
        return Operand(None, behind, size)
    if windows.elements < windows.pixels * windows.reads:
        return Operand(windows, size, size)
    return Operand(None, behind, size)


def distinct(machine: SystolicArray, placement: Placement, position: Side) -> tuple[int, int]:
    """Elements that one pass sends of an operand, and elements of the operand, one copy."""
    return operand_of(machine, placement, position)[1:]


def windows_of(machine: SystolicArray, placement: Placement, position: Side) -> Windows | None:
    """The windows that an operand's columns are made of on chip; None if that is not so."""
    return operand_of(machine, placement, position).windows


def element_bits(machine: SystolicArray, placement: Placement, position: Side) -> float:
    """Bits in memory behind a stored element of an operand, metadata included."""
    kept, size = distinct(machine, placement, position)
    return placement.stored_as(position).bits * kept / size


def half_bits(machine: SystolicArray, position: Side) -> float:
    """Bits of half of an operand's buffer."""
    return 4096 * (machine.sram.a_kib if position == "a" else machine.sram.b_kib)


def transfer_cycles(machine: SystolicArray, bits: float) -> float:
    """Cycles that the DRAM channel is busy with so many bits."""
    if machine.dram.gbps is None:
        return 0.0
    return bits * machine.clock_mhz / (machine.dram.gbps * 8e3)
