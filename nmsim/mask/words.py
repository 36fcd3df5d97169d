"""Matrices of bits, packed: element ``k`` of a row is bit ``k % 64`` of its word ``k // 64``.

Rows are padded to whole words with bits that are not set.
"""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled

__all__ = [
    "WORD_FIELDS",
    "Words",
    "broken_groups",
    "column_counts",
    "count_bits",
    "field_counts",
    "fuller",
    "lowest_bits",
    "pack",
    "popcount",
    "transpose",
    "unfit_fields",
    "unfit_spans",
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
def count_bits(words: Words) -> np.int64:
    """Bits set in all rows."""
    total = np.int64(0)
    for row in range(words.shape[0]):
        for word in range(words.shape[1]):
            total += popcount(words[row, word])
    return total


@compiled
def column_counts(words: Words, start: int, stop: int, k: int) -> NDArray[np.int64]:
    """Bits set in each of K columns, over rows ``start`` to ``stop``."""
    counts = np.zeros(k, np.int64)
    for row in range(start, stop):
        for column in range(k):
            word = words[row, column >> 6]
            counts[column] += np.int64((word >> np.uint64(column & 63)) & np.uint64(1))
    return counts


@compiled
def broken_groups(words: Words, k: int, keep: int, group: int) -> np.int64:
    """Groups along K in which more than ``keep`` bits are set, all rows."""
    broken = np.int64(0)
    for row in range(words.shape[0]):
        for start in range(0, k, group):
            kept = np.int64(0)
            for i in range(start, min(start + group, k)):
                kept += np.int64((words[row, i >> 6] >> np.uint64(i & 63)) & np.uint64(1))
            broken += np.int64(kept > keep)
    return broken


@compiled
def unfit_spans(words: Words, k: int, keep: int, group: int, span: int) -> np.int64:
    """Spans of so many bits along K in which some group has more than ``keep`` set, all rows."""
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
def unfit_fields(words: Words, keep: int, group: int, span: int) -> np.int64:
    """What ``unfit_spans`` counts, word by word: both lengths are in ``WORD_FIELDS``."""
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
