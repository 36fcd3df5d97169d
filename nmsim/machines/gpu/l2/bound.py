"""At most what a launch reads, in closed form: what both models of a GPU take time for.

Tiles are launched in strips of up to ``SWIZZLE`` tiles, a strip from its first row of tiles to its
last and then the next (``GemmIdentityThreadblockSwizzle<8>`` of CUTLASS 2), across C or along it,
whichever reads less (``RasterOrder`` of CUTLASS 3). One operand streams by and is read once for
each strip. Of the other a strip stays, until as much of the first has passed as L2 has room for
beside it, or as one wave of tiles needs, which tiles of a wave share in any case.

A cache that replaces what was used longest ago (``lru``) is better than that as long as a wave is
smaller than it, and no better beyond. Where that is depends on how many tiles are in flight, so a
GPU with more multiprocessors may really read more. This bound is what no number of tiles in flight
from these on exceeds: so more multiprocessors, like more L2, never make a launch slower.
"""

import numpy as np

from nmsim.jit import compiled, compiled_uncounted

__all__ = ["SWIZZLE", "most_read", "streams_rows"]

SWIZZLE = 8.0
"""Tiles beside each other in a strip, at most."""


@compiled_uncounted
def _streaming(
    a: float, b: float, down: float, across: float, at_once: float, capacity: float
) -> float:
    """Bytes at most where A streams by strips of B, or stays while these come: the lesser.

    A strip stays while ``passing`` bytes of A do pass. Then it comes ``again``, as it does to a
    wave that begins within it; one that begins within a row of tiles sets these ``apart``.
    """
    wide, strips = min(across, SWIZZLE), np.ceil(across / SWIZZLE)
    row, strip = a / down, wide * b / across
    passing = max(at_once / wide * row, capacity - strip)
    if a > passing:
        apart = row * strips * a / passing * (1 - 1 / wide)
        again = (np.ceil(strips * a / passing) - 1) / strips
    else:
        apart, again = 0.0, (1 - 1 / strips) * (1 - 1 / down)
    streamed: float = a * strips + apart + b * (1 + again)
    if a + 2 * strip > capacity:
        return streamed
    waves = np.ceil(b / max(at_once / down * b / across, capacity - a))
    stayed: float = b + a * waves + (waves - 1) * strip * (1 - 1 / down)
    least: float = min(streamed, stayed)
    return least


@compiled
def streams_rows(
    a: float, b: float, down: float, across: float, at_once: float, capacity: float
) -> bool:
    """Whether strips are columns of tiles, by which A streams; else B streams by rows of tiles."""
    along = _streaming(a, b, down, across, at_once, capacity)
    turned: float = _streaming(b, a, across, down, at_once, capacity)
    return along <= turned


@compiled_uncounted
def most_read(
    a: float, b: float, down: float, across: float, at_once: float, capacity: float
) -> float:
    """Bytes of A and B that a GEMM reads from device memory, at most.

    Parameters
    ----------
    a, b
        Bytes of the operands.
    down, across
        Tiles of C, rows and columns of them.
    at_once
        Tiles in flight.
    capacity
        Of L2, bytes.
    """
    if down * across <= at_once or a + b <= capacity:
        return a + b
    along = _streaming(a, b, down, across, at_once, capacity)
    turned = _streaming(b, a, across, down, at_once, capacity)
    return min(along, turned)
