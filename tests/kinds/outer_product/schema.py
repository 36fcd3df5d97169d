"""What the YAML file of an outer-product core says."""

from typing import Annotated, Literal

from pydantic import Field

from nmsim.machines.kind import Machine

__all__ = ["OuterProduct"]

Size = Annotated[int, Field(ge=1, le=65536)]


class OuterProduct(Machine):
    """A core that multiplies a column of A by a row of B in each cycle and adds the products up.

    Along K it skips columns that are pruned in all rows of B's tile: every other one of a fixed
    mask, hardly any of another.
    """

    kind: Literal["outer-product"]
    rows: Size = Field(description="products along M of one cycle")
    cols: Size = Field(description="products along N of one cycle")
    operand_bits: Annotated[int, Field(ge=1, le=64)] = Field(description="width of A and B")
    output_bits: Annotated[int, Field(ge=1, le=64)] = Field(description="width of C")
    dram_gbps: Annotated[float, Field(gt=0, le=1e9)] = Field(description="1e9 bytes per second")

    @property
    def peak_macs(self) -> int:
        """MACs per cycle."""
        return self.rows * self.cols
