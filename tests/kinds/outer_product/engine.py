"""Cycles of an outer-product core: one column of K for every tile of C, and bytes beside it."""

import math

from nmsim.machines.outer_product.schema import OuterProduct

from nmsim.machines.kind import Sample, Stored
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = ["simulate", "stored"]


def stored(machine: OuterProduct, work: SparseGemm) -> tuple[Stored, Stored]:
    """Both operands dense, but for a mask that all rows share: of those, whole columns are left."""
    a, b = (
        Stored.dense(work.k, machine.operand_bits, "" if mask.is_dense else "not all rows' mask")
        for mask in (work.a, work.b)
    )
    if work.b.indexed or work.b.is_dense or not work.b.fits:
        return a, b
    pattern = work.b.pattern
    return a, Stored(pattern, machine.operand_bits, 0, pattern.stored(work.k))


def simulate(machine: OuterProduct, work: SparseGemm, _sample: Sample | None = None) -> Result:
    """What a sparse GEMM costs on an outer-product core; there is nothing to sample."""
    g, (a, b) = work.gemm, stored(machine, work)
    columns = int(b.elements)
    compute = math.ceil(g.m / machine.rows) * math.ceil(g.n / machine.cols) * g.count * columns
    read = math.ceil(g.count * (g.m * columns * a.bits + g.n * columns * b.bits) / 8)
    written = math.ceil(g.count * g.m * g.n * machine.output_bits / 8)
    moving = math.ceil((read + written) * machine.clock_mhz / (machine.dram_gbps * 1e3))
    return Result(
        engine="outer-product",
        kernel="outer",
        transposed=False,
        compute_cycles=compute * g.repeat,
        stall_cycles=max(0, moving - compute) * g.repeat,
        clock_mhz=machine.clock_mhz,
        peak_macs=machine.peak_macs,
        macs_issued=g.m * g.n * g.count * columns * g.repeat,
        dram_read_bytes=read * g.repeat,
        dram_write_bytes=written * g.repeat,
        sram_read_bytes=0,
        metadata_bytes=0,
        bound="compute" if compute >= moving else "dram bandwidth",
        note="" if work.b.is_dense or b.compressed else "runs dense: the mask is not all rows'",
        compressed="b" if b.compressed else "",
    )
