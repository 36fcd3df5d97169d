"""Sums over steps whose context grows by a token each: by pieces on which a step's time is a line.

A step costs what it costs at one context, plus so much for every token more, until a kernel takes
another tile or another split of the keys: there it jumps. A piece is believed to be a line if its
ends, the steps beside them and some between, at no regular distance, lie on it, to the rounding of
whole cycles; otherwise it is halved.
"""

from collections.abc import Callable
from functools import cache

__all__ = ["summed"]

Times = tuple[float, ...]


def summed(step: Callable[[int], Times], first: int, last: int, grain: float) -> Times:
    """The sum of ``step`` from ``first`` to ``last``, both included, each of its figures apart.

    Parameters
    ----------
    step
        From a context to figures in one unit, such as microseconds.
    grain
        To what figures are rounded, in that unit.

    Returns
    -------
    tuple
        Off the sum of all steps by less than ``grain`` a step, unless a jump hides from every look.
    """
    at = cache(step)
    pieces, total = [(first, last)], [0.0] * len(at(first))
    while pieces:
        start, end = pieces.pop()
        # As many steps are looked at to tell a line: a piece of no more is added up as it is.
        if end - start < _FEW:
            parts = [at(one) for one in range(start, end + 1)]
        elif _straight(at, start, end, grain):
            half = (end - start + 1) / 2
            parts = [tuple(half * one for one in at(start)), tuple(half * one for one in at(end))]
        else:
            middle = (start + end) // 2
            pieces += [(start, middle), (middle + 1, end)]
            continue
        total = [sum(figures) for figures in zip(total, *parts, strict=True)]
    return tuple(total)


_FEW = 10

_BETWEEN = (0.5, 0.146, 0.236, 0.382, 0.618, 0.764, 0.854)
"""Where a piece is looked at: the middle, and golden sections, as tiles come at regular distances
and a stair may have its middle on the line between its ends."""


def _straight(at: Callable[[int], Times], start: int, end: int, grain: float) -> bool:
    """Whether a step's figures lie on the line between two contexts, there and beside."""
    ends = (at(start), at(end))
    between = (start + round(share * (end - start)) for share in _BETWEEN)
    for looked in (start + 1, end - 1, *between):
        share = (looked - start) / (end - start)
        for low, high, found in zip(*ends, at(looked), strict=True):
            if abs(low + share * (high - low) - found) > grain:
                return False
    return True
