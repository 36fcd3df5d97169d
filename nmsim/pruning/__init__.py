"""Pruning algorithms, one (family) per file; each file registers what it offers.

A pruner sees a matrix whose last axis is K, so its groups run along memory. It fills a block of
rows at a time, which bounds memory and lets blocks run on threads; whatever it draws depends on the
seed and on the index of the row, never on the block it came in.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmsim.arrays import as_array
from nmsim.errors import ShapeError
from nmsim.jit import map_blocks
from nmsim.mask.words import Words, pack, words_per_row
from nmsim.pattern import Pattern
from nmsim.pruning.parts.context import LIKE_VALUES, Context, Samples, checked
from nmsim.pruning.parts.contract import Block, Fill, Moments, Pruned, Pruner
from nmsim.pruning.parts.promised import check_mask, fill_held, small_case
from nmsim.pruning.parts.registered import PRUNERS, pruner, pruner_name, pruner_of, read_plugins

__all__ = [
    "PRUNERS",
    "Block",
    "Context",
    "Fill",
    "Moments",
    "Pruned",
    "Pruner",
    "Samples",
    "mask_words",
    "prune",
    "pruner",
    "pruner_name",
    "pruner_of",
    "read_plugins",
    "try_out",
]

_BLOCK_ELEMENTS = 1 << 18

_NO_CONTEXT = Context()


def _working_dtype(dtype: np.dtype[Any], rescales: bool) -> type[np.generic]:
    """Choose what pruners see instead of a dtype: the wider one of its kind, or float64."""
    if dtype.kind not in "fiub":
        raise ShapeError(f"values of dtype {dtype}: expected floating point or integers")
    if rescales:
        return np.float64
    if dtype.kind != "f":
        return np.int64 if dtype.kind == "i" else np.uint64
    return np.float64 if dtype.itemsize > 4 else np.float32


def _refuse_not_finite(block: NDArray[Any], first_row: int, k: int, what: str) -> None:
    if block.dtype.kind != "f" or np.isfinite(block).all():
        return
    at = int(np.argmin(np.isfinite(block)))
    row, column = divmod(first_row * block.shape[1] + at, k)
    raise ShapeError(
        f"{what} {block.flat[at]} at row {row}, column {column}: expected finite numbers"
    )


@dataclass(frozen=True)
class _Job:
    """One tensor to prune, whose rows may come in several pieces."""

    pruner: Pruner
    pattern: Pattern
    seed: int
    options: Mapping[str, Any]
    unit_rows: int
    matrix_rows: int
    context: Mapping[str, Any]

    def _fill(self, block: Block, given: Mapping[str, Any]) -> None:
        if PRUNERS.is_own(self.pruner.name):
            fill_held(self.pruner, block, **given)
        else:
            self.pruner.fill(block, **given)

    def run(
        self, matrix: NDArray[Any], first_row: int, out: NDArray[Any], mask: NDArray[np.bool_]
    ) -> None:
        """Prune rows x K values, whole units, into ``out`` and ``mask``, on threads."""
        k, group = matrix.shape[1], self.pattern.group
        dtype = _working_dtype(matrix.dtype, self.pruner.rescales)
        by_group = self.pruner.unit == "group" and not self.pruner.along_k
        context, of_rows = self.context, [name for name in LIKE_VALUES if name in self.context]
        if by_group and k and k % group == 0:
            matrix, out, mask = (a.reshape(-1, group) for a in (matrix, out, mask))
            context = {**context, **{name: context[name].reshape(-1, group) for name in of_rows}}
            first_row *= k // group

        def fill(start: int, stop: int) -> None:
            row, target = first_row + start, out[start:stop]
            values = np.ascontiguousarray(matrix[start:stop], dtype)
            _refuse_not_finite(values, row, k, "value")
            into = target if target.dtype == values.dtype else np.empty_like(values)
            shape = (self.matrix_rows, self.unit_rows)
            block = Block(values, into, mask[start:stop], self.pattern, self.seed, row, *shape)
            rows = slice(row, row + stop - start)
            own = {name: context[name][rows] for name in of_rows}
            self._fill(block, {**context, **own, **self.options})
            if into is not target:
                with np.errstate(over="ignore"):
                    target[...] = into
            if self.pruner.rescales:
                _refuse_not_finite(target, row, k, f"{target.dtype} result")

        units = max(1, _BLOCK_ELEMENTS // max(matrix.shape[1] * self.unit_rows, 1))
        map_blocks(fill, len(matrix), units * self.unit_rows)


def _job(
    shape: tuple[int, ...],
    pattern: Pattern,
    pruner: str,
    seed: int,
    context: Context,
    given: Mapping[str, Any],
) -> _Job:
    chosen = pruner_of(pruner, pattern)
    options = {name: value for name, value in given.items() if name not in chosen.wants}
    chosen.check(pattern, options)
    if (chosen.unit == "tile" or pattern.vector) and len(shape) < 2:
        works_on = "vectors of rows" if pattern.vector else "tiles"
        raise ShapeError(
            f"values of shape {shape}: pruner {chosen.name!r} works on {works_on}, expected two "
            "axes or more"
        )
    known = {one: given[one] if one in given else context.of(one) for one in chosen.wants}
    asked = checked(chosen.asks(known), shape)
    unit_rows = chosen.unit_rows(pattern, shape, options)
    matrix_rows = shape[-2] if len(shape) > 1 else 1
    return _Job(chosen, pattern, seed, options, unit_rows, matrix_rows, asked)


def prune(
    values: ArrayLike,
    pattern: str | Pattern,
    pruner: str = "magnitude",
    *,
    seed: int = 0,
    context: Context = _NO_CONTEXT,
    **options: object,
) -> Pruned:
    """Prune an array N:M along its last axis.

    Parameters
    ----------
    values
        Any leading shape, last axis K; float16/32/64 or integers. A short last group keeps
        min(keep, its length). Zeros count as values: a group of zeros keeps its lowest indices.
        Pruners of tiles work on the last two axes, and pad them with zeros that are never kept
        before real elements.
    pattern
        "2:4", or a Pattern; "64:2:8" for V:N:M, of which rows restart at every matrix of the last
        two axes.
    pruner
        A name from ``nmsim list pruners``, or a file of one's own that defines one: "./wanda.py".
    seed
        For pruners that draw; the others ignore it.
    context
        What is known beside the values, such as ``Context(activations=Samples.of(x))``; of it a
        pruner gets what it asks for.
    options
        What this pruner offers besides, such as ``exact=True`` for "transposable"; and what it asks
        for by name, such as ``norms`` for "wanda", in place of the context's. ``activations=x``,
        samples x K, stands for their norms and their Gram matrix.

    Returns
    -------
    Pruned
        values and mask of the input's shape, zero where pruned; values of the input's dtype, but
        float64 if a pruner that rescales was given integers.

    Raises
    ------
    ShapeError
        for a 0-dimensional array, a dtype that is not real, NaN or infinity (it says where).
    PatternError, UnknownName, SpecError
        for a pattern that the pruner cannot do, a name that does not exist, an option's value.

    Examples
    --------
    >>> prune([3.0, -1.0, 0.5, 2.0], "2:4").values
    array([3., 0., 0., 2.])
    """
    array = as_array(values)
    if array.ndim == 0:
        raise ShapeError("values are a single number, expected an array with a last axis K")
    if "activations" in options:
        found = options.pop("activations")
        own = found if isinstance(found, Samples) else Samples.of(cast("ArrayLike", found))
        context = replace(context, activations=own)
    job = _job(array.shape, Pattern.parse(pattern), pruner, seed, context, options)
    k = array.shape[-1]
    matrix = array.reshape(array.size // k if k else 0, k)
    changed = _working_dtype(array.dtype, job.pruner.rescales)
    to_float = job.pruner.rescales and array.dtype.kind != "f"
    out = np.empty(matrix.shape, changed if to_float else array.dtype)
    mask = np.empty(matrix.shape, np.bool_)
    job.run(matrix, 0, out, mask)
    return Pruned(out.reshape(array.shape), mask.reshape(array.shape))


def try_out(pruner: str, pattern: Pattern, context: Context, options: Mapping[str, Any]) -> None:
    """Hold a pruner of somebody's own to what it says of itself, on a small matrix.

    Hardware may believe its masks without ever seeing them.

    Parameters
    ----------
    context
        Whose mask it is to make, and when: the rest of what it asks for is drawn.

    Raises
    ------
    NmsimError
        for what it does not do as it says; one line.
    """
    chosen = pruner_of(pruner, pattern)
    if PRUNERS.is_own(chosen.name):
        _tried(chosen, pattern, context, tuple(sorted(options.items())))


@lru_cache(maxsize=256)
def _tried(
    chosen: Pruner, pattern: Pattern, context: Context, options: tuple[tuple[str, Any], ...]
) -> None:
    values, told = small_case(chosen, pattern, context)
    found = prune(values, pattern, chosen.name, context=told, **dict(options))
    if chosen.transposable and not pattern.vector:
        check_mask(chosen, pattern, found.mask.T)


def _whole_units(blocks: Iterable[NDArray[Any]], unit_rows: int) -> Iterator[NDArray[Any]]:
    """Give the same rows in blocks of whole units; the last one may be short."""
    waiting: list[NDArray[Any]] = []
    for block in blocks:
        waiting.append(block)
        held = sum(map(len, waiting))
        if held < unit_rows:
            continue
        rows = np.concatenate(waiting) if len(waiting) > 1 else block
        whole = held - held % unit_rows
        yield rows[:whole]
        waiting = [rows[whole:]] if whole < held else []
    if waiting:
        yield np.concatenate(waiting)


def mask_words(
    blocks: Iterable[NDArray[Any]],
    rows: int,
    k: int,
    pattern: Pattern,
    pruner: str,
    seed: int,
    context: Context = _NO_CONTEXT,
    /,
    **options: object,
) -> Words:
    """Make the packed mask of a matrix of rows x K that comes as consecutive blocks of rows.

    It is as hardware gets it: of a pruner that puts columns in another order, in that order.
    Other parameters are those of ``prune``.
    """
    chosen = pruner_of(pruner, pattern)
    chosen.check(pattern, options)
    if chosen.order is not None:
        matrix = np.concatenate([np.empty((0, k)), *blocks])
        blocks = [matrix[:, chosen.order(matrix, pattern, **options)]]
    if chosen.masks_as:
        pruner, options = chosen.masks_as, {}
    job = _job((rows, k), pattern, pruner, seed, context, options)
    words = np.zeros((rows, words_per_row(k)), np.uint64)
    start = 0
    for block in _whole_units(blocks, job.unit_rows):
        stop = start + len(block)
        if stop <= rows:
            dtype = _working_dtype(block.dtype, job.pruner.rescales)
            mask = np.empty(block.shape, np.bool_)
            job.run(block, start, np.empty(block.shape, dtype), mask)
            words[start:stop] = pack(mask)
        start = stop
    if start != rows:
        raise ShapeError(f"tensor has {start} rows of {k}, expected {rows}")
    return words


PRUNERS.scan(sys.modules[__name__])
