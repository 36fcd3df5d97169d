"""The multiplexers through which processing elements (PEs) pick the operand of a kept element.

A slot that may take any element of its group of M needs M inputs; if kept elements stay in order,
the i-th of N lies among M - N + 1, and so many inputs do (Hubara et al., NeurIPS 2021, A.5: 3:1 for
2:4, 5:1 for 4:8). A multiplexer of M inputs is a tree of M - 1 two-input ones: their number grows
with M, their depth with log2 M (A.5 says that their area grows with the logarithm; it is the depth
that does). Wires are not in it.
"""

import math
from dataclasses import dataclass

from nmsim.pattern import Pattern

__all__ = ["TRANSISTORS", "Multiplexer", "Selectors", "fan_in"]

TRANSISTORS = 12
"""Transistors of a two-input multiplexer, one bit wide, in CMOS cells.

Yosys, `synth -noabc; stat -tech cmos`, gives 12 . W . (M - 1) for an M:1 multiplexer of W bits that
is written as a tree. One that is written as an indexed word, `x[i*W +: W]`, takes as much where M
is a power of two alone; else ``Multiplexer.indexed`` of them, 1.2 to 1.5 times as many, before they
are optimised: 288 transistors for 8 bits at 3:1, not 192."""


@dataclass(frozen=True)
class Multiplexer:
    """A multiplexer: one of several inputs is passed on.

    Parameters
    ----------
    inputs
        M; 1 is a wire.
    width
        Bits of each input.

    Examples
    --------
    >>> mux = Multiplexer(4, 8)
    >>> mux.two_input, mux.depth, mux.select_bits, mux.transistors
    (24, 2, 2, 288)
    """

    inputs: int
    width: int

    @property
    def two_input(self) -> int:
        """Two-input multiplexers, one bit wide, that it is built of: width x (inputs - 1)."""
        return self.width * (self.inputs - 1)

    @property
    def indexed(self) -> int:
        """The same of a multiplexer that Yosys makes of an indexed word.

        Of an odd number of inputs, at any level of the tree, the last one meets one that is not
        there.

        Examples
        --------
        >>> [Multiplexer(inputs, 1).indexed for inputs in (3, 4, 5, 9, 17)]
        [3, 3, 6, 11, 20]
        """
        return self.width * sum(-(-self.inputs // (1 << d)) for d in range(1, self.depth + 1))

    @property
    def depth(self) -> int:
        """How many two-input multiplexers a bit passes: ceil(log2 inputs)."""
        return math.ceil(math.log2(self.inputs))

    @property
    def select_bits(self) -> int:
        """Bits that name the input to be passed on: ceil(log2 inputs)."""
        return self.depth

    @property
    def transistors(self) -> int:
        """Transistors of the multiplexer, wires apart."""
        return TRANSISTORS * self.two_input


@dataclass(frozen=True)
class Selectors:
    """The multiplexers of an array, all PEs alike.

    Parameters
    ----------
    multiplexer
        One of them; of one input where the array has none.
    per_pe
        Multiplexers in a PE.
    pes
        PEs in the array.
    queue_bits
        Storage in which a PE of an intersecting array keeps groups that it has not come to, bits, a
        flag for every element of both operands; None if nothing limits it. The PE that is drawn
        (``nmsim.cost.pe``) has one for every pair.
    at_edge
        Multiplexers at the edges, where PEs there choose for all others.
    """

    multiplexer: Multiplexer
    per_pe: int
    pes: int
    queue_bits: int | None = 0
    at_edge: int = 0

    @property
    def count(self) -> int:
        """Multiplexers of the array."""
        return self.per_pe * self.pes + self.at_edge

    @property
    def two_input(self) -> int:
        """Two-input multiplexers of the array, one bit wide."""
        return self.multiplexer.two_input * self.count

    @property
    def transistors(self) -> int:
        """Transistors of the array's multiplexers, wires and queues apart."""
        return self.multiplexer.transistors * self.count


def fan_in(pattern: Pattern, *, ordered: bool) -> int:
    """Inputs that a slot of a pattern N:M needs: M, or M - N + 1 if kept elements stay in order."""
    return pattern.group - pattern.keep + 1 if ordered else pattern.group
