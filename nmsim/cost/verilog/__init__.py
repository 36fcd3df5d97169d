"""Verilog of processing elements (PEs) and arrays, as ``nmsim.cost`` counts them.

What is written has exactly the flip-flops, multiplexers and gates beside the MAC that a structure's
bill says, so that synthesis can judge the count (``nmsim.cost.synthesis``) and a simulator the
function. The MAC stands in a module of its own.
"""

from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.verilog.array import array_module
from nmsim.cost.verilog.intersecting import intersecting_module
from nmsim.cost.verilog.mac import mac_module
from nmsim.cost.verilog.pe import pe_module
from nmsim.cost.verilog.select import select_module
from nmsim.cost.verilog.structure import drawn
from nmsim.errors import SpecError

__all__ = ["array_design", "mac_module", "pe_design", "select_module"]


def pe_design(pe: PeStructure) -> dict[str, str]:
    """The modules of a PE as files by name: the PE is ``pe``, its MAC ``mac``.

    Raises
    ------
    SpecError
        for a structure that is not drawn; names the field.
    """
    drawn(pe)
    files = {"mac.v": mac_module(pe)}
    if pe.multiplexers:
        files["select.v"] = select_module(pe.inputs, pe.operand_bits)
    files["pe.v"] = intersecting_module(pe) if pe.intersects else pe_module(pe)
    return files


def array_design(pe: PeStructure, rows: int, cols: int, *, at_edge: bool = False) -> dict[str, str]:
    """The modules of an array of rows x cols PEs alike as files by name: the array is ``array``.

    ``at_edge``: PEs hand on what multiplexers chose where A comes in, one of each row's.

    Raises
    ------
    SpecError
        for a structure that is not drawn, or an array of PEs that intersect.
    """
    if pe.intersects:
        raise SpecError("array of PEs that intersect: not drawn, expected one PE (rows 1, cols 1)")
    files = pe_design(pe)
    if at_edge:
        files["select.v"] = select_module(pe.inputs, pe.operand_bits)
    return {**files, "array.v": array_module(pe, rows, cols, at_edge=at_edge)}
