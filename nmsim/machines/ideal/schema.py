"""What the YAML file of an ideal machine says."""

from typing import Annotated, Literal

from pydantic import Field

from nmsim.machines.kind import Machine
from nmsim.pattern import Pattern

__all__ = ["IdealMachine"]

Bits = Annotated[int, Field(ge=1, le=64)]


class IdealMachine(Machine):
    """A machine that spends its peak on MACs alone: no tiles, no buffers, no limit of bandwidth."""

    kind: Literal["ideal"]
    macs_per_cycle: Annotated[int, Field(ge=1, le=2**40)] = Field(description="peak, MACs a cycle")
    operand_bits: Bits = Field(description="width of A and B")
    output_bits: Bits = Field(description="width of C")
    two_masks: Literal["intersect", "one"] = Field(
        "intersect",
        description="of a GEMM with two masks: spend only products of two kept elements "
        "(intersect), or follow the mask that spends fewer slots (one)",
    )

    @property
    def peak_macs(self) -> int:
        """Physical MACs of the machine per cycle."""
        return self.macs_per_cycle

    def metadata_bits(self, pattern: Pattern) -> int:
        """Bits of metadata of a kept element of a pattern."""
        return pattern.metadata_bits
