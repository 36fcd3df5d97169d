"""Masks as booleans: taken of whatever holds them, and held to a pattern."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.arrays import as_array
from nmsim.errors import PatternError, ShapeError, SpecError
from nmsim.pattern import COLUMNS_KEPT, Pattern

__all__ = ["broken_promise", "broken_vectors", "check_promise", "matrix_of"]


def matrix_of(bits: Any) -> NDArray[np.bool_]:
    """Booleans of rows x K of whatever holds zeros and ones, K last."""
    array = as_array(bits, "mask: bits")
    if array.ndim < 2 or not array.size:
        raise ShapeError(f"mask: shape is {array.shape}, expected rows x K, K last")
    if array.dtype != np.bool_:
        if array.dtype.kind not in "iuf" or not ((array == 0) | (array == 1)).all():
            raise SpecError(f"mask: expected booleans or zeros and ones, not {array.dtype}")
        array = array != 0
    return array.reshape(-1, array.shape[-1])


def check_promise(bits: NDArray[np.bool_], pattern: Pattern) -> None:
    """Refuse bits, rows x K, that keep too much; V:N:M by whole matrices of V rows."""
    rows, k = bits.shape
    if broken := broken_promise(bits, pattern):
        raise PatternError(
            f"mask of {rows} x {k}: {broken} ({pattern} along K, the last axis; None promises "
            "nothing)"
        )


def broken_promise(bits: NDArray[np.bool_], pattern: Pattern, first_row: int = 0) -> str:
    """The first group of bits, rows x K, that breaks a pattern, in words; "" if none does.

    Parameters
    ----------
    first_row
        The index of the first row in the matrix that the bits are of; of V:N:M they are whole
        vectors.
    """
    k = bits.shape[1]
    if not bits.size:
        return ""
    starts = np.arange(0, k, pattern.group)
    kept = np.add.reduceat(bits, starts, axis=1, dtype=np.int64)
    lengths = np.minimum(pattern.group, k - starts)
    least = lengths if pattern.is_dense else np.full(len(starts), 0)
    row, group = _first((kept > pattern.keep) | (kept < least))
    if row >= 0:
        start, stop = starts[group], starts[group] + lengths[group] - 1
        most = "all" if pattern.is_dense else f"at most {pattern.keep}"
        return (
            f"row {first_row + row} keeps {kept[row, group]} of columns {start} to {stop}, "
            f"expected {most}"
        )
    if pattern.vector and (broken := broken_vectors(bits, pattern)):
        return (
            f"{broken} groups of {pattern.vector} rows keep anything of more than "
            f"{COLUMNS_KEPT} columns, expected {COLUMNS_KEPT}"
        )
    return ""


def _first(wrong: NDArray[np.bool_]) -> tuple[int, int]:
    """Row and column of the first that is set; -1 twice if none is."""
    if not wrong.any():
        return -1, -1
    row, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
    return int(row), int(column)


def broken_vectors(bits: NDArray[np.bool_], pattern: Pattern) -> int:
    """Groups of rows x K that keep too much, or of whose V rows too many columns are kept."""
    starts = np.arange(0, bits.shape[1], pattern.group)
    over = np.add.reduceat(bits, starts, axis=1, dtype=np.int64) > pattern.keep
    for top in range(0, len(bits), pattern.vector):
        rows = slice(top, top + pattern.vector)
        columns = np.add.reduceat(bits[rows].any(axis=0), starts, dtype=np.int64)
        over[rows] |= columns > COLUMNS_KEPT
    return int(over.sum())
