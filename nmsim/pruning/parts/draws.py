"""Random numbers that depend on a seed and an index, so on no block and no thread."""

import numpy as np

from nmsim.jit import compiled

__all__ = ["as_state", "mix", "uniform"]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MASK = (1 << 64) - 1


@compiled
def mix(x: np.uint64) -> np.uint64:
    """Hash 64 bits: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def as_state(seed: int) -> np.uint64:
    """Take any Python integer as 64 bits of state.

    Hashed, because the draws of two seeds one step of the generator apart would be the same, moved.
    """
    return np.uint64(mix(np.uint64(int(seed) & _MASK)))


@compiled
def uniform(state: np.uint64, index: int) -> float:
    """Draw number ``index`` of a seed: a multiple of 2^-53 in [0, 1)."""
    return np.float64(mix(state + _STEP * np.uint64(index + 1)) >> np.uint64(11)) * 2.0**-53
