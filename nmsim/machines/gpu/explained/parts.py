"""Where the clocks of a GPU go: parts that add up to the cycles of a launch, at either fidelity.

Tensor cores are told of as the mean of all SMs. What the fullest SM takes longer than that mean is
the wave tail, so that the other parts of a wave are those of SMs that have something to run.

A matrix-vector kernel multiplies on CUDA cores while it reads: of the time that it reads, its
products at the tensor cores' peak are useful, and the rest is told as DRAM's. A depthwise
convolution multiplies there, too: what it takes longer than tensor cores at their peak is told as
the rate of its instructions, what its bytes take longer than that as DRAM's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nmsim.machines.explanation import Part, whole
from nmsim.machines.gpu.attention.fusion import fused_parts
from nmsim.machines.gpu.writeup import SLOTS
from nmsim.mask import SparseGemm
from nmsim.result import Result

__all__ = ["PARTS", "columns", "parts_of"]

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
    "prologue": "a threadblock starts and fills its first slices",
    "epilogue": "a threadblock stores its results",
    "wave tail": "SMs that have fewer threadblocks than the fullest",
    "clock": "the clock comes down in a long kernel",
    "split-k reduction": "a second kernel adds up the parts of K",
    "launch": "what a launch costs and no work hides, the host's calls, rounding to whole cycles",
    "copy": "an operand is copied first, so that K comes last",
    "cast": "the scale of A is found and A is cast first, as the library's number format needs it",
}
"""Parts in order, and what they are; a word of ``bound`` means the same here."""

_COLUMN = {
    "useful": ("useful products",),
    "empty_slot": ("empty slots", "unseen pairs"),
    "ragged": ("tile overhang",),
    "fill": ("prologue",),
    "preload": ("copy", "cast", "copies"),
    "drain": ("epilogue", "split-k reduction", "combining"),
    "path_wait": (
        *("instruction rate", "shared memory", "instruction issue", "dependent sums"),
        *("main loop", "l2 bandwidth", "sm port", "clock"),
    ),
    "dram_wait": ("dram bandwidth",),
    "latency_wait": ("load latency",),
    "tail": ("wave tail",),
    "launch": ("launch",),
    "misfit": (),
    "writeback_wait": (),
}
"""The parts, those of fused attention among them, that a column of a row adds up."""


def columns(works: Sequence[SparseGemm], results: Sequence[Result]) -> dict[str, list[int]]:
    """The columns of rows that say where their cycles go: they add up to ``cycles``."""
    found = [
        {part.name: part.cycles for part in parts_of(None, work, result, "")}
        for work, result in zip(works, results, strict=True)
    ]
    return {
        f"{column}_cycles": [sum(cycles.get(name, 0) for name in names) for cycles in found]
        for column, names in _COLUMN.items()
    }


def parts_of(_machine: Any, work: SparseGemm, result: Result, _fidelity: str) -> tuple[Part, ...]:
    """Where the cycles of a sparse GEMM go on a GPU, all repeats: what its model has added up."""
    if work.gemm.attention is not None:
        return fused_parts(work, result)
    repeat = work.gemm.repeat
    clocks = _multiplied(work, result)
    factor = result.own.get("residual_factor", 1.0)
    # A launch takes whole cycles, and waits for its host: what it is longer by is told as its own.
    clocks["launch"] += max(0.0, result.cycles / factor / repeat - sum(clocks.values()))
    if factor != 1.0:
        clocks = _stretched(clocks, result.cycles / repeat)
    shares = whole((repeat * clocks.get(name, 0.0) for name in PARTS), result.cycles)
    return tuple(
        Part(name, cycles, meaning)
        for (name, meaning), cycles in zip(PARTS.items(), shares, strict=True)
    )


def _stretched(clocks: Mapping[str, float], total: float) -> dict[str, float]:
    """Clocks of a GEMM that a residual corrects: all but the useful products are as much longer."""
    useful = min(clocks["useful products"], total)
    others = sum(clocks.values()) - clocks["useful products"]
    stretch = (total - useful) / others if others > 0 else 0.0
    stretched = {name: stretch * taken for name, taken in clocks.items()}
    return {**stretched, "useful products": useful}


def _multiplied(work: SparseGemm, result: Result) -> dict[str, float]:
    """Clocks of one launch by part: what its tensor cores' go to, and all others."""
    clocks = {"launch": 0.0, "dram bandwidth": 0.0, **result.spent}
    slots, spent = clocks.pop(SLOTS, 0.0), clocks.pop("tensor cores", None)
    per_clock = result.peak_macs * work.gemm.repeat
    useful, issued = work.macs_useful / per_clock, result.macs_issued / per_clock
    if spent is None:  # products of CUDA cores, made while they read
        useful = min(useful, clocks["dram bandwidth"])
        reading = clocks["dram bandwidth"] - useful
        return {**clocks, "useful products": useful, "dram bandwidth": reading}
    useful = min(useful, spent)
    tiled = min(slots / result.peak_macs, spent)  # a rate above the peak makes up for overhang
    empty = min(max(0.0, issued - useful), spent - useful)
    over = min(max(0.0, tiled - issued), spent - useful - empty)
    return {
        **clocks,
        "useful products": useful,
        "empty slots": empty,
        "tile overhang": over,
        "instruction rate": spent - useful - empty - over,
    }
