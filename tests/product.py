"""What a systolic array computes: C out of the slots that it holds, fold by fold.

Slow beside the timing kernels and of no use to them; it shows that placement, slots and metadata
lead every product to its sum, so that a count of cycles is the count of a correct product.
"""

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError
from nmsim.jit import compiled
from nmsim.machines.systolic.pe.slots import group_slots
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.pattern import DENSE

__all__ = ["compress", "multiply"]

Matrix = NDArray[np.float64]


def multiply(machine: SystolicArray, placement: Placement, a: Matrix, b: Matrix) -> Matrix:
    """``C = A . (B . mask)^T`` (or with A masked) as the array would sum it.

    Parameters
    ----------
    placement
        How the array runs it, in either order of the operands.
    a, b
        count.M x K and count.N x K; values that the selected operand's mask prunes are not used. A
        second mask saves bytes only: prune its operand's values beforehand.

    Returns
    -------
    float64 array
        count.M x N, copy after copy.

    Raises
    ------
    ShapeError
        if an operand is not of its mask's shape.
    """
    own = placement.work.swapped() if placement.transposed else placement.work
    for name, values, mask in (("a", a, own.a), ("b", b, own.b)):
        if values.shape != (mask.rows, mask.k):
            raise ShapeError(f"{name} is {values.shape}, expected {(mask.rows, mask.k)}")
    operands = {"a": b, "b": a} if placement.transposed else {"a": a, "b": b}
    selected = placement.selected or placement.x
    other = "a" if selected == "b" else "b"
    count = placement.work.gemm.count
    copies = []
    for copy in range(count):
        held = np.split(operands[other], count)[copy]
        tiles = [
            _tile(machine, placement, selected, operands[selected], held, first, last)
            for first, last in _lock_step(machine, placement, selected, copy)
        ]
        product = np.concatenate(tiles)  # selected operand's rows x the other one's
        copies.append(product if selected == "a" else product.T)
    whole = [c.T for c in copies] if placement.transposed else copies
    return np.concatenate(whole)


def _lock_step(
    machine: SystolicArray, placement: Placement, selected: str, copy: int
) -> list[tuple[int, int]]:
    """Rows of the selected operand, of one copy, that the array runs in lock-step."""
    rows = placement.rows_of(selected)
    axis = placement.lanes if placement.selected else "cols"
    size = {"rows": machine.rows, "cols": machine.cols, "time": rows}[axis]
    start = copy * rows
    return [(start + i, start + min(i + size, rows)) for i in range(0, rows, size)]


def _tile(
    machine: SystolicArray,
    placement: Placement,
    selected: str,
    values: Matrix,
    other: Matrix,
    first: int,
    last: int,
) -> Matrix:
    mask = placement.work.a if selected == "a" else placement.work.b
    native = placement.native if placement.selected else DENSE
    slots = group_slots(mask, native, first, last, placement.k)
    kept, index = compress(values, mask.words, first, last, slots, native.group)
    depth = machine.rows if placement.dataflow.rows == "k" else max(1, kept.shape[1])
    return np.asarray(_sum_folds(kept, index, np.ascontiguousarray(other), depth))


@compiled
def compress(
    values: Matrix,
    words: NDArray[np.uint64],
    first: int,
    last: int,
    slots: NDArray[np.int64],
    group: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values and metadata of lanes ``first`` to ``last``, as the array loads them.

    Parameters
    ----------
    values, words
        The operand, rows x K, and its packed mask.
    slots
        Slots of every group.
    group
        Native group.

    Returns
    -------
    values, index
        lanes x slots: kept values in order, and their positions along K; an empty slot holds zero
        and the position of its group's first element.
    """
    k = values.shape[1]
    total = slots.sum()
    out = np.zeros((last - first, total))
    index = np.zeros((last - first, total), np.int64)
    for lane in range(last - first):
        offset = 0
        for g in range(len(slots)):
            start, stop = g * group, min((g + 1) * group, k)
            index[lane, offset : offset + slots[g]] = start
            used = offset
            for i in range(start, stop):
                if (words[first + lane, i >> 6] >> np.uint64(i & 63)) & np.uint64(1):
                    out[lane, used] = values[first + lane, i]
                    index[lane, used] = i
                    used += 1
            offset += slots[g]
    return out, index


@compiled
def _sum_folds(kept: Matrix, index: NDArray[np.int64], other: Matrix, depth: int) -> Matrix:
    """Lanes x rows of the other operand: partial sums of folds of ``depth`` slots, added up."""
    lanes, slots = kept.shape
    rows = other.shape[0]
    sums = np.zeros((lanes, rows))
    for start in range(0, slots, depth):
        for lane in range(lanes):
            for row in range(rows):
                partial = 0.0
                for slot in range(start, min(start + depth, slots)):
                    partial += kept[lane, slot] * other[row, index[lane, slot]]
                sums[lane, row] += partial
    return sums
