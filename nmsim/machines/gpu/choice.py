"""Which kernel a library launches: the one of least estimated time, for both fidelities.

A library ranks its kernels by a rule of thumb, coarser than what happens on the chip: whole waves
of tiles, every byte from DRAM once. Ranking by the finer models instead makes predictions worse.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.machines.gpu.call import Resolved
from nmsim.machines.gpu.chip import (
    CTAS,
    STAGES,
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

__all__ = ["Rules", "choose", "rules_of"]

SHARED = 128.0
"""Bytes per clock of shared memory by which the rule ranks: those of every GPU that the kernel sets
are for. A rule that followed another machine's would turn to kernels that gain less by it."""

LARGE = 128.0 * 128.0
"""Elements of a tile that counts as large."""


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


@compiled
def _slice_clocks(row: NDArray[np.float64], chip: Chip, form: Form, shared: float) -> float:
    """A tile's slice of K, alone on an SM: multiplying, or moving through shared memory."""
    area = row[TM] * row[TN]
    moved = area * (form.a / row[WN] + form.b / row[WM]) + row[TM] * form.a + row[TN] * form.b
    clocks: float = row[TK] * max(area / chip.macs, moved / shared)
    return clocks


@compiled
def choose(
    chip: Chip,
    form: Form,
    table: NDArray[np.float64],
    splits: NDArray[np.float64],
    rules: Rules,
    size: Size,
) -> tuple[int, float, float]:
    """Row of the kernel table, parts that K is split into, and clocks by the rule of thumb.

    Of the kernels that are for GEMMs of this size; a set has one for every size.

    ``least`` is the time of the best kernel and split so far, of equals the first. Splits ascend,
    so that where one is too many, all later ones are.
    """
    m, n, k, copies = size
    once = (m * form.a * form.a_once + n * form.b * form.b_once) * k
    dram = copies * (once / chip.dram + m * n * form.out / chip.write)
    chosen, parts, least = 0, 1.0, np.inf
    for i in range(len(table)):
        row = table[i]
        if not takes(row, m, n, k):
            continue
        down, across = np.ceil(m / row[TM]), np.ceil(n / row[TN])
        grid = down * across * copies
        slots = chip.sms * row[CTAS]
        small = row[TM] * row[TN] < LARGE and row[TM] < m and row[TN] < n
        if rules.large_first and small and grid > slots:
            continue
        slices = np.ceil(k / row[TK])
        clocks = _slice_clocks(row, chip, form, rules.shared)
        rows, cols = min(row[TM], m), min(row[TN], n)
        along_a, along_b = sharing(row, down, across)
        fed = row[TK] * (rows * form.a / along_a + cols * form.b / along_b) / chip.l2
        refill = chip.load / (row[STAGES] - 1)
        for split in splits:
            tiles = grid * split
            if split > 1 and (
                split * rules.slices * row[TK] > k or tiles > rules.tiles_per_sm * chip.sms
            ):
                break
            deep = np.ceil(slices / split)
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
                chosen, parts, least = i, split, time
    return chosen, float(parts), least
