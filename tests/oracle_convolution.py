"""Convolutions by direct loops over places, taps and channels: values, and nothing about GEMMs."""

from itertools import product
from typing import NamedTuple

import numpy as np


class Geometry(NamedTuple):
    """A convolution from a wide image to a narrow one; transposed, from narrow to wide."""

    wide: tuple
    narrow: tuple
    kernel: tuple
    stride: tuple
    dilation: tuple
    before: tuple
    groups: int
    transposed: bool = False


def meetings(g):
    """Places of the narrow image, taps, and the pixel of the wide one that each covers."""
    for place in product(*map(range, g.narrow)):
        for tap in product(*map(range, g.kernel)):
            steps = zip(place, tap, g.stride, g.dilation, g.before, strict=True)
            pixel = tuple(o * s + t * d - p for o, t, s, d, p in steps)
            if all(0 <= y < size for y, size in zip(pixel, g.wide, strict=True)):
                yield place, tap, pixel


def forward(g, x, w):
    """The output: images, pixels, channels.

    ``w`` is outputs x taps x inputs of a group for a convolution, and inputs x taps x outputs of a
    group for a transposed one: the narrow image's channels first.
    """
    wide, narrow = w.shape[-1], w.shape[0] // g.groups
    size, channels = (g.wide, wide) if g.transposed else (g.narrow, narrow)
    y = np.zeros((len(x), *size, g.groups * channels), x.dtype)
    for place, tap, pixel in meetings(g):
        for group in range(g.groups):
            n, m = (
                slice(group * narrow, (group + 1) * narrow),
                slice(group * wide, (group + 1) * wide),
            )
            own = w[(n, *tap)]
            if g.transposed:
                y[(slice(None), *pixel, m)] += x[(slice(None), *place, n)] @ own
            else:
                y[(slice(None), *place, n)] += x[(slice(None), *pixel, m)] @ own.T
    return y


def backward(g, dy, w):
    """The gradient of the input: the way back is the other kind's way there."""
    return forward(g._replace(transposed=not g.transposed), dy, w)


def update(g, x, dy, shape):
    """The gradient of the weight, of the weight's shape."""
    wide_image, narrow_image = (dy, x) if g.transposed else (x, dy)
    wide, narrow = shape[-1], shape[0] // g.groups
    dw = np.zeros(shape, x.dtype)
    for place, tap, pixel in meetings(g):
        for group in range(g.groups):
            n, m = (
                slice(group * narrow, (group + 1) * narrow),
                slice(group * wide, (group + 1) * wide),
            )
            a = narrow_image[(slice(None), *place, n)]
            dw[(n, *tap)] += a.T @ wide_image[(slice(None), *pixel, m)]
    return dw
