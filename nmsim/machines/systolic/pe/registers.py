"""Which shape the processing elements (PEs) of an array have, and what that takes in registers."""

from typing import Literal

from nmsim.cost.pe.structure import Registers
from nmsim.machines.systolic.pe.silicon import pe_of
from nmsim.machines.systolic.schema import SystolicArray

__all__ = ["Registers", "registers_of", "shape_of"]

Shape = Literal["dense", "K shrinks", "the stream shrinks", "both operands' zeros are skipped"]


def shape_of(machine: SystolicArray) -> Shape:
    """What a mask that the selectors support saves on an array."""
    if machine.intersecting is not None:
        return "both operands' zeros are skipped"
    if machine.group == 1:
        return "dense"
    return "the stream shrinks" if machine.holds_groups else "K shrinks"


def registers_of(machine: SystolicArray) -> Registers:
    """The registers of a PE of an array; queues of PEs that intersect are apart.

    An operand comes to a PE by whole groups, one for all multipliers that share it, if the other
    operand's mask is followed; what is followed comes as slots, each with its index.
    """
    return pe_of(machine).registers
