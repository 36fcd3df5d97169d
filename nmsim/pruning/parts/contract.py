"""What a pruner is: the block of rows that it fills, its traits, its options, what it asks for."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import PatternError, SpecError
from nmsim.pattern import Pattern
from nmsim.pruning.parts.context import ALONG_K, CONTEXT
from nmsim.pruning.parts.effort import Effort, ranking
from nmsim.registry import unknown_name

__all__ = ["Block", "Fill", "Moments", "Pruned", "Pruner", "Unit"]

Unit = Literal["group", "row", "vector", "tile", "sample", "tensor"]


class Pruned(NamedTuple):
    """What a pruner makes of a tensor: both arrays have its shape."""

    values: NDArray[Any]
    mask: NDArray[np.bool_]


class Moments(NamedTuple):
    """What a pruner does to every element on average; float64 arrays of rows x K.

    ``kept`` is the probability of being kept and ``pruned`` its complement, computed apart because
    1 - kept would cancel; ``value`` is what an element becomes if it is kept.
    """

    kept: NDArray[np.float64]
    pruned: NDArray[np.float64]
    value: NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a tensor on their way through a pruner.

    Parameters
    ----------
    values, out_values, out_mask
        Rows x K, C order: float32, float64, int64 or uint64, and the arrays to fill.
    pattern, seed
        As given to ``prune``.
    first_row
        Index in the whole tensor of the first row (of one group, if the block has such rows).
    matrix_rows
        Rows of one matrix of the tensor (its second last axis): tiles restart at every matrix.
    unit_rows
        Rows of what had to come in one block; the block holds whole units, but for the last.
    """

    values: NDArray[Any]
    out_values: NDArray[Any]
    out_mask: NDArray[np.bool_]
    pattern: Pattern
    seed: int
    first_row: int
    matrix_rows: int
    unit_rows: int

    def keep(self, mask: NDArray[np.bool_]) -> None:
        """Fill with a mask and the values that it keeps, which do not change."""
        self.out_mask[...] = mask
        self.out_values[...] = np.where(mask, self.values, self.values.dtype.type(0))


Fill = Callable[..., None]
"""Prune a ``Block``.

Keyword-only parameters are what the pruner asks for, if they are named so in
``nmsim.pruning.parts.context``, and its options if not: those have defaults.
"""


def _supports_any(pattern: Pattern) -> str:  # noqa: ARG001 - a pruner without limits
    return ""


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
    structured
        Its masks obey the pattern.
    rescales
        Changes the values that it keeps; integers become float64.
    metadata
        Hardware must be told which elements were kept.
    unit
        What must come in one block: a group, a row, V rows, a tile of ``group`` rows, a sample (all
        rows of one index of the first axis), the tensor. If it is a group and K holds whole groups,
        a block has rows of one group.
    brought
        Makes no mask: it takes one that was made elsewhere, or a tensor's non-zeros, and refuses
        those that break the pattern.
    for_vectors
        A pruner, by name, that does to V:N:M what this one does to N:M; "": none does.
    masks_as
        A pruner without options that makes the same masks without these values: who wants the mask
        alone takes that. Empty: none.
    order
        Of rows x K values, a pattern and the options: the order of columns in which its masks obey
        the pattern, and in which hardware gets them, with what meets them; None: as they are.
    limits
        Why a pattern is beyond it; empty if it is not.
    effort
        What it does per element, from pattern and options.
    moments
        Exact inclusion probabilities, for pruners that draw: values and pattern to ``Moments``.
    """

    name: str
    summary: str
    source: str
    fill: Fill
    regular: bool
    stochastic: bool = False
    transposable: bool = False
    structured: bool = True
    rescales: bool = False
    metadata: bool = True
    unit: Unit = "group"
    brought: bool = False
    for_vectors: str = ""
    masks_as: str = ""
    order: Callable[..., NDArray[np.int64]] | None = None
    limits: Callable[[Pattern], str] = _supports_any
    effort: Callable[[Pattern, Mapping[str, Any]], Effort] = ranking
    moments: Callable[..., Moments] | None = None

    @cached_property
    def _keywords(self) -> dict[str, Any]:
        parameters = inspect.signature(self.fill).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    @cached_property
    def options(self) -> dict[str, Any]:
        """Names of the options and their defaults."""
        return {name: one for name, one in self._keywords.items() if name not in CONTEXT}

    @cached_property
    def wants(self) -> tuple[str, ...]:
        """What it asks for beside the values, by names of ``nmsim.pruning.parts.context``."""
        return tuple(name for name in self._keywords if name in CONTEXT)

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """What of that it does not run without."""
        empty = inspect.Parameter.empty
        return tuple(name for name in self.wants if self._keywords[name] is empty)

    @cached_property
    def along_k(self) -> bool:
        """Whether something of that belongs to the columns, so that rows must stay whole."""
        return any(name in ALONG_K for name in self.wants)

    def asks(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """What it asks for of what is known, which may be nothing if it has a default.

        Raises
        ------
        SpecError
            naming what is not known and has none.
        """
        found = {name: context[name] for name in self.wants if context.get(name) is not None}
        for name in self.needs:
            if name not in found:
                how = "activations or " if name in ALONG_K else ""
                raise SpecError(
                    f"pruner {self.name!r} asks for {name}: expected {how}{name} beside the values"
                )
        return found

    def check(self, pattern: Pattern, options: Mapping[str, Any]) -> None:
        """Refuse a pattern beyond the limits, an unknown option, or a value of the wrong type."""
        reason = self.limits(pattern)
        if pattern.vector and self.unit != "vector":
            reason = "it prunes N:M, expected magnitude, venom or given for V:N:M"
        if reason:
            raise PatternError(f"pattern {pattern}, pruner {self.name!r}: {reason}")
        hints = get_type_hints(self.fill)
        for name, value in options.items():
            if name not in self.options:
                raise unknown_name(f"option of pruner {self.name!r}", name, self.options)
            _check_option(f"pruner {self.name!r}, option {name!r}", value, hints.get(name))

    def unit_rows(
        self, pattern: Pattern, shape: tuple[int, ...], options: Mapping[str, Any]
    ) -> int:
        """Rows that must come in one block, of a tensor of this shape."""
        rows = math.prod(shape[:-1])
        if self.unit == "tile" or pattern.vector:
            matrix, own = shape[-2], pattern.group if self.unit == "tile" else pattern.vector
            return own if matrix % own == 0 or rows == matrix else matrix
        if self.unit == "sample":
            wanted = options.get("rows", 0) or math.prod(shape[1:-1] if len(shape) > 2 else (rows,))
            return max(1, wanted)
        return max(1, rows) if self.unit == "tensor" else 1


def _check_option(place: str, value: object, hint: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    fits: dict[object, bool] = {
        bool: isinstance(value, bool),
        int: number and isinstance(value, int),
        float: number,
    }
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise SpecError(f"{place}: {value!r}, expected one of {', '.join(get_args(hint))}")
    elif not fits.get(hint, True):
        raise SpecError(f"{place}: {value!r}, expected {getattr(hint, '__name__', hint)}")
