"""How a masked operand becomes slots: what selectors of a native pattern N:M make of any mask.

Lanes are the rows of the operand that an array holds or streams in lock-step. In each native group
of K, slots come in units of N, and the group takes as many units as its fullest lane needs, one at
least: a mask that obeys the native pattern takes N slots a group, whatever its bits.
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.mask import Mask
from nmsim.mask.words import WORD_FIELDS, Words, fuller, popcount
from nmsim.pattern import Pattern

__all__ = [
    "expected_misfit_share",
    "expected_slots",
    "group_laws",
    "group_slots",
    "tile_slots",
]

Counts = NDArray[np.int64]


@compiled
def _kept_between(words: Words, row: int, start: int, stop: int) -> int:
    kept = 0
    for k in range(start, stop):
        kept += int((words[row, k >> 6] >> np.uint64(k & 63)) & np.uint64(1))
    return kept


class _Selectors(NamedTuple):
    """N and M of the native pattern, K of the mask, and K as it is padded."""

    keep: int
    group: int
    k: int
    padded: int


@compiled
def _group_slots(words: Words, first: int, last: int, native: _Selectors) -> Counts:
    """Slots of every native group, for rows ``first`` to ``last`` in lock-step."""
    keep, group, k, padded = native
    groups = (padded + group - 1) // group
    slots = np.empty(groups, np.int64)
    for g in range(groups):
        start, stop = g * group, min((g + 1) * group, padded)
        fullest = 1
        for row in range(first, last):
            fullest = max(fullest, _kept_between(words, row, start, min(stop, k)))
        units = (fullest + keep - 1) // keep
        slots[g] = min(units * keep, stop - start)
    return slots


@compiled
def _tile_slots(words: Words, copies: int, rows: int, tile: int, native: _Selectors) -> Counts:
    """Slots along K of every tile of so many rows, copies x tiles."""
    tiles = (rows + tile - 1) // tile
    slots = np.empty((copies, tiles), np.int64)
    for copy in range(copies):
        for t in range(tiles):
            first = copy * rows + t * tile
            last = copy * rows + min((t + 1) * tile, rows)
            slots[copy, t] = _group_slots(words, first, last, native).sum()
    return slots


@compiled
def _field_slots(words: Words, copies: int, rows: int, tile: int, native: _Selectors) -> Counts:
    """What ``_tile_slots`` counts, all groups of a word at once: the group is in ``WORD_FIELDS``.

    A group takes a unit of N slots, and one more for every u at which some lane keeps more than
    u.N in it. Lanes are met one after the other, each gathering its words' answers in ``more``.
    """
    keep, group = native.keep, native.group
    tiles, units = (rows + tile - 1) // tile, (group + keep - 1) // keep
    slots = np.empty((copies, tiles), np.int64)
    more = np.empty((units, words.shape[1]), np.uint64)
    for copy in range(copies):
        for t in range(tiles):
            more[:] = 0
            for row in range(copy * rows + t * tile, copy * rows + min((t + 1) * tile, rows)):
                for u in range(1, units):
                    for word in range(words.shape[1]):
                        more[u, word] |= fuller(words[row, word], group, u * keep)
            slots[copy, t] = _slots_of(more, native)
    return slots


@compiled
def _slots_of(more: Words, native: _Selectors) -> int:
    """Slots of all groups, of which ``more`` tells at every u whether a lane needs another unit.

    The u-th unit of a group has N slots, or those that are left of the group, which may be short.
    """
    keep, group, _, padded = native
    groups = (padded + group - 1) // group
    slots = 0
    for u in range(more.shape[0]):
        taken = groups
        if u > 0:
            taken = 0
            for word in range(more.shape[1]):
                taken += int(popcount(more[u, word]))
        slots += taken * min(keep, group - u * keep)
    start = (groups - 1) * group
    for u in range(more.shape[0]):
        word, bit = start >> 6, np.uint64(start & 63)
        holds = u == 0 or (word < more.shape[1] and (more[u, word] >> bit) & np.uint64(1) == 1)
        if holds:
            left = max(0, min(keep, padded - start - u * keep))
            slots -= min(keep, group - u * keep) - left
    return slots


def tile_slots(mask: Mask, native: Pattern, copies: int, tile: int, k: int) -> Counts:
    """Slots along K of every tile of lanes.

    Parameters
    ----------
    mask
        Of copies.rows x K.
    native
        What the selectors support; if every such mask obeys it, no bits are made.
    copies
        Copies of the operand in one launch.
    tile
        Lanes in lock-step.
    k
        K, padded to whole groups where the machine does so.

    Returns
    -------
    int64 array, copies x tiles
    """
    rows = mask.rows // copies
    if mask.obeys(native):
        return np.full((copies, -(-rows // tile)), native.stored(k), np.int64)
    selectors = _Selectors(native.keep, native.group, mask.k, k)
    count = _field_slots if native.group in WORD_FIELDS else _tile_slots
    return np.asarray(count(mask.words, copies, rows, tile, selectors))


def group_slots(mask: Mask, native: Pattern, first: int, last: int, k: int) -> Counts:
    """Slots of every native group along K, for lanes ``first`` to ``last`` in lock-step."""
    selectors = _Selectors(native.keep, native.group, mask.k, k)
    return np.asarray(_group_slots(mask.words, first, last, selectors))


def expected_misfit_share(mask: Mask, native: Pattern) -> float:
    """The same, expected over masks drawn uniformly; whole groups only."""
    if mask.obeys(native):
        return 0.0
    span = mask.misfit_span(native)
    if span == native.group:
        laws = _Law(mask.pattern, mask.k, mask.fits).within(native)
        return float(np.mean([pmf[native.keep + 1 :].sum() for pmf in laws]))
    parts = span // native.group
    if not mask.fits:
        law = _binomial(native.group, mask.pattern.density)
        return 1.0 - float(law[: native.keep + 1].sum()) ** parts
    ways = [math.comb(native.group, kept) for kept in range(native.keep + 1)]
    fitting = functools.reduce(np.convolve, [np.array(ways, np.float64)] * parts)
    kept = mask.pattern.keep
    fits = float(fitting[kept]) if kept < len(fitting) else 0.0
    return 1.0 - fits / math.comb(span, kept)


def expected_slots(mask: Mask, native: Pattern, lanes: int, k: int) -> float:
    """Slots along K that lock-step lanes take on average, if masks are drawn uniformly.

    A group takes more than u units unless every lane keeps at most u.N in it: the mean number of
    units is the sum over u of 1 - P(count <= u.N)^lanes. Counts are hypergeometric for a mask that
    obeys its pattern (``Pattern.window_counts``), binomial for one made along another axis. Groups
    are independent here; short last groups, of the mask and of the selectors, count by their own
    laws, so that a mask never takes fewer slots than it keeps.
    """
    if mask.obeys(native):
        return float(native.stored(k))
    return _expected_slots(mask.pattern, native, lanes, mask.k, k, fits=mask.fits)


@functools.lru_cache(maxsize=4096)
def _expected_slots(
    pattern: Pattern, native: Pattern, lanes: int, own_k: int, k: int, *, fits: bool
) -> float:
    """The same, for a mask of rows of ``own_k`` elements under selectors that pad them to ``k``."""
    mask = _Law(pattern, own_k, fits)
    whole = mask.whole(native)
    laws = mask.within(native)
    slots = 0.0
    for i, pmf in enumerate(laws[:whole]):
        slots += len(range(i, whole, len(laws))) * _mean_slots(pmf, native, lanes, native.group)
    for start in range(whole * native.group, k, native.group):
        stop = min(start + native.group, k)
        slots += _mean_slots(mask.between(start, stop), native, lanes, stop - start)
    return slots


class _Law(NamedTuple):
    """What is known of a row of a mask: its pattern, its elements, and whether it obeys that."""

    pattern: Pattern
    k: int
    fits: bool

    def whole(self, native: Pattern) -> int:
        """Native groups that lie in whole groups of the mask."""
        own = self.pattern.group if self.fits else 1
        return self.k // own * own // native.group

    def within(self, native: Pattern) -> list[NDArray[np.float64]]:
        """P(kept = 0, 1, ...) in those, for each way that they lie on the mask's own."""
        if self.fits:
            return list(self.pattern.window_counts(native.group))
        return [_binomial(native.group, self.pattern.density)]

    def between(self, start: int, stop: int) -> NDArray[np.float64]:
        """The same of any stretch of K."""
        if self.fits:
            return self.pattern.kept_between(start, stop, self.k)
        return _binomial(max(0, min(stop, self.k) - start), self.pattern.density)


def group_laws(mask: Mask, native: Pattern, k: int) -> Iterator[NDArray[np.float64]]:
    """P(kept = 0, 1, ...) in every native group along K, as ``expected_slots`` takes them."""
    law = _Law(mask.pattern, mask.k, mask.fits)
    whole, laws = law.whole(native), law.within(native)
    for start in range(0, k, native.group):
        group = start // native.group
        if group < whole:
            yield laws[group % len(laws)]
        else:
            yield law.between(start, min(start + native.group, k))


def _binomial(trials: int, p: float) -> NDArray[np.float64]:
    pmf = np.ones(1)
    for _ in range(trials):
        pmf = np.convolve(pmf, [1 - p, p])
    return pmf


def _mean_slots(pmf: NDArray[np.float64], native: Pattern, lanes: int, length: int) -> float:
    """Slots of a native group of so many elements, of which a lane keeps x by the law."""
    at_most = np.cumsum(pmf)
    slots = 0.0
    taken = 0
    while taken < length:
        step = min(native.keep, length - taken)
        fits = 0.0 if taken == 0 else float(at_most[min(taken, len(at_most) - 1)]) ** lanes
        slots += step * (1.0 - fits)
        taken += step
    return slots
