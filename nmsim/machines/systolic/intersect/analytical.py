"""Expected cycles of an intersecting array, from how many elements its rows keep in every group.

The twin of ``folds``: it sees counts of kept elements per row and group, never positions. If
positions are independent and uniform, two rows that keep i and j of a group of L elements share a
hypergeometric number of survivors, i.j / L on average. Averaged over all rows, columns and groups
that is the law p of the survivors of one (PE, group) pair. Two PEs of a fold are pairwise
uncorrelated, and are taken as independent, n = R.C of them, or R (C) where the other operand is
dense and all PEs of a row (column) do the same. So are windows, the shortest runs of whole groups
that are whole groups of both patterns too: within one, a pattern longer than the machine's group
makes up for an empty group in the next.

M(l), the largest sum of l groups over n PEs, has mean sum over x of 1 - P(S_l <= x)^n, with S_l the
l-fold convolution of p, by windows and what is left. From it, for G groups:

* d = infinity: E M(G); where rows differ in what they keep, the largest of normal variables, each
  PE with the mean and variance of its own counts;
* d = 0: the sum over groups of the expected fullest PE, from the fold's own counts;
* else the middle of two bounds. *Below*: unrolled, F(G) is a maximum over ways to cut 1 .. G into
  segments, d groups apart, of the sum of one PE per segment; segments of equal length l give
  E M(l) (G + d) / (l + d). *Above*: by Jensen's inequality, for every theta > 0, theta F(G) is at
  most the logarithm of the sum over all such paths of E exp(theta S): with k segments and
  T = G - (k - 1) d groups there are C(T - 1, k - 1) n^k paths, and each has log-mean
  T log E exp(theta x). The least over theta of the largest over k is taken, plus log(G) / theta
  for the sum over k. And no slower than lock-step in steps of l = d + 1 groups, or of as many
  windows as that holds: E M(l) G / l.

Nothing here is fitted. Bounds and middle are returned; the tests state the error.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.machines.systolic.intersect.folds import Fabric, fold_spans
from nmsim.machines.systolic.intersect.survivors import (
    MAX_LANE_GROUP,
    Counts,
    GroupCounts,
    check_operands,
    group_counts,
    hypergeometric,
    survivor_laws,
)
from nmsim.mask import Mask

__all__ = ["Expected", "expected_fold_cycles"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Expected:
    """Expected cycles of folds, copies x row tiles x column tiles, between two bounds.

    The bounds hold as far as PEs are independent; where ``low == high`` the form is direct.
    On 128 x 128 folds the middle is within 5% for patterns whose group is the machine's or twice
    it, and within 8% where either is longer (8:32 on groups of 4, 1:2 on groups of 64).
    Where rows differ widely (each row's density drawn from 0 to 1) it is up to 10% low at small d.
    """

    low: Floats
    high: Floats

    @property
    def cycles(self) -> Floats:
        """Expected cycles of every fold: the middle of the two bounds."""
        middle: Floats = (self.low + self.high) / 2
        return middle


def _largest_sum(laws: list[tuple[Floats, int]], pes: Floats) -> Floats:
    """E of the largest sum over PEs, so many groups of each law; exact if all are independent."""
    reach = sum((len(law) - 1) * groups for law, groups in laws) + 1
    size = 1 << (reach - 1).bit_length()
    transform = np.ones(size // 2 + 1, np.complex128)
    for law, groups in laws:
        transform *= np.fft.rfft(law, size) ** groups
    total = np.fft.irfft(transform, size)[:reach]
    # From the upper end, where the tail is small: one minus a sum would lose it.
    above = np.cumsum(np.maximum(total, 0)[::-1])[::-1][1:]
    above = np.where(above < 1e-14, 0.0, np.minimum(above, 1 - 1e-15))  # the transform's rounding
    some: Floats = -np.expm1(pes[:, None] * np.log1p(-above)[None, :])
    largest: Floats = some.sum(axis=1)
    return largest


def _lengths(groups: int) -> list[int]:
    groups = max(1, groups)  # K may be shorter than a group
    return sorted({*np.unique(np.geomspace(1, groups, 40).round().astype(int)).tolist()})


@dataclass(frozen=True)
class _Laws:
    """P(x survivors) in the first 1, 2, ... groups of a window; the last is the whole window."""

    partial: tuple[Floats, ...]

    @property
    def length(self) -> int:
        """Groups that a window holds."""
        return len(self.partial)

    def of(self, groups: int) -> list[tuple[Floats, int]]:
        """The independent parts of a run of groups."""
        windows, rest = divmod(groups, self.length)
        return [(self.partial[-1], windows), *([(self.partial[rest - 1], 1)] if rest else [])]

    def log_means(self, groups: Floats, theta: float) -> Floats:
        """Logarithm of E exp(theta x) of runs of groups; between whole ones, interpolated."""
        logs = np.array([0.0, *(_log_mean(law, theta) for law in self.partial)])
        windows, rest = np.divmod(groups, self.length)
        found: Floats = windows * logs[-1] + np.interp(rest, np.arange(len(logs)), logs)
        return found


def _unit(a: Mask, b: Mask, group: int) -> int:
    """The shortest run of K that is whole groups of both patterns; the machine's without one."""
    patterns = [m.pattern.group for m in (a, b) if m.fits and not m.is_dense]
    return math.lcm(*patterns) if patterns else group


def _laws(a: Mask, b: Mask, copies: int, group: int) -> _Laws:
    """Laws of the window that both patterns' groups, and the machine's, fill whole."""
    unit = _unit(a, b, group)
    window = math.lcm(group, unit)
    if group % unit == 0:  # so many independent units in a group
        law, _ = survivor_laws(a, b, copies, unit)
        return _Laws((functools.reduce(np.convolve, [law] * (group // unit)),))
    if window > min(MAX_LANE_GROUP, a.k):  # longer than a word: groups are taken as independent
        return _Laws((survivor_laws(a, b, copies, group)[0],))
    one, whole = (survivor_laws(a, b, copies, size)[0] for size in (group, window))
    # Given the survivors of a window, those of a part of it are drawn without replacement.
    drawn = hypergeometric(window)
    parts = [whole @ drawn[:, length, :] for length in range(2 * group, window, group)]
    return _Laws((one, *parts, whole))


def _below(laws: _Laws, groups: float, ahead: int, pes: Floats) -> Floats:
    bounds: Floats = np.array(
        [
            _largest_sum(laws.of(length), pes) * ((groups + ahead) / (length + ahead))
            for length in _lengths(int(groups))
        ]
    )
    return np.asarray(bounds.max(axis=0))


def _in_steps(laws: _Laws, groups: float, ahead: int, pes: Floats) -> Floats:
    """Lock-step in steps that the look-ahead holds."""
    lengths = {ahead + 1, max(1, (ahead + 1) // laws.length * laws.length)}
    steps = [_largest_sum(laws.of(length), pes) * groups / length for length in lengths]
    return np.asarray(np.min(steps, axis=0))


def _log_mean(law: Floats, theta: float) -> float:
    """Logarithm of E exp(theta x); from the highest x possible down, which never underflows."""
    law = np.trim_zeros(law, "b")
    values = np.arange(len(law))
    return float(np.log(law @ np.exp(theta * (values - values[-1]))) + theta * values[-1])


def _above(laws: _Laws, groups: float, ahead: int, pes: int) -> float:
    segments = np.arange(1, int((groups - 1) / (ahead + 1)) + 2)
    spent = groups - (segments - 1) * ahead
    ways = np.array(
        [
            math.lgamma(t) - math.lgamma(k) - math.lgamma(t - k + 1)
            for t, k in zip(spent.tolist(), segments.tolist(), strict=True)
        ]
    )
    choices = ways + segments * math.log(pes)
    best = math.inf
    for theta in np.geomspace(1e-3, 60, 160):
        means = segments * laws.log_means(spent / segments, theta)
        bound = (np.max(means + choices) + math.log(len(segments))) / theta
        best = min(best, float(bound))
    return best


@compiled
def _largest_normal(means: Floats, variances: Floats, alike: int) -> float:
    """Expected largest of independent normal PE sums, ``alike`` of each, integrated numerically.

    PEs are gathered in 64 bins of their means; the integral of 1 - P(largest <= x) starts where
    that is 1, 8 standard deviations below the highest mean. ``largest`` is that start and the
    integral as far as ``x``.
    """
    lowest, highest = means.min(), means.max()
    deviation = math.sqrt(variances.max())
    if deviation == 0:
        return float(highest)
    size, mean, variance = np.zeros(64), np.zeros(64), np.zeros(64)
    for i in range(len(means)):
        place = min(63, int(64 * (means[i] - lowest) / max(highest - lowest, 1e-9)))
        size[place] += 1
        mean[place] += means[i]
        variance[place] += variances[i]
    step = 16 * deviation / 400
    largest: float = highest - 8 * deviation
    for point in range(400):
        x = highest + (point - 199.5) * step
        log = 0.0
        for i in range(64):
            if size[i] > 0:
                spread = math.sqrt(2 * max(variance[i] / size[i], 1e-12))
                tail = 0.5 * math.erfc((x - mean[i] / size[i]) / spread)
                log += alike * size[i] * math.log1p(-min(tail, 1 - 1e-15))
        largest -= step * math.expm1(log)
    return largest


def _perfect(counts: list[GroupCounts], tiles: tuple[Counts, Counts], length: Floats) -> Floats:
    """E of the largest PE sum of every fold, each PE with the mean and variance of its counts."""
    x, y = (one.kept.astype(np.float64) for one in counts)
    left, right = x * (length - x), y * (length - y)
    scale = length**2 * np.maximum(length - 1, 1)
    out = np.empty(len(tiles[0]))
    one, other = (side.uniform for side in counts)
    for i, ((r0, r1), (c0, c1)) in enumerate(zip(*tiles, strict=True)):
        rows = slice(r0, r0 + 1 if one else r1)
        cols = slice(c0, c0 + 1 if other else c1)
        alike = (r1 - r0 if one else 1) * (c1 - c0 if other else 1)
        means = (x[rows] / length) @ y[cols].T
        variances = (left[rows] / scale) @ right[cols].T
        out[i] = _largest_normal(means.ravel(), variances.ravel(), alike)
    return out


@compiled
def _lockstep(x: Counts, y: Counts, folds: Counts, logs: Floats, short: Floats) -> Floats:
    """Sum over groups of the expected fullest PE, from how many rows keep i and columns j.

    ``x`` and ``y`` are tallies, tiles x groups x (L + 1), ``folds`` a tile of each. ``logs`` and
    ``short`` hold log P(survivors <= u) by i, j, u; the second for the last group. A group whose
    tallies are those of the group before has its value, which ``fullest`` still is.
    """
    out = np.zeros(len(folds))
    groups = x.shape[1]
    law = np.zeros(logs.shape[2])
    for fold in range(len(folds)):
        rows, columns = x[folds[fold, 0]], y[folds[fold, 1]]
        fullest = 0.0
        for g in range(groups):
            last = g == groups - 1
            if g == 0 or last or not (_same(rows, g) and _same(columns, g)):
                fullest = _fullest(rows[g], columns[g], short if last else logs, law)
            out[fold] += fullest
    return out


@compiled
def _same(tallies: Counts, group: int) -> bool:
    """Whether a group's tally is that of the group before."""
    differ = 0
    for i in range(tallies.shape[1]):
        differ += tallies[group, i] != tallies[group - 1, i]
    return bool(differ == 0)


@compiled
def _fullest(rows: Counts, columns: Counts, table: Floats, law: Floats) -> float:
    """Expected survivors of the fullest PE: the sum over u of 1 - P(all PEs have u at most).

    ``law`` is room for the logarithms of these probabilities.
    """
    top = table.shape[0]
    law[:] = 0.0
    for i in range(top):
        for j in range(top):
            pes = rows[i] * columns[j]
            if pes > 0:
                for u in range(table.shape[2]):
                    law[u] += pes * table[i, j, u]
    fullest = 0.0
    for u in range(table.shape[2]):
        if law[u] < 0:
            fullest -= math.expm1(law[u])
    return fullest


def _in_lockstep(
    counts: list[GroupCounts], tiles: tuple[Counts, Counts], logs: Floats, short: Floats
) -> Floats:
    """``_lockstep`` of the folds that tiles of rows and of columns make."""
    tallies, which, top = [], [], len(logs) - 1
    for side, spans in zip(counts, tiles, strict=True):
        distinct, index = np.unique(spans, axis=0, return_inverse=True)
        tallies.append(
            np.stack(
                [side.tally(first, last, slice(None), top) for first, last in distinct.tolist()]
            )
        )
        which.append(index.reshape(-1))
    return np.asarray(_lockstep(tallies[0], tallies[1], np.stack(which, axis=1), logs, short))


def _log_at_most(length: int) -> Floats:
    """Logarithm of P(at most u survivors | i and j kept of ``length``); -700 where impossible."""
    at_most = np.cumsum(hypergeometric(length), axis=2)
    at_most[at_most > 1 - 1e-13] = 1.0  # what cumulating rounds
    logs: Floats = np.log(np.maximum(at_most, math.exp(-700)))
    return logs


def expected_fold_cycles(a: Mask, b: Mask, copies: int, fabric: Fabric) -> Expected:
    """Cycles that folds of an intersecting array are expected to spend on surviving products.

    Parameters
    ----------
    a, b, copies, fabric
        As for ``folds.fold_cycles``.

    Returns
    -------
    Expected
        copies x row tiles x column tiles; where all rows keep alike, folds of one size
        are expected to take the same.

    Raises
    ------
    ShapeError
        as ``folds.fold_cycles``.
    """
    rows, cols, group, lookahead = fabric
    check_operands(a, b, copies, group, lookahead)
    tiles_a, tiles_b, shape = fold_spans(a, b, copies, rows, cols)
    spans = [np.diff(tiles, axis=1).ravel() for tiles in (tiles_a, tiles_b)]
    alike = [
        np.ones_like(span) if m.is_dense else span for m, span in zip((a, b), spans, strict=True)
    ]
    area = alike[0] * alike[1]
    sizes, index = np.unique(area, return_inverse=True)
    groups = -(-a.k // group)
    counts = [group_counts(mask, group) for mask in (a, b)]
    if lookahead == 0 and group <= _unit(a, b, group):
        rest = a.k - (groups - 1) * group
        logs, short = _log_at_most(group), _log_at_most(rest)
        low = _in_lockstep(counts, (tiles_a, tiles_b), logs, short)
        return Expected(low.reshape(shape), low.reshape(shape))
    laws = _laws(a, b, copies, group)
    pes = sizes.astype(np.float64)
    if all(side.uniform for side in counts):  # every PE sum has one law
        _, last = survivor_laws(a, b, copies, group)
        perfect = _largest_sum([*laws.of(a.k // group), (last, 1)], pes)[index]
    else:
        length = np.minimum(group, a.k - group * np.arange(groups)).astype(np.float64)
        perfect = _perfect(counts, (tiles_a, tiles_b), length)
    if lookahead is None or lookahead >= groups:
        return Expected(perfect.reshape(shape), perfect.reshape(shape))
    low = np.maximum(_below(laws, a.k / group, lookahead, pes)[index], perfect)
    paths = np.array([_above(laws, a.k / group, lookahead, int(n)) for n in sizes])
    high = np.minimum(paths, _in_steps(laws, a.k / group, lookahead, pes))[index]
    return Expected(low.reshape(shape), np.maximum(high, low).reshape(shape))
