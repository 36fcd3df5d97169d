"""How long a GPU takes for a matrix in CSR times a dense one, as libraries' CSR kernels do it.

CSR kernels know nothing of N:M: a kept element is a value and a column index, and each of them
fetches a row of the dense operand. They run on CUDA cores. Nothing here is fitted; the bounds are
those of Yang, Buluc and Owens, "Design principles for sparse matrix multiplication on the GPU",
Euro-Par 2018: warps take rows of the sparse operand, lanes take columns of the dense one.

Counts, for R x K sparse at density d, and K x C dense:

- kept elements: nnz = R K d; MACs: nnz C;
- the sparse operand, once from DRAM: nnz (value + index) + (R + 1) index bytes;
- the dense operand and the result, once from and to DRAM: (K + R) C value bytes;
- gathered rows of the dense operand: nnz C value bytes, through L2 and again through L1. Columns
  that follow each other in a row of the sparse operand are taken to be far apart, so L1 holds
  nothing for later, and rows of the dense operand are taken to be contiguous.

A warp waits for three loads in turn: row pointers, column indices, rows of the dense operand.
"""

import math
from typing import NamedTuple

from nmsim.errors import ShapeError
from nmsim.machines.gpu.schema import Gpu

__all__ = ["BOUNDS", "COSTS", "CsrCosts", "CsrTime", "csr_time", "spmm_call_time"]

BOUNDS = ("cuda cores", "l1 bandwidth", "l2 bandwidth", "dram bandwidth", "load latency")
"""What may set the pace, in the order of ``CsrTime.shares_us``."""

LANES = 32
"""Columns of the dense operand that a warp works on."""

LOADS_IN_TURN = 3
"""Row pointers, column indices, rows of the dense operand."""


class CsrCosts(NamedTuple):
    """What comes to the kernel of a CSR product, microseconds.

    Parameters
    ----------
    launch_us
        Kernels that follow each other in a stream, A100 (te42kyfo/gpu-benches; H200: 2.43).
    host_us
        A matrix product called from Python, launch, framework and synchronisation, A100 (Zhang et
        al., LLMCompass, ISCA 2024: ``torch.matmul`` of size 1).
    """

    launch_us: float = 2.62
    host_us: float = 21.0


COSTS = CsrCosts()


class CsrTime(NamedTuple):
    """Time of a kernel or a call, microseconds.

    ``shares_us`` are those of ``BOUNDS``: they overlap, the greatest counts. ``fixed_us`` is what
    does not depend on the density: launches, host, copies of the dense operand.
    """

    total_us: float
    fixed_us: float
    shares_us: tuple[float, ...]

    @property
    def bound(self) -> str:
        """What most of the time goes to."""
        if self.fixed_us > max(self.shares_us):
            return "fixed cost"
        return BOUNDS[self.shares_us.index(max(self.shares_us))]


def csr_time(
    machine: Gpu,
    rows: int,
    cols: int,
    k: int,
    density: float,
    *,
    costs: CsrCosts = COSTS,
    value_bytes: int = 4,
    index_bytes: int = 4,
) -> CsrTime:
    """Time of a CSR kernel, its own launch included.

    Parameters
    ----------
    machine
        Its CUDA cores are those of number format fp32.
    rows, k
        Of the sparse operand.
    cols
        Of the dense operand: tokens.
    density
        Kept elements over all, 0 to 1.

    Raises
    ------
    ShapeError
        for sizes below 1 or a density outside 0 to 1.
    SpecError
        if the machine has no fp32.
    """
    if min(rows, cols, k) < 1 or not 0 <= density <= 1:
        raise ShapeError(
            f"{rows}x{k} at density {density} times {k}x{cols}: expected sizes of 1 or more and a "
            "density of 0 to 1"
        )
    clock = machine.clock_mhz
    kept = rows * k * density
    gathered = kept * cols * value_bytes
    sparse = kept * (value_bytes + index_bytes) + (rows + 1) * index_bytes
    once = sparse + (k + rows) * cols * value_bytes
    warps = rows * math.ceil(cols / LANES)
    resident = machine.sms * machine.sm.threads // LANES
    shares = (
        kept * cols / (machine.sms * machine.format("fp32").macs_per_clk * clock),
        gathered / (machine.sms * machine.sm.shared_bytes_per_clk * clock),
        (gathered + sparse * math.ceil(cols / LANES)) / (machine.l2.gbps * 1e3),
        once / (machine.dram.gbps * 1e3),
        math.ceil(warps / resident) * LOADS_IN_TURN * machine.l2.latency_clk / clock,
    )
    return CsrTime(costs.launch_us + max(shares), costs.launch_us, shares)


def spmm_call_time(
    machine: Gpu,
    rows: int,
    cols: int,
    k: int,
    density: float,
    *,
    costs: CsrCosts = COSTS,
    value_bytes: int = 4,
) -> CsrTime:
    """Time of a call as CuPy makes it (``csr_matrix.dot``): three kernels and the host's part.

    The dense operand is copied into column order (read and written once), the result is filled with
    zeros (written once), then the CSR kernel runs.

    Parameters
    ----------
    costs
        What launches and the host add to the kernels.
    """
    kernel = csr_time(machine, rows, cols, k, density, costs=costs, value_bytes=value_bytes)
    moved = (2 * k + rows) * cols * value_bytes
    fixed = 3 * costs.launch_us + costs.host_us + moved / (machine.dram.gbps * 1e3)
    return CsrTime(kernel.total_us - kernel.fixed_us + fixed, fixed, kernel.shares_us)
