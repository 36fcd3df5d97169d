"""A machine whose multipliers have one width, as it runs operands of another number format.

It keeps its multipliers: narrower operands take fewer bytes in memory, buffers and on the way to
the multipliers, and no fewer cycles; wider ones do not fit and run as the machine's own.
"""

from functools import lru_cache
from typing import Any

from nmsim.formats import WEIGHTS_ALONE, format_bits
from nmsim.machines.kind import Ran

__all__ = ["in_own_width"]


@lru_cache(maxsize=256)
def in_own_width(machine: Any, wanted: str = "") -> Ran:
    """A machine with ``operand_bits`` as it runs operands of a number format; none: its own.

    Parameters
    ----------
    wanted
        From ``nmsim.formats``, or empty.
    """
    own = f"{machine.operand_bits}-bit"
    bits = format_bits(wanted) if wanted else machine.operand_bits
    if wanted in WEIGHTS_ALONE:
        return Ran(machine, own, f"the array does not unpack {wanted} and runs {own}")
    if bits == machine.operand_bits:
        return Ran(machine, wanted or own)
    if bits > machine.operand_bits:
        return Ran(machine, own, f"{wanted} does not fit the array and runs as {own}")
    narrow = machine.model_copy(update={"operand_bits": bits})
    return Ran(narrow, wanted, f"{wanted} in memory and buffers, multiplied as {own}")
