"""Prune a trained layer and mend it: kept weights take over what the pruned ones did.

Hubara et al. (NeurIPS 2021, section 5) offer a light remedy, mean absorption, and AdaPrune, which
fits the kept weights to the layer's outputs on calibration samples. With the mask given, that is a
least-squares problem for every row of the weights (Eq. 5), so it is solved here, not descended.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmsim.errors import ShapeError
from nmsim.pruning import Block, pruner
from nmsim.pruning.magnitude import magnitude
from nmsim.pruning.parts.effort import ranking_and_sum
from nmsim.pruning.parts.groups import grouped, ungrouped

__all__ = ["adaprune", "gram", "mean_absorption"]

Floats = NDArray[np.float64]


@pruner(
    "mean-absorption",
    summary="keeps the N largest of every group and spreads the sum of the rest over them",
    source="Hubara et al., NeurIPS 2021, section 5 (fixing pruning bias using mean absorption)",
    regular=True,
    rescales=True,
    masks_as="magnitude",
    effort=ranking_and_sum,
)
def mean_absorption(block: Block) -> None:
    """Keep the N largest of every group and add to each an equal share of the sum of the pruned.

    The sum of every group stays what it was. (Dividing by the number of pruned elements instead, as
    "the mean of the pruned" might be read, keeps it only at half density.)
    """
    magnitude(block)
    group, k = block.pattern.group, block.values.shape[1]
    lost = grouped(block.values - block.out_values, group).sum(2, keepdims=True)
    kept = grouped(block.out_mask.astype(np.float64), group)
    share = kept * (lost / kept.sum(2, keepdims=True))
    block.out_values[...] += ungrouped(share, k)


def gram(samples: Iterable[ArrayLike]) -> Floats:
    """Sum up x x^T over calibration samples that come in blocks: all of Eq. 5 that depends on them.

    Parameters
    ----------
    samples
        Blocks of samples x K inputs of the layer, such as the rows of an unfolded activation.

    Returns
    -------
    float64, K x K
        for the option ``gram`` of "adaprune".

    Raises
    ------
    ShapeError
        if there are no blocks, or they are not matrices of one width.
    """
    total: Floats | None = None
    for sample in samples:
        block = np.asarray(sample, np.float64)
        if block.ndim != 2 or (total is not None and block.shape[1] != len(total)):
            wanted = "K" if total is None else len(total)
            raise ShapeError(f"samples of shape {block.shape}: expected samples x {wanted}")
        total = block.T @ block if total is None else total + block.T @ block
    if total is None:
        raise ShapeError("no calibration samples: expected one block or more")
    return total


def _solve(matrix: Floats, right: Floats) -> Floats:
    """Solve a symmetric, positive semidefinite system; of many solutions the least."""
    try:
        lower = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        lower = np.zeros_like(matrix)
    pivots = np.diagonal(lower) ** 2
    if pivots.min(initial=np.inf) > len(matrix) * 1e-13 * np.diagonal(matrix).max(initial=0.0):
        return np.asarray(np.linalg.solve(lower.T, np.linalg.solve(lower, right)), np.float64)
    return np.asarray(np.linalg.lstsq(matrix, right, rcond=None)[0], np.float64)


@pruner(
    "adaprune",
    summary="keeps the N largest of every group, refitted to the layer's outputs on samples",
    source="Hubara et al., NeurIPS 2021, Eq. 5, solved exactly",
    regular=True,
    rescales=True,
    unit="row",
    masks_as="magnitude",
)
def adaprune(block: Block, *, gram: NDArray[np.float64] | None = None) -> None:
    """Keep the N largest of every group; change them so that the outputs change least.

    For every row w of the weights the result minimises |w X - w' X|^2 over w' on the support (Eq. 5
    of Hubara et al., NeurIPS 2021). Of many minima, the one that changes least is taken.

    Parameters
    ----------
    block
        Whole rows of weights, O x K.
    gram
        X X^T, K x K, as ``nmsim.pruning.adaprune.gram`` sums it up. None stands for uncorrelated
        inputs of equal power, for which there is nothing to mend.
    """
    magnitude(block)
    if gram is None:
        return
    k = block.values.shape[1]
    products = np.asarray(gram, np.float64)
    if products.shape != (k, k):
        raise ShapeError(f"gram of shape {products.shape}: expected {k} x {k}")
    for row, out, kept in zip(block.values, block.out_values, block.out_mask, strict=True):
        lost = products[np.ix_(kept, ~kept)] @ row[~kept]
        out[kept] += _solve(products[np.ix_(kept, kept)], lost)
