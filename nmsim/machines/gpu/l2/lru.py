"""What a launch reads from device memory: its tiles, in order, before a cache of L2's size.

Tiles of a wave go through K in step, so that each slice of a row or column of tiles is asked for
once by a wave. The cache replaces what was used longest ago. It holds operands alone: results are
written once and taken to be the first to leave. An assumption, like the order of tiles (``bound``):
nobody has published either for GPUs' own libraries.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.machines.gpu.l2.bound import SWIZZLE, most_read, streams_rows

__all__ = ["Cut", "read_bytes"]

SLICES = 4
"""Parts of K by which tiles go in step: more change what is read by little."""

TOUCHES = 2**16
"""Uses of a slice after which what is left is taken to go on like the second half of what was."""


class Cut(NamedTuple):
    """A GEMM cut into tiles: bytes of A and B, rows and columns of tiles, tiles in flight."""

    a: float
    b: float
    down: int
    across: int
    at_once: int


@compiled
def _tile(place: int, down: int, across: int) -> tuple[int, int]:
    """Row and column of the tile at a place of the launch, strips as equal as can be."""
    strips = int(np.ceil(across / SWIZZLE))
    wide = across // strips
    broad = across - wide * strips  # strips that are one wider; they come first
    if place < broad * (wide + 1) * down:
        strip, inside = divmod(place, (wide + 1) * down)
        row, column = divmod(inside, wide + 1)
        return row, strip * (wide + 1) + column
    strip, inside = divmod(place - broad * (wide + 1) * down, wide * down)
    row, column = divmod(inside, wide)
    return row, broad * (wide + 1) + strip * wide + column


@compiled
def _needed(
    first: int, last: int, down: int, across: int, seen: NDArray[np.int64], out: NDArray[np.int64]
) -> int:
    """Rows of tiles, and columns after them, of a wave: each once, in ``out``; how many."""
    count = 0
    for place in range(first, last):
        row, column = _tile(place, down, across)
        for line in (row, down + column):
            if seen[line] < first:
                seen[line] = first
                out[count] = line
                count += 1
    return count


@compiled
def _lru(a: float, b: float, down: int, across: int, at_once: int, capacity: float) -> float:
    """Bytes read by tiles whose strips are columns of tiles.

    ``used`` has when each slice was used last, 0 if it is not held. ``queue`` has all uses, oldest
    first; one that is not its slice's last is no longer of interest when its turn comes to leave.
    """
    tiles, lines = down * across, down + across
    seen, needed = np.full(lines, -1), np.empty(lines, np.int64)
    used = np.zeros(lines * SLICES, np.int64)
    queue = np.empty(TOUCHES + lines * SLICES, np.int64)
    row, column = a / down / SLICES, b / across / SLICES
    now = oldest = first = middle = 0
    held = read = half = 0.0
    while first < tiles and now < TOUCHES:
        last = min(tiles, first + at_once)
        count = _needed(first, last, down, across, seen, needed)
        for part in range(SLICES):
            for line in needed[:count]:
                item = line * SLICES + part
                size = row if line < down else column
                if used[item] == 0:
                    read += size
                    held += size
                now += 1
                used[item] = now
                queue[now - 1] = item
                while held > capacity and oldest < now - 1:
                    leaving = queue[oldest]
                    oldest += 1
                    if used[leaving] == oldest:
                        used[leaving] = 0
                        held -= row if leaving < down * SLICES else column
        first = last
        if now < TOUCHES // 2:
            middle, half = first, read
    if first < tiles:
        read += (read - half) / (first - middle) * (tiles - first)
    return read


@lru_cache(maxsize=4096)
def read_bytes(cut: Cut, capacity: float) -> float:
    """Bytes of A and B that a GEMM reads from device memory through a cache of ``capacity`` bytes.

    At most ``bound.most_read``, which times are made of; at least each byte once.

    Examples
    --------
    >>> read_bytes(Cut(1e6, 2e6, 8, 16, 32), 4e6)  # both stay
    3000000.0
    >>> read_bytes(Cut(1e6, 2e6, 8, 16, 32), 0.0)  # a wave's tiles share what they need
    6000000.0
    """
    a, b, down, across, at_once = cut
    most = float(most_read(a, b, down, across, at_once, capacity))
    if down * across <= at_once or a + b <= capacity:
        return most
    if streams_rows(a, b, down, across, at_once, capacity):
        read = _lru(a, b, down, across, at_once, capacity)
    else:
        read = _lru(b, a, across, down, at_once, capacity)
    return min(most, max(a + b, float(read)))
