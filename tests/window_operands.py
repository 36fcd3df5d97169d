"""Operands of GEMMs, gathered position by position from whole tensors as lowering says."""

from itertools import product

import numpy as np


def axis_positions(axis):
    at = axis.first + np.arange(axis.windows)[:, None] * axis.stride
    return at + np.arange(axis.taps) * axis.step


def gathered(image, windows, copies):
    """Copies x windows x reads, by the positions that windows say."""
    out = []
    positions = [axis_positions(axis) for axis in windows.axes]
    for place in product(*[range(axis.windows) for axis in windows.axes]):
        row = []
        for tap in product(*[range(axis.taps) for axis in windows.axes]):
            at = tuple(int(p[o, t]) for p, o, t in zip(positions, place, tap, strict=True))
            inside = all(0 <= y < axis.size for y, axis in zip(at, windows.axes, strict=True))
            row.append(
                image[(slice(None), *at)]
                if inside
                else np.zeros_like(image[(slice(None), *[0] * len(at))])
            )
        out.append(row)
    stacked = np.array(out)  # places, taps, images, channels
    parted = stacked.reshape(*stacked.shape[:3], copies, -1)
    return parted.transpose(3, 2, 0, 1, 4).reshape(copies, -1, windows.reads)


def operand(layer, matrix_of, one, windows):
    """Copies x rows x K of an operand."""
    copies = layer.groups
    if one.tensor == "weight":
        matrix = matrix_of["weight"]  # copies x rows x K of forward, columns
        if one.transposed:
            matrix = np.swapaxes(matrix, 1, 2)
        if not one.taps:
            return matrix
        # rows are tap by tap; those of the chosen taps stand side by side along K
        by_tap = matrix.reshape(copies, layer.taps, -1, matrix.shape[2])
        return np.concatenate([by_tap[:, tap] for tap in one.taps], axis=2)
    image = matrix_of[one.tensor]
    if windows is not None:
        matrix = gathered(image, windows, copies)
        return np.swapaxes(matrix, 1, 2) if one.transposed else matrix
    pixels = image.reshape(-1, copies, image.shape[-1] // copies).transpose(1, 0, 2)
    return np.swapaxes(pixels, 1, 2) if one.transposed else pixels


def weight_matrix(layer, weight):
    """Copies x O x I of a weight with its narrow channels first."""
    parted = weight.reshape(layer.groups, -1, layer.taps * weight.shape[-1])
    return np.swapaxes(parted, 1, 2) if layer.type == "conv_transposed" else parted
