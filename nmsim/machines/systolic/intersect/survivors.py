"""What survives when two masked operands meet: products whose mask bits are both set, by group.

A group is up to 64 consecutive elements of K, the last one may be short. Every row of A meets every
row of B of its copy; such a pair, in one group, has x surviving products: the elements that both
keep. Counted here from the bits, and expected from how many elements each row keeps.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError
from nmsim.jit import compiled
from nmsim.mask import Mask
from nmsim.mask.words import WORD_FIELDS, Words, field_counts, popcount
from nmsim.result import Survivors

__all__ = [
    "MAX_LANE_GROUP",
    "Counts",
    "GroupCounts",
    "Lanes",
    "check_operands",
    "expected_survivors",
    "fold_survivors",
    "group_counts",
    "hypergeometric",
    "load_lanes",
    "survivor_histogram",
    "survivor_laws",
    "survivors_of",
    "tile_spans",
]

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

Lanes = NDArray[Any]
"""One unsigned integer per group and lane, its bits the kept elements: groups x lanes."""

MAX_LANE_GROUP = 64
"""The largest group that one machine word holds."""


@compiled
def _group_bits(words: Words, row: int, start: int, length: int) -> np.uint64:
    """Bits ``start`` to ``start + length`` of a row, from the lowest bit of a word up."""
    word, shift = start >> 6, np.uint64(start & 63)
    bits = words[row, word] >> shift
    if (start & 63) + length > 64:
        bits |= words[row, word + 1] << (np.uint64(64) - shift)
    return np.uint64(bits & (~np.uint64(0) >> np.uint64(64 - length)))


@compiled
def load_lanes(words: Words, first: int, last: int, k: int, group: int, out: Lanes) -> None:
    """Cut rows ``first`` to ``last`` into groups; lanes beyond are left as they are."""
    for g in range((k + group - 1) // group):
        length = min(group, k - g * group)
        for row in range(first, last):
            out[g, row - first] = _group_bits(words, row, g * group, length)


@compiled
def _group_counts(words: Words, k: int, group: int) -> NDArray[np.uint8]:
    groups = (k + group - 1) // group
    counts = np.empty((words.shape[0], groups), np.uint8)
    for row in range(words.shape[0]):
        for g in range(groups):
            length = min(group, k - g * group)
            counts[row, g] = popcount(_group_bits(words, row, g * group, length))
    return counts


@compiled
def _field_group_counts(words: Words, k: int, group: int) -> NDArray[np.uint8]:
    """What ``_group_counts`` counts, all groups of a word at once: groups are ``WORD_FIELDS``."""
    groups, fields = (k + group - 1) // group, 64 // group
    counts = np.empty((words.shape[0], words.shape[1] * fields), np.uint8)
    field = ~np.uint64(0) >> np.uint64(64 - group)
    for row in range(words.shape[0]):
        for word in range(words.shape[1]):
            kept = field_counts(words[row, word], group)
            for i in range(fields):
                counts[row, word * fields + i] = (kept >> np.uint64(i * group)) & field
    return counts[:, :groups]


class GroupCounts(NamedTuple):
    """Kept elements of every row and group, rows x ceil(K / group), and whether all rows agree."""

    kept: NDArray[np.uint8]
    uniform: bool

    def tally(self, first: int, last: int, groups: slice, top: int) -> Counts:
        """How many of some rows keep 0 .. top elements, for every group: groups x (top + 1)."""
        if self.uniform:
            return _tally(self.kept[:1, groups], top) * (last - first)
        return np.asarray(_tally(self.kept[first:last, groups], top))


@lru_cache(maxsize=2)  # both operands of a GEMM, which are looked at in either order
def group_counts(mask: Mask, group: int) -> GroupCounts:
    """What the rows of a mask keep of every group.

    No bits are made where the pattern tells: of a regular mask whose groups fill these.
    """
    if mask.regular and group % mask.pattern.group == 0:
        ends = np.minimum(np.arange(0, mask.k + group, group), mask.k)
        kept = np.diff([mask.pattern.stored(int(end)) for end in ends]).astype(np.uint8)
        return GroupCounts(np.broadcast_to(kept, (mask.rows, len(kept))), uniform=True)
    count = _field_group_counts if group in WORD_FIELDS else _group_counts
    found = np.asarray(count(mask.words, mask.k, group))
    return GroupCounts(found, uniform=bool(_uniform(found)))


@compiled
def _uniform(counts: NDArray[np.uint8]) -> bool:
    for row in range(1, counts.shape[0]):
        for group in range(counts.shape[1]):
            if counts[row, group] != counts[0, group]:
                return False
    return True


def tile_spans(rows: int, copies: int, tile: int) -> Counts:
    """First and last row of every tile of an operand; tiles do not reach across copies."""
    each = rows // copies
    starts = np.arange(0, each, tile)
    spans = np.stack([starts, np.minimum(starts + tile, each)], axis=1)
    return np.concatenate([spans + copy * each for copy in range(copies)])


def check_operands(a: Mask, b: Mask, copies: int, group: int, lookahead: int | None) -> None:
    """Raise ShapeError unless the masks share K, hold whole copies, and the machine is possible."""
    if a.k != b.k or a.rows % copies or b.rows % copies:
        raise ShapeError(
            f"masks of {a.rows} x {a.k} and {b.rows} x {b.k}: expected one K, "
            f"and rows of {copies} copies"
        )
    if not 1 <= group <= MAX_LANE_GROUP or (lookahead is not None and lookahead < 0):
        raise ShapeError(
            f"groups of {group}, look-ahead {lookahead}: expected groups of 1 to "
            f"{MAX_LANE_GROUP}, and a look-ahead of 0 or more groups, or None"
        )


def fold_survivors(a: Mask, b: Mask, copies: int, rows: int, cols: int) -> Counts:
    """Surviving products of every fold, copies x row tiles x column tiles.

    Column counts multiply: sum over K of the rows that keep it in A times those in B. Their total
    is ``SparseGemm.macs_useful`` of one repeat.
    """
    check_operands(a, b, copies, 1, None)
    kept = []
    for mask, tile in ((a, rows), (b, cols)):
        counts = [mask.column_counts(*span) for span in tile_spans(mask.rows, copies, tile)]
        # float64 runs on BLAS and is exact here: counts stay far below 2^53
        kept.append(np.reshape(counts, (copies, -1, mask.k)).astype(np.float64))
    products: Counts = np.rint(kept[0] @ kept[1].swapaxes(1, 2)).astype(np.int64)
    return products


@compiled
def _distinct(values: Lanes) -> tuple[Lanes, Counts]:
    """Distinct values and how often each occurs."""
    ordered = np.sort(values)
    starts = np.empty(len(ordered) + 1, np.int64)
    found = 0
    for i in range(len(ordered)):
        if i == 0 or ordered[i] != ordered[i - 1]:
            starts[found] = i
            found += 1
    starts[found] = len(ordered)
    return ordered[starts[:found]], starts[1 : found + 1] - starts[:found]


@compiled
def _histogram(a: Lanes, b: Lanes, group: int) -> Counts:
    pairs = np.zeros(group + 1, np.int64)
    for g in range(a.shape[0]):
        a_values, a_counts = _distinct(a[g])
        b_values, b_counts = _distinct(b[g])
        for i in range(len(a_values)):
            for j in range(len(b_values)):
                pairs[popcount(a_values[i] & b_values[j])] += a_counts[i] * b_counts[j]
    return pairs


def survivor_histogram(a: Mask, b: Mask, copies: int, group: int) -> Counts:
    """How many (PE, group) pairs have x surviving products, x = 0 .. group, of all copies.

    Counted from the bits, by the distinct values of each group; a short last group counts as one.
    """
    check_operands(a, b, copies, group, None)
    pairs = np.zeros(group + 1, np.int64)
    for copy in range(copies):
        sides = []
        for mask in (a, b):
            each = mask.rows // copies
            lanes = np.zeros((-(-mask.k // group), each), np.uint64)
            load_lanes(mask.words, copy * each, (copy + 1) * each, mask.k, group, lanes)
            sides.append(lanes)
        pairs += _histogram(sides[0], sides[1], group)
    return pairs


@compiled
def _tally(kept: NDArray[np.uint8], top: int) -> Counts:
    found = np.zeros((kept.shape[1], top + 1), np.int64)
    for row in range(kept.shape[0]):
        for group in range(kept.shape[1]):
            found[group, kept[row, group]] += 1
    return found


def hypergeometric(length: int) -> Floats:
    """P(x survivors | i and j kept of ``length``), indexed i, j, x."""
    table = np.zeros((length + 1,) * 3)
    for i in range(length + 1):
        for j in range(length + 1):
            ways = math.comb(length, j)
            for x in range(max(0, i + j - length), min(i, j) + 1):
                table[i, j, x] = math.comb(i, x) * math.comb(length - i, j - x) / ways
    return table


def _rows_of(mask: Mask, copies: int, copy: int) -> tuple[int, int]:
    """First and last row of a copy of an operand."""
    each = mask.rows // copies
    return copy * each, (copy + 1) * each


def survivor_laws(a: Mask, b: Mask, copies: int, group: int) -> tuple[Floats, Floats]:
    """Expected law of survivors in a whole group, and in the short last one.

    Averaged over all pairs of rows and all groups, from the measured counts of both masks, for
    positions that are independent and uniform. Where there is no whole or no short group its law
    is that of no survivors.

    Returns
    -------
    whole, last
        P(x survivors), x = 0 .. group, and x = 0 .. K mod group.
    """
    check_operands(a, b, copies, group, None)
    counts = [group_counts(mask, group) for mask in (a, b)]
    whole, rest = divmod(a.k, group)
    laws = np.eye(1, group + 1)[0], np.eye(1, rest + 1)[0]
    for law, span in ((laws[0], slice(0, whole)), (laws[1], slice(whole, whole + (rest > 0)))):
        if span.start == span.stop:
            continue
        top = len(law) - 1
        joint = np.zeros((top + 1, top + 1))
        for copy in range(copies):
            x, y = (
                one.tally(*_rows_of(mask, copies, copy), span, top).astype(float)
                for one, mask in zip(counts, (a, b), strict=True)
            )
            joint += x.T @ y
        law[:] = np.einsum("ij,ijx->x", joint / joint.sum(), hypergeometric(top))
    return laws


def expected_survivors(a: Mask, b: Mask, copies: int, group: int) -> Floats:
    """Expected share of (PE, group) pairs with x = 0 .. group surviving products.

    From the measured counts of both masks; for N1:M and N2:M masks its mean is N1.N2 / M.
    """
    whole, last = survivor_laws(a, b, copies, group)
    groups = divmod(a.k, group)
    pmf = whole * groups[0]
    if groups[1]:
        pmf[: len(last)] += last
    pmf /= pmf.sum()
    return pmf


def survivors_of(a: Mask, b: Mask, copies: int, group: int) -> Survivors | None:
    """Shares of (PE, group) pairs by surviving products, measured and expected.

    None unless both operands are masked: otherwise it is the mask's own count.
    """
    if a.is_dense or b.is_dense:
        return None
    pairs = survivor_histogram(a, b, copies, group)
    return Survivors(
        tuple((pairs / pairs.sum()).tolist()),
        tuple(expected_survivors(a, b, copies, group).tolist()),
    )
