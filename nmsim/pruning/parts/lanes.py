"""Groups side by side: kernels that work on ``LANES`` groups at once, without branches.

An array of M x LANES holds element i of group ``lane`` at ``i * LANES + lane``. Truth is 0.0 or 1.0
and conditions are products: written so, LLVM makes vector instructions of the inner loops. A group
of at most N non-zeros is ``few``: it is copied, whatever the draws say.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled

__all__ = ["LANES", "Lanes", "filled", "lanes", "load", "store"]

LANES = 64

Floats = NDArray[np.float64]


class Lanes(NamedTuple):
    """Sizes of the elements of ``LANES`` groups, and which of them are kept so far."""

    sizes: Floats
    """Magnitudes, scaled so that no sum overflows and none is subnormal."""
    kept: Floats
    """Whether an element is kept."""
    scale: Floats
    """By which the sizes of a lane were multiplied, a power of two."""
    few: Floats
    """Whether a lane has at most N non-zeros."""


@compiled
def lanes(group: int) -> Lanes:
    """Make room for the elements of ``LANES`` groups of a length."""
    return Lanes(np.empty(group * LANES), np.empty(group * LANES), np.empty(LANES), np.empty(LANES))


@compiled
def load(values: Floats, start: int, group: int, keep: int, into: Lanes) -> None:
    """Take the groups that start at ``start`` of a flat array; nothing is kept yet."""
    for lane in range(LANES):
        into.scale[lane] = 0.0
        into.few[lane] = 0.0
    for i in range(group):
        for lane in range(LANES):
            size = abs(values[start + lane * group + i])
            into.sizes[i * LANES + lane] = size
            into.kept[i * LANES + lane] = 0.0
            into.scale[lane] = max(into.scale[lane], size)
            into.few[lane] += np.float64(size > 0.0)
    for lane in range(LANES):
        huge, tiny = into.scale[lane] > 2.0**900, into.scale[lane] < 2.0**-500
        into.scale[lane] = 2.0**-40 if huge else 2.0**500 if tiny else 1.0
        into.few[lane] = np.float64(into.few[lane] <= keep)
    for i in range(group):
        for lane in range(LANES):
            into.sizes[i * LANES + lane] *= into.scale[lane]


@compiled
def filled(of: Lanes, group: int, keep: int, room: Floats) -> None:
    """Keep, in lanes with few non-zeros, those, and then zeros, lowest index first."""
    for lane in range(LANES):
        room[lane] = keep
    for i in range(group):
        for lane in range(LANES):
            room[lane] -= np.float64(of.sizes[i * LANES + lane] > 0.0)
    for i in range(group):
        for lane in range(LANES):
            at = i * LANES + lane
            zero = np.float64(of.sizes[at] == 0.0)
            taken = zero * np.float64(room[lane] > 0.0)
            room[lane] -= taken
            kept = 1.0 - zero + taken
            of.kept[at] = of.few[lane] * kept + (1.0 - of.few[lane]) * of.kept[at]


@compiled
def store(of: Lanes, start: int, group: int, mask: NDArray[np.bool_]) -> None:
    """Fill a flat mask from what is kept."""
    for i in range(group):
        for lane in range(LANES):
            mask[start + lane * group + i] = of.kept[i * LANES + lane] != 0.0
