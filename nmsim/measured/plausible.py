"""Whether a measured time can be: not under what the hardware needs, and growing with size.

Each check returns the rows that fail it and why. Such a row says nothing of a model, as its time is
of something else than the GEMM that it names: nothing is fitted to it.
"""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.measured.tables import MeasuredTable

__all__ = ["GROWTH", "SLACK", "contradicting", "faster_than_possible", "not_growing"]

SLACK = 1.2
"""So much faster than a machine's peak or bandwidth is let pass.

Its bandwidth is what reads reach, up to 15% under what is printed; timers are coarse.
"""

GROWTH = 8.0
"""So many times the time of a larger GEMM is let pass.

A library's choice of kernels makes a smaller GEMM take up to 2.3 times as long as a larger one on
A100, H100 and H200 in 16 bits, 3.9 in int8, and 7 times on an L40S, where K is long and N 32 to 256
(four runs agree).
"""

MOST = 1000
"""Rows of one routine that are held against every other."""

BINS = 512
"""Classes of N and of K that rows are looked up by before they are compared."""

_ALIKE = ("source", "kernel", "layout", "phase", "note")
"""Columns beside the routine in which only equal rows are compared."""


def faster_than_possible(
    rows: MeasuredTable, at: NDArray[np.intp], least_us: NDArray[np.float64], machine: str
) -> dict[int, str]:
    """Rows whose time is under what peak and bandwidth of their machine allow.

    Parameters
    ----------
    at
        Rows of one routine.
    least_us
        The time that each of them needs at least, microseconds.
    """
    times = rows.time_us[at]
    found = np.flatnonzero(times * SLACK < least_us)
    return {
        int(at[one]): f"time_us is {times[one]:g}, but at the peak rate and bandwidth of {machine} "
        f"it is {least_us[one]:.4g} at least"
        for one in found
    }


def not_growing(rows: MeasuredTable, at: NDArray[np.intp]) -> dict[int, str]:
    """Rows whose time contradicts that of another, which is no larger in M, N and K.

    Of two that contradict each other, the one that contradicts more rows is named; of equals, the
    larger. Where more than ``MOST`` rows are too fast, there is no telling who is the odd one out,
    and all of those are named.

    Parameters
    ----------
    at
        Rows to be compared.
    """
    alike = _alike(rows, at)
    order = np.lexsort((rows.sizes[at, 0], alike))
    at, alike = at[order], alike[order]
    starts = np.flatnonzero(np.r_[True, np.diff(alike) > 0]) if len(at) else np.zeros(0, np.intp)
    found: dict[int, str] = {}
    for own in np.split(at, starts[1:]):
        pairs = contradicting(rows.sizes[own, :3], rows.time_us[own])
        for wrong, other in own[pairs].tolist():
            found[wrong] = _why(rows, wrong, other)
    return found


def contradicting(sizes: NDArray[np.float64], times: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows to be named, each with one that it contradicts: pairs x 2.

    Parameters
    ----------
    sizes
        Rows x 3: M, N and K, sorted by M.
    """
    pairs = _suspects(sizes, _bins(sizes[:, 1]), _bins(sizes[:, 2]), times, GROWTH)
    if 0 < len(pairs) <= MOST:
        return _settled(sizes, times, pairs, GROWTH)
    return pairs


def _alike(rows: MeasuredTable, at: NDArray[np.intp]) -> NDArray[np.int64]:
    """A number for each row, equal where nothing differs but M, N, K and the time.

    Odd N and K are apart: operands that are not aligned may take 3.5 times as long.
    """
    texts = [rows.columns[name] for name in _ALIKE if name in rows.columns]
    odd = rows.sizes[:, 1:3] % 8 != 0
    numbers = (rows.routine_of, rows.sizes[:, 3], odd[:, 0], odd[:, 1])
    keys = zip(*(column.tolist() for column in numbers), *texts, strict=True)
    known: dict[tuple[object, ...], int] = {}
    return np.array([known.setdefault(key, len(known)) for key in keys], np.int64)[at]


def _bins(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The rank of each value from 1, at most ``BINS`` of them; a larger value has no smaller."""
    distinct, rank = np.unique(values, return_inverse=True)
    return 1 + rank.reshape(-1) * min(BINS, len(distinct)) // len(distinct)


def _why(rows: MeasuredTable, row: int, other: int) -> str:
    m, n, k = rows.sizes[other, :3].astype(int)
    than = "larger" if rows.time_us[other] > rows.time_us[row] else "smaller"
    return (
        f"time_us is {rows.time_us[row]:g}, but {m}x{n}x{k} (line {rows.lines[other]}), no {than}, "
        f"took {rows.time_us[other]:g}"
    )


@compiled
def _suspects(
    sizes: NDArray[np.float64],
    n_bin: NDArray[np.int64],
    k_bin: NDArray[np.int64],
    times: NDArray[np.float64],
    growth: float,
) -> NDArray[np.int64]:
    """Rows that some other contradicts by being smaller, and which.

    Rows come sorted by M. ``tree`` is a Fenwick tree over (n, k) of the row of the greatest time:
    when a row is looked up, it holds all rows of no greater M, so that what is found is the slowest
    of those in no larger bins. Where that one shares the row's bins and is no smaller, all are
    looked through.
    """
    rows, n_bins, k_bins = len(times), 0, 0
    for row in range(rows):
        n_bins, k_bins = max(n_bins, n_bin[row]), max(k_bins, k_bin[row])
    tree = np.full((n_bins + 1, k_bins + 1), -1, np.int64)
    found = np.empty((rows, 2), np.int64)
    count = put = 0
    for row in range(rows):
        while put < rows and sizes[put, 0] <= sizes[row, 0]:
            _put(tree, times, put, n_bin[put], k_bin[put])
            put += 1
        other = _slowest(tree, times, n_bin[row], k_bin[row])
        if times[other] <= growth * times[row]:
            continue
        if not _contradict(sizes, times, other, row, growth):
            other = 0
            while other < put and not _contradict(sizes, times, other, row, growth):
                other += 1
        if other < put:
            found[count, 0], found[count, 1] = row, other
            count += 1
    return found[:count]


@compiled
def _put(tree: NDArray[np.int64], times: NDArray[np.float64], row: int, n: int, k: int) -> None:
    """Put a row into a Fenwick tree of the slowest rows, at its bins."""
    i = n
    while i < tree.shape[0]:
        j = k
        while j < tree.shape[1]:
            if tree[i, j] < 0 or times[tree[i, j]] < times[row]:
                tree[i, j] = row
            j += j & -j
        i += i & -i


@compiled
def _slowest(tree: NDArray[np.int64], times: NDArray[np.float64], n: int, k: int) -> int:
    """The slowest row of a Fenwick tree in bins up to these; the tree has one."""
    slowest, i = -1, n
    while i > 0:
        j = k
        while j > 0:
            row = tree[i, j]
            if row >= 0 and (slowest < 0 or times[row] > times[slowest]):
                slowest = row
            j -= j & -j
        i -= i & -i
    return slowest


@compiled
def _settled(
    sizes: NDArray[np.float64],
    times: NDArray[np.float64],
    pairs: NDArray[np.int64],
    growth: float,
) -> NDArray[np.int64]:
    """Rows to drop until none contradicts another, each with one that it contradicts.

    ``against`` counts the contradictions that are left of every row, twice, and one more of a row
    that was too fast: so the greatest is dropped first, and of two alike the larger GEMM.
    """
    rows = len(times)
    against = np.zeros(rows, np.int64)
    gone = np.zeros(rows, np.bool_)
    for pair in range(len(pairs)):
        fast = pairs[pair, 0]
        for slow in range(rows):
            if _contradict(sizes, times, slow, fast, growth):
                against[slow] += 2
                against[fast] = (against[fast] + 2) | 1
    dropped = np.empty((rows, 2), np.int64)
    count = 0
    while True:
        worst = 0
        for row in range(rows):
            if against[row] > against[worst]:
                worst = row
        if against[worst] < 2:
            return dropped[:count]
        gone[worst] = True
        against[worst] = 0
        dropped[count, 0] = worst
        for other in range(rows):
            if not gone[other] and (
                _contradict(sizes, times, worst, other, growth)
                or _contradict(sizes, times, other, worst, growth)
            ):
                dropped[count, 1] = other
                against[other] -= 2
        count += 1


@compiled
def _contradict(
    sizes: NDArray[np.float64], times: NDArray[np.float64], slow: int, fast: int, growth: float
) -> bool:
    """Whether a row is no larger than another, not of its size, and took far longer."""
    if times[slow] <= growth * times[fast]:
        return False
    equal = True
    for axis in range(sizes.shape[1]):
        if sizes[slow, axis] > sizes[fast, axis]:
            return False
        equal = equal and sizes[slow, axis] == sizes[fast, axis]
    return not equal
