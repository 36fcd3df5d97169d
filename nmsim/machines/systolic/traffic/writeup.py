"""From elements that a model moved to the bytes, bandwidth of a result.

A stored element is an operand's value and its metadata. Under implicit im2col a convolution's
columns are made on chip: memory holds, and DRAM sends, the pixels behind them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nmsim.machines.systolic.parts import bound_of, parts_of
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.moves import Passed
from nmsim.result import Parts, Result
from nmsim.windows import Windows

__all__ = [
    "Moved",
    "Spent",
    "by_ratio",
    "distinct",
    "element_bits",
    "transfer_cycles",
    "windows_of",
    "writeup",
]


@dataclass(frozen=True)
class Moved:
    """Elements of one launch: loaded from DRAM, read from SRAM, and sums and results written.

    ``x`` and ``y`` are the operands as ``Placement`` names them. Of one that windows make up those
    elements are loaded that memory holds. ``passed`` moves from PE to PE.
    """

    x_loaded: int
    y_loaded: int
    x_read: int
    y_read: int
    sums_in: int
    sums_out: int
    outputs: int
    passed: Passed


@dataclass(frozen=True)
class Spent:
    """Time and MAC slots of one launch.

    Parameters
    ----------
    compute, cycles
        Cycles at work, and in all.
    waited
        The part of ``compute`` that waits for the path from the buffers.
    preload
        Cycles in which x shifts in; 0 if it comes while y streams.
    streamed
        The part of ``compute`` that feeds operands; what is left fills and empties the array.
    issued
        MAC slots spent.
    fill, shifts, path
        Cycles of ``compute`` beside those that stream: skew, shifting in or out, waiting for the
        path.
    bandwidth, latency, write_back
        Cycles that the array waits, by cause.
    idle
        Cycles of ``compute`` in which one of several arrays has no work left, mean of all.
    """

    compute: int
    waited: int
    preload: int
    streamed: float
    cycles: int
    issued: int
    fill: float = 0.0
    shifts: float = 0.0
    path: float = 0.0
    bandwidth: float = 0.0
    latency: float = 0.0
    write_back: float = 0.0
    idle: float = 0.0


def distinct(
    machine: SystolicArray, placement: Placement, position: Literal["a", "b"]
) -> tuple[int, int]:
    """Elements that one pass sends of an operand, and elements of the operand, one copy.

    They are the same where windows say which of them are sent.
    """
    gemm = placement.work.gemm
    size = placement.rows_of(position) * placement.work.k
    behind = gemm.a_elements if position == "a" else gemm.b_elements
    if machine.im2col == "explicit" or behind is None or windows_of(machine, placement, position):
        return size, size
    return behind, size


def windows_of(machine: SystolicArray, placement: Placement, position: str) -> Windows | None:
    """The windows that an operand's columns are made of on chip; None if that is not so.

    Nor are windows of any account that share no pixel and see no padding: columns are pixels.
    """
    gemm = placement.work.gemm
    windows = gemm.a_windows if position == "a" else gemm.b_windows
    if machine.im2col == "explicit" or windows is None:
        return None
    return windows if windows.elements < windows.pixels * windows.reads else None


def element_bits(
    machine: SystolicArray, placement: Placement, position: Literal["a", "b"]
) -> float:
    """Bits in memory behind a stored element of an operand, metadata included."""
    kept, size = distinct(machine, placement, position)
    return placement.stored_as(position).bits * kept / size


def transfer_cycles(machine: SystolicArray, bits: float) -> float:
    """Cycles that the DRAM channel is busy with so many bits."""
    if machine.dram.gbps is None:
        return 0.0
    return bits * machine.clock_mhz / (machine.dram.gbps * 8e3)


def writeup(machine: SystolicArray, placement: Placement, moved: Moved, spent: Spent) -> Result:
    """The result of one launch, times ``repeat``."""
    gemm = placement.work.gemm
    metadata, operands, sram = 0, 0, 0
    asked: dict[str, float] = {}
    buffers: dict[str, tuple[int, int, int]] = {}
    for position, loaded, read in (
        (placement.x, moved.x_loaded, moved.x_read),
        (placement.y, moved.y_loaded, moved.y_read),
    ):
        behind, size = distinct(machine, placement, position)
        elements = -(-loaded * behind // size)
        stored = placement.stored_as(position)
        operands += elements * stored.bits
        metadata += elements * stored.index_bits
        sram += read * stored.bits
        buffers[position] = read * stored.bits, elements * stored.bits, read * stored.index_bits
        shifts = spent.preload and position == placement.x
        moving = spent.preload if shifts else spent.streamed
        asked[position] = read * stored.bits / moving if moving else 0.0
    reads = operands + moved.sums_in * machine.accumulator_bits
    writes = moved.outputs * machine.output_bits + moved.sums_out * machine.accumulator_bits
    if placement.transposed:
        asked = {"a": asked["b"], "b": asked["a"]}
    parts, idle = _parts(placement, spent), int(spent.idle)
    return Result(
        engine="systolic",
        kernel=placement.kernel,
        transposed=placement.transposed,
        compute_cycles=spent.compute * gemm.repeat,
        stall_cycles=(spent.cycles - spent.compute) * gemm.repeat,
        clock_mhz=machine.clock_mhz,
        peak_macs=machine.peak_macs,
        macs_issued=spent.issued * gemm.repeat,
        dram_read_bytes=-(-reads // 8) * gemm.repeat,
        dram_write_bytes=-(-writes // 8) * gemm.repeat,
        sram_read_bytes=-(-sram // 8) * gemm.repeat,
        metadata_bytes=-(-metadata // 8) * gemm.repeat,
        bound=bound_of(parts._replace(streamed=parts.streamed - idle)),
        delivery_cycles=spent.waited * gemm.repeat,
        a_bits_per_cycle=asked["a"],
        b_bits_per_cycle=asked["b"],
        compressed=_compressed(placement),
        selects=bool(placement.selected),
        note="; ".join(filter(None, (placement.note, by_ratio(machine, placement)))),
        parts=parts.times(gemm.repeat),
        idle_cycles=idle * gemm.repeat,
        own=_counts(machine, placement, moved, buffers),
    )


def by_ratio(machine: SystolicArray, placement: Placement) -> str:
    """What a reader should know of operands of which only the number of elements is known."""
    names = {"a": "B", "b": "A"} if placement.transposed else {"a": "A", "b": "B"}
    sides: tuple[Literal["a", "b"], ...] = ("a", "b")
    counts = {side: distinct(machine, placement, side) for side in sides}
    told = sorted(names[side] for side, (behind, size) in counts.items() if behind < size)
    if not told:
        return ""
    return f"{' and '.join(told)}: each pixel is loaded once a pass, for want of its windows"


def _counts(
    machine: SystolicArray,
    placement: Placement,
    moved: Moved,
    buffers: Mapping[str, tuple[int, int, int]],
) -> dict[str, int]:
    """The columns of what moves: bits read, written and read as metadata of each buffer, as bytes.

    A fold reads the sums that it adds to, all but the first; and every result is read once to
    leave.
    """
    bits, passed = {}, moved.passed
    for position, (read, written, _) in buffers.items():
        name = {"a": "b", "b": "a"}[position] if placement.transposed else position
        bits[f"sram_{name}_read_bytes"], bits[f"sram_{name}_write_bytes"] = read, written
    bits["sram_c_read_bytes"] = (passed.made + moved.sums_out) * machine.accumulator_bits
    bits["sram_c_write_bytes"] = (passed.made + moved.sums_in) * machine.accumulator_bits
    bits["sram_metadata_read_bytes"] = sum(index for _, _, index in buffers.values())
    counts = {name: -(-found // 8) for name, found in bits.items()}
    counts |= {"passed_words": passed.words, "passed_bits": passed.bits}
    counts["passed_sums"] = passed.sums
    counts["spilled_sums"] = moved.sums_out
    return {name: found * placement.work.gemm.repeat for name, found in counts.items()}


def _parts(placement: Placement, spent: Spent) -> Parts:
    """Where the cycles of one launch go."""
    preload, drain = (spent.shifts, 0.0) if placement.dataflow.preloads else (0.0, spent.shifts)
    return parts_of(
        (spent.streamed + spent.idle, spent.fill, preload, drain, spent.path),
        spent.compute,
        (spent.bandwidth, spent.latency, spent.write_back),
        spent.cycles - spent.compute,
    )


def _compressed(placement: Placement) -> str:
    """Operands that are stored compressed, as the row names them."""
    names = {"a": "b", "b": "a"} if placement.transposed else {"a": "a", "b": "b"}
    stored = [names[one] for one in ("a", "b") if placement.stored_as(one).compressed]
    return "".join(sorted(stored))
