"""What selectors cost at equal density."""

from typing import Any

import nmsim
from nmsim.machines.systolic.pe.selectors import selectors_of

__all__ = ["EQUAL_DENSITY", "MULTIPLIER", "measure_selectors"]

EQUAL_DENSITY = ("1:2", "2:4", "4:8", "8:16")
MULTIPLIER = 7744
"""Transistors of an int8 multiplier with a 32-bit adder, in the same cells as the multiplexers:
Yosys, ``synth -noabc; stat -tech cmos``."""

_WIDTH = 8
_MACHINE = "systolic-128x128-flexible"


def measure_selectors() -> dict[str, Any]:
    """Multiplexers of one PE with int8 operands, for slots of any order and for ordered ones."""
    found: dict[str, Any] = {}
    for text in EQUAL_DENSITY:
        pattern = nmsim.Pattern.parse(text)
        found[text] = {"keep": pattern.keep, "metadata_bits": pattern.metadata_bits}
        for selector in ("any", "ordered"):
            machine = nmsim.load_hardware(
                _MACHINE,
                operand_bits=_WIDTH,
                flexible_group=0,
                sparse_operand="b",
                native=(text,),
                pe={"selection": selector},
            )
            cost = selectors_of(machine)
            found[text][selector] = {
                "inputs": cost.multiplexer.inputs,
                "two_input": cost.two_input // cost.pes,
                "depth": cost.multiplexer.depth,
                "share": cost.transistors / cost.pes / MULTIPLIER,
            }
    return {"width": _WIDTH, "multiplier": MULTIPLIER, "patterns": found}
