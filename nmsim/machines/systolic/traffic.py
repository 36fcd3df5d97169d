"""From elements that a model moved to the bytes, bandwidth and bound of a result.

A stored element is an operand's value and its metadata. Under implicit im2col a convolution's
columns are made on chip: memory holds, and DRAM sends, the pixels behind them.
"""

from dataclasses import dataclass
from typing import Literal

from nmsim.machines.systolic.parts import parts_of
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.result import Parts, Result

__all__ = ["Moved", "Spent", "bound", "distinct", "element_bits", "transfer_cycles", "writeup"]


@dataclass(frozen=True)
class Moved:
    """Elements of one launch: loaded from DRAM, read from SRAM, and sums and results written.

    ``x`` and ``y`` are the operands as ``Placement`` names them.
    """

    x_loaded: int
    y_loaded: int
    x_read: int
    y_read: int
    sums_in: int
    sums_out: int
    outputs: int


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
    """Distinct elements behind an operand and elements of the operand, one copy."""
    gemm = placement.work.gemm
    size = placement.rows_of(position) * placement.work.k
    behind = gemm.a_elements if position == "a" else gemm.b_elements
    if machine.im2col == "explicit" or behind is None:
        return size, size
    return behind, size


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
    asked = {}
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
        shifts = spent.preload and position == placement.x
        moving = spent.preload if shifts else spent.streamed
        asked[position] = read * stored.bits / moving if moving else 0.0
    reads = operands + moved.sums_in * machine.accumulator_bits
    writes = moved.outputs * machine.output_bits + moved.sums_out * machine.accumulator_bits
    if placement.transposed:
        asked = {"a": asked["b"], "b": asked["a"]}
    busy = transfer_cycles(machine, reads + writes)
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
        bound=bound(spent, busy),
        delivery_cycles=spent.waited * gemm.repeat,
        a_bits_per_cycle=asked["a"],
        b_bits_per_cycle=asked["b"],
        compressed=_compressed(placement),
        selects=bool(placement.selected),
        note=placement.note,
        parts=_parts(placement, spent).times(gemm.repeat),
        idle_cycles=int(spent.idle) * gemm.repeat,
    )


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


def bound(spent: Spent, transfer: float) -> str:
    """What is busy longest: the channel or the array, and in the array feeding or filling it.

    Latency if the array waits longer than it works and the channel is not why. What feeds is the
    buffers' path if it carries less in a cycle than is asked of it.
    """
    if transfer > spent.compute:
        return "dram bandwidth"
    if spent.cycles > 2 * spent.compute:
        return "dram latency"
    if 2 * (spent.streamed + spent.waited) < spent.compute:
        return "array fill"
    return "buffer bandwidth" if spent.waited else "compute"
