"""Widths: of metadata, and of operands where a machine's multipliers have one width.

Such a machine keeps its multipliers: narrower operands take fewer bytes in memory, buffers and on
the way to the multipliers, and no fewer cycles; wider ones do not fit and run as the machine's own.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field

from nmsim.formats import WEIGHTS_ALONE, format_bits
from nmsim.machines.kind import Ran
from nmsim.pattern import Pattern, PatternField
from nmsim.spec import Spec

__all__ = ["IndexWidth", "in_own_width", "index_width"]


class IndexWidth(Spec):
    """Metadata of one pattern where it is not ceil(log2 M) bits for each kept element."""

    pattern: PatternField
    bits: Annotated[int, Field(ge=0, le=64)] = Field(description="bits per kept element")


def index_width(widths: Iterable[IndexWidth], pattern: Pattern) -> int:
    """Bits of metadata of a kept element: a machine's own for the pattern, or ceil(log2 M)."""
    own = [width.bits for width in widths if width.pattern == pattern]
    return own[0] if own else pattern.metadata_bits


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
