"""What several arrays make of a GEMM together: sums of what each moved, means of its time.

Every array is at work, waits, or has nothing left to do until the last one is done. Parts of the
cycles are means over all arrays, those without any work included, so that they add up to the cycles
of the machine; bytes and MAC slots are sums.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from nmsim.machines.systolic.closed_form.given import resources_of
from nmsim.machines.systolic.closed_form.pipeline import overheads
from nmsim.machines.systolic.pipeline.folds import Sums
from nmsim.machines.systolic.pipeline.memory import TICKS
from nmsim.machines.systolic.placement import Placement, shifts_apart
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.several.shares import Share, Split, as_row_says, common
from nmsim.machines.systolic.traffic.moves import Passed
from nmsim.machines.systolic.traffic.operands import distinct, windows_of
from nmsim.machines.systolic.traffic.writeup import Moved, Spent, by_ratio, writeup
from nmsim.result import Result

__all__ = ["Own", "Reduction", "moved", "noted", "reduction", "written"]


class Own(NamedTuple):
    """What so many arrays spend each: cycles at work and by what, and waits by cause.

    Parameters
    ----------
    compute
        Without memory; of it ``streamed``, ``fill``, ``shifts`` and ``path`` are parts.
    bandwidth, latency, write_back
        What it waits.
    """

    arrays: int
    compute: float
    streamed: float
    fill: float
    shifts: float
    path: float
    bandwidth: float = 0.0
    latency: float = 0.0
    write_back: float = 0.0

    @classmethod
    def of(cls, machine: SystolicArray, sums: Sums, arrays: int) -> "Own":
        """What arrays spend on folds, as far as memory never makes them wait."""
        fill, shifts = overheads(resources_of(machine), sums.folds, sums.shifted / TICKS)
        compute, streamed, path = (
            ticks / TICKS for ticks in (sums.compute, sums.streamed, sums.waited)
        )
        return cls(arrays, compute, streamed, fill, shifts, path)

    @property
    def cycles(self) -> float:
        """When the array is done."""
        return self.compute + self.bandwidth + self.latency + self.write_back


class Reduction(NamedTuple):
    """Adding up the sums of parts of K: cycles of the channel or the adders, and of latency.

    ``parts`` sums of every element of C have been written; they are read, added and written.
    """

    parts: int
    cycles: float = 0.0
    latency: float = 0.0


def reduction(machine: SystolicArray, placement: Placement, parts: int) -> Reduction:
    """What adding up takes, behind the last array's last sums.

    The channel carries ``parts`` sums of every element of C in and one result out; every array that
    had a part adds as many a cycle as it has columns, while they come. Before, one request is
    answered.
    """
    g = placement.work.gemm
    elements = g.m * g.n * g.count
    adding = elements / machine.cols
    moving = 0.0
    if machine.dram.gbps is not None:
        bits = elements * (parts * machine.accumulator_bits + machine.output_bits)
        moving = bits * machine.clock_mhz / (machine.dram.gbps * 8e3)
    latency = machine.dram.latency_ns * machine.clock_mhz * 1e-3
    return Reduction(parts, max(adding, moving), latency)


def moved(
    machine: SystolicArray,
    placement: Placement,
    split: Split,
    shares: Sequence[Share],
    moves: Sequence[Moved],
) -> Moved:
    """What all arrays move together, of each share what its arrays move each.

    In shared buffers an operand that all arrays read comes once, and is read once for all.
    """
    each = [
        (_counted_as(machine, placement, share.placement, one), share.arrays)
        for share, one in zip(shares, moves, strict=True)
    ]
    total = {
        name: sum(arrays * getattr(one, name) for one, arrays in each)
        for name in Moved._fields
        if name != "passed"
    }
    passed = [[arrays * value for value in one.passed] for one, arrays in each]
    shared = common(split) if machine.buffers == "shared" else ""
    if shared:
        position = "x" if shared == placement.x else "y"
        for name in (f"{position}_loaded", f"{position}_read"):
            total[name] = max(getattr(one, name) for one, _ in each)
    if split.by == "k":
        parts, outputs = sum(arrays for _, arrays in each), each[0][0].outputs
        total["sums_in"] += parts * outputs
        total["sums_out"] += parts * outputs
        total["outputs"] = outputs
    return Moved(**total, passed=Passed._make(map(sum, zip(*passed, strict=True))))


def _counted_as(machine: SystolicArray, whole: Placement, part: Placement, moves: Moved) -> Moved:
    """What a part moves, counted in elements of memory where the whole's windows say which are."""
    loaded = {}
    for name, position in (("x_loaded", whole.x), ("y_loaded", whole.y)):
        known, still = (windows_of(machine, one, position) for one in (whole, part))
        if known is not None and still is None:
            behind, size = distinct(machine, part, position)
            loaded[name] = -(-getattr(moves, name) * behind // size)
    return moves._replace(**loaded)


def noted(
    machine: SystolicArray, shares: Sequence[Share], result: Result, more: str = ""
) -> Result:
    """A result with what should be known of how its parts were counted."""
    told = dict.fromkeys(by_ratio(machine, share.placement) for share in shares)
    new = [one for one in (*told, more) if one and one not in result.note]
    return replace(result, note="; ".join(filter(None, (result.note, *new))))


def written(
    machine: SystolicArray,
    placement: Placement,
    split: Split,
    owns: Sequence[Own],
    all_moved: Moved,
    issued: int,
    adds: Reduction | None,
    folds: int,
) -> Result:
    """The result of one launch on all arrays."""
    n = machine.arrays
    end = max(own.cycles for own in owns)

    def mean(values: Iterable[float]) -> float:
        return math.fsum(own.arrays * value for own, value in zip(owns, values, strict=True)) / n

    last = adds or Reduction(0)
    bandwidth, latency = mean(o.bandwidth for o in owns), mean(o.latency for o in owns)
    write_back = mean(o.write_back for o in owns) + last.cycles
    latency += last.latency
    cycles = math.ceil(end + last.cycles + last.latency - 1e-9)
    waits = min(cycles, int(bandwidth + latency + write_back + 1e-9))
    spent = Spent(
        compute=cycles - waits,
        waited=math.ceil(mean(o.path for o in owns)),
        preload=folds * machine.rows if shifts_apart(machine, placement) else 0,
        streamed=mean(o.streamed for o in owns),
        cycles=cycles,
        issued=issued,
        fill=mean(o.fill for o in owns),
        shifts=mean(o.shifts for o in owns),
        path=mean(o.path for o in owns),
        bandwidth=bandwidth,
        latency=latency,
        write_back=write_back,
        idle=end - mean(o.cycles for o in owns),
    )
    result = writeup(machine, placement, all_moved, spent)
    return replace(result, partition=str(as_row_says(split.by, placement)))
