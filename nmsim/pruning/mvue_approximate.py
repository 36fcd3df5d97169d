"""Successive draws in proportion to magnitude: nearly the least variance, and simple hardware.

Chmiel et al. (ICLR 2023, section 4.4) draw two of four. An element is divided by the probability
that it is among those drawn, Eq. 17, so that it is right on average. For N draws that probability
sums over all orders of draws: in closed form for one or two, over subsets of the group for more.
"""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.pattern import Pattern
from nmsim.pruning import Block, Moments, pruner
from nmsim.pruning.parts.draws import as_state, uniform
from nmsim.pruning.parts.effort import successive
from nmsim.pruning.parts.groups import all_but_one, few, grouped, in_groups, put_back, ungrouped
from nmsim.pruning.parts.lanes import LANES, Lanes, filled, lanes, load, store

__all__ = ["mvue_approx"]

_LARGEST_SUBSET_GROUP = 8
_LEAST = 1e-307

Floats = NDArray[np.float64]


@compiled
def _draw_one(of: Lanes, group: int, number: Floats, room: Floats) -> None:
    """Keep one more non-zero of every lane, with probability in proportion to its size.

    ``room`` is scratch: the size of all candidates, of those up to the element, and how many are
    still to come; negative once one was drawn. A lane with a candidate left draws exactly one.
    """
    total, reached, candidates = room[:LANES], room[LANES : 2 * LANES], room[2 * LANES :]
    for lane in range(LANES):
        total[lane] = 0.0
        reached[lane] = 0.0
        candidates[lane] = 0.0
    for i in range(group):
        for lane in range(LANES):
            at = i * LANES + lane
            total[lane] += of.sizes[at] * (1.0 - of.kept[at])
            candidates[lane] += np.float64(of.sizes[at] > 0.0) * (1.0 - of.kept[at])
    for i in range(group):
        for lane in range(LANES):
            at = i * LANES + lane
            candidate = np.float64(of.sizes[at] > 0.0) * (1.0 - of.kept[at])
            reached[lane] += candidate * of.sizes[at]
            hit = np.float64(reached[lane] > number[lane] * total[lane])
            # For sums that rounding leaves short of the total; once drawn, none is a candidate.
            hit = max(hit, np.float64(candidates[lane] == 1.0)) * candidate
            hit *= np.float64(candidates[lane] > 0.0)
            candidates[lane] -= candidate + hit * group
            of.kept[at] += hit


@compiled
def _exclusive_sums(of: Floats, group: int, out: Floats, room: Floats) -> None:
    """Sum, for every element, the others of its lane; nothing is subtracted, nothing cancels."""
    for lane in range(LANES):
        room[lane] = 0.0
    for i in range(group):
        for lane in range(LANES):
            out[i * LANES + lane] = room[lane]
            room[lane] += of[i * LANES + lane]
    for lane in range(LANES):
        room[lane] = 0.0
    for back in range(group):
        i = group - 1 - back
        for lane in range(LANES):
            out[i * LANES + lane] += room[lane]
            room[lane] += of[i * LANES + lane]


@compiled
def _of_one_or_two(of: Lanes, keep: int, group: int, p: Floats, odds: Floats, room: Floats) -> None:
    """Give the probability that an element is the one drawn, or (Eq. 17) one of the two."""
    _exclusive_sums(of.sizes, group, p, room)
    for at in range(group * LANES):
        others, total = max(p[at], _LEAST), max(p[at] + of.sizes[at], _LEAST)
        # Of an element that comes first: its share, over what is left for the second.
        odds[at] = min(of.sizes[at] / total / others, 1.0 / _LEAST) * (keep - 1)
        p[at] = total
    after = np.empty(group * LANES if keep == 2 else 0)
    if keep == 2:
        _exclusive_sums(odds, group, after, room)
        for at in range(group * LANES):
            p[at] = min(of.sizes[at] / p[at] + of.sizes[at] * after[at], 1.0)
    else:
        for at in range(group * LANES):
            p[at] = of.sizes[at] / p[at]


@compiled
def _draw_after(of: Lanes, group: int, drawn: int, odds: Floats, room: Floats) -> None:
    """Add, for every lane, the draws that follow the set ``drawn`` to the sets they lead to."""
    for lane in range(LANES):
        room[lane] = 0.0
    for i in range(group):
        if not (drawn >> i) & 1:
            for lane in range(LANES):
                room[lane] += of.sizes[i * LANES + lane]
    for lane in range(LANES):
        room[lane] = odds[drawn * LANES + lane] / max(room[lane], _LEAST)
    for i in range(group):
        if not (drawn >> i) & 1:
            into = (drawn | (1 << i)) * LANES
            for lane in range(LANES):
                odds[into + lane] += of.sizes[i * LANES + lane] * room[lane]


@compiled
def _of_many(of: Lanes, keep: int, group: int, p: Floats, odds: Floats, room: Floats) -> None:
    """Give the probability that an element is among those drawn: add up the sets that hold it.

    ``odds`` is for sets of elements: bit i of the index of a set stands for element i.
    """
    members = np.zeros(1 << group, np.int64)
    for drawn in range(1, 1 << group):
        members[drawn] = members[drawn >> 1] + (drawn & 1)
    odds[:] = 0.0
    odds[:LANES] = 1.0
    for drawn in range(1 << group):
        if members[drawn] < keep:
            _draw_after(of, group, drawn, odds, room)
    p[:] = 0.0
    for drawn in range(1 << group):
        if members[drawn] == keep:
            for i in range(group):
                if (drawn >> i) & 1:
                    for lane in range(LANES):
                        p[i * LANES + lane] += odds[drawn * LANES + lane]
    for at in range(group * LANES):
        p[at] = min(p[at], 1.0)


@compiled
def _divide(values: Floats, start: int, group: int, of: Lanes, p: Floats, out: Floats) -> None:
    """Give what is kept, over its probability unless the lane was copied."""
    for i in range(group):
        for lane in range(LANES):
            at = start + lane * group + i
            by = max(p[i * LANES + lane] * (1.0 - of.few[lane]), of.few[lane])
            kept = of.kept[i * LANES + lane]
            # What is not kept may have probability 0: divide by 1.
            out[at] = kept * values[at] / (by * kept + 1.0 - kept) + 0.0


@compiled
def _keep_successively(
    values: Floats,
    limits: tuple[int, int],
    draws: tuple[np.uint64, int],
    out: Floats,
    mask: NDArray[np.bool_],
) -> None:
    """Prune a flat array of at least ``LANES`` groups; ``draws`` is the state and first group.

    All groups before ``at`` are done. What a group becomes depends on its values and its own draws
    alone, so that doing some of them twice changes nothing.
    """
    keep, group = limits
    state, first = draws
    of, number, room = lanes(group), np.empty(LANES), np.empty(3 * LANES)
    p = np.empty(group * LANES)
    odds = np.empty((1 << group if keep > 2 else group) * LANES)
    groups = len(values) // group
    for at in range(0, groups, LANES):
        # The last lot overlaps the one before: it does the same work again.
        at_group = min(at, groups - LANES)
        load(values, at_group * group, group, keep, of)
        for draw in range(keep):
            for lane in range(LANES):
                number[lane] = uniform(state, (first + at_group + lane) * keep + draw)
            _draw_one(of, group, number, room)
        if keep > 2:
            _of_many(of, keep, group, p, odds, room)
        else:
            _of_one_or_two(of, keep, group, p, odds, room)
        filled(of, group, keep, room)
        _divide(values, at_group * group, group, of, p, out)
        store(of, at_group * group, group, mask)


def _pair_moments(sizes: Floats) -> tuple[Floats, Floats]:
    """Give p of Eq. 17 and 1 - p, each from positive terms only."""
    total = sizes.sum(-1)
    others = all_but_one(sizes)
    kept, pruned = np.empty_like(sizes), np.empty_like(sizes)
    for i in range(sizes.shape[-1]):
        rest = sizes.copy()
        rest[..., i] = 0.0
        odds = rest / total[..., None] / others
        kept[..., i] = sizes[..., i] / total + sizes[..., i] * odds.sum(-1)
        pruned[..., i] = (odds * all_but_one(rest)).sum(-1)
    return kept, pruned


def _subset_moments(sizes: Floats, keep: int) -> tuple[Floats, Floats]:
    """Give p and 1 - p by adding up the sets of N that hold an element, and those that do not."""
    group = sizes.shape[-1]
    members = (np.arange(1 << group)[:, None] >> np.arange(group)) & 1 == 1
    odds = {0: np.ones(sizes.shape[:-1])}
    kept, pruned = np.zeros_like(sizes), np.zeros_like(sizes)
    for drawn in range(1 << group):
        inside = members[drawn]
        if inside.sum() == keep:
            kept += odds[drawn][..., None] * inside
            pruned += odds[drawn][..., None] * ~inside
        if inside.sum() < keep:
            chance = odds.pop(drawn) / np.maximum(sizes[..., ~inside].sum(-1), _LEAST)
            for i in np.flatnonzero(~inside):
                into = drawn | (1 << int(i))
                odds[into] = odds.get(into, 0.0) + sizes[..., i] * chance
    return kept, pruned


def _moments(values: Floats, pattern: Pattern) -> Moments:
    keep, k = pattern.keep, values.shape[1]
    sizes = np.abs(grouped(values, pattern.group))
    copied, filled_up = few(sizes, keep)
    many = np.where(copied, 1.0, sizes)
    if keep == 1:
        total = many.sum(-1, keepdims=True)
        kept, pruned = many / total, all_but_one(many) / total
    else:
        kept, pruned = _pair_moments(many) if keep == 2 else _subset_moments(many, keep)
    kept, pruned = np.where(copied, filled_up, kept), np.where(copied, 1.0 - filled_up, pruned)
    value = np.divide(sizes, kept, out=np.zeros_like(sizes), where=kept > 0)
    return Moments(
        ungrouped(kept, k), ungrouped(pruned, k), np.copysign(ungrouped(value, k), values)
    )


def _within_sums(pattern: Pattern) -> str:
    if pattern.keep <= 2 or pattern.group <= _LARGEST_SUBSET_GROUP:
        return ""
    return (
        "the inclusion probability of more than 2 draws sums over 2^M subsets, "
        f"expected M of at most {_LARGEST_SUBSET_GROUP}"
    )


@pruner(
    "mvue-approx",
    summary="unbiased: N successive draws in proportion to |a|, divided by their probability",
    source="Chmiel et al., ICLR 2023, section 4.4 and Eq. 17",
    regular=True,
    stochastic=True,
    rescales=True,
    limits=_within_sums,
    moments=_moments,
    effort=successive,
)
def mvue_approx(block: Block) -> None:
    """Draw N of every group without replacement, in proportion to |a|; give a over its probability.

    The variance is at most twice that of ``mvue`` for 2:4 (Chmiel et al., Figure 2; a supremum, not
    attained). A group of N non-zeros or fewer is copied.
    """
    groups = in_groups(block, LANES)
    _keep_successively(
        groups.values.reshape(-1),
        (block.pattern.keep, block.pattern.group),
        (as_state(block.seed), groups.first),
        groups.out_values.reshape(-1),
        groups.out_mask.reshape(-1),
    )
    put_back(block, groups)
