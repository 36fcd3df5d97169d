"""Where the cycles of an array go: parts that add up, each counted where it arises."""

from collections.abc import Sequence

from nmsim.machines.explanation import whole
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.mask import SparseGemm
from nmsim.result import SLOT_COLUMNS, Parts, Result

__all__ = ["bound_of", "parts_of", "split_slots"]


def split_slots(machine: SystolicArray, work: SparseGemm, result: Result) -> dict[str, int | None]:
    """The columns that split the cycles that stream by what fills the slots.

    Useful products; slots that the masks leave empty; slots beyond what the masks promise, which
    is the least that any of them leaves of K; and lanes that no slot reaches.
    """
    parts, peak = result.parts, machine.peak_macs
    if parts is None:
        return dict.fromkeys(SLOT_COLUMNS)
    promised = max(_promised(machine, work), work.macs_useful)
    if work.gemm.attention is not None:  # products that are made twice are no mask's misfit
        promised = result.macs_issued
    misfit = max(0, result.macs_issued - promised)
    empty = max(0, result.macs_issued - work.macs_useful - misfit)
    shares = [work.macs_useful / peak, empty / peak, misfit / peak]
    shares.append(max(0.0, parts.streamed - sum(shares)))
    return dict(zip(SLOT_COLUMNS, whole(shares, parts.streamed), strict=True))


def _promised(machine: SystolicArray, work: SparseGemm) -> int:
    """MAC slots that the masks promise, all copies and repeats."""
    g, patterns = work.gemm, (work.a.pattern, work.b.pattern)
    along_k = (pattern.stored(machine.padded(work.k, pattern)) for pattern in patterns)
    return g.m * g.n * g.count * g.repeat * min(along_k)


def parts_of(
    compute: Sequence[float], compute_cycles: int, waits: Sequence[float], stall_cycles: int
) -> Parts:
    """Parts of whole cycles, times ``repeat`` left to the caller.

    Parameters
    ----------
    compute
        Streaming, filling, preloads, drains, waiting for the path.
    waits
        For DRAM's bandwidth, its latency, results to leave.
    """
    streamed, fill, preload, drain, path = whole(compute, compute_cycles)
    dram, latency, write_back = whole(waits, stall_cycles)
    return Parts(streamed, fill, preload, drain, path, dram, latency, write_back)


def bound_of(parts: Parts) -> str:
    """What limits a GEMM, by where most of its cycles go.

    Feeding operands, filling and emptying the array, or waiting for the path from the buffers, for
    DRAM to send and to take results, or for its latency; of equals the first.
    """
    spent = {
        "compute": parts.streamed,
        "array fill": parts.fill + parts.preload + parts.drain,
        "buffer bandwidth": parts.path_wait,
        "dram bandwidth": parts.dram_wait + parts.writeback_wait,
        "dram latency": parts.latency_wait,
    }
    return max(spent, key=lambda cause: spent[cause])
