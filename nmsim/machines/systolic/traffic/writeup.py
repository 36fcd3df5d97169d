"""From elements that a model moved to the bytes, bandwidth of a result.

A stored element is an operand's value and its metadata. Under implicit im2col a convolution's
columns are made on chip: memory holds, and DRAM sends, the pixels behind them.
"""

from typing import NamedTuple

from nmsim.machines.systolic.parts import bound_of, parts_of
from nmsim.machines.systolic.placement import Placement, Side
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.moves import Passed, passed_bits
from nmsim.machines.systolic.traffic.operands import distinct
from nmsim.result import Parts, Result

__all__ = [
    "Moved",
    "Spent",
    "by_ratio",
    "writeup",
]


class Moved(NamedTuple):
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


class Spent(NamedTuple):
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


def writeup(
    machine: SystolicArray,
    placement: Placement,
    moved: Moved,
    spent: Spent,
    misfit_share: float | None = None,
) -> Result:
    """The result of one launch, times ``repeat``."""
    repeat, way = placement.given.gemm.repeat, placement.way
    x = _side(machine, placement, way.x, moved.x_loaded, moved.x_read)
    y = _side(machine, placement, way.y, moved.y_loaded, moved.y_read)
    asked = x.read / spent.preload if spent.preload else _share(x.read, spent.streamed)
    # As the row names operands.
    sides = {x.name: (x, asked), y.name: (y, _share(y.read, spent.streamed))}
    (a, a_asked), (b, b_asked) = sides["a"], sides["b"]
    reads = x.loaded + y.loaded + moved.sums_in * machine.accumulator_bits
    writes = moved.outputs * machine.output_bits + moved.sums_out * machine.accumulator_bits
    parts, idle = _parts(placement, spent), int(spent.idle)
    return Result(
        engine="systolic",
        kernel=way.kernel,
        transposed=way.transposed,
        compute_cycles=spent.compute * repeat,
        stall_cycles=(spent.cycles - spent.compute) * repeat,
        clock_mhz=machine.clock_mhz,
        peak_macs=machine.peak_macs,
        macs_issued=spent.issued * repeat,
        dram_read_bytes=_bytes(reads) * repeat,
        dram_write_bytes=_bytes(writes) * repeat,
        sram_read_bytes=_bytes(x.read + y.read) * repeat,
        metadata_bytes=_bytes(x.metadata + y.metadata) * repeat,
        bound=bound_of(parts._replace(streamed=parts.streamed - idle) if idle else parts),
        delivery_cycles=spent.waited * repeat,
        a_bits_per_cycle=a_asked,
        b_bits_per_cycle=b_asked,
        compressed=("a" if a.compressed else "") + ("b" if b.compressed else ""),
        selects=bool(way.selected),
        misfit_share=misfit_share,
        note="; ".join(filter(None, (way.note, _by_ratio(a, b)))),
        parts=parts if repeat == 1 else parts.times(repeat),
        idle_cycles=idle * repeat,
        own=_counts(machine, placement, moved, a, b),
    )


class _Bits(NamedTuple):
    """What is moved of an operand, bits: loaded from DRAM, and metadata of that; read from SRAM.

    ``name`` is what the row calls it; ``by_ratio``, only the number of its elements is known.
    """

    name: str
    loaded: int
    metadata: int
    read: int
    metadata_read: int
    compressed: bool
    by_ratio: bool


def _side(
    machine: SystolicArray, placement: Placement, position: Side, loaded: int, read: int
) -> _Bits:
    behind, size = distinct(machine, placement, position)
    elements = loaded if behind == size else -(-loaded * behind // size)
    stored = placement.stored_as(position)
    index, bits = stored.index_bits, stored.value_bits + stored.index_bits
    return _Bits(
        position if not placement.way.transposed else "b" if position == "a" else "a",
        elements * bits,
        elements * index,
        read * bits,
        read * index,
        stored.compressed,
        behind < size,
    )


def _share(bits: int, cycles: float) -> float:
    """Bits a cycle; none if there are no cycles."""
    return bits / cycles if cycles else 0.0


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def by_ratio(machine: SystolicArray, placement: Placement) -> str:
    """What a reader should know of operands of which only the number of elements is known."""
    sides: tuple[Side, ...] = ("b", "a") if placement.transposed else ("a", "b")
    return _by_ratio(*(_side(machine, placement, side, 0, 0) for side in sides))


def _by_ratio(a: _Bits, b: _Bits) -> str:
    told = [name for name, one in (("A", a), ("B", b)) if one.by_ratio]
    if not told:
        return ""
    return f"{' and '.join(told)}: each pixel is loaded once a pass, for want of its windows"


def _counts(
    machine: SystolicArray, placement: Placement, moved: Moved, a: _Bits, b: _Bits
) -> dict[str, int]:
    """The columns of what moves: bits read, written and read as metadata of each buffer, as bytes.

    A fold reads the sums that it adds to, all but the first; and every result is read once to
    leave.
    """
    passed, sum_bits = moved.passed, machine.accumulator_bits
    repeat = placement.given.gemm.repeat
    return {
        "sram_a_read_bytes": _bytes(a.read) * repeat,
        "sram_a_write_bytes": _bytes(a.loaded) * repeat,
        "sram_b_read_bytes": _bytes(b.read) * repeat,
        "sram_b_write_bytes": _bytes(b.loaded) * repeat,
        "sram_c_read_bytes": _bytes((passed.made + moved.sums_out) * sum_bits) * repeat,
        "sram_c_write_bytes": _bytes((passed.made + moved.sums_in) * sum_bits) * repeat,
        "sram_a_metadata_read_bytes": _bytes(a.metadata_read) * repeat,
        "sram_b_metadata_read_bytes": _bytes(b.metadata_read) * repeat,
        "sram_metadata_read_bytes": _bytes(a.metadata_read + b.metadata_read) * repeat,
        "passed_words": (passed.x_words + passed.y_words) * repeat,
        "passed_bits": passed_bits(machine, placement, passed) * repeat,
        "passed_sums": passed.sums * repeat,
        "spilled_sums": moved.sums_out * repeat,
    }


def _parts(placement: Placement, spent: Spent) -> Parts:
    """Where the cycles of one launch go."""
    held = placement.way.dataflow.preloads
    preload, drain = (spent.shifts, 0.0) if held else (0.0, spent.shifts)
    return parts_of(
        (spent.streamed + spent.idle, spent.fill, preload, drain, spent.path),
        spent.compute,
        (spent.bandwidth, spent.latency, spent.write_back),
        spent.cycles - spent.compute,
    )
