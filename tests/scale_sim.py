"""SCALE-Sim 3.0.0's memory, in our words: what its figures mean, and where they stem from.

A fold asks, cycle by cycle and lane by lane, for elements of A (its ifmap) and B (its filter), and
writes elements of C. Two memories look on: a set that is emptied when full (its CALC mode), and
buffers that prefetch halves in an order of their own (its USER mode).
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
from numpy.lib.stride_tricks import as_strided

GOLDEN = Path(__file__).parent / "golden"
HALF = 32768  # elements in half of a buffer of 64 kB
CALC_CAPACITY = 50 * (2 * HALF // 100)  # its set holds 50 of 100 parts, rounded down: 32750
PART = -(-2 * HALF // 100)  # its prefetching buffers hold 50 parts of 656
PARTS = 50


def published(name: str) -> list[dict]:
    """The rows of a golden table, numbers as numbers."""
    with (GOLDEN / f"{name}.csv").open() as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [{key: _number(text) for key, text in row.items()} for row in rows]


def _number(text):
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def extents(row: dict, k: int | None = None) -> tuple[int, int, int]:
    """Sr, Sc and T: what lies along rows, columns and time."""
    m, n, k = row["m"], row["n"], k or row["k"]
    return {"ws": (k, n, m), "os": (m, n, k), "is": (k, m, n)}[row["dataflow"]]


def lines(row: dict, k: int | None = None) -> int:
    """Cycles of one fold."""
    preload = 0 if row["dataflow"] == "os" else row["rows"]
    return extents(row, k)[2] + row["rows"] + row["cols"] - 2 + preload


def folds(row: dict, k: int | None = None) -> tuple[int, int]:
    """Folds along the rows and along the columns."""
    sr, sc, _ = extents(row, k)
    return -(-sr // row["rows"]), -(-sc // row["cols"])


def addresses(row: dict) -> tuple[np.ndarray, np.ndarray]:
    """Addresses of A, M x K, and of B, N x K.

    A convolution's A are its pixels, channel fastest; -1 where a window reaches over the edge, for
    SCALE-Sim rounds the number of windows up.
    """
    a = np.arange(row["m"] * row["k"]).reshape(row["m"], row["k"])
    b = np.arange(row["n"] * row["k"]).reshape(row["n"], row["k"])
    if row["side"] == "":
        return a, b
    window, channels = row["window"], row["k"] // row["window"] ** 2
    across = -(-(row["side"] - window + row["stride"]) // row["stride"])
    assert across**2 == row["m"]
    y, x, dy, dx, c = np.ogrid[:across, :across, :window, :window, :channels]
    y, x = y * row["stride"] + dy, x * row["stride"] + dx
    pixels = np.where((y < row["side"]) & (x < row["side"]), y * row["side"] + x, -1)
    a = np.where(pixels < 0, -1, pixels * channels + c)
    return a.reshape(row["m"], row["k"]), b


def kept(row: dict) -> np.ndarray:
    """Which of K its layer-wise sparsity keeps: the first N of every M."""
    keep, group = map(int, row["pattern"].split(":"))
    return np.arange(row["k"]) % group < keep


def _skewed(matrix: np.ndarray, start: int, length: int) -> np.ndarray:
    """T x lanes as length x lanes: lane by lane a cycle later, from ``start`` on."""
    out = np.full((length, matrix.shape[1]), -1, np.int32)
    row, lane = out.strides
    as_strided(out[start:], matrix.shape, (row, row + lane))[...] = matrix
    return out


def _preloaded(matrix: np.ndarray, rows: int, length: int) -> np.ndarray:
    """Stationary elements, the last row first, as they are shifted into R rows."""
    out = np.full((length, matrix.shape[1]), -1, np.int32)
    out[rows - len(matrix) : rows] = matrix[::-1]
    return out


def _written(rows: int, cols: int, start: int, length: int) -> np.ndarray:
    """Words that leave in each cycle: rows x cols of them, skewed."""
    cycle = np.arange(length) - start
    growing, shrinking = cycle + 1, rows + cols - 1 - cycle
    return np.clip(np.minimum(growing, shrinking), 0, min(rows, cols))


def demands(row: dict, a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """What each fold asks for: addresses of A and of B, cycle x lane, and writes of C per cycle."""
    r, c, dataflow = row["rows"], row["cols"], row["dataflow"]
    length = lines(row, a.shape[1])
    down, across = folds(row, a.shape[1])
    for column in range(across):
        cols = slice(column * c, (column + 1) * c)
        for fold in range(down):
            part = slice(fold * r, (fold + 1) * r)
            if dataflow == "ws":
                reads = _skewed(a[:, part], r, length), _preloaded(b[cols, part].T, r, length)
                outputs = len(a), len(b[cols]), 2 * r - 1
            elif dataflow == "is":
                reads = _preloaded(a[cols, part].T, r, length), _skewed(b[:, part], r, length)
                outputs = len(b), len(a[cols]), 2 * r - 1
            else:
                reads = _skewed(a[part].T, 0, length), _skewed(b[cols].T, 0, length)
                rows = len(a[part])
                outputs = rows, len(b[cols]), a.shape[1] - 1 + r - rows
            yield *reads, _written(*outputs, length)


@numba.njit
def _fill(asked, seen, state):
    """``state``: times emptied, elements held, elements read."""
    for cycle in range(asked.shape[0]):
        for lane in range(asked.shape[1]):
            address = asked[cycle, lane]
            if address >= 0 and seen[address] != state[0]:
                seen[address] = state[0]
                state[1] += 1
                state[2] += 1
                if state[1] == CALC_CAPACITY:
                    state[0] += 1
                    state[1] = 0


def calc_reads(row: dict, a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """DRAM reads of A and of B in its CALC mode."""
    seen = [np.full(x.max() + 1, -1) for x in (a, b)]
    states = np.zeros((2, 3), np.int64)
    for *asked, _ in demands(row, a, b):
        for operand in range(2):
            _fill(asked[operand], seen[operand], states[operand])
    return int(states[0, 2]), int(states[1, 2])


def _fetch_order(row: dict, position: str, matrix: np.ndarray) -> np.ndarray:
    """Addresses in the order of its prefetches, -1 where a lane is idle.

    Tiles stand below each other. A stationary operand is fetched row by row; one that streams along
    diagonals, as if each tile streamed right behind the one before it.
    """
    stationary = (row["dataflow"], position) in {("ws", "b"), ("is", "a")}
    k_on_lanes = not stationary and row["dataflow"] != "os"
    lanes = row["rows"] if k_on_lanes or (row["dataflow"], position) == ("os", "a") else row["cols"]
    matrix = matrix if k_on_lanes else matrix.T
    missing = -matrix.shape[1] % lanes
    matrix = np.pad(matrix, ((0, 0), (0, missing)), constant_values=-1)
    tiles = np.concatenate(np.split(matrix, matrix.shape[1] // lanes, axis=1))
    if stationary:
        return tiles.ravel()
    cycle, lane = np.indices(tiles.shape)
    return tiles.ravel()[np.lexsort((lane.ravel(), (cycle + lane).ravel()))]


def _orders_asked(row: dict, asked: list) -> list[np.ndarray]:
    """Addresses of A and of B in the order in which the folds ask, to where the order repeats."""
    down, across = folds(row)
    every = {"ws": (down, down * across), "is": (down * across, down), "os": (down, down * across)}
    return [
        np.concatenate([fold[i].ravel() for fold in asked[:period]])
        for i, period in enumerate(every[row["dataflow"]])
    ]


def _parts(order: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Of each address the parts of the fetch order that it is in, and the number of parts."""
    order = order[order >= 0]
    by_address = np.argsort(order, kind="stable")
    first = np.searchsorted(order[by_address], np.arange(order.max() + 2))
    return first, by_address // PART, len(order) // PART + 1


@numba.njit
def _held(address, first, parts, start, stop):
    for i in range(first[address], first[address + 1]):
        part = parts[i]
        if (start <= part < stop) if start < stop else (part >= start or part < stop):
            return True
    return False


@numba.njit
def _read(asked, now, first, parts, count, cycles, state, times):
    """Stall of one cycle's reads. ``state``: first and last part held, when fetched, fetches."""
    active = min(count, PARTS)
    ahead = min(count - active, PARTS)
    offset = 1
    for address in asked:
        while address >= 0 and not _held(address, first, parts, state[0], state[1]):
            state[0] = (state[0] + ahead) % count
            state[1] = (state[0] + active) % count
            state[2] += cycles + 1
            state[3] += 1
            late = state[2] - (now + offset)
            if times == 2:
                offset += late + max(late, 0)
            else:
                offset += max(late, 0)
    return offset - 1


@numba.njit
def _write(elements, now, words, filled, state):
    """Stall of one cycle's writes.

    ``state``: free space, end of the drain, lines, words in the open line, lines drained.
    """
    start = now
    for _ in range(elements):
        state[0] -= 1
        state[3] += 1
        if state[3] == words:
            filled[state[2]] = words
            state[2] += 1
            state[3] = 0
        if now < state[1]:
            if state[0] <= 0:
                now = state[1]
        elif state[0] < HALF:
            if state[3] > 0:
                filled[state[2]] = state[3]
                state[2] += 1
                state[3] = 0
            stop = min(state[4] + -(-HALF // words), state[2])
            state[0] += (stop - state[4] - 1) * words + filled[stop - 1]
            state[1] = now + stop - state[4] - 1
            state[4] = stop
    return now - start


@numba.njit
def _serve(a, b, c, memory_a, memory_b, states, clock, fetch_a, fetch_b, words, filled, times):
    """One fold; ``clock``: cycles and stalls so far."""
    for cycle in range(len(c)):
        now = clock[0] + clock[1]
        stall = _read(
            a[cycle], now, memory_a[0], memory_a[1], memory_a[2], fetch_a, states[0], times
        )
        stall = max(
            stall,
            _read(b[cycle], now, memory_b[0], memory_b[1], memory_b[2], fetch_b, states[1], times),
        )
        stall = max(stall, _write(c[cycle], now, words, filled, states[2]))
        clock[0] += 1
        clock[1] += stall


class Repair(NamedTuple):
    """What is changed about its USER mode."""

    times: int = 2
    """How often the time that a read waits is added."""
    as_asked: bool = False
    """Prefetch in the order in which folds ask, instead of its own."""
    sums_stay: bool = False
    """Only the last fold along K writes, instead of all."""


def user_mode(row: dict, *repairs: Repair) -> list[tuple[int, int, int]]:
    """Stall cycles and DRAM reads of A and of B in its USER mode, for each set of repairs.

    A read that misses prefetches half a buffer, and the next half, until it hits.
    """
    a, b = addresses(row)
    asked = list(demands(row, a, b))
    own = [_fetch_order(row, "a", a), _fetch_order(row, "b", b)]
    natural = _orders_asked(row, asked) if any(repair.as_asked for repair in repairs) else own
    return [_user_mode(row, asked, natural if r.as_asked else own, r) for r in repairs]


def _user_mode(row: dict, asked: list, orders: list, repair: Repair) -> tuple[int, int, int]:
    memories = [_parts(order) for order in orders]
    widths = row["a_words"], row["b_words"]
    fetches = [-(-HALF // words) for words in widths]
    states = np.zeros((3, 5), np.int64)
    for state, memory in zip(states, memories, strict=False):
        state[1:4] = min(memory[2], PARTS), -1, 1
    states[2, 0] = 2 * HALF
    clock = np.zeros(2, np.int64)
    filled = np.zeros(row["m"] * row["n"] * max(folds(row)) + 1, np.int64)
    down = folds(row)[0] if row["dataflow"] != "os" else 1
    for number, (reads_a, reads_b, written) in enumerate(asked, start=1):
        c = written * 0 if repair.sums_stay and number % down else written
        words, times = row["write_words"], repair.times
        _serve(reads_a, reads_b, c, *memories, states, clock, *fetches, words, filled, times)
    first = [min(HALF, len(order)) for order in orders]
    reads = [
        (-(-first[i] // words) + (int(states[i, 3]) - 1) * fetches[i]) * words
        for i, words in enumerate(widths)
    ]
    return int(clock[1]), reads[0], reads[1]
