"""What sparsity costs in hardware: the multiplexers that select kept elements."""

from nmsim.cost.multiplexer import Multiplexer, Selectors, selectors

__all__ = ["Multiplexer", "Selectors", "selectors"]
