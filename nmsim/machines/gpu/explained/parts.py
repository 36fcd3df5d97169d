"""Where the clocks of a GPU go: parts that add up to the cycles of a launch, at either fidelity.

Tensor cores are told of as the mean of all SMs. What the fullest SM takes longer than that mean is
the wave tail, so that the other parts of a wave are those of SMs that have something to run.

A matrix-vector kernel multiplies on CUDA cores while it reads: of the time that it reads, its
products at the tensor cores' peak are useful, and the rest is told as DRAM's. A depthwise
convolution multiplies there, too: what it takes longer than tensor cores at their peak is told as
the rate of its instructions, what its bytes take longer than that as DRAM's.
"""

import math
from collections.abc import Mapping

from nmsim.machines.explanation import Part, whole
from nmsim.machines.gpu import analytical, cycle
from nmsim.machines.gpu.attention.fusion import fused_parts
from nmsim.machines.gpu.chip import MATRIX_VECTOR, TK, TM, TN
from nmsim.machines.gpu.cycle import Outcome
from nmsim.machines.gpu.direct import direct_of, is_depthwise
from nmsim.machines.gpu.launch import Launch, cast_clocks, copy_clocks
from nmsim.machines.gpu.schema import Gpu
from nmsim.machines.gpu.stacks.followed import as_run
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = ["PARTS", "parts_of"]

PARTS = {
    "useful products": "pairs whose mask bits are both set, all tensor cores at their dense peak",
    "empty slots": "MAC slots beyond those: masks that are not followed, or not in full",
    "tile overhang": "rows, columns and K of tiles that lie beyond C",
    "instruction rate": "instructions that run below the dense peak: of a 2:4 one, below twice it",
    "shared memory": "tensor cores wait for fragments from shared memory",
    "instruction issue": "tensor cores wait for instructions to be issued",
    "dependent sums": "tensor cores wait for sums that they add to",
    "main loop": "tensor cores idle within a main loop that they bound",
    "l2 bandwidth": "tensor cores wait for L2",
    "sm port": "tensor cores wait for an SM's port to L2",
    "load latency": "tensor cores wait for loads that are on their way",
    "dram bandwidth": "tensor cores wait for device memory, or it has not ended when they have",
    "wave overhead": "a threadblock fills its first slices, and stores its results",
    "wave tail": "SMs that have fewer threadblocks than the fullest",
    "clock": "the clock comes down in a long kernel",
    "split-k reduction": "a second kernel adds up the parts of K",
    "launch": "what a launch costs and no work hides, and rounding up to whole cycles",
    "copy": "an operand is copied first, so that K comes last",
    "cast": "the scale of A is found and A is cast first, as the library's number format needs it",
}
"""Parts in order, and what they are; a word of ``bound`` means the same here."""


def parts_of(machine: Gpu, work: SparseGemm, result: Result, fidelity: str) -> tuple[Part, ...]:
    """Where the cycles of a sparse GEMM go on a GPU, all repeats."""
    if work.gemm.attention is not None:
        return fused_parts(machine, work, result)
    if is_depthwise(work.gemm):
        clocks = _direct(machine, work)
    else:
        run = _cycle if fidelity == "cycle" else _analytical
        launch, tensor, clocks = run(machine, as_run(work, result))
        clocks["copy"] = copy_clocks(launch)
        clocks["cast"] = cast_clocks(machine, launch)
        clocks |= _multiplied(machine, work, result, launch, tensor, clocks)
    repeat = work.gemm.repeat
    # A launch takes whole cycles: what it is rounded up by is told as its own.
    clocks["launch"] += max(0.0, result.cycles / repeat - sum(clocks.values()))
    shares = whole((repeat * clocks.get(name, 0.0) for name in PARTS), result.cycles)
    return tuple(
        Part(name, cycles, meaning)
        for (name, meaning), cycles in zip(PARTS.items(), shares, strict=True)
    )


def _direct(machine: Gpu, work: SparseGemm) -> dict[str, float]:
    """Of a depthwise convolution, which multiplies on CUDA cores while it reads and writes."""
    found, clock = direct_of(machine, work), machine.clock_mhz
    multiplying = found.multiplying * clock
    useful = min(work.macs_useful / machine.peak_macs / work.gemm.repeat, multiplying)
    return {
        "useful products": useful,
        "instruction rate": multiplying - useful,
        "dram bandwidth": max(0.0, found.moving * clock - multiplying),
        "launch": found.launch * clock,
    }


def _multiplied(
    machine: Gpu,
    work: SparseGemm,
    result: Result,
    launch: Launch,
    tensor: tuple[float, float],
    clocks: Mapping[str, float],
) -> dict[str, float]:
    """What the tensor cores' clocks go to, one launch: ``tensor`` has those, and slots of tiles."""
    per_clock = machine.peak_macs * work.gemm.repeat
    useful, issued = work.macs_useful / per_clock, result.macs_issued / per_clock
    if launch.row == MATRIX_VECTOR:
        useful = min(useful, clocks["dram bandwidth"])
        return {"useful products": useful, "dram bandwidth": clocks["dram bandwidth"] - useful}
    spent, slots = tensor
    tiled = min(slots / machine.peak_macs, spent)  # a rate above the peak makes up for overhang
    empty, over = max(0.0, issued - useful), max(0.0, tiled - issued)
    return {
        "useful products": useful,
        "empty slots": empty,
        "tile overhang": over,
        "instruction rate": spent - useful - empty - over,
    }


def _cycle(machine: Gpu, work: SparseGemm) -> tuple[Launch, tuple[float, float], dict[str, float]]:
    launch, found = cycle.run_work(machine, work)
    clocks = {name: found.shares.get(name, 0.0) for name in ("launch", "split-k reduction")}
    if launch.row == MATRIX_VECTOR:
        return launch, (0.0, 0.0), {**found.shares, **clocks}
    tensor = _waves(machine, launch, found, clocks)
    return launch, tensor, clocks


def _waves(
    machine: Gpu, launch: Launch, found: Outcome, clocks: dict[str, float]
) -> tuple[float, float]:
    """Add what the waves of a launch take to ``clocks``: tensor cores' clocks, and MAC slots."""
    native = launch.resolved.native
    tensor, slots = 0.0, 0.0

    def add(name: str, some: float) -> None:
        clocks[name] = clocks.get(name, 0.0) + some

    for wave in found.waves:
        held, tile = wave.rounds * wave.held, wave.ran.tile
        even = wave.running / (wave.ran.ctas * machine.sms)
        one = wave.tile.tensor_cycles / machine.sm.sub_cores
        main = max(one, wave.tile.main)
        cause = cycle.loop_bound(wave)
        add("main loop" if cause == "compute" else cause, even * wave.rounds * (main - one))
        add("wave overhead", even * (held - wave.rounds * main))
        add("wave tail", (1 - even) * held)
        tensor += even * wave.rounds * one
        deep = wave.ran.slices * tile.k * (1.0 if native.is_dense else native.density)
        slots += wave.rounds * wave.running * tile.m * tile.n * deep
    add("wave overhead", float(found.waves[-1].left))
    for cause, late in found.late.items():
        add(cause, late)
    waves = found.clocks - clocks["launch"] - clocks["split-k reduction"]
    clocks["clock"] = waves - found.own - sum(found.late.values())
    return tensor, slots


def _analytical(
    machine: Gpu, work: SparseGemm
) -> tuple[Launch, tuple[float, float], dict[str, float]]:
    launch, found = analytical.run_work(machine, work)
    clocks = dict(zip(analytical.SPENT, map(float, found.spent), strict=True))
    shares = dict(zip(analytical.BOUNDS, map(float, found.shares), strict=True))
    clocks |= {name: shares[name] for name in ("launch", "split-k reduction")}
    tensor, slots = clocks.pop("tensor cores"), 0.0
    if launch.row != MATRIX_VECTOR:
        row, native = launch.table_row, launch.resolved.native
        deep = math.ceil(math.ceil(launch.size.k / row[TK]) / launch.split) * row[TK]
        slots = float(found.tiles * row[TM] * row[TN] * deep)
        slots *= 1.0 if native.is_dense else native.density
    return launch, (tensor, slots), clocks
