"""Which weight shapes are fitted to, and which are held out: decided by a hash of the shape alone.

Rows of one weight shape (n, k) are kin, so they go together. As the hash reads neither a table nor
its other rows, a shape stands on the same side in every source: what was held out of a fit to one
table is held out of a fit to all of them.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["HELD_OUT_OF", "dealt", "held_out", "shape_hash"]

HELD_OUT_OF = 4
"""One weight shape in so many is held out."""

_STEP, _FIRST, _SECOND = map(
    np.uint64, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def shape_hash(n: NDArray[np.generic], k: NDArray[np.generic], seed: int = 0) -> NDArray[np.uint64]:
    """A number of 64 bits for every weight shape (SplitMix64; Steele, Lea, Flood, OOPSLA 2014).

    Parameters
    ----------
    n, k
        Out and in features by row, integers below 2**32.
    seed
        Others give other numbers.
    """
    with np.errstate(over="ignore"):
        x = n.astype(np.uint64) * np.uint64(1 << 32) + k.astype(np.uint64)
        x = x + _STEP * np.uint64((seed + 1) % 2**64)
        x = (x ^ (x >> np.uint64(30))) * _FIRST
        x = (x ^ (x >> np.uint64(27))) * _SECOND
        return x ^ (x >> np.uint64(31))


def held_out(n: NDArray[np.generic], k: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether each row's weight shape is held out of every fit to measured times.

    Examples
    --------
    >>> held_out(np.array([1024, 1024]), np.array([768, 512]))
    array([ True, False])
    """
    out: NDArray[np.bool_] = shape_hash(n, k) % np.uint64(HELD_OUT_OF) == 0
    return out


def dealt(
    n: NDArray[np.generic], k: NDArray[np.generic], parts: int, seed: int = 0
) -> NDArray[np.intp]:
    """Which of so many parts, as equal as can be, each row's weight shape is dealt to.

    Shapes are dealt in the order of their hashes: unlike ``held_out``, a shape's part depends on
    the other shapes that are there.
    """
    _, which = np.unique(shape_hash(n, k, seed), return_inverse=True)
    return which.reshape(-1) % parts
