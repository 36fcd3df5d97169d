"""What it costs a GPU to make an operand sparse on the fly: selecting, compressing, transposing.

Each step is kernels that read and write whole matrices. A kernel takes its launch, and the longer
of moving its bytes and working on its elements; bytes go through L2 where the matrices of a later
pass fit in it, through DRAM otherwise. Nothing is fitted: the times are lower bounds, as of kernels
that reach the bandwidth of a copy.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError
from nmsim.machines.gpu.chip import resolved
from nmsim.machines.gpu.schema import Casting, Gpu
from nmsim.machines.kind import Pass
from nmsim.pattern import Pattern

__all__ = [
    "Preparation",
    "cast_us",
    "compress",
    "prune_and_compress",
    "select",
    "timed",
    "transpose",
]

FRAMEWORK_INDEX_BYTES = 8
"""Bytes of an index that ``torch.sort`` returns (int64)."""

OPERATIONS_PER_COMPARISON = 2
"""A comparison and the addition of its result to an element's rank."""


CASTING_PASSES = 2
"""A's scale is found by one kernel and used by the next."""


class Preparation(NamedTuple):
    """Kernels that prepare an operand, and the time of all of them, microseconds."""

    passes: tuple[Pass, ...]
    time_us: float

    @property
    def read_bytes(self) -> float:
        """Bytes that all passes of a preparation read."""
        return sum(one.read_bytes for one in self.passes)

    @property
    def written_bytes(self) -> float:
        """Bytes that all passes of a preparation write."""
        return sum(one.written_bytes for one in self.passes)


def timed(machine: Gpu, passes: Iterable[Pass], packing: float = 1.0) -> Preparation:
    """Add up launches and paces; what the first pass reads and the last one writes is in DRAM.

    Parameters
    ----------
    packing
        Times that kernels take of what their bytes take, as they do that pack.
    """
    passes = tuple(passes)
    moved = np.array([one.read_bytes + one.written_bytes for one in passes])
    last, stays = len(passes) - 1, moved <= machine.l2.mib * 2**20
    cold = [
        (one.read_bytes if index == 0 or not resident else 0.0)
        + (one.written_bytes if index == last or not resident else 0.0)
        for index, (one, resident) in enumerate(zip(passes, stays, strict=True))
    ]
    operations = np.array([one.operations for one in passes])
    return Preparation(
        passes, float(sum(paced(machine, np.array(cold), moved, operations, packing)))
    )


def paced(
    machine: Gpu,
    cold: NDArray[np.float64],
    moved: NDArray[np.float64],
    operations: NDArray[np.float64],
    packing: float | NDArray[np.float64] = 1.0,
) -> NDArray[np.float64]:
    """Microseconds of kernels: a launch, and the pace of their bytes or of their operations.

    What moves nothing is done by a kernel that has the values: no launch of its own.

    Parameters
    ----------
    cold, moved
        Bytes through device memory, and in all.
    packing
        As ``timed``.
    """
    lanes = machine.sms * machine.format("fp32").macs_per_clk * machine.clock_mhz
    moving = np.maximum(cold / (machine.dram.gbps * 1e3), moved / (machine.l2.gbps * 1e3))
    launch = np.where(moved > 0, resolved(machine)["launch_us"], 0.0)
    paced_us: NDArray[np.float64] = launch + np.maximum(packing * moving, operations / lanes)
    return paced_us


def _elements(rows: int, cols: int) -> float:
    if min(rows, cols) < 1:
        raise ShapeError(f"matrix of {rows} x {cols}: expected 1 or more of each")
    return float(rows) * cols


def _comparisons(elements: float, pattern: Pattern) -> float:
    """Operations that rank every element in its group: M (M - 1) / 2 pairs in each."""
    return elements * (pattern.group - 1) / 2 * OPERATIONS_PER_COMPARISON


def select(
    machine: Gpu, rows: int, cols: int, pattern: Pattern, dtype: str = "", *, fused: bool = True
) -> Preparation:
    """Set all but the N largest magnitudes of each group of M along ``cols`` to zero.

    With w bytes an element and e elements:

    - ``fused``: one kernel; each thread holds a group in registers. Reads w e, writes w e, compares
      M (M - 1) / 2 pairs a group.
    - otherwise as operators of a framework do it, five kernels: magnitudes (reads w e, writes w e),
      sort along groups (reads w e, writes (w + 8) e: values and int64 indices), zeros for the mask
      (writes w e), scatter of ones (reads 8 e N/M, writes w e N/M), product (reads 2 w e, writes
      w e). At w = 4 and 2:4 that is 46 bytes an element where the fused kernel moves 8.

    Parameters
    ----------
    dtype
        Number format; "" for the machine's own.

    Raises
    ------
    ShapeError
        for an empty matrix.
    SpecError
        for a number format that the machine does not have.
    """
    e = _elements(rows, cols)
    size = e * machine.format(dtype or machine.dtype).bits / 8
    ranking = _comparisons(e, pattern)
    if fused:
        return timed(machine, [Pass("select", size, size, ranking)])
    indices, kept = FRAMEWORK_INDEX_BYTES * e, pattern.density
    return timed(
        machine,
        [
            Pass("magnitudes", size, size),
            Pass("sort groups", size, size + indices, ranking),
            Pass("zeros", 0, size),
            Pass("scatter ones", indices * kept, size * kept),
            Pass("product", 2 * size, size),
        ],
    )


def _compressed_bytes(
    machine: Gpu, rows: int, cols: int, pattern: Pattern, bits: int
) -> tuple[float, float]:
    """Bytes of a matrix, and of its kept elements with their metadata."""
    kept = rows * pattern.stored(cols)
    return _elements(rows, cols) * bits / 8, kept * (bits + machine.metadata_bits(pattern)) / 8


def compress(machine: Gpu, rows: int, cols: int, pattern: Pattern, dtype: str = "") -> Preparation:
    """Pack the kept elements of a pruned matrix, and their places as metadata.

    One kernel, as ``cusparseLtSpMMACompress`` (NVIDIA, cuSPARSELt documentation): reads w e, writes
    w e N/M and the metadata, 2 bits a kept element at 2:4. Conversions that a framework composes of
    its operators take tens of kernels and are not modelled.

    Raises
    ------
    ShapeError, SpecError
        as ``select``.
    """
    bits = machine.format(dtype or machine.dtype).bits
    size, packed = _compressed_bytes(machine, rows, cols, pattern, bits)
    return timed(machine, [Pass("compress", size, packed)])


def prune_and_compress(
    machine: Gpu,
    rows: int,
    cols: int,
    pattern: Pattern,
    dtype: str = "",
    *,
    both_ways: bool = False,
) -> Preparation:
    """Select and compress in one kernel that reads the matrix once.

    Reads w e; writes the compressed matrix, and with ``both_ways`` that of its transpose too, as
    ``torch._sparse_semi_structured_tile`` does for training (PyTorch 2.3): the forward and the
    backward phase each get an operand whose groups run along their K.

    Raises
    ------
    ShapeError, SpecError
        as ``select``.
    """
    bits = machine.format(dtype or machine.dtype).bits
    size, packed = _compressed_bytes(machine, rows, cols, pattern, bits)
    ranking = _comparisons(_elements(rows, cols), pattern)
    if both_ways:
        packed += _compressed_bytes(machine, cols, rows, pattern, bits)[1]
        ranking *= 2
    return timed(machine, [Pass("select and compress", size, packed, ranking)])


def transpose(machine: Gpu, rows: int, cols: int, dtype: str = "") -> Preparation:
    """Copy a matrix so that its other axis comes last.

    One kernel through tiles in shared memory (NVIDIA, "An efficient matrix transpose in CUDA
    C/C++"): reads w e, writes w e.

    Raises
    ------
    ShapeError, SpecError
        as ``select``.
    """
    size = _elements(rows, cols) * machine.format(dtype or machine.dtype).bits / 8
    return timed(machine, [Pass("transpose", size, size)])


def cast_us(
    machine: Gpu, casting: Casting | None, dtype: str, sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Times of the passes that find the scale of A and cast it, microseconds; 0 without them.

    A pass has a threadblock a row, so many at most that they take turns. Every element is read by
    both passes and written by the second. Of what has been read, L2 holds a share that falls in
    proportion to the bytes between two uses, which are those of two passes, to nothing at its
    capacity; the rest moves at the share of device memory's bandwidth that the passes reach.

    Parameters
    ----------
    dtype
        Number format that A is cast to.
    sizes
        GEMMs x 4: M, N, K and copies in one launch.
    """
    if casting is None:
        return np.zeros(len(sizes))
    m, _, k, copies = np.asarray(sizes, np.float64).T
    rows, elements = m * copies, m * k * copies
    read, written = (elements * bits / 8 for bits in (casting.bits, machine.format(dtype).bits))
    missed = np.minimum(1.0, read / (machine.l2.mib * 2**20))
    device = machine.dram.gbps * casting.dram_share * 1e3
    rate = missed / device + (1 - missed) / (machine.l2.gbps * 1e3)
    turns = np.ceil(np.minimum(rows, casting.threadblocks) / machine.sms) - 1
    waiting = casting.launch_us + turns * casting.threadblock_us
    found: NDArray[np.float64] = CASTING_PASSES * waiting + (2 * read + written) * rate
    return found
