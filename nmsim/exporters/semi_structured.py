"""Pruned values as PyTorch's semi-structured tensors hold them for CUTLASS' tensor cores.

Kept values row by row, and two bits for each, its place among four, in words that are laid out as
``mma.sp`` reads them. ``SparseSemiStructuredTensorCUTLASS(shape, packed, meta, None, None, None)``
of torch.sparse.semi_structured takes both.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.arrays import as_array
from nmsim.errors import PatternError, ShapeError
from nmsim.mask import Mask
from nmsim.network.tensors.packed import word_places
from nmsim.pattern import Pattern

__all__ = ["SemiStructured", "semi_structured"]

_WORDS = {1: "i4", 2: "i2", 4: "i2"}
"""Words of metadata by the bytes of an element: 8 bits have words of 32, others of 16."""


class SemiStructured(NamedTuple):
    """Kept values, rows x K/2, and the words of their places, rows x words."""

    packed: NDArray[Any]
    meta: NDArray[Any]


def semi_structured(values: Any, mask: Any) -> SemiStructured:
    """Pack values under a mask that keeps two of four along K, the last axis; of 32 bits 1:2.

    Where fewer are kept, zeros fill the places, the lowest first.

    Parameters
    ----------
    values
        Rows x K, elements of 8, 16 or 32 bits; rows a multiple of 32 (16 of 8 bits), K of 64 (128
        of 8 bits, 32 of 32), as the tiles of CUTLASS' metadata are.
    mask
        Booleans of the same shape, such as `nmsim.prune` gives.

    Raises
    ------
    ShapeError
        for sizes that no tile has, or a mask of another shape.
    PatternError
        naming the first group that keeps too much.

    Examples
    --------
    >>> import nmsim
    >>> pruned = nmsim.prune(np.ones((32, 64), np.float16), "2:4")
    >>> found = semi_structured(*pruned)
    >>> found.packed.shape, found.meta.shape, found.meta.dtype.name
    ((32, 32), (32, 4), 'int16')
    """
    array, bits = as_array(values), as_array(mask, "mask")
    width = array.dtype.itemsize
    if array.ndim != 2 or bits.shape != array.shape or width not in _WORDS:
        raise ShapeError(
            f"values are {array.shape} of {array.dtype} and the mask {bits.shape}, expected both "
            "rows x K, elements of 8, 16 or 32 bits"
        )
    keep, group = (1, 2) if width == 4 else (2, 4)
    tile = (16 if width == 1 else 32, {1: 128, 2: 64, 4: 32}[width])
    if array.shape[0] % tile[0] or array.shape[1] % tile[1] or not array.size:
        raise ShapeError(f"values are {array.shape}, expected multiples of {tile[0]} x {tile[1]}")
    _check(bits, Pattern(keep, group))
    places = _places(bits.reshape(len(bits), -1, group) != 0, keep)
    grouped = np.where(bits, array, 0).astype(array.dtype).reshape(len(bits), -1, group)
    packed = np.take_along_axis(grouped, places, axis=2).reshape(len(bits), -1)
    return SemiStructured(packed, _words(_fields(places, group), _WORDS[width]))


def _check(bits: NDArray[Any], pattern: Pattern) -> None:
    """Refuse a mask that keeps more than its pattern allows."""
    try:
        Mask(bits, pattern)
    except PatternError as error:
        raise PatternError(f"semi-structured: {error}") from None


def _places(bits: NDArray[np.bool_], keep: int) -> NDArray[np.int64]:
    """The places of each group that are stored, in order: kept ones, filled up by the lowest."""
    chosen = np.argsort(~bits, axis=2, kind="stable")[:, :, :keep]
    return np.sort(chosen, axis=2)


def _fields(places: NDArray[np.int64], group: int) -> NDArray[np.int64]:
    """Fields of two bits for each place; one of two is told as both of its halves of 16 bits."""
    if group == 2:
        return np.concatenate([2 * places, 2 * places + 1], axis=2).reshape(len(places), -1)
    return places.reshape(len(places), -1)


def _words(fields: NDArray[np.int64], word: str) -> NDArray[Any]:
    """Fields as words, in the order in which tensor cores read them."""
    bytes_of = np.dtype(word).itemsize
    each = 4 * bytes_of
    shifts = np.arange(0, 2 * each, 2)
    words = (fields.reshape(len(fields), -1, each) << shifts).sum(axis=2)
    stored = np.empty(words.size, np.int64)
    rows, columns = words.shape
    stored[word_places(rows, columns, bytes_of)] = words
    unsigned = stored.astype(np.dtype(f"u{bytes_of}"))
    return unsigned.view(word).reshape(words.shape)
