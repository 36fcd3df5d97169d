"""A convolution's activation seen as the columns of a GEMM: row t is the window of output pixel t.

Geometry are ordered row, column, channel, channel fastest. Padding is zero, and pruned in a mask.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.mask import Words, words_per_row
from nmsim.network.layer import Conv

__all__ = ["Geometry", "column_bits", "column_values", "windows"]


class Geometry(NamedTuple):
    """A convolution as kernels take it: samples, sizes and steps as (height, width), channels."""

    samples: int
    height: int
    width: int
    out_height: int
    out_width: int
    window_height: int
    window_width: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    channels: int
    groups: int


def windows(layer: Conv, batch: int) -> Geometry:
    """The windows of a layer over a batch."""
    stride, padding, dilation = layer.steps
    return Geometry(
        layer.samples(batch),
        *layer.image,
        *layer.output_size,
        *layer.window,
        stride,
        padding,
        dilation,
        layer.in_channels,
        layer.groups,
    )


@compiled
def _pixel(w: Geometry, row: int, tap: int) -> int:
    """Index of the pixel that a window's tap covers; -1 in the padding."""
    sample, rest = divmod(row, w.out_height * w.out_width)
    out_y, out_x = divmod(rest, w.out_width)
    tap_y, tap_x = divmod(tap, w.window_width)
    y = out_y * w.stride[0] + tap_y * w.dilation[0] - w.padding[0]
    x = out_x * w.stride[1] + tap_x * w.dilation[1] - w.padding[1]
    if y < 0 or y >= w.height or x < 0 or x >= w.width:
        return -1
    return (sample * w.height + y) * w.width + x


@compiled
def _column_bits(pixels: Words, w: Geometry, out: Words) -> None:
    rows = w.samples * w.out_height * w.out_width
    taps = w.window_height * w.window_width
    channels = w.channels // w.groups
    for group in range(w.groups):
        for row in range(rows):
            for tap in range(taps):
                pixel = _pixel(w, row, tap)
                if pixel < 0:
                    continue
                for c in range(channels):
                    source = group * channels + c
                    bit = (pixels[pixel, source >> 6] >> np.uint64(source & 63)) & np.uint64(1)
                    k = tap * channels + c
                    out[group * rows + row, k >> 6] |= bit << np.uint64(k & 63)


def column_bits(pixels: Words, w: Geometry) -> Words:
    """The mask of an image seen as columns.

    Parameters
    ----------
    pixels
        Packed bits of the image, samples.height.width x channels.
    w
        Geometry.

    Returns
    -------
    Words
        groups.T x window.channels / groups, T = samples.out_height.out_width.
    """
    rows = w.groups * w.samples * w.out_height * w.out_width
    k = w.window_height * w.window_width * (w.channels // w.groups)
    out = np.zeros((rows, words_per_row(k)), np.uint64)
    _column_bits(pixels, w, out)
    return out


@compiled
def column_values(
    image: NDArray[np.float32], w: Geometry, first: int, out: NDArray[np.float32]
) -> None:
    """Fill rows ``first`` onwards of the transposed columns: feature x T.

    Parameters
    ----------
    image
        samples.height.width x channels.
    w
        Geometry.
    first
        Of the groups.window.channels/groups features, the one in ``out``'s first row.
    out
        Features x T, filled.
    """
    channels = w.channels // w.groups
    per_group = w.window_height * w.window_width * channels
    for i in range(out.shape[0]):
        group, rest = divmod(first + i, per_group)
        tap, c = divmod(rest, channels)
        for row in range(out.shape[1]):
            pixel = _pixel(w, row, tap)
            out[i, row] = image[pixel, group * channels + c] if pixel >= 0 else 0.0
