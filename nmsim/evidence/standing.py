"""Where a GEMM stands among measured ones: near one of them, within what was measured, or beyond.

A GEMM is a place: its sizes, and what a closed form makes of them, its time and what that time goes
to. Two GEMMs whose time is spent alike rest on the same constants, however far apart their sizes
are; two of like sizes may not. So the distance of two places is

    sqrt((log2 of their times)^2 + sum over parts of (``ELSEWHERE`` x difference of its share)^2
         + sum over M, N, K of (``SIZE`` x log2 of the sizes)^2)

in octaves of time. A GEMM is *near* if one that was measured spends its time alike, within
``NEAR``, and one, that or another, is within ``NEAR_SIZE`` in each size; what is farther than
``BEYOND`` from all of them, or ``OUTSIDE`` outside all their sizes, or has more copies in one
launch than any, is *beyond*. Of fewer than ``FEW`` measured GEMMs no allowance is made: what is not
near one of them is beyond unless its sizes lie among theirs. No measured time is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled

__all__ = [
    "BEYOND",
    "ELSEWHERE",
    "FEW",
    "NEAR",
    "NEAR_SIZE",
    "OUTSIDE",
    "SIZE",
    "STANDINGS",
    "Places",
    "worst",
]

STANDINGS = ("near", "within", "beyond")
"""Where an answer stands, from best to worst."""

NEAR, BEYOND = 0.3, 1.0
"""Octaves of time up to which a measured GEMM is near, and from which on nothing is like it."""

NEAR_SIZE = 0.5
"""Octaves in M, N and K, each, up to which a measured GEMM is near."""

ELSEWHERE = 6.0
"""Octaves that all of the time would be away if it went to another part."""

SIZE = 0.1
"""Octaves of time that an octave of M, N or K counts, if the time is spent alike."""

OUTSIDE = 2.0
"""Octaves outside the least and the greatest measured M, N and K."""

FEW = 20
"""Measured GEMMs of which it cannot be told how far outside their sizes they say anything."""

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Places:
    """Where GEMMs stand: sizes, and what a closed form makes of them.

    Parameters
    ----------
    sizes
        GEMMs x 4: M, N, K and copies in one launch, octaves.
    spent
        GEMMs x parts: first the time in octaves, then the share of it that each part takes.
    """

    sizes: Values
    spent: Values

    def __len__(self) -> int:
        return len(self.sizes)

    def of(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Places":
        """Some of them."""
        return Places(self.sizes[rows], self.spent[rows])

    @classmethod
    def joined(cls, parts: Sequence["Places"]) -> "Places":
        """All of several."""
        return cls(
            np.concatenate([one.sizes for one in parts]),
            np.concatenate([one.spent for one in parts]),
        )

    @cached_property
    def _by_time(self) -> Values:
        return _sorted(_coordinates(self))

    @cached_property
    def _by_rows(self) -> Values:
        return _sorted(self.sizes)

    def standing(self, others: "Places") -> NDArray[np.int8]:
        """Where others stand among these, which are measured: places in ``STANDINGS``."""
        if not len(self):
            return np.full(len(others), STANDINGS.index("beyond"), np.int8)
        found = _standing(self._by_time, _coordinates(others))
        alike = np.flatnonzero(found == 0)
        sized = _sized(self._by_rows, np.ascontiguousarray(others.sizes[alike]))
        found[alike[~sized]] = STANDINGS.index("within")
        near = found == 0
        low, high = self.sizes.min(axis=0), self.sizes.max(axis=0)
        over = np.maximum(others.sizes - high, low - others.sizes)[:, :3].max(axis=1)
        outside = over > (OUTSIDE if len(self) >= FEW else 0.0)
        found[(outside & ~near) | (others.sizes[:, 3] > high[3])] = STANDINGS.index("beyond")
        return found


def worst(words: Sequence[str]) -> str:
    """The worst of some standings: what rests on several answers stands where that one does.

    Examples
    --------
    >>> worst(["near", "beyond", "within"])
    'beyond'
    """
    return max(words, key=STANDINGS.index)


def _coordinates(places: Places) -> Values:
    """Places as points: time, then parts as they count, then M, N and K in octaves."""
    return np.hstack([places.spent[:, :1], ELSEWHERE * places.spent[:, 1:], places.sizes[:, :3]])


def _sorted(points: Values) -> Values:
    """Points by their first coordinate."""
    return np.ascontiguousarray(points[np.argsort(points[:, 0], kind="stable")])


@compiled
def _standing(known: Values, asked: Values) -> NDArray[np.int8]:
    """Of each point 0 if a known one is within ``NEAR``, 1 if one is within ``BEYOND``, else 2.

    Known points are sorted by their first coordinate, the time. From a point's own on they are
    looked at outwards, the next below or above in turn: a difference of time is a part of the
    distance, so nothing farther out than ``reach``, the distance that still matters, is within it.
    """
    found = np.full(len(asked), 2, np.int8)
    parts = known.shape[1] - 3
    for i in range(len(asked)):
        below = np.searchsorted(known[:, 0], asked[i, 0]) - 1
        above = below + 1
        reach = BEYOND
        while found[i] > 0:
            down = asked[i, 0] - known[below, 0] if below >= 0 else np.inf
            up = known[above, 0] - asked[i, 0] if above < len(known) else np.inf
            if min(down, up) > reach:
                break
            if down <= up:
                at = below
                below -= 1
            else:
                at = above
                above += 1
            apart = 0.0
            for j in range(parts):
                apart += (known[at, j] - asked[i, j]) ** 2
                if apart > reach * reach:
                    break
            for j in range(parts, parts + 3):
                apart += (SIZE * (known[at, j] - asked[i, j])) ** 2
            if apart <= NEAR * NEAR:
                found[i] = 0
            elif apart <= BEYOND * BEYOND:
                found[i], reach = 1, NEAR
    return found


@compiled
def _sized(known: Values, asked: Values) -> NDArray[np.bool_]:
    """Whether a known GEMM is within ``NEAR_SIZE`` of each in M, N and K; known ones by M."""
    found = np.zeros(len(asked), np.bool_)
    for i in range(len(asked)):
        at = np.searchsorted(known[:, 0], asked[i, 0] - NEAR_SIZE)
        while at < len(known) and known[at, 0] <= asked[i, 0] + NEAR_SIZE:
            if (
                abs(known[at, 1] - asked[i, 1]) <= NEAR_SIZE
                and abs(known[at, 2] - asked[i, 2]) <= NEAR_SIZE
            ):
                found[i] = True
                break
            at += 1
    return found
