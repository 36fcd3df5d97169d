"""Number formats by name: how wide an element of an operand is in memory.

A format of weights alone (``w4a16``) packs weights in fewer bits than it multiplies: they are
unpacked and scaled on the way to the multipliers. It is for inference, in which weights stay.
"""

from typing import Literal, get_args

__all__ = ["FORMATS", "WEIGHTS_ALONE", "NumberFormat", "format_bits", "format_in"]

NumberFormat = Literal[
    "fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4", "fp4", "w4a16", "w8a16"
]
"""Formats that a recipe may ask for."""

_BITS = {
    "fp32": 32,
    "tf32": 32,
    "fp16": 16,
    "bf16": 16,
    "fp8": 8,
    "int8": 8,
    "int4": 4,
    "fp4": 4,
    "w4a16": 16,
    "w8a16": 16,
}

WEIGHTS_ALONE = {"w4a16": 4, "w8a16": 8}
"""Formats of weights alone, and bits of a weight: int4 or fp4, int8 or fp8, by group scales."""

FORMATS: tuple[NumberFormat, ...] = tuple(
    name for name in get_args(NumberFormat) if name not in WEIGHTS_ALONE
)
"""Formats of both operands."""


_OF_GRADIENTS = ("fp32", "tf32", "fp16", "bf16", "fp8")
"""Formats that gradients have, too."""


def format_in(name: str, phase: str) -> str:
    """The format of a layer in a phase: gradients are no integers; "": the machine's own.

    Examples
    --------
    >>> format_in("bf16", "update"), format_in("int8", "forward"), format_in("int8", "update")
    ('bf16', 'int8', '')
    """
    return name if phase == "forward" or name in _OF_GRADIENTS else ""


def format_bits(name: str) -> int:
    """Bits of an element in memory, of weights alone those of the other operand; tf32 takes 32.

    Examples
    --------
    >>> format_bits("int4")
    4
    """
    return _BITS[name]
