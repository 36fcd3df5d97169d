"""Pruning algorithms, one (family) per file; each file registers what it offers.

A pruner sees a matrix whose last axis is K, so its groups run along memory. It fills a block of
rows at a time, which bounds memory and lets blocks run on threads; whatever it draws depends on the
seed and on the index of the row, never on the block it came in.
"""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmsim.errors import ShapeError
from nmsim.jit import map_blocks
from nmsim.mask import Words, pack, words_per_row
from nmsim.pattern import Pattern
from nmsim.registry import Registry

__all__ = ["PRUNERS", "Fill", "Pruned", "Pruner", "mask_words", "prune", "pruner"]

_BLOCK_ELEMENTS = 1 << 20


class Pruned(NamedTuple):
    """What a pruner makes of a tensor: both arrays have its shape."""

    values: NDArray[Any]
    mask: NDArray[np.bool_]


class Fill(Protocol):
    """Prune a block of rows into arrays that are given."""

    def __call__(
        self,
        values: NDArray[Any],
        pattern: Pattern,
        seed: int,
        first_row: int,
        out_values: NDArray[Any],
        out_mask: NDArray[np.bool_],
    ) -> None:
        """Fill ``out_values`` and ``out_mask``, rows x K like ``values``.

        ``first_row`` is the index in the whole matrix of the block's first row.
        """


@dataclass(frozen=True)
class Pruner:
    """A pruning algorithm and what the rest of nmsim must know of it.

    Parameters
    ----------
    name
        As in ``--pruner`` and recipes.
    summary, source
        One line each: what it does, and author, venue, equation.
    fill
        The algorithm, on a block of rows.
    regular
        Keeps exactly min(keep, length) of every group, zeros included: counts need no bits.
    stochastic
        Depends on the seed.
    transposable
        Its masks obey the pattern along columns too.
    """

    name: str
    summary: str
    source: str
    fill: Fill
    regular: bool
    stochastic: bool = False
    transposable: bool = False


PRUNERS: Registry[Pruner] = Registry("pruner")


def pruner(name: str, *, summary: str, source: str, **traits: bool) -> Callable[[Fill], Fill]:
    """Register a ``Fill`` function as a pruner; ``traits`` are the flags of ``Pruner``."""

    def add(fill: Fill) -> Fill:
        PRUNERS.add(name, Pruner(name, summary, source, fill, **traits))
        return fill

    return add


def _working_copy(values: NDArray[Any]) -> NDArray[Any]:
    """The values in a dtype that kernels take: float32, float64 or int64, C order."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "f":
        return np.ascontiguousarray(values, np.float64 if size > 4 else np.float32)
    if kind in "iub":
        return np.ascontiguousarray(values, np.int64)
    raise ShapeError(f"values of dtype {values.dtype}: expected floating point or integers")


def _refuse_not_finite(block: NDArray[Any], first_row: int) -> None:
    if block.dtype.kind != "f" or np.isfinite(block).all():
        return
    row, column = np.argwhere(~np.isfinite(block))[0]
    raise ShapeError(
        f"value {block[row, column]} at row {first_row + row}, column {column}: "
        "expected finite numbers"
    )


def prune(
    values: ArrayLike, pattern: str | Pattern, pruner: str = "magnitude", *, seed: int = 0
) -> Pruned:
    """Prune an array N:M along its last axis.

    Parameters
    ----------
    values
        Any leading shape, last axis K; float16/32/64 or integers. A short last group keeps
        min(keep, its length). Zeros count as values: a group of zeros keeps its lowest indices.
    pattern
        "2:4", or a Pattern.
    pruner
        A name from ``nmsim list pruners``.
    seed
        For pruners that draw; the others ignore it.

    Returns
    -------
    Pruned
        values and mask of the input's shape; values of the input's dtype, zero where pruned.

    Raises
    ------
    ShapeError
        for a 0-dimensional array, a dtype that is not real, NaN or infinity (it says where).
    PatternError, UnknownName
        for a pattern or pruner that does not exist.

    Examples
    --------
    >>> prune([3.0, -1.0, 0.5, 2.0], "2:4").values
    array([3., 0., 0., 2.])
    """
    array = np.asarray(values)
    if array.ndim == 0:
        raise ShapeError("values are a single number, expected an array with a last axis K")
    chosen, kept = PRUNERS[pruner], Pattern.parse(pattern)
    k = array.shape[-1]
    matrix = _working_copy(array).reshape(array.size // k if k else 0, k)
    out_values = np.empty_like(matrix)
    out_mask = np.empty(matrix.shape, np.bool_)

    def fill(start: int, stop: int) -> None:
        block = matrix[start:stop]
        _refuse_not_finite(block, start)
        chosen.fill(block, kept, seed, start, out_values[start:stop], out_mask[start:stop])

    map_blocks(fill, matrix.shape[0], max(1, _BLOCK_ELEMENTS // max(k, 1)))
    return Pruned(
        out_values.reshape(array.shape).astype(array.dtype, copy=False),
        out_mask.reshape(array.shape),
    )


def mask_words(
    blocks: Iterable[NDArray[Any]], rows: int, k: int, pattern: Pattern, pruner: str, seed: int
) -> Words:
    """The packed mask of a matrix of rows x K that comes as consecutive blocks of rows."""
    words = np.zeros((rows, words_per_row(k)), np.uint64)
    start = 0
    for block in blocks:
        matrix = _working_copy(block)
        _refuse_not_finite(matrix, start)
        scratch, mask = np.empty_like(matrix), np.empty(matrix.shape, np.bool_)
        PRUNERS[pruner].fill(matrix, pattern, seed, start, scratch, mask)
        words[start : start + len(block)] = pack(mask)
        start += len(block)
    if start != rows:
        raise ShapeError(f"tensor has {start} rows of {k}, expected {rows}")
    return words


PRUNERS.scan(sys.modules[__name__])
