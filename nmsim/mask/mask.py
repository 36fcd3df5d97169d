"""A mask of an operand: what it promises, and its bits, which are made when first asked for.

A regular mask (every group keeps exactly its quota) answers every count without them.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple, Self, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError
from nmsim.mask.bits import broken_vectors, check_promise, matrix_of
from nmsim.mask.words import (
    WORD_FIELDS,
    Words,
    broken_groups,
    column_counts,
    count_bits,
    pack,
    unfit_fields,
    unfit_spans,
    unpack,
    words_per_row,
)
from nmsim.pattern import DENSE, UNSTRUCTURED, Pattern

__all__ = ["Mask", "Promise"]


class Promise(NamedTuple):
    """What a mask says of itself before its bits are made: the fields of ``Mask`` but for those."""

    pattern: Pattern
    rows: int
    k: int
    regular: bool
    fits: bool
    indexed: bool
    tighter: Pattern | None
    known_kept: int | None

    @property
    def mask(self) -> "Mask":
        """A mask that promises this and has no bits: to ask for them is an error."""
        return Mask.promising(**self._asdict(), source=_no_bits)


class _More(TypedDict, total=False):
    """Fields of a mask that say nothing new of most."""

    fits: bool
    indexed: bool
    tighter: Pattern | None
    known_kept: int | None


_MORE: _More = {"fits": True, "indexed": True, "tighter": None, "known_kept": None}


@dataclass(frozen=True, eq=False, init=False)
class Mask:
    """Which elements of an operand of rows x K are kept.

    ``Mask(bits, "2:4")`` is a mask that was made elsewhere, and checks what it promises;
    ``Mask(bits, None)`` promises nothing, as unstructured pruning or the zeros of a ReLU do.

    Parameters
    ----------
    bits
        Booleans or zeros and ones, K last: an array, a tensor, or lists. Leading axes are rows.
    pattern
        At most N of every M along K are kept: "2:4" or another N:M, V:N:M, "dense", or None.

    Raises
    ------
    PatternError
        if a group keeps more than the pattern allows; the first one is named.
    ShapeError
        if there are no bits, or fewer than two axes.
    SpecError
        if elements are neither booleans nor zeros and ones.

    Examples
    --------
    >>> mask = Mask([[1, 0, 0, 1], [0, 1, 0, 0]], "2:4")
    >>> mask.kept
    3
    >>> Mask([[1, 1, 0, 1]], "2:4")
    Traceback (most recent call last):
    ...
    nmsim.errors.PatternError: mask of 1 x 4: row 0 keeps 3 of columns 0 to 3, expected at most 2...

    Attributes
    ----------
    pattern
        What the mask promises: at most ``keep`` in every ``group`` along K. DENSE: all kept.
    rows
        Rows of all copies of the operand.
    k
        Elements of a row.
    regular
        Every group keeps exactly min(keep, its length): counts follow from the pattern, and the
        bits are made only for hardware whose time depends on them.
    source
        Makes the packed bits, rows x ceil(K / 64); called at most once.
    fits
        The promise holds. False for a mask that was made along another axis: hardware for the
        pattern must look at the bits.
    indexed
        Hardware must be told which elements were kept: metadata. False where all groups keep the
        same.
    tighter
        A narrower pattern that every mask of this kind obeys too: 1:2 of one at 4:8 that keeps
        every other element. None: no other is known.
    known_kept
        Elements kept, all rows, where that is known without the bits, such as those of an image
        whose pixels all keep as many and are seen so often. None: it is not.
    """

    pattern: Pattern
    rows: int
    k: int
    regular: bool
    source: Callable[[], Words]
    fits: bool
    indexed: bool
    tighter: Pattern | None
    known_kept: int | None

    def __init__(self, bits: Any, pattern: "str | Pattern | tuple[int, int] | None") -> None:
        matrix = matrix_of(bits)
        promised = UNSTRUCTURED if pattern is None else Pattern.parse(pattern)
        if pattern is not None:
            check_promise(matrix, promised)
        made = Mask.of(matrix, promised)
        for one in fields(self):
            object.__setattr__(self, one.name, getattr(made, one.name))
        object.__setattr__(self, "fits", pattern is not None)

    @classmethod
    def promising(
        cls,
        pattern: Pattern,
        rows: int,
        k: int,
        regular: bool,
        source: Callable[[], Words],
        **more: Unpack[_More],
    ) -> Self:
        """A mask by what it says of itself: its bits are made, and believed, when asked for."""
        mask = cls.__new__(cls)
        counts = {"pattern": pattern, "rows": rows, "k": k, "regular": regular, "source": source}
        mask.__dict__.update(_MORE, **counts, **more)  # a million are made in a large table
        return mask

    def but(self, **changes: Any) -> "Mask":
        """The same mask with other values of some fields."""
        mask = Mask.__new__(Mask)
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, value in {**own, **changes}.items():
            object.__setattr__(mask, name, value)
        return mask

    @classmethod
    def dense(cls, rows: int, k: int) -> Self:
        """A mask of rows x K that keeps every element."""

        def source() -> Words:
            return pack(np.ones((rows, k), np.bool_))

        return cls.promising(DENSE, rows, k, regular=True, source=source)

    @classmethod
    def of(cls, bits: NDArray[np.bool_], pattern: Pattern) -> Self:
        """The mask of a matrix of booleans, rows x K, whose promise is believed."""
        words, (rows, k) = pack(bits), bits.shape
        return cls.promising(pattern, rows, k, regular=False, source=lambda: words)

    @property
    def is_dense(self) -> bool:
        """Whether nothing was pruned, as the pattern says it."""
        return self.pattern.is_dense

    @cached_property
    def promise(self) -> Promise:
        """What is known without the bits; masks that promise the same may differ in those alone."""
        counts = self.pattern, self.rows, self.k, self.regular
        return Promise(*counts, self.fits, self.indexed, self.tighter, self.known_kept)

    @property
    def bare(self) -> "Mask":
        """A mask that promises the same and has no bits: to ask for them is an error."""
        return self.promise.mask

    def obeys(self, pattern: Pattern) -> bool:
        """Whether every group of every mask of this kind obeys another pattern."""
        known = (self.pattern, self.tighter or self.pattern)
        return pattern.is_dense or (self.fits and any(map(pattern.covers, known)))

    @cached_property
    def words(self) -> Words:
        """The packed bits, made on first use."""
        words = self.source()
        if words.shape != (self.rows, words_per_row(self.k)):
            raise ShapeError(
                f"mask of {self.rows} x {self.k}: its source made {words.shape} words, "
                f"expected {(self.rows, words_per_row(self.k))}"
            )
        return words

    def release(self) -> None:
        """Let go of the bits, which are made again if asked for; what was counted of them stays."""
        self.__dict__.pop("words", None)

    def bits(self) -> NDArray[np.bool_]:
        """The mask as booleans, rows x K."""
        return unpack(self.words, self.k)

    @cached_property
    def kept(self) -> int:
        """Elements kept, all rows; no bits are made for a regular mask, or where it is known."""
        if self.known_kept is not None:
            return self.known_kept
        if self.regular:
            return self.rows * self.pattern.stored(self.k)
        return int(count_bits(self.words))

    @property
    def groups(self) -> int:
        """Groups of the mask's pattern, all rows."""
        return self.rows * -(-self.k // self.pattern.group)

    def broken_groups(self) -> int:
        """Groups that keep more than the pattern allows, of V:N:M in more columns than V rows may.

        V rows are counted from the first.
        """
        pattern = self.pattern
        if pattern.vector:
            return broken_vectors(self.bits(), pattern)
        return int(broken_groups(self.words, self.k, pattern.keep, pattern.group))

    def misfit_span(self, native: Pattern) -> int:
        """What fits another pattern or not as a whole: this one's group, or the other's.

        This mask's group if it holds whole groups of the other pattern, else those.
        """
        own = self.pattern.group
        return own if own % native.group == 0 else native.group

    def misfit_share(self, native: Pattern) -> float:
        """Share of the mask's groups, of all rows, in which some native group keeps too much.

        Of native groups where those do not divide the mask's. Counted from the bits, unless the
        mask obeys the native pattern.
        """
        if self.obeys(native):
            return 0.0
        span = self.misfit_span(native)
        return self.unfit_spans(native, span) / (self.rows * -(-self.k // span))

    @cached_property
    def _unfit(self) -> dict[tuple[Pattern, int], int]:
        """What was counted of spans that break a pattern."""
        return {}

    def unfit_spans(self, pattern: Pattern, span: int) -> int:
        """Spans of so many elements along K in which some group breaks a pattern, all rows."""
        if (pattern, span) not in self._unfit:
            self._unfit[pattern, span] = self._count_unfit(pattern, span)
        return self._unfit[pattern, span]

    def _count_unfit(self, pattern: Pattern, span: int) -> int:
        if pattern.group in WORD_FIELDS and span in WORD_FIELDS:
            return int(unfit_fields(self.words, pattern.keep, pattern.group, span))
        return int(unfit_spans(self.words, self.k, pattern.keep, pattern.group, span))

    def column_counts(self, start: int, stop: int) -> NDArray[np.int64]:
        """How many elements each of the K columns keeps, over rows ``start`` to ``stop``."""
        return column_counts(self.words, start, stop, self.k)


def _no_bits() -> Words:
    raise ShapeError("a mask without bits was asked for them, expected its promise to do")
