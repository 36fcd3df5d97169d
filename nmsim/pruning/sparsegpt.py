"""Prune columns from left to right, and let the later ones take over what each pruned one did.

The method of Frantar and Alistarh (ICML 2023, algorithm 1) with N:M groups: of every group those
are pruned that cost the outputs least, given what the columns before it have been made of.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.pruning import Block, pruner
from nmsim.pruning.magnitude import magnitude
from nmsim.pruning.parts.groups import largest

__all__ = ["sparsegpt"]

Floats = NDArray[np.float64]


class _Columns(NamedTuple):
    """Consecutive columns of the weights as they change, and their part of the factor."""

    values: Floats
    factor: Floats
    kept: NDArray[np.bool_]


def _factor(gram: Floats, damping: float) -> Floats:
    """The upper Cholesky factor of the inverse of the damped Gram matrix.

    Its row i is that of the inverse without the columns before i, over the root of its diagonal:
    what the columns behind i take over when it is pruned. Inputs that are never active get a
    diagonal of one: their weights are pruned first, and nothing takes over.
    """
    damped, diagonal = gram.copy(), np.diagonal(gram)
    added = damping * float(diagonal.mean())
    np.fill_diagonal(damped, np.where(diagonal > 0, diagonal, 1.0) + added)
    # Of the inverse, U^T U. Reversed, a lower factor L L^T has the inverse's upper one as L^-1.
    lower = np.linalg.cholesky(damped[::-1, ::-1])
    return np.ascontiguousarray(np.linalg.inv(lower)[::-1, ::-1])


def _prune_columns(block: _Columns, keep: int, group: int) -> Floats:
    """Prune columns in place, group by group; gives what each changed by, over its diagonal."""
    values, factor, kept = block
    diagonal, errors = np.diagonal(factor), np.zeros_like(values)
    for i in range(values.shape[1]):
        if i % group == 0:
            of = slice(i, i + group)
            kept[:, of] = largest((values[:, of] / diagonal[of]) ** 2, keep)
        errors[:, i] = np.where(kept[:, i], 0.0, values[:, i]) / diagonal[i]
        values[:, i + 1 :] -= errors[:, i, None] * factor[i, i + 1 :]
    return errors


@pruner(
    "sparsegpt",
    summary="keeps the N of every group whose loss costs the outputs most, the others mended",
    source="Frantar and Alistarh, SparseGPT, ICML 2023, algorithm 1; IST-DASLab/sparsegpt",
    regular=True,
    rescales=True,
    unit="tensor",
)
def sparsegpt(
    block: Block,
    *,
    gram: NDArray[np.float64] | None = None,
    damping: float = 0.01,
    columns: int = 128,
) -> None:
    """Prune from left to right; what a pruned weight did, weights behind it take over.

    With H the Gram matrix of the inputs, damped, a group keeps the N largest w^2 / [H^-1]_jj, where
    H^-1 is without the columns before j and w is what these have made of it; then the weights
    behind a pruned one, in its row, change by -w [H^-1]_j / [H^-1]_jj. Ties keep the lowest index.

    Parameters
    ----------
    block
        All rows of weights, O x K.
    gram
        X X^T, K x K. None stands for uncorrelated inputs of equal power: then that is magnitude.
    damping
        Of the mean of the diagonal of H, added to it.
    columns
        That change before those behind them do: a number of them does not change the result.
    """
    if gram is None or not gram.any() or not block.values.size:
        magnitude(block)
        return
    group, k = block.pattern.group, block.values.shape[1]
    values, factor = block.values.astype(np.float64), _factor(gram, damping)
    step = max(1, columns // group) * group
    for start in range(0, k, step):
        of, behind = slice(start, min(start + step, k)), slice(min(start + step, k), k)
        part = _Columns(values[:, of], factor[of, of], block.out_mask[:, of])
        errors = _prune_columns(part, block.pattern.keep, group)
        values[:, behind] -= errors @ factor[of, behind]
    block.out_values[...] = np.where(block.out_mask, values, 0.0)
