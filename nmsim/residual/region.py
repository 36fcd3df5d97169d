"""Where measured GEMMs lie: the region beyond which nothing that was learned from them is used.

GEMMs are points whose coordinates are logarithms (base 2: octaves) of their sizes, of products of
these, and of what a machine makes of them. The region is the least and the greatest of every
coordinate: sizes alone would be a box, products of two and of three cut its empty corners off.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MARGIN", "Region", "sizes_in_octaves"]

MARGIN = 0.25
"""Octaves over which a weight falls from 1 at the outermost measured GEMMs to 0."""

SIZES = ("m", "n", "k", "copies", "mn", "nk", "mk", "mnk")
"""Coordinates that follow from sizes alone; M, N and K first."""

Values = NDArray[np.float64]


def sizes_in_octaves(sizes: Values) -> Values:
    """Coordinates of GEMMs by ``SIZES``.

    Parameters
    ----------
    sizes
        GEMMs x 4: M, N, K and copies in one launch.
    """
    m, n, k, copies = np.log2(np.maximum(1.0, sizes.T))
    return np.stack([m, n, k, copies, m + n, n + k, m + k, m + n + k], axis=1)


@dataclass(frozen=True, eq=False)
class Region:
    """The bounds of measured GEMMs in every coordinate, and the GEMMs themselves.

    Parameters
    ----------
    low, high
        Least and greatest value of each coordinate, octaves; the first three are M, N and K.
    points
        Measured GEMMs x 3, distinct: M, N and K in octaves.
    """

    low: Values
    high: Values
    points: Values

    @classmethod
    def of(cls, where: Values) -> "Region":
        """The region of measured GEMMs, from their coordinates (GEMMs x coordinates)."""
        points = np.unique(np.round(where[:, :3] * _STEPS), axis=0) / _STEPS
        return cls(where.min(axis=0), where.max(axis=0), points)

    def outside(self, where: Values) -> Values:
        """How far GEMMs lie outside the bounds, octaves in the worst coordinate; 0 within them."""
        over = np.maximum(where - self.high, self.low - where)
        found: Values = np.maximum(0.0, over.max(axis=1))
        return found

    def has(self, where: Values) -> NDArray[np.bool_]:
        """Whether the first three coordinates of each place are, rounded, those of some point."""
        known = set(map(tuple, self.points.tolist()))
        asked = (np.round(where[:, :3] * _STEPS) / _STEPS).tolist()
        return np.array([tuple(one) in known for one in asked], bool)

    def weight(self, where: Values) -> Values:
        """1 within the bounds, 0 from ``MARGIN`` outside on, smooth (3x^2 - 2x^3) between."""
        x = np.clip(1 - self.outside(where) / MARGIN, 0.0, 1.0)
        found: Values = x * x * (3 - 2 * x)
        return found


_STEPS = 16
"""Steps of an octave that measured sizes are kept by: 4% each."""
