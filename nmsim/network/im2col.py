"""Operands as they are gathered from tensors: pixels through windows, a weight tap by tap.

What a window reads is ordered tap by tap, the last dimension and then channels fastest. Padding is
zero, and pruned in a mask.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.mask.words import Words, words_per_row
from nmsim.windows import Axis, Windows

__all__ = ["column_bits", "column_values", "tap_bits"]

Triple = tuple[int, int, int]


class _Geometry(NamedTuple):
    """Windows as kernels take them, in three dimensions: one that is not there has one pixel."""

    images: int
    size: Triple
    windows: Triple
    taps: Triple
    stride: Triple
    step: Triple
    first: Triple
    channels: int
    copies: int
    pitch: int


def _geometry(w: Windows, copies: int, pitch: int = 0) -> _Geometry:
    one, two, three = (*[Axis(1, 1, 1)] * (3 - len(w.axes)), *w.axes)
    return _Geometry(
        w.images,
        (one.size, two.size, three.size),
        (one.windows, two.windows, three.windows),
        (one.taps, two.taps, three.taps),
        (one.stride, two.stride, three.stride),
        (one.step, two.step, three.step),
        (one.first, two.first, three.first),
        w.channels,
        copies,
        pitch or w.channels,
    )


@compiled
def _pixel(w: _Geometry, row: int, tap: int) -> int:
    """Index of the pixel that a window's tap covers; -1 in the padding."""
    pixel, places = 0, w.windows[0] * w.windows[1] * w.windows[2]
    image, row = divmod(row, places)
    left, right = places, w.taps[0] * w.taps[1] * w.taps[2]
    for axis in range(3):  # what is left of row and tap is of this axis and those after it
        left //= w.windows[axis]
        right //= w.taps[axis]
        place, row = divmod(row, left)
        own, tap = divmod(tap, right)
        at = w.first[axis] + place * w.stride[axis] + own * w.step[axis]
        if at < 0 or at >= w.size[axis]:
            return -1
        pixel = pixel * w.size[axis] + at
    return image * w.size[0] * w.size[1] * w.size[2] + pixel


@compiled
def _column_bits(pixels: Words, w: _Geometry, out: Words) -> None:
    rows = w.images * w.windows[0] * w.windows[1] * w.windows[2]
    taps = w.taps[0] * w.taps[1] * w.taps[2]
    for row in range(rows):
        for tap in range(taps):
            pixel = _pixel(w, row, tap)
            if pixel < 0:
                continue
            for source in range(w.copies * w.channels):
                copy, c = divmod(source, w.channels)
                bit = (pixels[pixel, source >> 6] >> np.uint64(source & 63)) & np.uint64(1)
                k = tap * w.pitch + c
                out[copy * rows + row, k >> 6] |= bit << np.uint64(k & 63)


def column_bits(pixels: Words, w: Windows, copies: int = 1, pitch: int = 0) -> Words:
    """The mask of an image as windows see it.

    Parameters
    ----------
    pixels
        Packed bits of the image, pixels x copies.channels.
    w
        The windows of one copy, whatever they lie along.
    copies
        How many copies stand side by side in a pixel: the groups of a convolution.
    pitch
        Bits from one tap to the next; those beyond its channels are 0. 0: none are.

    Returns
    -------
    Words
        copies.windows x taps.pitch.
    """
    words = words_per_row(w.taps * (pitch or w.channels))
    out = np.zeros((copies * w.pixels, words), np.uint64)
    _column_bits(pixels, _geometry(w, copies, pitch), out)
    return out


def column_values(
    image: NDArray[np.float32], w: Windows, copies: int, first: int, out: NDArray[np.float32]
) -> None:
    """Fill rows ``first`` onwards of the transposed columns: feature x window.

    Parameters
    ----------
    image
        pixels x copies.channels.
    w, copies
        As of ``column_bits``.
    first
        Of the copies.taps.channels features, the one in ``out``'s first row.
    out
        Features x windows, filled.
    """
    _column_values(image, _geometry(w, copies), first, out)


@compiled
def _column_values(
    image: NDArray[np.float32], w: _Geometry, first: int, out: NDArray[np.float32]
) -> None:
    per_copy = w.taps[0] * w.taps[1] * w.taps[2] * w.channels
    for i in range(out.shape[0]):
        copy, rest = divmod(first + i, per_copy)
        tap, c = divmod(rest, w.channels)
        for row in range(out.shape[1]):
            pixel = _pixel(w, row, tap)
            out[i, row] = image[pixel, copy * w.channels + c] if pixel >= 0 else 0.0


def tap_bits(
    words: Words, taps: Sequence[int], of: int, copies: int, channels: int, pitch: int
) -> Words:
    """The mask of a weight read tap by tap.

    Parameters
    ----------
    words
        Packed bits, copies.of.rows x channels: for every tap its rows, one after the other.
    taps
        Those that are read, in order.
    of
        How many taps there are.
    channels, pitch
        Bits of a row, and from one tap to the next, those between them being 0.

    Returns
    -------
    Words
        copies.rows x taps.pitch.
    """
    rows = len(words) // (copies * of)
    out = np.zeros((copies * rows, words_per_row(len(taps) * pitch)), np.uint64)
    _tap_bits(words, np.array(taps, np.int64), of, rows, channels, pitch, out)
    return out


@compiled
def _tap_bits(
    words: Words,
    taps: NDArray[np.int64],
    of: int,
    rows: int,
    channels: int,
    pitch: int,
    out: Words,
) -> None:
    for row in range(out.shape[0]):
        copy, own = divmod(row, rows)
        for place in range(taps.shape[0]):
            source = (copy * of + taps[place]) * rows + own
            for c in range(channels):
                bit = (words[source, c >> 6] >> np.uint64(c & 63)) & np.uint64(1)
                k = place * pitch + c
                out[row, k >> 6] |= bit << np.uint64(k & 63)
