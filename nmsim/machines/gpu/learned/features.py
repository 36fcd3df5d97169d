"""The closed form's own account of a GEMM as features: all that a learned residual sees of it.

Sizes are in octaves, times as shares of the whole. No measured time is among them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled, map_blocks
from nmsim.machines.gpu.analytical import BLOCK, launched
from nmsim.machines.gpu.call import resolve
from nmsim.machines.gpu.chip import TK, TM, TN, Chip, Form, Size
from nmsim.machines.gpu.choice import Rules, rules_of
from nmsim.machines.gpu.launch import BOUNDS
from nmsim.machines.gpu.preparation import cast_us
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.kind import Call, Described
from nmsim.residual.region import sizes_in_octaves

__all__ = ["ACCOUNT", "FEATURES", "describe"]

_OWN = (
    *("log m", "log n", "log k", "log us", "kernel", "tile m", "tile n", "log split"),
    *("log waves", "fill of the last wave", "fill of tiles down", "fill of tiles across"),
    *("log depth", "log tiles", "log mn", "log nk", "log mk", "log intensity"),
    *("alignment of m", "alignment of n", "alignment of k"),
)

_TILES = (
    *((128.0, 128.0), (256.0, 128.0), (128.0, 256.0), (64.0, 64.0)),
    *((256.0, 64.0), (64.0, 256.0), (128.0, 64.0), (32.0, 128.0)),
)
"""Rows and columns of tiles that libraries have, whichever of them the closed form has chosen: a
library that takes another one than it thinks follows the waves of that."""

_OF_TILES = tuple(
    f"{what} of {down:.0f} x {across:.0f}"
    for down, across in _TILES
    for what in ("log waves", "fill")
)

_OF_SIZES = (
    *("log operands over l2", "log elements", "log slices of 64"),
    *("fill of 64 down", "fill of 16 down", "fill of 128 across"),
    *("log n over k", "log m over n", "log m over k"),
)

ACCOUNT = (*_OWN, *BOUNDS)
"""The closed form's account; those of ``BOUNDS`` are shares of the time, which may overlap."""

FEATURES = (*ACCOUNT, *_OF_TILES, *_OF_SIZES)
"""Names of the features: the account, and then what follows from sizes and the chip alone."""

_US, _WAVES = _OWN.index("log us"), _OWN.index("log waves")
_SHARES, _AFTER_ACCOUNT = len(_OWN), len(ACCOUNT)

NO_WAVES = -10.0
"""Octaves of waves where a kernel has no tiles."""

ALIGNED = 10.0
"""Octaves beyond which more alignment of a size is not told."""


@compiled
def _aligned(size: float) -> float:
    """How often two divides a size, at most ``ALIGNED``."""
    octaves = 0.0
    while octaves < ALIGNED and size > 0 and size % 2 == 0:
        size /= 2
        octaves += 1
    return octaves


@compiled
def _filled(size: float, tile: float) -> float:
    """The share of a side's tiles that lies within it."""
    share: float = size / (np.ceil(size / tile) * tile)
    return share


@compiled
def _of_sizes(chip: Chip, form: Form, size: Size, out: NDArray[np.float32]) -> None:
    """Fill in what follows from sizes and the chip alone, from ``_OF_TILES`` to ``_OF_SIZES``."""
    m, n, k, copies = size
    at = _AFTER_ACCOUNT
    for down, across in _TILES:
        waves = np.ceil(m / down) * np.ceil(n / across) * copies / chip.sms
        out[at], out[at + 1] = np.log2(waves), waves / np.ceil(waves)
        at += 2
    out[at] = np.log2((m * k * form.a + n * k * form.b) / chip.l2_bytes)
    out[at + 1] = np.log2(m * k + n * k + m * n)
    out[at + 2] = np.log2(np.ceil(k / 64))
    out[at + 3], out[at + 4] = _filled(m, 64.0), _filled(m, 16.0)
    out[at + 5] = _filled(n, 128.0)
    out[at + 6], out[at + 7], out[at + 8] = np.log2(n / k), np.log2(m / n), np.log2(m / k)


class _Told(NamedTuple):
    """What is filled in: GEMMs x features, and the clocks of each GEMM."""

    features: NDArray[np.float32]
    clocks: NDArray[np.float64]


@compiled
def _describe(
    chip: Chip,
    form: Form,
    table: NDArray[np.float64],
    splits: NDArray[np.float64],
    rules: Rules,
    vector_rows: int,
    sizes: NDArray[np.float64],
    told: _Told,
) -> None:
    """Fill in the clocks of each GEMM, and a row of features in the order of ``FEATURES``."""
    out = told.features
    for i in range(len(sizes)):
        size = Size(sizes[i, 0], sizes[i, 1], sizes[i, 2], sizes[i, 3])
        found = launched(chip, form, table, splits, rules, vector_rows, size)
        told.clocks[i] = found.clocks
        m, n, k = sizes[i, 0], sizes[i, 1], sizes[i, 2]
        row = table[max(0, found.kernel)]
        tiled = found.tiles > 0
        lm, ln, lk = np.log2(m), np.log2(n), np.log2(k)
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = lm, ln, lk, np.log2(found.clocks)
        out[i, 4] = found.kernel
        out[i, 5], out[i, 6] = (row[TM], row[TN]) if tiled else (0.0, 0.0)
        out[i, 7] = np.log2(found.split)
        out[i, 8] = np.log2(found.waves) if tiled else NO_WAVES
        out[i, 9] = found.waves / max(1.0, np.ceil(found.waves)) if tiled else 1.0
        out[i, 10], out[i, 11] = _filled(m, row[TM]), _filled(n, row[TN])
        out[i, 12] = np.log2(np.ceil(np.ceil(k / row[TK]) / found.split) * row[TK])
        out[i, 13] = np.log2(max(1.0, found.tiles))
        out[i, 14], out[i, 15], out[i, 16] = lm + ln, ln + lk, lm + lk
        out[i, 17] = np.log2(m * n * k / (m * n + n * k + m * k))
        out[i, 18], out[i, 19], out[i, 20] = _aligned(m), _aligned(n), _aligned(k)
        _of_sizes(chip, form, size, out[i])
        for j in range(len(found.shares)):
            out[i, _SHARES + j] = found.shares[j] / found.clocks


def describe(machine: Gpu, call: Call, sizes: NDArray[np.float64]) -> Described:
    """The account of many dense GEMMs of one call, as features and as places in a region.

    Parameters
    ----------
    sizes
        GEMMs x 4: M, N, K and copies in one launch.
    """
    found = resolve(machine, call)
    own = (found.chip, found.form, found.table, found.splits, rules_of(found), found.vector_rows)
    features, clocks = np.empty((len(sizes), len(FEATURES)), np.float32), np.empty(len(sizes))
    asked = np.ascontiguousarray(sizes, np.float64)

    def block(start: int, stop: int) -> None:
        _describe(*own, asked[start:stop], _Told(features[start:stop], clocks[start:stop]))

    map_blocks(block, len(sizes), BLOCK)
    features[:, _US] -= np.log2(machine.clock_mhz)
    waves = features[:, _WAVES, None].astype(np.float64)
    where = np.concatenate([sizes_in_octaves(sizes), waves], axis=1)
    # Passes before the GEMM are in its time, and in no feature; in the order of ``times``.
    clocks += cast_us(machine, found.library.casts, call.dtype, asked) * machine.clock_mhz
    return Described(features, where, clocks / machine.clock_mhz)
