"""Regression trees as flat arrays, all of one depth, and the kernel that adds up what they say.

A tree is perfect: node i goes on to 2i + 1 or, where a feature is above the node's threshold, to
2i + 2, so that nothing is stored of where nodes lie. Where a grown tree ends early, the nodes below
have thresholds that nothing is above, and the leaf that is reached holds the value.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError
from nmsim.jit import compiled, map_blocks

__all__ = ["Grown", "Growth", "Histograms", "Trees", "perfect", "predicted"]

BLOCK = 512
"""GEMMs whose features stay in a core's cache while all trees pass over them."""


class Trees(NamedTuple):
    """Perfect trees of depth D that are added up.

    Parameters
    ----------
    feature, threshold
        Trees x (2^D - 1): which feature a node looks at, and what it must be above to turn right.
    leaf
        Trees x 2^D: values, of log time.
    """

    feature: NDArray[np.uint8]
    threshold: NDArray[np.float32]
    leaf: NDArray[np.float32]

    @property
    def depth(self) -> int:
        """Nodes that each tree passes before a leaf."""
        return int(self.leaf.shape[1]).bit_length() - 1


class Growth(NamedTuple):
    """How trees are grown, one after another.

    Parameters
    ----------
    trees, depth
        How many, and how deep at most.
    rate
        Share of what a tree says that counts.
    share
        Of the rows, drawn anew for each tree.
    least
        Rows of a leaf.
    bound
        What is left of a row counts up to it.
    """

    trees: int
    depth: int
    rate: float
    share: float
    least: int
    bound: float


class Histograms(NamedTuple):
    """How trees of the best thresholds are grown, one after another.

    Parameters
    ----------
    trees, depth, leaves
        How many, how deep at most, and with how many leaves.
    rate
        Share of what a tree says that counts.
    share
        Of the features, drawn anew for each node.
    least
        Rows of a leaf.
    penalty
        On squares of leaves' values.
    """

    trees: int
    depth: int
    leaves: int
    rate: float
    share: float
    least: int
    penalty: float


class Grown(NamedTuple):
    """A tree as libraries grow it, by node: ``left`` is -1 at a leaf, which has ``value``."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    value: NDArray[np.float64]


def perfect(grown: list[Grown], depth: int, scale: float) -> Trees:
    """Grown trees, none deeper than ``depth``, as perfect ones whose values are times ``scale``.

    Thresholds are rounded down to 32 bits: a feature of 32 bits is then above one as it was before.
    """
    nodes = 2**depth - 1
    feature = np.zeros((len(grown), nodes), np.uint8)
    threshold = np.full((len(grown), nodes), np.inf, np.float32)
    leaf = np.zeros((len(grown), nodes + 1), np.float32)
    for t, tree in enumerate(grown):
        below = [(0, 0)]
        while below:
            node, at = below.pop()
            if tree.left[node] < 0:
                while at < nodes:
                    at = 2 * at + 1
                leaf[t, at - nodes] = scale * tree.value[node]
                continue
            feature[t, at] = tree.feature[node]
            threshold[t, at] = _rounded_down(tree.threshold[node])
            below += [(tree.left[node], 2 * at + 1), (tree.right[node], 2 * at + 2)]
    return Trees(feature, threshold, leaf)


def _rounded_down(value: float) -> np.float32:
    near = np.float32(value)
    return near if near <= value else np.nextafter(near, np.float32(-np.inf))


@compiled
def _below_three(
    feature: NDArray[np.uint8],
    threshold: NDArray[np.float32],
    columns: NDArray[np.float32],
    at: NDArray[np.uint32],
) -> None:
    """Where each GEMM is three levels down a tree: all seven questions are asked of all of them.

    So each question is asked of many at once, and no GEMM waits for an answer to know the next.
    """
    x, y, z = columns[feature[0]], columns[feature[1]], columns[feature[2]]
    yy, yz = columns[feature[3]], columns[feature[4]]
    zy, zz = columns[feature[5]], columns[feature[6]]
    for i in range(len(at)):
        left = np.uint32(yy[i] > threshold[3])
        if y[i] > threshold[1]:
            left = np.uint32(2) + np.uint32(yz[i] > threshold[4])
        right = np.uint32(4) + np.uint32(zy[i] > threshold[5])
        if z[i] > threshold[2]:
            right = np.uint32(6) + np.uint32(zz[i] > threshold[6])
        at[i] = np.uint32(7) + (right if x[i] > threshold[0] else left)


@compiled
def _add(
    feature: NDArray[np.uint8],
    threshold: NDArray[np.float32],
    leaf: NDArray[np.float32],
    depth: int,
    columns: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    """Add what all trees say of each GEMM, of which ``columns`` has features x GEMMs.

    All GEMMs go down a tree level by level, none waiting for another. Every path is as long as the
    tree is deep: no branch is to be guessed. Places are unsigned, as numba else asks of each
    whether it counts from the end.
    """
    rows, nodes = np.uint32(columns.shape[1]), np.uint32(threshold.shape[1])
    flat, at = columns.reshape(-1), np.empty(columns.shape[1], np.uint32)
    for t in range(len(feature)):
        asked, over, level = feature[t], threshold[t], 0
        if depth >= 3:
            _below_three(asked, over, columns, at)
            level = 3
        else:
            for i in range(len(at)):
                at[i] = 0
        for _ in range(level, depth):
            for i in range(len(at)):
                node = at[i]
                above = flat[np.uint32(asked[node]) * rows + np.uint32(i)] > over[node]
                at[i] = np.uint32(2) * node + np.uint32(1) + np.uint32(above)
        for i in range(len(at)):
            out[i] += leaf[t, at[i] - nodes]


def predicted(trees: Trees, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The sum of all trees for each row of features.

    Raises
    ------
    ShapeError
        if a tree looks at a feature that the rows do not have.
    """
    rows, known = features.shape
    if trees.feature.size and trees.feature.max() >= known:
        raise ShapeError(f"{known} features: a tree looks at number {trees.feature.max()}")
    out = np.zeros(rows)

    def block(start: int, stop: int) -> None:
        columns = np.ascontiguousarray(features[start:stop].T, np.float32)
        _add(*trees, trees.depth, columns, out[start:stop])

    map_blocks(block, rows, BLOCK)
    return out
