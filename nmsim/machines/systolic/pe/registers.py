"""Which shape the processing elements (PEs) of an array have, and what that takes in registers."""

from typing import Literal

from nmsim.cost.pe.structure import Registers
from nmsim.machines.systolic.pe.silicon import pe_of
from nmsim.machines.systolic.schema import SystolicArray

__all__ = ["Registers", "registers_of", "selecting_pes", "shape_of"]

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


def selecting_pes(machine: SystolicArray) -> int:
    """PEs with multiplexers: all, or those at the edge where the others are given what they chose.

    0 where elements are known beforehand.
    """
    if machine.selection == "fixed":
        return 0
    holds, _ = _places(machine)
    if machine.passes != "selected" or (holds and _followed(machine) != holds):
        return machine.rows * machine.cols  # a PE that holds groups chooses for each slot anew
    edges = {"a": machine.cols, "b": machine.rows}  # A comes in at the rows, where B's mask is used
    return machine.rows if holds else sum(edges[operand] for operand in _followed(machine))


def _places(machine: SystolicArray) -> tuple[str, str]:
    """The operands that a PE holds, and that it hands on."""
    return {"os": ("", "ab"), "ws": ("b", "a"), "is": ("a", "b")}[machine.dataflow]


def _followed(machine: SystolicArray) -> str:
    """The operands whose masks the selectors follow."""
    if machine.group == 1 or machine.intersecting is not None:
        return ""
    return "ab" if machine.sparse_operand == "either" else machine.sparse_operand
