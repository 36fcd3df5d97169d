"""Keep the largest of every group: the N:M pruning of Mishra et al. (arXiv:2104.08378).

Magnitudes are compared as integers: the bits of a float without its sign are in the order of its
magnitude. Kernels work on many groups at once, one to a lane, without branches: written so, LLVM
turns their inner loops into vector instructions, which is worth a factor of ten.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.pruning import Block, pruner
from nmsim.pruning.parts.groups import in_groups, put_back

__all__ = ["keep_largest", "magnitude"]

_LANES = 64

Bits = NDArray[Any]
"""uint32 or uint64."""


@compiled
def _two_of_four(bits: Bits, magnitude_bits: int, out: Bits, mask: NDArray[np.bool_]) -> None:
    """Play all six matches of four; the lower index wins a draw, and two wins are enough."""
    one, two = np.uint32(1), np.uint32(2)
    for quad in range(len(bits) // 4):
        start = 4 * quad
        a, b = bits[start] & magnitude_bits, bits[start + 1] & magnitude_bits
        c, d = bits[start + 2] & magnitude_bits, bits[start + 3] & magnitude_bits
        ab, ac, ad = np.uint32(a >= b), np.uint32(a >= c), np.uint32(a >= d)
        bc, bd, cd = np.uint32(b >= c), np.uint32(b >= d), np.uint32(c >= d)
        keep_a, keep_b = np.uint32(ab + ac + ad >= two), np.uint32(bc + bd >= one + ab)
        keep_c, keep_d = np.uint32(cd >= ac + bc), np.uint32(ad + bd + cd <= one)
        mask[start] = keep_a
        mask[start + 1] = keep_b
        mask[start + 2] = keep_c
        mask[start + 3] = keep_d
        out[start] = bits[start] * keep_a
        out[start + 1] = bits[start + 1] * keep_b
        out[start + 2] = bits[start + 2] * keep_c
        out[start + 3] = bits[start + 3] * keep_d


@compiled
def _nth_largest(keys: Bits, group: int, levels: Bits, spare: Bits, top: int) -> None:
    """Push the keys of all lanes through ``top`` sorted levels; the last holds the Nth largest."""
    for k in range(top * _LANES):
        levels[k] = 0
    for i in range(group):
        for lane in range(_LANES):
            spare[lane] = keys[i * _LANES + lane]
        for k in range(min(top, i + 1)):
            for lane in range(_LANES):
                held, new = levels[k * _LANES + lane], spare[lane]
                levels[k * _LANES + lane] = max(held, new)
                spare[lane] = min(held, new)


@compiled
def _mark(keys: Bits, group: int, keep: int, least: Bits, room: NDArray[np.uint32]) -> None:
    """Replace every key by whether it is kept: above ``least``, or level while there is room."""
    for lane in range(_LANES):
        room[lane] = keep
    for i in range(group):
        for lane in range(_LANES):
            room[lane] -= np.uint32(keys[i * _LANES + lane] > least[lane])
    for i in range(group):
        for lane in range(_LANES):
            key, left = keys[i * _LANES + lane], room[lane]
            level = np.uint32(key == least[lane]) * np.uint32(left != 0)
            room[lane] = np.uint32(left - level)
            keys[i * _LANES + lane] = np.uint32(np.uint32(key > least[lane]) + level)


@compiled
def _load(bits: Bits, start: int, magnitude_bits: int, flip: int, group: int, keys: Bits) -> None:
    """Take the keys of ``_LANES`` groups, element by element."""
    for i in range(group):
        for lane in range(_LANES):
            key = bits[start + lane * group + i] & magnitude_bits
            keys[i * _LANES + lane] = key ^ flip


@compiled
def _store(keys: Bits, group: int, start: int, mask: NDArray[np.bool_]) -> None:
    for i in range(group):
        for lane in range(_LANES):
            mask[start + lane * group + i] = keys[i * _LANES + lane] != 0


@compiled
def _apply(bits: Bits, mask: NDArray[np.bool_], out: Bits) -> None:
    for i in range(len(bits)):
        out[i] = bits[i] * np.uint32(mask[i])


@compiled
def _keep_largest(
    bits: Bits,
    magnitude_bits: int,
    keep: int,
    group: int,
    out: Bits,
    mask: NDArray[np.bool_],
) -> None:
    """Keep the largest of every group of a flat array of at least ``_LANES`` groups."""
    # The Nth largest is the (M - N + 1)th smallest: of complements, if that takes fewer levels.
    top = min(keep, group - keep + 1)
    flip = magnitude_bits ^ magnitude_bits
    if top < keep:
        flip = magnitude_bits
    keys, levels = np.empty(group * _LANES, bits.dtype), np.empty(top * _LANES, bits.dtype)
    least, spare = np.empty(_LANES, bits.dtype), np.empty(_LANES, bits.dtype)
    room = np.empty(_LANES, np.uint32)
    groups = len(bits) // group
    for at in range(0, groups, _LANES):
        # The last lot overlaps the one before: it does the same work again.
        start = min(at, groups - _LANES) * group
        _load(bits, start, magnitude_bits, flip, group, keys)
        _nth_largest(keys, group, levels, spare, top)
        for lane in range(_LANES):
            least[lane] = levels[(top - 1) * _LANES + lane] ^ flip
        for i in range(group * _LANES):
            keys[i] ^= flip
        _mark(keys, group, keep, least, room)
        _store(keys, group, start, mask)
    _apply(bits, mask, out)


def _keys(values: NDArray[Any]) -> Bits:
    """Give unsigned integers in the order of the magnitudes."""
    return _bits(np.abs(values))


def _bits(values: NDArray[Any]) -> Bits:
    return values.view(np.uint32 if values.itemsize == 4 else np.uint64)


@pruner(
    "magnitude",
    summary="keeps the N largest magnitudes of every group; ties keep the lowest index",
    source="Mishra et al., arXiv:2104.08378, section 3",
    regular=True,
    for_vectors="venom",
)
def magnitude(block: Block) -> None:
    """Keep the N largest magnitudes of every group of rows x K values; ties keep the lowest index.

    Minimises the squared error of every group (Mishra et al., arXiv:2104.08378, section 3).
    """
    p = block.pattern
    groups = in_groups(block, _LANES)
    floats = groups.values.dtype.kind == "f"
    bits = _bits(groups.values) if floats else _keys(groups.values)
    mask, out = groups.out_mask, _bits(groups.out_values)
    sign_off = bits.dtype.type(np.iinfo(bits.dtype).max >> floats)
    if (p.keep, p.group) == (2, 4):
        _two_of_four(bits.reshape(-1), sign_off, out.reshape(-1), mask.reshape(-1))
    else:
        _keep_largest(
            bits.reshape(-1), sign_off, p.keep, p.group, out.reshape(-1), mask.reshape(-1)
        )
    if not floats:
        groups.out_values[...] = groups.values * mask
    put_back(block, groups)


def keep_largest(block: Block, scores: NDArray[Any]) -> None:
    """Fill with the values whose scores are the N largest of every group, unchanged.

    Parameters
    ----------
    scores
        Of every value of the block, 0 or more; ties keep the lowest index.
    """
    sizes = np.ascontiguousarray(scores, np.float64)
    magnitude(replace(block, values=sizes, out_values=np.empty_like(sizes)))
    block.keep(block.out_mask)
