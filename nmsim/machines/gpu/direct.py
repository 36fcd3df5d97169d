"""Depthwise convolutions on a GPU: a kernel of their own, never a GEMM of one column.

A group that reads one channel has no reduction over channels, and tiles of tensor cores would be
empty but for a column. Libraries run such layers directly, a thread an output (PyTorch's
``conv_depthwise2d``, cuDNN's kernels for channels last): each tensor goes through DRAM once, the
window of an output stays in caches and registers, and CUDA cores do the multiplying, in fp32. So a
launch takes the longer of moving its bytes at the speed of a copy and of its multiply-adds.
Nothing is fitted; it is a lower bound, which the weight's gradient, a reduction over all pixels,
may miss by more than the others. Both fidelities share it. No kernel of this kind follows a mask.
"""

import math
from typing import NamedTuple

from nmsim.gemm import Gemm
from nmsim.machines.gpu.chip import resolved
from nmsim.machines.gpu.preparation import timed
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.kind import Pass, Stored
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = ["Direct", "direct_of", "is_depthwise", "simulate", "stored", "without_masks"]

_WHY = "a depthwise convolution runs directly, by no kernel that follows a mask"


def is_depthwise(gemm: Gemm) -> bool:
    """Whether a GEMM is of a convolution in groups, each of which reads or makes one channel."""
    gathered = [windows for windows in (gemm.a_windows, gemm.b_windows) if windows is not None]
    made = gemm.m if gemm.phase == "update" else gemm.n
    alone = made == 1 or any(windows.channels == 1 for windows in gathered)
    return gemm.kind == "conv" and gemm.count > 1 and alone


def stored(machine: Gpu, work: SparseGemm) -> tuple[Stored, Stored]:
    """How A and B stand in memory: dense, and why, where they are masked."""
    bits = machine.format(machine.dtype).bits
    a, b = (Stored.dense(work.k, bits, "" if mask.is_dense else _WHY) for mask in (work.a, work.b))
    return a, b


def without_masks(work: SparseGemm) -> str:
    """Why masks of a depthwise convolution gain nothing; empty where there are none."""
    return "" if work.a.is_dense and work.b.is_dense else f"runs dense: {_WHY}"


class Direct(NamedTuple):
    """A direct kernel: what passes through memory, and microseconds of its three causes.

    ``moving`` and ``multiplying`` go on at the same time.
    """

    kernel: Pass
    launch: float
    moving: float
    multiplying: float

    @property
    def time_us(self) -> float:
        """Of the launch, or of what this part of it takes."""
        return self.launch + max(self.moving, self.multiplying)

    @property
    def bound(self) -> str:
        """What takes longest."""
        causes = {
            "compute": self.multiplying,
            "dram bandwidth": self.moving,
            "launch": self.launch,
        }
        return max(causes, key=lambda cause: causes[cause])


def direct_of(machine: Gpu, work: SparseGemm) -> Direct:
    """The direct kernel of a depthwise convolution.

    Its GEMM's operands and result are read and written as tensors, each element once; what all
    parts of a launch read, each reads its share of.
    """
    g, form = work.gemm, machine.format(machine.dtype)
    read = g.count * _elements(g) * form.bits / 8 / g.parts
    written = g.count * g.m * g.n * form.output_bits / 8
    kernel = Pass("direct", read, written, operations=float(g.m * g.n * g.k * g.count))
    launch = resolved(machine)["launch_us"]
    moving = timed(machine, [kernel._replace(operations=0.0)]).time_us - launch
    lanes = machine.sms * machine.format("fp32").macs_per_clk
    multiplying = kernel.operations / lanes / machine.clock_mhz
    return Direct(kernel, launch if g.launches else 0.0, moving, multiplying)


def simulate(machine: Gpu, work: SparseGemm) -> Result:
    """What a depthwise convolution costs on a GPU, all repeats."""
    g, found = work.gemm, direct_of(machine, work)
    kernel = found.kernel
    cycles = math.ceil(found.time_us * machine.clock_mhz)
    compute = min(cycles, math.ceil(found.multiplying * machine.clock_mhz))
    return Result(
        engine="tensor-core",
        kernel="direct",
        transposed=False,
        compute_cycles=compute * g.repeat,
        stall_cycles=(cycles - compute) * g.repeat,
        clock_mhz=machine.clock_mhz,
        peak_macs=machine.peak_macs,
        macs_issued=g.macs,
        dram_read_bytes=math.ceil(kernel.read_bytes) * g.repeat,
        dram_write_bytes=math.ceil(kernel.written_bytes) * g.repeat,
        sram_read_bytes=math.ceil(kernel.read_bytes) * g.repeat,
        metadata_bytes=0,
        bound=found.bound,
        note=without_masks(work),
        spent=_spent(found, machine.clock_mhz),
    )


def _spent(found: Direct, clock_mhz: float) -> dict[str, float]:
    """Clocks by cause: what multiplies, and what memory takes longer than that."""
    return {
        "tensor cores": found.multiplying * clock_mhz,
        "dram bandwidth": max(0.0, found.moving - found.multiplying) * clock_mhz,
        "launch": found.launch * clock_mhz,
    }


def _elements(gemm: Gemm) -> int:
    """Elements in memory behind one copy of both operands."""
    a = gemm.m * gemm.k if gemm.a_elements is None else gemm.a_elements
    return a + (gemm.n * gemm.k if gemm.b_elements is None else gemm.b_elements)
