"""Uniformly drawn subsets: what any better algorithm is measured against, and its unbiased form."""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.pattern import Pattern
from nmsim.pruning import Block, Moments, pruner
from nmsim.pruning.parts.draws import as_state, uniform
from nmsim.pruning.parts.effort import drawing
from nmsim.pruning.parts.groups import lengths

__all__ = ["random", "unbiased"]


@compiled
def _keep_drawn(
    mask: NDArray[np.bool_], keep: int, group: int, state: np.uint64, first_row: int
) -> None:
    rows, k = mask.shape
    for row in range(rows):
        before = (first_row + row) * k
        for start in range(0, k, group):
            left = min(group, k - start)
            wanted = min(keep, left)
            for i in range(start, start + left):
                # Selection sampling (Fan, Muller, Rezucha 1962): exact, in one pass.
                kept = uniform(state, before + i) * left < wanted
                mask[row, i] = kept
                left -= 1
                wanted -= kept


def _shares(k: int, pattern: Pattern) -> NDArray[np.float64]:
    """Give the kept share of the group of each of K elements."""
    sizes = lengths(k, pattern.group)
    return np.repeat(np.minimum(pattern.keep, sizes) / sizes, sizes)


def _moments(values: NDArray[np.float64], pattern: Pattern) -> Moments:
    share = np.broadcast_to(_shares(values.shape[1], pattern), values.shape)
    return Moments(share, 1.0 - share, values)


def _unbiased_moments(values: NDArray[np.float64], pattern: Pattern) -> Moments:
    kept, pruned, value = _moments(values, pattern)
    return Moments(kept, pruned, value / kept)


@pruner(
    "uniform",
    summary="the same as random: how Chmiel et al., Table 2, call it",
    source="Chmiel et al., ICLR 2023, Table 2 (uniform)",
    regular=True,
    stochastic=True,
    moments=_moments,
    effort=drawing,
)
@pruner(
    "random",
    summary="keeps N of every group, every subset equally likely",
    source="selection sampling: Fan, Muller and Rezucha, JASA 57 (1962)",
    regular=True,
    stochastic=True,
    moments=_moments,
    effort=drawing,
)
def random(block: Block) -> None:
    """Keep N of every group of rows x K values, every subset equally likely.

    One number of the SplitMix64 sequence (Steele, Lea and Flood, OOPSLA 2014) per element, by its
    flat index, so that a mask depends on nothing else.
    """
    p = block.pattern
    mask = np.empty(block.values.shape, np.bool_)
    _keep_drawn(mask, p.keep, p.group, as_state(block.seed), block.first_row)
    block.keep(mask)


@pruner(
    "unbiased",
    summary="keeps N of every group, every subset equally likely, and multiplies them by M / N",
    source="Chmiel et al., ICLR 2023, Table 2 (unbiased)",
    regular=True,
    stochastic=True,
    rescales=True,
    moments=_unbiased_moments,
    effort=drawing,
)
def unbiased(block: Block) -> None:
    """Keep a uniformly drawn subset of every group, divided by its share of the group.

    Every element is right on average, but the variance, a^2 (M / N - 1), is not the least.
    """
    random(block)
    block.out_values[...] /= _shares(block.values.shape[1], block.pattern)
