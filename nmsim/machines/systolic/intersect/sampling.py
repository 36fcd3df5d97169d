"""Cycles of an intersecting array from some of its folds, with a confidence interval.

Folds are drawn without replacement and stratified: full folds, folds short of rows, of columns, of
both. Each stratum is drawn in proportion, two folds at least. Total and variance are those of
stratified sampling (Cochran, Sampling Techniques, 3rd ed. 1977, chapter 5): per stratum the mean,
s^2 and the finite population correction 1 - n / N; the interval is Student's t with Satterthwaite's
degrees of freedom.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy
from numpy.typing import NDArray

from nmsim.errors import ShapeError
from nmsim.machines.systolic.intersect.folds import Fabric, fold_spans, run_folds
from nmsim.machines.systolic.intersect.survivors import check_operands
from nmsim.mask import Mask

__all__ = ["Sampled", "sample_cycles"]


@dataclass(frozen=True, eq=False)
class Sampled:
    """An estimate of the cycles of all folds.

    Parameters
    ----------
    total
        Estimated cycles of all folds together; exact if every fold was run.
    half_width
        Half the confidence interval of the total, cycles; 0 if every fold was run, or if all that
        were run took the same.
    confidence
        Share of samples whose interval holds the truth.
    sampled
        Folds that were run.
    folds
        Cycles of every fold, copies x row tiles x column tiles: those of the folds that were run,
        and for the others those same again, each as often as the others of its stratum, so that
        whatever waits for the longer of two things is estimated too.
    """

    total: float
    half_width: float
    confidence: float
    sampled: int
    folds: NDArray[np.int64]

    @classmethod
    def exact(cls, folds: NDArray[np.int64]) -> Self:
        """An estimate that is exact, because every fold was run."""
        return cls(float(folds.sum()), 0.0, 1.0, folds.size, folds)

    @property
    def interval(self) -> tuple[float, float]:
        """Both ends of the total's confidence interval, cycles."""
        return self.total - self.half_width, self.total + self.half_width


def _allocate(sizes: NDArray[np.int64], sample: int) -> NDArray[np.int64]:
    """Folds to draw from every stratum: in proportion, two at least, never more than there are."""
    share = np.floor(sample * sizes / sizes.sum()).astype(np.int64)
    drawn: NDArray[np.int64] = np.minimum(np.maximum(share, 2), sizes)
    return drawn


def sample_cycles(
    a: Mask,
    b: Mask,
    copies: int,
    fabric: Fabric,
    *,
    sample: int,
    seed: int,
    confidence: float = 0.95,
    least: NDArray[np.float64] | None = None,
) -> Sampled:
    """Estimate the cycles of all folds from a seeded sample of about ``sample`` of them.

    Parameters
    ----------
    a, b, copies, fabric
        As for ``fold_cycles``.
    sample
        Folds to run; up to eight where strata are small, all if there are no more.
    seed
        Of the draw.
    least
        What every fold takes at least, for other reasons than its products, copies x row tiles x
        column tiles: total and interval are of the longer of both.
    confidence
        Of the interval, 0 to 1. Folds of one row tile share its mask; drawn independently of it
        they do not bias total or interval.

    Returns
    -------
    Sampled

    Raises
    ------
    ShapeError
        as ``fold_cycles``, or if fewer than two folds are asked for, or the confidence is none.
    """
    check_operands(a, b, copies, fabric.group, fabric.lookahead)
    if sample < 2 or not 0 < confidence < 1:
        raise ShapeError(
            f"sample of {sample} folds, confidence {confidence}: expected two folds or more, "
            f"and a confidence between 0 and 1"
        )
    tiles_a, tiles_b, shape = fold_spans(a, b, copies, fabric.rows, fabric.cols)
    height, width = (np.diff(tiles, axis=1).ravel() for tiles in (tiles_a, tiles_b))
    stratum = 2 * (height < fabric.rows) + (width < fabric.cols)
    members = [np.flatnonzero(stratum == s) for s in np.unique(stratum)]
    sizes = np.array([len(m) for m in members], np.int64)
    drawn = _allocate(sizes, sample) if sample < len(stratum) else sizes
    rng = np.random.default_rng(seed)
    chosen = [np.sort(rng.choice(m, n, replace=False)) for m, n in zip(members, drawn, strict=True)]
    picked = np.concatenate(chosen)
    cycles = run_folds(a, b, (tiles_a[picked], tiles_b[picked]), fabric)
    parts = np.split(cycles, np.cumsum(drawn)[:-1])
    floor = np.zeros(len(stratum)) if least is None else least.ravel()
    taken = np.split(np.maximum(cycles, floor[picked]), np.cumsum(drawn)[:-1])
    total = float(sum(size * part.mean() for size, part in zip(sizes, taken, strict=True)))
    half = _half_width(taken, sizes, confidence)
    every = np.zeros(len(stratum), np.int64)
    for folds, run, part in zip(members, chosen, parts, strict=True):
        rest = np.setdiff1d(folds, run, assume_unique=True)
        every[run] = part
        every[rest] = _spread(part, len(rest), rng)
    return Sampled(total, half, confidence, len(picked), every.reshape(shape))


def _spread(values: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """So many draws of values, as evenly as can be: in order of size, at equal distances."""
    place = (np.arange(count) + 0.5) * len(values) / max(1, count)
    drawn: NDArray[np.int64] = rng.permutation(np.sort(values)[place.astype(np.int64)])
    return drawn


def _half_width(parts: list[NDArray[Any]], sizes: NDArray[np.int64], confidence: float) -> float:
    """Half the interval of a stratified total, with the finite population correction."""
    variances, freedoms = [], []
    for part, size in zip(parts, sizes, strict=True):
        if len(part) < size:
            variances.append(size * (size - len(part)) / len(part) * part.var(ddof=1))
            freedoms.append(len(part) - 1)
    variance = np.array(variances, np.float64)
    if variance.sum() == 0:
        return 0.0
    freedom = variance.sum() ** 2 / (variance**2 / np.array(freedoms)).sum()
    # SciPy loads its special functions here, at their first use: no other run waits for them.
    quantile = scipy.special.stdtrit(freedom, (1 + confidence) / 2)
    return float(quantile * np.sqrt(variance.sum()))
