"""Put columns in another order before groups are pruned, so that large weights meet small ones.

Pool and Yu (NeurIPS 2021) permute the input channels of a layer; whoever makes these channels makes
them in the same order, its output rows permuted with them, so that the network computes what it did
and no order is stored. Their bounded regressions are left out: swaps are tried between all pairs of
groups, each pair takes its best one if that keeps more, and passes end when none does.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError
from nmsim.jit import compiled
from nmsim.pattern import Pattern
from nmsim.pruning import Block, prune, pruner

__all__ = ["Permuted", "column_order", "permute", "permuted"]

_LARGEST_GROUP = 16


class Permuted(NamedTuple):
    """Two layers with the channels between them in another order."""

    before: NDArray[Any]
    after: NDArray[Any]
    order: NDArray[np.int64]


@compiled
def _kept(sizes: NDArray[np.float64], columns: NDArray[np.int64], keep: int) -> float:
    """Sum of the N largest of every row of a group; sizes are columns x rows."""
    total = 0.0
    for row in range(sizes.shape[1]):
        for i in range(len(columns)):
            size, before = sizes[columns[i], row], 0
            for j in range(len(columns)):
                other = sizes[columns[j], row]
                before += (other > size) | ((other == size) & (j < i))
            if before < keep:
                total += size
    return total


@compiled
def _swap(
    sizes: NDArray[np.float64], one: NDArray[np.int64], two: NDArray[np.int64], keep: int
) -> bool:
    """Exchange the two columns of two groups by which most more is kept; whether some were."""
    best, at_i, at_j = _kept(sizes, one, keep) + _kept(sizes, two, keep), -1, -1
    best *= 1 + 1e-12  # what rounding alone gains is no gain
    for i in range(len(one)):
        for j in range(len(two)):
            one[i], two[j] = two[j], one[i]
            now = _kept(sizes, one, keep) + _kept(sizes, two, keep)
            one[i], two[j] = two[j], one[i]
            if now > best:
                best, at_i, at_j = now, i, j
    if at_i >= 0:
        one[at_i], two[at_j] = two[at_j], one[at_i]
    return at_i >= 0


@compiled
def _search(sizes: NDArray[np.float64], order: NDArray[np.int64], keep: int, passes: int) -> None:
    """Swap columns of groups x M in place; every swap keeps more than before."""
    for _ in range(passes):
        swapped = False
        for one in range(len(order)):
            for two in range(one + 1, len(order)):
                swapped |= _swap(sizes, order[one], order[two], keep)
        if not swapped:
            break


def column_order(
    values: NDArray[Any], pattern: Pattern, *, passes: int = 2, rows: int = 256
) -> NDArray[np.int64]:
    """The order of columns in which the N largest of every group keep more.

    Parameters
    ----------
    values
        Rows x K. The columns of a short last group stay where they are.
    passes, rows
        As of the pruner "permuted".
    """
    k, group = values.shape[1], pattern.group
    whole, step = k - k % group, max(1, -(-len(values) // rows)) if rows else 1
    order = np.arange(k)
    if whole and len(values):
        sizes = np.ascontiguousarray(np.abs(values[::step, :whole].astype(np.float64)).T)
        groups = order[:whole].reshape(-1, group).copy()
        _search(sizes, groups, pattern.keep, passes)
        order[:whole] = groups.reshape(-1)
    return order


def permute(before: NDArray[Any], after: NDArray[Any], pattern: str | Pattern) -> Permuted:
    """Put the channels between two layers in the order in which the second is pruned best.

    Parameters
    ----------
    before, after
        Weights, outputs x inputs, of which the first has as many outputs as the second inputs.

    Returns
    -------
    Permuted
        Both weights and the order: ``before[order]`` and ``after[:, order]``, which together
        compute what they did.

    Raises
    ------
    ShapeError
        if the layers do not follow one another.
    """
    if len(before) != after.shape[1]:
        raise ShapeError(f"{len(before)} outputs before {after.shape[1]} inputs: expected as many")
    order = column_order(after, Pattern.parse(pattern))
    return Permuted(before[order], after[:, order], order)


def _within(pattern: Pattern) -> str:
    if pattern.group <= _LARGEST_GROUP:
        return ""
    return f"groups of {pattern.group}, expected at most {_LARGEST_GROUP}"


@pruner(
    "permuted",
    summary="keeps the N largest of every group of columns in the order that keeps most",
    source="Pool and Yu, Channel Permutations for N:M Sparsity, NeurIPS 2021; swaps of columns",
    regular=True,
    unit="tensor",
    limits=_within,
    order=column_order,
    masks_as="magnitude",
)
def permuted(block: Block, *, passes: int = 2, rows: int = 256) -> None:
    """Keep the N largest of every group of K in another order, found by swaps between groups.

    The mask is given where the values are; in the order of ``column_order`` it is N:M. What meets
    the matrix is put in that order too, by permuting the outputs of what makes it (``permute``).

    Parameters
    ----------
    block
        All rows of weights, O x K.
    passes
        Over all pairs of groups, at most.
    rows
        That swaps are judged by, spread evenly; 0: all.
    """
    order = column_order(block.values, block.pattern, passes=passes, rows=rows)
    mask = np.empty_like(block.out_mask)
    mask[:, order] = prune(block.values[:, order], block.pattern).mask
    block.keep(mask)
