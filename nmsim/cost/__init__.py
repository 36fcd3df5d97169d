"""What sparsity costs in hardware: components, area and delay of PEs, arrays and chips; energy."""

from nmsim.cost.bit_operations import bit_operations
from nmsim.cost.multiplexer import Multiplexer, Selectors

__all__ = ["Multiplexer", "Selectors", "bit_operations"]
