"""Number formats by name: how wide an element of an operand is in memory."""

from typing import Literal, get_args

__all__ = ["FORMATS", "NumberFormat", "format_bits"]

NumberFormat = Literal["fp32", "tf32", "fp16", "bf16", "fp8", "int8", "int4", "fp4"]
"""Formats that a recipe may ask for."""

FORMATS: tuple[NumberFormat, ...] = get_args(NumberFormat)

_BITS = {
    "fp32": 32,
    "tf32": 32,
    "fp16": 16,
    "bf16": 16,
    "fp8": 8,
    "int8": 8,
    "int4": 4,
    "fp4": 4,
}


def format_bits(name: str) -> int:
    """Bits of an element in memory; tf32 is stored in 32.

    Examples
    --------
    >>> format_bits("int4")
    4
    """
    return _BITS[name]
