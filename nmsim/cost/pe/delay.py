"""How long a clock must be for a PE: cells on its longest path, from register to register.

What selects stands before the multiplier: a path through a PE goes through the multiplexer's levels
and then through the MAC. Depth is the logarithm of the multiplexer's inputs; where both operands
are intersected a chain through the group finds the first pair, so that there it is linear.
"""

import math
from typing import NamedTuple

from nmsim.cost.pe.built import mac_in
from nmsim.cost.pe.structure import PeStructure

__all__ = ["Delay", "delay_of"]

_MULTIPLEXER = 2
"""Simple gates that a two-input multiplexer is as slow as: an AND-OR-INVERT and an inverter."""


class Delay(NamedTuple):
    """The longest path of a PE.

    Parameters
    ----------
    levels
        Cells on it, as ``ltp`` of Yosys counts them.
    dense_levels
        The same of the dense PE.
    clock_share
        By which share of the dense PE's clock it is longer, a multiplexer being two simple gates.
    """

    levels: int
    dense_levels: int
    clock_share: float


def delay_of(pe: PeStructure, *, at_edge: bool = False) -> Delay:
    """The longest path of a PE.

    ``at_edge``: PEs at the array's edge choose for all others, and their path is the longest.
    """
    dense = mac_in(pe).levels
    # A PE that chooses while its group passes beats through two multiplexers.
    chooses = pe.multiplexers > 0 or at_edge
    depth = pe.multiplexer.depth * chooses + math.ceil(math.log2(pe.beats))
    found = _first_pair(pe.group) if pe.intersects else 0
    return Delay(dense + depth + found, dense, (_MULTIPLEXER * depth + found) / dense)


def _first_pair(group: int) -> int:
    """Cells from the queue to the index of the first pair, and the enable of the sum.

    A pair is kept in both and not done (2), none of those before the last is below it (group - 2,
    then 2), an OR names it; behind the MAC a multiplexer keeps the sum.
    """
    return 2 + (group - 2) + 2 + 1 + 1
