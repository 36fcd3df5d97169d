"""Metadata of compressed operands: bits that say which elements of a group were kept."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from nmsim.pattern import Pattern, PatternField
from nmsim.spec import Spec

__all__ = ["IndexWidth", "index_width"]


class IndexWidth(Spec):
    """Metadata of one pattern where it is not ceil(log2 M) bits for each kept element."""

    pattern: PatternField
    bits: Annotated[int, Field(ge=0, le=64)] = Field(description="bits per kept element")


def index_width(widths: Iterable[IndexWidth], pattern: Pattern) -> int:
    """Bits of metadata of a kept element: a machine's own for the pattern, or ceil(log2 M)."""
    own = [width.bits for width in widths if width.pattern == pattern]
    return own[0] if own else pattern.metadata_bits
