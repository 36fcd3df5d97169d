"""Prune a trained layer and mend it: kept weights take over what the pruned ones did.

Hubara et al. (NeurIPS 2021, section 5) offer a light remedy, mean absorption, and AdaPrune, which
fits the kept weights to the layer's outputs on calibration samples. With the mask given, that is a
least-squares problem for every row of the weights (Eq. 5), so it is solved here, not descended.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmsim.pruning import Block, Samples, pruner
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
    blocks = list(samples)
    return Samples(lambda: blocks).gram


_FEW = 256
"""Columns up to which every row's system is solved by itself."""

_ROWS = 256
"""Rows of weights that are fitted at once, which bounds memory."""

_CLOSE = 1e-10
"""Of a right side, in the norm of the inverse diagonal: what may be left of it in the end."""

_ROUGH = 1e-4
"""The same of a round, whose products are of single precision."""

_ROUNDS, _STEPS = 6, 100
"""Rounds, and steps of one: a row that is not near then is solved by itself."""


def _solve(matrix: Floats, right: Floats) -> Floats:
    """Solve a symmetric, positive semidefinite system; of many solutions the least."""
    if _is_definite(matrix):
        return np.asarray(np.linalg.solve(matrix, right), np.float64)
    return np.asarray(np.linalg.lstsq(matrix, right, rcond=None)[0], np.float64)


def _is_definite(matrix: Floats) -> bool:
    """Whether a symmetric matrix is positive definite, by more than rounding."""
    try:
        lower = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    pivots = np.diagonal(lower) ** 2
    least = len(matrix) * 1e-13 * np.diagonal(matrix).max(initial=0.0)
    return bool(pivots.min(initial=np.inf) > least)


def _one_by_one(products: Floats, right: Floats, kept: NDArray[np.bool_]) -> Floats:
    """Solve the system of every row on what it keeps, by itself."""
    found = np.zeros_like(right)
    for row, own, out in zip(right, kept, found, strict=True):
        out[own] = _solve(products[np.ix_(own, own)], row[own])
    return found


class _Fit(NamedTuple):
    """Rows on their way to the solution: where they are, what is left, where they go next."""

    at: NDArray[Any]
    left: NDArray[Any]
    towards: NDArray[Any]
    size: NDArray[Any]

    def of(self, rows: NDArray[Any]) -> "_Fit":
        """Some of the rows."""
        return _Fit(*(part[rows] for part in self))


class _Systems(NamedTuple):
    """The systems of all rows: the Gram matrix without what a row does not keep.

    To multiply by the matrix of a row is to multiply by the whole, of a vector that is zero where
    the row keeps nothing, and to set what comes out there to zero.

    Parameters
    ----------
    products
        K x K.
    fast
        The same in the precision in which steps multiply by it.
    weights
        K: the inverse of the diagonal, by which residuals are weighed. Ones where the Gram matrix
        is singular, as steps from zero go to the least solution then.
    """

    products: Floats
    fast: NDArray[Any]
    weights: Floats

    @classmethod
    def of(cls, products: Floats) -> "_Systems":
        """Single precision where one solution is, which later rounds mend; else double."""
        diagonal = np.diagonal(products)
        if _is_definite(products):
            return cls(products, products.astype(np.float32), 1 / diagonal)
        return cls(products, products, np.ones_like(diagonal))

    def size(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Weighed square of every row."""
        weights = self.weights.astype(rows.dtype)
        return np.asarray(np.einsum("rk,rk,k->r", rows, rows, weights))

    def solve(self, right: Floats, kept: NDArray[np.bool_]) -> Floats:
        """Solutions on what is kept, of right sides that are zero elsewhere; rows x K."""
        if len(self.products) <= _FEW:
            return _one_by_one(self.products, right, kept)
        found, left, wanted = np.zeros_like(right), right, _CLOSE**2 * self.size(right)
        for _ in range(_ROUNDS):
            open_ = np.flatnonzero(self.size(left) > wanted)
            if not len(open_):
                return found
            found[open_] += self._nearer(left[open_], kept[open_])
            left = right - (found @ self.products) * kept
        open_ = np.flatnonzero(self.size(left) > wanted)
        found[open_] = _one_by_one(self.products, right[open_], kept[open_])
        return found

    def _nearer(self, right: Floats, kept: NDArray[np.bool_]) -> NDArray[Any]:
        """Solutions to within ``_ROUGH``, by conjugate gradients of all rows at once."""
        scale = np.abs(right).max(1, keepdims=True)
        start = (right / scale).astype(self.fast.dtype)
        now = _Fit(np.zeros_like(start), start, start * self._own, self.size(start))
        found, going, wanted = np.empty_like(start), np.arange(len(start)), _ROUGH**2 * now.size
        for _ in range(_STEPS):
            ends = now.size <= wanted[going]
            found[going[ends]] = now.at[ends]
            going, now = going[~ends], now.of(~ends)
            if not len(going):
                break
            now = self._step(now, kept[going])
        found[going] = now.at
        return np.asarray(found * scale)

    @property
    def _own(self) -> NDArray[Any]:
        return self.weights.astype(self.fast.dtype)

    def _step(self, now: _Fit, kept: NDArray[np.bool_]) -> _Fit:
        """One step of conjugate gradients of every row."""
        ahead = (now.towards @ self.fast) * kept
        far = (now.size / np.einsum("rk,rk->r", now.towards, ahead))[:, None]
        left = now.left - far * ahead
        size = self.size(left)
        towards = left * self._own + (size / now.size)[:, None] * now.towards
        return _Fit(now.at + far * now.towards, left, towards, size)


@pruner(
    "adaprune",
    summary="keeps the N largest of every group, refitted to the layer's outputs on samples",
    source="Hubara et al., NeurIPS 2021, Eq. 5, solved exactly",
    regular=True,
    rescales=True,
    unit="tensor",
    masks_as="magnitude",
)
def adaprune(block: Block, *, gram: NDArray[np.float64] | None = None) -> None:
    """Keep the N largest of every group; change them so that the outputs change least.

    The mask is magnitude's: which weights go is decided before, by size alone (Hubara et al.,
    NeurIPS 2021, section 5), and samples decide what the others become. For every row w of the
    weights the result minimises |w X - w' X|^2 over w' on the support (Eq. 5). Of many minima, the
    one that changes least is taken.

    Parameters
    ----------
    block
        Whole rows of weights, O x K.
    gram
        X X^T, K x K, as ``nmsim.pruning.adaprune.gram`` sums it up. None stands for uncorrelated
        inputs of equal power, for which there is nothing to mend.
    """
    magnitude(block)
    if gram is None or not block.values.size:
        return
    systems = _Systems.of(gram)
    for start in range(0, len(block.values), _ROWS):
        rows = slice(start, start + _ROWS)
        values, kept = block.values[rows], block.out_mask[rows]
        lost = ((values * ~kept) @ gram) * kept
        block.out_values[rows] += systems.solve(lost, kept)
