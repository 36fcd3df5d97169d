"""What stands in memory behind a stored element of an operand, and the channel's time for it.

Under implicit im2col a convolution's columns are made on chip: memory holds, and DRAM sends, the
pixels behind them.
"""

from typing import Literal

from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.windows import Windows

__all__ = ["Side", "distinct", "element_bits", "half_bits", "transfer_cycles", "windows_of"]

Side = Literal["a", "b"]
"""An operand of a GEMM."""


def distinct(machine: SystolicArray, placement: Placement, position: Side) -> tuple[int, int]:
    """Elements that one pass sends of an operand, and elements of the operand, one copy.

    They are the same where windows say which of them are sent.
    """
    gemm = placement.work.gemm
    size = placement.rows_of(position) * placement.work.k
    behind = gemm.a_elements if position == "a" else gemm.b_elements
    if machine.im2col == "explicit" or behind is None or windows_of(machine, placement, position):
        return size, size
    return behind, size


def windows_of(machine: SystolicArray, placement: Placement, position: str) -> Windows | None:
    """The windows that an operand's columns are made of on chip; None if that is not so.

    Nor are windows of any account that share no pixel and see no padding: columns are pixels.
    """
    gemm = placement.work.gemm
    windows = gemm.a_windows if position == "a" else gemm.b_windows
    if machine.im2col == "explicit" or windows is None:
        return None
    return windows if windows.elements < windows.pixels * windows.reads else None


def element_bits(machine: SystolicArray, placement: Placement, position: Side) -> float:
    """Bits in memory behind a stored element of an operand, metadata included."""
    kept, size = distinct(machine, placement, position)
    return placement.stored_as(position).bits * kept / size


def half_bits(machine: SystolicArray, position: str) -> float:
    """Bits of half of an operand's buffer."""
    return 4096 * (machine.sram.a_kib if position == "a" else machine.sram.b_kib)


def transfer_cycles(machine: SystolicArray, bits: float) -> float:
    """Cycles that the DRAM channel is busy with so many bits."""
    if machine.dram.gbps is None:
        return 0.0
    return bits * machine.clock_mhz / (machine.dram.gbps * 8e3)
