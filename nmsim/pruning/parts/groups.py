"""Groups of M elements along K: rows taken apart, and arrays put together again."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.pruning.parts.contract import Block

__all__ = [
    "Groups",
    "all_but_one",
    "few",
    "grouped",
    "in_groups",
    "largest",
    "lengths",
    "put_back",
    "ungrouped",
]


class Groups(NamedTuple):
    """The arrays of a block as groups x M, and the index of its first group in the tensor."""

    values: NDArray[Any]
    out_values: NDArray[Any]
    out_mask: NDArray[np.bool_]
    first: int


def in_groups(block: Block, least: int = 0) -> Groups:
    """View a block as groups x M; or copy it, padded with zeros, if groups are short or too few.

    ``least`` is how many groups there must be. ``put_back`` fills the block from copies.
    """
    rows, k = block.values.shape
    group = block.pattern.group
    across = -(-k // group)
    first = block.first_row * across
    if k % group == 0 and rows * across >= least:
        values, out_values, out_mask = block.values, block.out_values, block.out_mask
        return Groups(
            values.reshape(-1, group),
            out_values.reshape(-1, group),
            out_mask.reshape(-1, group),
            first,
        )
    values = np.zeros((max(rows * across, least), group), block.values.dtype)
    values[: rows * across].reshape(rows, across * group)[:, :k] = block.values
    return Groups(values, np.empty_like(values), np.empty(values.shape, np.bool_), first)


def put_back(block: Block, groups: Groups) -> None:
    """Fill the block from its groups, if they were copies."""
    if np.may_share_memory(groups.out_mask, block.out_mask):
        return
    rows, k = block.values.shape
    count = rows * -(-k // block.pattern.group)
    block.out_values[...] = groups.out_values[:count].reshape(rows, -1)[:, :k]
    block.out_mask[...] = groups.out_mask[:count].reshape(rows, -1)[:, :k]


def grouped(values: NDArray[np.float64], group: int) -> NDArray[np.float64]:
    """Give rows x groups x M, the last group of every row padded with zeros."""
    rows, k = values.shape
    padded = np.zeros((rows, -(-k // group) * group))
    padded[:, :k] = values
    return padded.reshape(rows, -(-k // group), group)


def ungrouped(groups: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Give rows x K from rows x groups x M."""
    rows, across, group = groups.shape
    return groups.reshape(rows, across * group)[:, :k]


def few(sizes: NDArray[np.float64], keep: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Tell groups of at most N non-zeros, and what they keep: those, then zeros in order."""
    order = np.argsort(sizes == 0.0, axis=-1, kind="stable")
    filled = np.zeros(sizes.shape)
    np.put_along_axis(filled, order[..., :keep], 1.0, -1)
    return (sizes > 0).sum(-1, keepdims=True) <= keep, filled


def largest(scores: NDArray[np.float64], keep: int) -> NDArray[np.bool_]:
    """Mark the N largest along the last axis; ties keep the lowest index."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    kept = np.zeros(scores.shape, np.bool_)
    np.put_along_axis(kept, order[..., :keep], True, -1)
    return kept


def lengths(k: int, group: int) -> NDArray[np.int64]:
    """Count the real elements of every group of a row."""
    return np.minimum(group, k - np.arange(0, k, group))


def all_but_one(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum, for every element, the others of its group; nothing is subtracted, nothing cancels."""
    before, after = np.zeros_like(sizes), np.zeros_like(sizes)
    np.cumsum(sizes[..., :-1], axis=-1, out=before[..., 1:])
    after[..., :-1] = np.cumsum(sizes[..., :0:-1], axis=-1)[..., ::-1]
    return before + after
