"""The unbiased estimator of least variance with N of every M elements non-zero, for any N:M.

Chmiel et al. (ICLR 2023) derive it for 1:2 (Eq. 27) and 2:4 (Eqs. 6 to 15). Its general form: an
element is kept with probability p_i = min(1, |a_i| / t), where t makes the p_i of a group add up to
N, and becomes a_i / p_i. Among estimators that keep N this minimises the sum of the variances
a_i^2 / p_i - a_i^2. Which elements are kept together is free: here, by systematic sampling
(Madow, Annals of Mathematical Statistics 20, 1949), which keeps exactly N with one random number.
"""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.pattern import Pattern
from nmsim.pruning import Block, Moments, pruner
from nmsim.pruning.parts.draws import as_state, uniform
from nmsim.pruning.parts.effort import proportional
from nmsim.pruning.parts.groups import all_but_one, few, grouped, in_groups, put_back, ungrouped
from nmsim.pruning.parts.lanes import LANES, Lanes, filled, lanes, load, store

__all__ = ["biased", "mvue"]

Floats = NDArray[np.float64]


@compiled
def _keep_certain(
    of: Lanes, keep: int, group: int, left: Floats, total: Floats, before: Floats
) -> None:
    """Keep what has probability 1; how many are ``left`` to draw, and the ``total`` of the rest.

    Taking away the largest lowers t, so everything above the old t is above the new one. The sum is
    taken anew each time, because the certain ones can be 10^60 times the rest.
    """
    for _ in range(keep):
        for lane in range(LANES):
            total[lane] = 0.0
            before[lane] = left[lane]
        for i in range(group):
            for lane in range(LANES):
                at = i * LANES + lane
                total[lane] += of.sizes[at] * (1.0 - of.kept[at])
        for i in range(group):
            for lane in range(LANES):
                at = i * LANES + lane
                certain = np.float64(of.sizes[at] * before[lane] >= total[lane])
                certain *= np.float64(left[lane] > 1.0) * (1.0 - of.kept[at]) * (1.0 - of.few[lane])
                of.kept[at] += certain
                left[lane] -= certain
        changed = 0
        for lane in range(LANES):
            changed += before[lane] != left[lane]
        if changed == 0:
            return


@compiled
def _draw(of: Lanes, group: int, left: Floats, step: Floats, number: Floats, room: Floats) -> None:
    """Keep exactly ``left`` more: those in which a point falls; the points are ``step`` apart.

    ``room`` is scratch: sizes of candidates up to the element, how many of them were drawn, and how
    many are still to come. In a lane of more than N non-zeros, at every element
    drawn <= left <= drawn + to come.
    """
    reached, drawn, candidates = room[:LANES], room[LANES : 2 * LANES], room[2 * LANES :]
    for lane in range(LANES):
        reached[lane] = 0.0
        drawn[lane] = 0.0
        candidates[lane] = 0.0
    for i in range(group):
        for lane in range(LANES):
            at = i * LANES + lane
            candidates[lane] += np.float64(of.sizes[at] > 0.0) * (1.0 - of.kept[at])
    for i in range(group):
        for lane in range(LANES):
            at = i * LANES + lane
            candidate = np.float64(of.sizes[at] > 0.0) * (1.0 - of.kept[at])
            reached[lane] += candidate * of.sizes[at]
            hit = np.float64(reached[lane] > (drawn[lane] + number[lane]) * step[lane])
            # For sums that rounding leaves short of the last point.
            last = np.float64(candidates[lane] <= left[lane] - drawn[lane])
            hit = max(hit, last) * candidate * np.float64(drawn[lane] < left[lane])
            candidates[lane] -= candidate
            drawn[lane] += hit
            of.kept[at] += hit


@compiled
def _fill(values: Floats, start: int, group: int, of: Lanes, least: Floats, out: Floats) -> None:
    """Give what is kept, at least ``least`` of the lane in magnitude: what is certain is above."""
    for i in range(group):
        for lane in range(LANES):
            at = start + lane * group + i
            sign = 1.0 - 2.0 * np.float64(values[at] < 0.0)
            out[at] = of.kept[i * LANES + lane] * max(abs(values[at]), least[lane]) * sign + 0.0


@compiled
def _keep_proportionally(
    values: Floats,
    limits: tuple[int, int],
    draws: tuple[np.uint64, int],
    rescale: float,
    out: Floats,
    mask: NDArray[np.bool_],
) -> None:
    """Prune a flat array of at least ``LANES`` groups; ``draws`` is the state and first group.

    All groups before ``at`` are done. What a group becomes depends on its values and its own draws
    alone, so that doing some of them twice changes nothing.
    """
    keep, group = limits
    state, first = draws
    of = lanes(group)
    left, step, number = np.empty(LANES), np.empty(LANES), np.empty(LANES)
    room = np.empty(3 * LANES)
    groups = len(values) // group
    for at in range(0, groups, LANES):
        # The last lot overlaps the one before: it does the same work again.
        at_group = min(at, groups - LANES)
        load(values, at_group * group, group, keep, of)
        for lane in range(LANES):
            left[lane] = keep
            number[lane] = uniform(state, first + at_group + lane)
        _keep_certain(of, keep, group, left, step, room)
        for lane in range(LANES):
            step[lane] /= left[lane]
        _draw(of, group, left, step, number, room)
        filled(of, group, keep, room)
        for lane in range(LANES):
            step[lane] *= rescale * (1.0 - of.few[lane]) / of.scale[lane]
        _fill(values, at_group * group, group, of, step, out)
        store(of, at_group * group, group, mask)


def _certain(sizes: Floats, keep: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Mark what has probability 1 in groups of more than N non-zeros; and how many are left."""
    certain = np.zeros(sizes.shape, np.bool_)
    left = np.full((*sizes.shape[:-1], 1), keep)
    for _ in range(keep - 1):
        open_sizes = np.where(certain, 0.0, sizes)
        largest = open_sizes.argmax(-1, keepdims=True)
        top = np.take_along_axis(open_sizes, largest, -1)
        more = (left > 1) & (top * left >= open_sizes.sum(-1, keepdims=True)) & (top > 0.0)
        np.put_along_axis(certain, largest, more | np.take_along_axis(certain, largest, -1), -1)
        left = left - more
    return certain, left


def _probabilities(sizes: Floats, keep: int) -> tuple[Floats, Floats, Floats]:
    """Give p, 1 - p and the size kept, of groups of sizes padded with zeros."""
    certain, left = _certain(sizes, keep)
    rest = np.where(certain, 0.0, sizes)
    others = all_but_one(rest)
    total = np.maximum(rest.sum(-1, keepdims=True), np.finfo(float).tiny)
    kept = np.where(certain, 1.0, np.minimum(rest * left / total, 1.0))
    pruned = np.where(certain, 0.0, np.maximum(others - (left - 1) * rest, 0.0) / total)
    copied, filled_up = few(sizes, keep)
    value = np.where(certain | copied | (sizes == 0.0), sizes, total / left)
    return np.where(copied, filled_up, kept), np.where(copied, 1.0 - filled_up, pruned), value


def _mvue_moments(values: Floats, pattern: Pattern) -> Moments:
    k = values.shape[1]
    parts = _probabilities(np.abs(grouped(values, pattern.group)), pattern.keep)
    kept, pruned, value = (ungrouped(part, k) for part in parts)
    return Moments(kept, pruned, np.copysign(value, values))


def _biased_moments(values: Floats, pattern: Pattern) -> Moments:
    kept, pruned, _ = _mvue_moments(values, pattern)
    return Moments(kept, pruned, values)


def _run(block: Block, rescale: float) -> None:
    groups = in_groups(block, LANES)
    _keep_proportionally(
        groups.values.reshape(-1),
        (block.pattern.keep, block.pattern.group),
        (as_state(block.seed), groups.first),
        rescale,
        groups.out_values.reshape(-1),
        groups.out_mask.reshape(-1),
    )
    put_back(block, groups)


@pruner(
    "mvue",
    summary="unbiased with least variance: keeps with p = min(1, |a| / t), divides by p",
    source="Chmiel et al., ICLR 2023, Eqs. 6 to 15 and 27, for any N:M",
    regular=True,
    stochastic=True,
    rescales=True,
    moments=_mvue_moments,
    effort=proportional,
)
def mvue(block: Block) -> None:
    """Keep N of every group with probability p = min(1, |a| / t), the p adding up to N; give a / p.

    A group of N non-zeros or fewer is copied; its mask takes in zeros, lowest index first, up to N.
    Else exactly N non-zeros are kept, and those with p < 1 all become +-t. The variance of an
    element is a^2 / p - a^2, 2 |a1 a2| in all for 1:2.
    """
    _run(block, 1.0)


@pruner(
    "biased",
    summary="draws as mvue does and leaves the values as they are",
    source="Chmiel et al., ICLR 2023, Table 2 (biased), for any N:M",
    regular=True,
    stochastic=True,
    rescales=True,
    moments=_biased_moments,
    effort=proportional,
)
def biased(block: Block) -> None:
    """Keep elements with the probabilities of ``mvue``, unchanged: the mean of a is p a."""
    _run(block, 0.0)
