"""Attention layers of a network as a GPU's library runs them: one kernel a phase, in closed form.

A set of kernels is for tensors of a batch or for a cache (``cache``), as in training and in
serving; of those that a machine has, the first that suits the layer is taken.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.attention import Attention
from nmsim.errors import SpecError
from nmsim.files import remembered
from nmsim.gemm import Gemm
from nmsim.machines.attention import AttentionCalls, Fusion, shapes_of
from nmsim.machines.explanation import Part, whole
from nmsim.machines.gpu.attention import bound_of, kernel_of, timed
from nmsim.machines.gpu.attention.clock import Bytes, Slots, bytes_of, slots_of
from nmsim.machines.gpu.attention.clock import Parts as Times
from nmsim.machines.gpu.attention.grid import COUNT, RESIDENT
from nmsim.machines.gpu.attention.kernels import AttentionKernels, load_attention_kernels
from nmsim.machines.gpu.attention.learned import factors
from nmsim.machines.gpu.schema import Gpu, unpacked
from nmsim.machines.kind import Facts
from nmsim.mask import SparseGemm
from nmsim.result import Result

Vector = NDArray[np.float64]

__all__ = ["FUSION", "PARTS", "facts", "fused_parts", "kernels_for"]


def _preferred(machine: Gpu, *, cached: bool) -> list[AttentionKernels]:
    """The sets of a machine: those that are made for where K and V stand come first."""
    sets = [load_attention_kernels(name) for name in machine.attention]
    return sorted(sets, key=lambda one: one.cache != cached)


def kernels_for(machine: Gpu, attention: Attention, phase: str) -> AttentionKernels | None:
    """The kernels that run a phase of an attention layer; None where its GEMMs do."""
    if not machine.fused_attention:
        return None
    widest = max(attention.head_dim, attention.v_head_dim)
    for one in _preferred(machine, cached=attention.cached):
        if machine.multiplied in one.dtypes and one.has(phase, widest):
            return one
    return None


def _why_not(machine: Gpu, attention: Attention, phase: str) -> str:
    if kernels_for(machine, attention, phase) is not None:
        return ""
    if not machine.fused_attention:
        return "fused_attention is false"
    if not machine.attention:
        return f"{machine.name} has no kernels of fused attention"
    widest = max(attention.head_dim, attention.v_head_dim)
    form = machine.multiplied
    return f"{machine.name} has no fused attention of {form}, {phase}, for head_dim {widest}"


class _Run(NamedTuple):
    """One call of a kernel: how it was cut and timed, and what it moves; arrays of one entry."""

    kernels: AttentionKernels
    times: Times
    grid: Vector
    moved: Bytes
    slots: Slots
    factor: float | None


@remembered(maxsize=4096)
def _run(machine: Gpu, gemm: Gemm) -> _Run:
    attention = gemm.attention
    kernels = None if attention is None else kernels_for(machine, attention, gemm.phase)
    if attention is None or kernels is None:
        raise SpecError(f"{machine.name}: has no kernel for attention {gemm.layer!r}, {gemm.phase}")
    calls = AttentionCalls(shapes_of([attention]), gemm.phase, kernels.library)
    times, grid, kernels = timed(machine, calls)
    element = machine.format(machine.dtype).bits / 8
    return _Run(
        kernels,
        times,
        grid,
        bytes_of(calls.shapes, grid, kernels, gemm.phase, element),
        slots_of(calls.shapes, grid, kernels, gemm.phase, element),
        None if (found := factors(machine, calls)) is None else float(found[0]),
    )


def _simulate(machine: Gpu, gemm: Gemm, _fidelity: str) -> Result:
    run, repeat = _run(machine, gemm), gemm.repeat
    issued = int(run.slots.macs[0])
    factor = 1.0 if run.factor is None else run.factor
    cycles = math.ceil(run.times.total[0] * factor * machine.clock_mhz)
    compute = min(cycles, math.ceil(issued / machine.peak_macs))
    ctas, resident = (int(run.grid[0, column]) for column in (COUNT, RESIDENT))
    return Result(
        engine="tensor-core",
        kernel=kernel_of(run.kernels, run.grid)[0],
        transposed=False,
        compute_cycles=compute * repeat,
        stall_cycles=(cycles - compute) * repeat,
        clock_mhz=machine.clock_mhz,
        peak_macs=machine.peak_macs,
        macs_issued=issued * repeat,
        dram_read_bytes=int(run.moved.read[0]) * repeat,
        dram_write_bytes=int(run.moved.written[0]) * repeat,
        sram_read_bytes=int(run.slots.loaded[0]) * repeat,
        metadata_bytes=0,
        bound=bound_of(run.times)[0],
        note="; ".join(filter(None, (_note(run, repeat), unpacked(machine, gemm)))),
        tiles=ctas * repeat,
        waves=ctas / (machine.sms * resident),
        spent=_spent(run.times, machine.clock_mhz),
        own=_corrected(machine, run.factor),
    )


def _corrected(machine: Gpu, factor: float | None) -> dict[str, Any]:
    """What a row says of the residual of its machine; nothing where none was learned of it."""
    if factor is None:
        return {}
    name = Path(machine.residual).name.partition(".")[0]
    return {"residual": name, "residual_factor": factor}


def _spent(times: Times, clock_mhz: float) -> dict[str, float]:
    """Clocks of one launch by cause; ``chip`` is what the SMs take, products among it."""
    names = ("chip", "before", "after", "launch")
    spent = {name: float(getattr(times, name)[0]) * clock_mhz for name in names}
    return {**spent, "beyond": float(times.total[0]) * clock_mhz - sum(spent.values())}


def _note(run: _Run, repeat: int) -> str:
    """What a reader should know of a row: one model, and bytes that are not the row's."""
    copied, beside = (int(some[0]) * repeat for some in (run.moved.copied, run.moved.beside))
    told = ["one kernel, in closed form at either fidelity"]
    told += [f"{copied:,} bytes more, copied into the cache"] if copied else []
    told += [f"{beside:,} bytes more, of partial sums"] if beside else []
    return "; ".join(told)


PARTS = {
    "useful products": "pairs that a query sees, all tensor cores at their peak",
    "unseen pairs": "pairs that a mask hides in blocks that are computed whole, padded rows and "
    "heads, and, on the way back, scores that are made again",
    "main loop": "softmax, latency and threadblocks' ends that the tensor cores do not hide, and "
    "SMs without a threadblock",
    "dram bandwidth": "device memory has not ended when the SMs have",
    "copies": "new keys and values are written into the cache first",
    "combining": "kernels that add up parts of the keys, or of gradients",
    "launch": "launches that no work hides, and rounding up to whole cycles",
}
"""Parts of a fused attention in order, and what they are."""


def fused_parts(work: SparseGemm, result: Result) -> tuple[Part, ...]:
    """Where the cycles of a fused attention go, all repeats."""
    useful, issued = (n / result.peak_macs for n in (work.macs_useful, result.macs_issued))
    names = ("chip", "before", "after", "launch", "beyond")
    chip, before, after, launch, beyond = (result.spent[n] * work.gemm.repeat for n in names)
    factor = result.own.get("residual_factor", 1.0)
    rounding = result.cycles / factor - (chip + before + after + launch + beyond)
    others = (issued - useful, chip - issued, beyond, before, after, launch + rounding)
    # What a residual corrects is all but the useful products.
    stretch = 1.0 if factor == 1.0 else (result.cycles - useful) / sum(others)
    cycles = whole((useful, *(stretch * one for one in others)), result.cycles)
    return tuple(
        Part(name, spent, meaning)
        for (name, meaning), spent in zip(PARTS.items(), cycles, strict=True)
    )


def facts(machine: Gpu) -> Facts:
    """Whose kernels run attention layers, as ``nmsim show`` says it."""
    if not (machine.fused_attention and machine.attention):
        return [("attention layers", "product by product: scores go through memory")]
    served = (("of a batch", False), ("with a cache (prefill, decode)", True))
    return [
        (f"attention {told}", f"{_preferred(machine, cached=cached)[0].library}, fused")
        for told, cached in served
    ]


FUSION = Fusion(_why_not, _simulate)
"""How GPUs run attention layers."""
