"""A cache of L2's size, fed with the tiles of a launch one after another, in plain Python."""

import math
from collections import OrderedDict


def launched(down, across, *, columns, at_most=8):
    """Tiles (row, column) in order: strips of at most so many, as equal as can be.

    ``columns``: a strip is so many columns of tiles, else rows of them.
    """
    along, beside = (down, across) if columns else (across, down)
    strips = math.ceil(beside / at_most)
    narrow, broad = divmod(beside, strips)
    edges, tiles = 0, []
    for strip in range(strips):
        wide = narrow + (strip < broad)
        tiles += [(i, j) for i in range(along) for j in range(edges, edges + wide)]
        edges += wide
    return tiles if columns else [(j, i) for i, j in tiles]


def read(tiles, at_once, a_row, b_column, capacity, *, slices=16):
    """Bytes that miss: tiles of a wave go through K in step, what was used longest ago leaves."""
    held, size, missed = OrderedDict(), 0.0, 0.0
    for first in range(0, len(tiles), at_once):
        wave = tiles[first : first + at_once]
        lines = list(dict.fromkeys(line for i, j in wave for line in (("a", i), ("b", j))))
        for part in range(slices):
            for line in lines:
                key = (*line, part)
                if key in held:
                    held.move_to_end(key)
                    continue
                held[key] = (a_row if line[0] == "a" else b_column) / slices
                missed += held[key]
                size += held[key]
                while size > capacity:
                    size -= held.popitem(last=False)[1]
    return missed
