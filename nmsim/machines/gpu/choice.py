"""Which kernel a library launches: what it considers, and the first of that by a rule of thumb.

A library has reasons to pass kernels over that no clock shows (``considered``). What is left it
ranks by a rule that is coarser than what happens on the chip: whole waves of tiles, every byte from
DRAM once, nothing in L2. Each fidelity takes another kernel of those considered only if that is
faster by its own clock, and by more than ``MARGIN``.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled, compiled_uncounted
from nmsim.machines.gpu.call import Resolved
from nmsim.machines.gpu.chip import (
    CTAS,
    STAGES,
    STREAM_K,
    TK,
    TM,
    TN,
    WM,
    WN,
    Chip,
    Form,
    Size,
    sharing,
    takes,
)

__all__ = ["MARGIN", "Rules", "at_least", "choose", "considered", "first_of", "rules_of"]

SHARED = 128.0
"""Bytes per clock of shared memory by which the rule ranks: those of every GPU that the kernel sets
are for. A rule that followed another machine's would turn to kernels that gain less by it."""

MARGIN = 1.02
"""How many times a rival's clocks a kernel's must be for the rival to take its place.

So much, at most, may more of a machine cost: the fastest of all that is considered never gets
slower, and what runs is never further from it."""


class Rules(NamedTuple):
    """What a kernel set says of splitting K and of small tiles."""

    tiles_per_sm: float
    slices: float
    large_first: bool
    shared: float = np.inf
    """Bytes per clock of shared memory by which kernels are ranked."""


def rules_of(resolved: Resolved) -> Rules:
    """The rules of a call's kernel set."""
    kernels = resolved.kernels
    return Rules(
        kernels.split_tiles_per_sm,
        float(kernels.split_slices),
        kernels.prefers_large_tiles,
        SHARED,
    )


@compiled_uncounted
def _slice_clocks(row: NDArray[np.float64], chip: Chip, form: Form, shared: float) -> float:
    """A tile's slice of K, alone on an SM: multiplying, or moving through shared memory."""
    area = row[TM] * row[TN]
    moved = area * (form.a / row[WN] + form.b / row[WM]) + row[TM] * form.a + row[TN] * form.b
    clocks: float = row[TK] * max(area / chip.macs, moved / shared)
    return clocks


@compiled
def considered(
    chip: Chip, table: NDArray[np.float64], splits: NDArray[np.float64], rules: Rules, size: Size
) -> NDArray[np.float64]:
    """What a library considers for a GEMM: rows of the kernel table, each with parts of K.

    Those that are for GEMMs of this size; a set has one for every size. A library that prefers
    large tiles has a smaller one, where several cover C, only while all its threadblocks run at
    once. Splits ascend, so that where one is too many, all later ones are. With more
    multiprocessors there is never less to choose from.

    Returns
    -------
    float64 array, kernels and splits x 2
        Rows of the table ascend, and parts within a row.
    """
    m, n, k, copies = size
    largest = 0.0
    for row in table:
        if takes(row, m, n, k):
            largest = max(largest, row[TM] * row[TN])
    found = np.empty((len(table) * len(splits), 2))
    count = 0
    for i in range(len(table)):
        row = table[i]
        if not takes(row, m, n, k):
            continue
        grid = np.ceil(m / row[TM]) * np.ceil(n / row[TN]) * copies
        most = rules.tiles_per_sm * chip.sms
        several = row[TM] < m or row[TN] < n
        small = rules.large_first and several and row[TM] * row[TN] < largest
        for split in splits:
            tiles = grid * split
            if small and tiles > chip.sms * row[CTAS]:
                break
            if split > 1 and (split * rules.slices * row[TK] > k or tiles > most):
                break
            found[count, 0], found[count, 1] = i, split
            count += 1
    return found[:count]


@compiled_uncounted
def at_least(chip: Chip, form: Form, row: NDArray[np.float64], split: float, size: Size) -> float:
    """Clocks below which neither fidelity has a kernel: what it multiplies, or moves, and launches.

    The fullest multiprocessor's products, or every byte from and to cold memory once. A kernel that
    may deal out slices of K has all multiprocessors multiply alike, and adds up no parts.
    """
    m, n, k, copies = size
    tiles = np.ceil(m / row[TM]) * np.ceil(n / row[TN]) * copies * split
    slots = chip.sms * row[CTAS]
    full = np.floor(tiles / slots)
    deep = full * row[CTAS] + np.ceil((tiles - full * slots) / chip.sms)
    multiplied = deep * row[TM] * row[TN] * k / split / chip.macs
    if row[STREAM_K]:
        multiplied = tiles / chip.sms * row[TM] * row[TN] * k / split / chip.macs
    read = copies * k * (m * form.a * form.a_once + n * form.b * form.b_once)
    written = max(0.0, copies * m * n * form.out - chip.absorbed)
    least: float = chip.launch + max(multiplied, read / chip.dram + written / chip.write)
    return least + chip.reduce if split > 1 and not row[STREAM_K] else least


@compiled
def choose(
    chip: Chip,
    form: Form,
    table: NDArray[np.float64],
    splits: NDArray[np.float64],
    rules: Rules,
    size: Size,
) -> tuple[int, float, float]:
    """Row of the kernel table, parts that K is split into, and clocks by the rule of thumb."""
    offered = considered(chip, table, splits, rules, size)
    return first_of(chip, form, table, offered, rules, size)


@compiled
def first_of(
    chip: Chip,
    form: Form,
    table: NDArray[np.float64],
    offered: NDArray[np.float64],
    rules: Rules,
    size: Size,
) -> tuple[int, float, float]:
    """What the rule of thumb puts first of what is ``considered``, and its clocks.

    ``least`` is the time of the best kernel and split so far, of equals the first.
    """
    m, n, k, copies = size
    once = (m * form.a * form.a_once + n * form.b * form.b_once) * k
    dram = copies * (once / chip.dram + m * n * form.out / chip.write)
    chosen, parts, least = 0, 1.0, np.inf
    for one in range(len(offered)):
        row, split = table[int(offered[one, 0])], offered[one, 1]
        down, across = np.ceil(m / row[TM]), np.ceil(n / row[TN])
        tiles, slots = down * across * copies * split, chip.sms * row[CTAS]
        clocks = _slice_clocks(row, chip, form, rules.shared)
        rows, cols = min(row[TM], m), min(row[TN], n)
        along_a, along_b = sharing(row, down, across)
        fed = row[TK] * (rows * form.a / along_a + cols * form.b / along_b) / chip.l2
        refill = chip.load / (row[STAGES] - 1)
        deep = np.ceil(np.ceil(k / row[TK]) / split)
        stored = rows * cols * (form.out if split == 1 else 4.0) / chip.store
        deepest = min(row[CTAS], np.ceil(tiles / chip.sms - 1e-9))
        loop = max(deepest * clocks, min(tiles, slots) * fed) * deep
        loop = max(loop, deep * refill - chip.load)
        waves = np.ceil(tiles / slots - 1e-9)
        busy = waves * (loop + chip.load + chip.wave + deepest * stored)
        time = max(busy, dram) + chip.overlap * min(busy, dram)
        if split > 1:
            sums = copies * m * n * (4.0 * split + form.out)
            time += chip.reduce + sums / (chip.sms * chip.store)
        if time < least:
            chosen, parts, least = int(offered[one, 0]), split, time
    return chosen, float(parts), least
