"""What sparsity costs in hardware: multiplexers that select kept elements, bit-operations."""

from nmsim.cost.bit_operations import bit_operations
from nmsim.cost.multiplexer import (
    Multiplexer,
    Selectors,
    intersecting_selectors,
    selectors,
)

__all__ = ["Multiplexer", "Selectors", "bit_operations", "intersecting_selectors", "selectors"]
