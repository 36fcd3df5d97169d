"""Masks of operands, bit-packed, and the one unit of work: a GEMM with a mask for each operand.

A mask is a matrix of rows x K bits, set where an element is kept. Bits are packed 64 to a word,
element ``k`` of a row at bit ``k % 64`` of word ``k // 64``. They are made when first asked for: a
regular mask (every group keeps exactly its quota) answers every count without them.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, Self, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from nmsim.arrays import as_array
from nmsim.errors import PatternError, ShapeError, SpecError
from nmsim.gemm import Gemm
from nmsim.jit import compiled
from nmsim.pattern import COLUMNS_KEPT, DENSE, UNSTRUCTURED, Pattern

__all__ = [
    "WORD_FIELDS",
    "Mask",
    "Promise",
    "Promised",
    "Share",
    "SparseGemm",
    "Words",
    "broken_promise",
    "field_counts",
    "fuller",
    "lowest_bits",
    "pack",
    "popcount",
    "transpose",
    "unpack",
    "words_per_row",
]

Words = NDArray[np.uint64]
"""Packed bits, rows x ceil(K / 64)."""


def words_per_row(k: int) -> int:
    """64-bit words that hold a row of K bits."""
    return -(-k // 64)


def pack(bits: NDArray[np.bool_]) -> Words:
    """Pack a matrix of booleans, rows x K, into words."""
    rows, k = bits.shape
    packed = np.zeros((rows, words_per_row(k) * 8), np.uint8)
    packed[:, : -(-k // 8)] = np.packbits(bits, axis=1, bitorder="little")
    return packed.view(np.dtype("<u8")).astype(np.uint64, copy=False)


def unpack(words: Words, k: int) -> NDArray[np.bool_]:
    """The matrix of booleans, rows x K, that was packed."""
    octets = words.astype(np.dtype("<u8"), copy=False).view(np.uint8)
    return np.unpackbits(octets, axis=1, count=k, bitorder="little").view(np.bool_)


@compiled
def popcount(x: np.uint64) -> np.int64:
    """Bits set in a word; LLVM knows this form and puts the processor's own instruction."""
    x -= (x >> np.uint64(1)) & np.uint64(0x5555555555555555)
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


WORD_FIELDS = (2, 4, 8, 16, 32, 64)
"""Groups that ``field_counts`` counts in a word at once."""


@compiled
def field_counts(word: np.uint64, width: int) -> np.uint64:
    """Bits set in every field of a word, in that field; fields are ``WORD_FIELDS`` bits wide."""
    x = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    if width >= 4:
        pairs = np.uint64(0x3333333333333333)
        x = (x & pairs) + ((x >> np.uint64(2)) & pairs)
    if width >= 8:
        x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    if width >= 16:
        x = (x + (x >> np.uint64(8))) & np.uint64(0x00FF00FF00FF00FF)
    if width >= 32:
        x = (x + (x >> np.uint64(16))) & np.uint64(0x0000FFFF0000FFFF)
    if width >= 64:
        x = (x + (x >> np.uint64(32))) & np.uint64(0xFFFFFFFF)
    return x


@compiled
def fuller(word: np.uint64, width: int, keep: int) -> np.uint64:
    """The lowest bit of every field of a word in which more than ``keep`` bits are set.

    Fields are so many bits wide (``WORD_FIELDS``). Their counts c, of at most w bits, are added up
    in the fields; with 2^(w-1) - 1 - keep added, a field's highest bit is set if c > keep.
    """
    if keep >= width:
        return np.uint64(0)
    ones = lowest_bits(width)
    top = np.uint64(width - 1)
    x = field_counts(word, width) + ones * ((np.uint64(1) << top) - np.uint64(1) - np.uint64(keep))
    return (x >> top) & ones


@compiled
def lowest_bits(width: int) -> np.uint64:
    """A word with the lowest bit of every field set."""
    ones = np.uint64(0)
    for start in range(0, 64, width):
        ones |= np.uint64(1) << np.uint64(start)
    return ones


@compiled
def _count_bits(words: Words) -> np.int64:
    total = np.int64(0)
    for row in range(words.shape[0]):
        for word in range(words.shape[1]):
            total += popcount(words[row, word])
    return total


@compiled
def _column_counts(words: Words, start: int, stop: int, k: int) -> NDArray[np.int64]:
    counts = np.zeros(k, np.int64)
    for row in range(start, stop):
        for column in range(k):
            word = words[row, column >> 6]
            counts[column] += np.int64((word >> np.uint64(column & 63)) & np.uint64(1))
    return counts


@compiled
def _broken_groups(words: Words, k: int, keep: int, group: int) -> np.int64:
    broken = np.int64(0)
    for row in range(words.shape[0]):
        for start in range(0, k, group):
            kept = np.int64(0)
            for i in range(start, min(start + group, k)):
                kept += np.int64((words[row, i >> 6] >> np.uint64(i & 63)) & np.uint64(1))
            broken += np.int64(kept > keep)
    return broken


@compiled
def _unfit_spans(words: Words, k: int, keep: int, group: int, span: int) -> np.int64:
    unfit = np.int64(0)
    for row in range(words.shape[0]):
        for first in range(0, k, span):
            most = np.int64(0)
            for start in range(first, min(first + span, k), group):
                kept = np.int64(0)
                for i in range(start, min(start + group, k)):
                    kept += np.int64((words[row, i >> 6] >> np.uint64(i & 63)) & np.uint64(1))
                most = max(most, kept)
            unfit += np.int64(most > keep)
    return unfit


@compiled
def _unfit_fields(words: Words, keep: int, group: int, span: int) -> np.int64:
    """What ``_unfit_spans`` counts, word by word: both lengths are in ``WORD_FIELDS``."""
    unfit, ones = np.int64(0), lowest_bits(span)
    for row in range(words.shape[0]):
        for word in range(words.shape[1]):
            broken = fuller(words[row, word], group, keep)
            width = group
            while width < span:  # a span's lowest bit gathers those of its groups
                broken |= broken >> np.uint64(width)
                width *= 2
            unfit += popcount(broken & ones)
    return unfit


@compiled
def transpose(words: Words, k: int) -> Words:
    """Packed bits of the transposed matrix: rows x K becomes K x rows."""
    rows = words.shape[0]
    out = np.zeros((k, (rows + 63) // 64), np.uint64)
    for row in range(rows):
        for column in range(k):
            bit = (words[row, column >> 6] >> np.uint64(column & 63)) & np.uint64(1)
            out[column, row >> 6] |= bit << np.uint64(row & 63)
    return out


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
        counts = self.pattern, self.rows, self.k, self.regular
        return Mask.promising(
            *counts,
            _no_bits,
            fits=self.fits,
            indexed=self.indexed,
            tighter=self.tighter,
            known_kept=self.known_kept,
        )


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
        matrix = _matrix(bits)
        promised = UNSTRUCTURED if pattern is None else Pattern.parse(pattern)
        if pattern is not None:
            _keep_promise(matrix, promised)
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
        return int(_count_bits(self.words))

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
            return _broken_vectors(self.bits(), pattern)
        return int(_broken_groups(self.words, self.k, pattern.keep, pattern.group))

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
            return int(_unfit_fields(self.words, pattern.keep, pattern.group, span))
        return int(_unfit_spans(self.words, self.k, pattern.keep, pattern.group, span))

    def column_counts(self, start: int, stop: int) -> NDArray[np.int64]:
        """How many elements each of the K columns keeps, over rows ``start`` to ``stop``."""
        return _column_counts(self.words, start, stop, self.k)


def _matrix(bits: Any) -> NDArray[np.bool_]:
    """Booleans of rows x K of whatever holds zeros and ones, K last."""
    array = as_array(bits, "mask: bits")
    if array.ndim < 2 or not array.size:
        raise ShapeError(f"mask: shape is {array.shape}, expected rows x K, K last")
    if array.dtype != np.bool_:
        if array.dtype.kind not in "iuf" or not ((array == 0) | (array == 1)).all():
            raise SpecError(f"mask: expected booleans or zeros and ones, not {array.dtype}")
        array = array != 0
    return array.reshape(-1, array.shape[-1])


def _keep_promise(bits: NDArray[np.bool_], pattern: Pattern) -> None:
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
    if pattern.vector and (broken := _broken_vectors(bits, pattern)):
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


def _broken_vectors(bits: NDArray[np.bool_], pattern: Pattern) -> int:
    """Groups of rows x K that keep too much, or of whose V rows too many columns are kept."""
    starts = np.arange(0, bits.shape[1], pattern.group)
    over = np.add.reduceat(bits, starts, axis=1, dtype=np.int64) > pattern.keep
    for top in range(0, len(bits), pattern.vector):
        rows = slice(top, top + pattern.vector)
        columns = np.add.reduceat(bits[rows].any(axis=0), starts, dtype=np.int64)
        over[rows] |= columns > COLUMNS_KEPT
    return int(over.sum())


def _no_bits() -> Words:
    raise ShapeError("a mask without bits was asked for them, expected its promise to do")


class Share(NamedTuple):
    """A share of another GEMM: from ``start`` to ``stop``, of ``whole``."""

    gemm: Gemm
    start: int
    stop: int
    whole: int

    def of(self, count: int) -> int:
        """The share of a count; shares that follow one another add up to it."""
        return count * self.stop // self.whole - count * self.start // self.whole


@dataclass(frozen=True, eq=False)
class SparseGemm:
    """A GEMM and what its operands' masks leave of it; all that an engine sees.

    Parameters
    ----------
    gemm
        Sizes and where they come from.
    a, b
        Masks of count.M x K and count.N x K; K may exceed the GEMM's by zeros that a recipe pads
        with.
    note
        What a reader of the row should know, such as why an operand runs dense.
    number_format
        That a recipe asks for (``nmsim.formats``); empty: the machine's own.
    dense_as
        What a dense run has in its place: a share of a fused attention; None: the GEMM itself.

    Raises
    ------
    ShapeError
        if a mask is not of its operand's shape, or K of the two differ.
    """

    gemm: Gemm
    a: Mask
    b: Mask
    note: str = ""
    number_format: str = ""
    dense_as: Share | None = None

    def __post_init__(self) -> None:
        g = self.gemm
        for name, mask, rows in (("a", self.a, g.m * g.count), ("b", self.b, g.n * g.count)):
            if mask.rows != rows or mask.k < g.k or mask.k != self.k:
                raise ShapeError(
                    f"GEMM {g.layer!r} {g.phase}: mask {name} is {mask.rows} x {mask.k}, "
                    f"expected {rows} x {g.k}"
                )

    @property
    def k(self) -> int:
        """Length of K as it runs, zeros included that a recipe pads with."""
        return self.a.k

    @classmethod
    def dense(cls, gemm: Gemm) -> Self:
        """A GEMM with nothing pruned."""
        return cls(
            gemm, Mask.dense(gemm.m * gemm.count, gemm.k), Mask.dense(gemm.n * gemm.count, gemm.k)
        )

    @cached_property
    def in_step(self) -> "Promised":
        """What it is but for its masks' bits and the name of its layer: one object of all alike."""
        return _one(Promised.of(self, self.gemm.unnamed))

    def release(self) -> None:
        """Let go of the masks' bits, which are made again if asked for; counts of them stay."""
        self.a.release()
        self.b.release()

    def swapped(self) -> "SparseGemm":
        """The same work as ``C^T = B . A^T``: operands, masks and sizes change places."""
        g = self.gemm
        gemm = replace(
            g,
            m=g.n,
            n=g.m,
            a_elements=g.b_elements,
            b_elements=g.a_elements,
            a_windows=g.b_windows,
            b_windows=g.a_windows,
        )
        return SparseGemm(gemm, self.b, self.a, self.note, self.number_format)

    @cached_property
    def macs_useful(self) -> int:
        """Pairs whose mask bits are both set, of all copies and repeats."""
        g = self.gemm
        if self.a.is_dense and self.b.is_dense:
            return g.macs_seen
        if self.a.is_dense:
            return g.m * self.b.kept * g.repeat
        if self.b.is_dense:
            return g.n * self.a.kept * g.repeat
        pairs = sum(
            int(
                self.a.column_counts(copy * g.m, (copy + 1) * g.m)
                @ self.b.column_counts(copy * g.n, (copy + 1) * g.n)
            )
            for copy in range(g.count)
        )
        return pairs * g.repeat


@dataclass(frozen=True, eq=False)
class Promised:
    """A sparse GEMM by its sizes and what its masks promise: equal to all of which these are so.

    Parameters
    ----------
    sizes
        The GEMM's, whatever it is called; or all of it but the name of its layer.
    a, b
        What its masks promise.
    gemm, note, number_format, dense_as
        Those of one such sparse GEMM. What is remembered must not depend on them either.
    """

    sizes: tuple[object, ...]
    a: Promise
    b: Promise
    gemm: Gemm
    note: str
    number_format: str
    dense_as: Share | None

    @classmethod
    def of(cls, work: SparseGemm, sizes: tuple[object, ...] | None = None) -> Self:
        """A sparse GEMM, to be looked up: its masks' bits are not kept.

        Parameters
        ----------
        sizes
            What of the GEMM counts; None: its sizes alone.
        """
        told = work.note, work.number_format, work.dense_as
        counts = work.gemm.sizes if sizes is None else sizes
        return cls(counts, work.a.promise, work.b.promise, work.gemm, *told)

    @cached_property
    def _key(self) -> tuple[object, ...]:
        return self.sizes, self.a, self.b

    @cached_property
    def _hash(self) -> int:
        return hash(self._key)

    def __hash__(self) -> int:
        """Of sizes and promises, found once: it is looked up in many tables."""
        return self._hash

    def __eq__(self, other: object) -> bool:
        """Whether sizes and promises are the same."""
        return self is other or (isinstance(other, Promised) and self._key == other._key)

    @cached_property
    def work(self) -> SparseGemm:
        """That sparse GEMM, its masks without bits."""
        told = self.note, self.number_format, self.dense_as
        return SparseGemm(self.gemm, self.a.mask, self.b.mask, *told)


@lru_cache(maxsize=16384)
def _one(promised: Promised) -> Promised:
    """The first of all that are equal, so that the next comparison is by identity."""
    return promised
