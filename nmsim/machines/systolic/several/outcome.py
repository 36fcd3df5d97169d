"""What several arrays make of a GEMM together: sums of what each moved, means of its time.

Every array is at work, waits, or has nothing left to do until the last one is done. Parts of the
cycles are means over all arrays, those without any work included, so that they add up to the cycles
of the machine; bytes and MAC slots are sums.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from nmsim.machines.systolic.parts import overheads
from nmsim.machines.systolic.pipeline.folds import Sums
from nmsim.machines.systolic.pipeline.memory import TICKS
from nmsim.machines.systolic.placement import Placement, shifts_apart
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.several.shares import Split, as_row_says, common
from nmsim.machines.systolic.traffic import Moved, Spent, bound, transfer_cycles, writeup
from nmsim.result import Result

__all__ = ["Own", "Reduction", "moved", "reduction", "written"]


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
    def of(cls, machine: SystolicArray, placement: Placement, sums: Sums, arrays: int) -> "Own":
        """What arrays spend on folds, as far as memory never makes them wait."""
        fill, shifts = overheads(machine, placement, sums.folds, sums.shifted / TICKS)
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
    each: Sequence[tuple[Moved, int]],
) -> Moved:
    """What all arrays move together; ``each`` says what so many of them move.

    In shared buffers an operand that all arrays read comes once, and is read once for all.
    """
    total = dict.fromkeys(vars(each[0][0]), 0)
    for one, arrays in each:
        for name, value in vars(one).items():
            total[name] += value * arrays
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
    return Moved(**total)


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
    moving = result.dram_read_bytes + result.dram_write_bytes
    return replace(
        result,
        partition=str(as_row_says(split.by, placement)),
        bound=_bound(
            owns, cycles, transfer_cycles(machine, 8 * moving / placement.work.gemm.repeat)
        ),
    )


def _bound(owns: Sequence[Own], cycles: int, transfer: float) -> str:
    """What limits the array that computes longest."""
    own = max(owns, key=lambda one: one.compute)
    compute, waited = math.ceil(own.compute), math.ceil(own.path)
    return bound(Spent(compute, waited, 0, own.streamed, cycles, 0), transfer)
