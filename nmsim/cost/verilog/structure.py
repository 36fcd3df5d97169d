"""Which structures are drawn as Verilog."""

from nmsim.cost.pe.structure import PeStructure
from nmsim.errors import SpecError

__all__ = ["drawn"]


def drawn(pe: PeStructure) -> None:
    """Refuse a structure that is counted and not drawn.

    Raises
    ------
    SpecError
        naming the field and what is drawn.
    """
    if pe.holds_groups:
        raise SpecError("Verilog: holds is group, expected slots: PEs of beats are not drawn")
    if pe.intersects and pe.group < 2:
        raise SpecError("Verilog: intersecting.group is 1, expected 2 or more")
    if pe.intersects and pe.depth is None:
        raise SpecError("Verilog: a queue without limit cannot be drawn, expected a lookahead")
    if pe.follows not in ("", "b") and not pe.intersects:
        raise SpecError(
            f"Verilog: masks of {' and '.join(pe.follows.upper())} are followed, expected those of "
            "B alone (--set sparse_operand=b)"
        )
    if pe.dataflow == "is":
        raise SpecError("Verilog: dataflow is is, expected ws, its mirror image, or os")
    if pe.waiting_operands or pe.waiting_sums or pe.marks:
        raise SpecError(
            "Verilog: registers that wait for their fold are not drawn, expected fold_period and "
            "drain exposed"
        )
    if pe.passes == "none" and not pe.intersects:
        raise SpecError("Verilog: operands on buses are not drawn, expected feed skewed")
    if pe.dataflow == "os" and pe.selection == "ordered" and pe.macs_per_group == 1:
        raise SpecError(
            "Verilog: slots in order, one after the other in one multiplier, are not drawn under "
            "os, expected macs_per_group of all slots or selection any"
        )
