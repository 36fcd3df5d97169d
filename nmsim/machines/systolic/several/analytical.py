"""Several arrays in closed form: the slowest of them, or the channel, and a queue at both ends.

With one array at a time nothing hides its first transfer and its last results. Of n arrays that
start together the last one stands in line behind n - 1 first transfers, and at the end, where
arrays are done together, behind as many last results; in between, pieces are asked for two ahead,
and as long as the channel is not busy throughout, who waits once is then out of the others' way
(the deterministic case of a closed queueing network of n customers and one server, whose throughput
is the lesser of n customers' own and the server's: Denning and Buzen, ACM Computing Surveys 1978,
section 6). So a GEMM takes the longest of

- what each array computes and waits for latency, n first transfers and n last results;
- what each would take alone;
- the channel for the bytes of all arrays, a request's latency and a fold's way through the array.

Arrays that share their buffers load what they have in common once, first transfers included.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from nmsim.machines.systolic.analytical import Run, fastest
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.several.outcome import Own, Reduction, moved, reduction, written
from nmsim.machines.systolic.several.shares import Partition, Share, common, partitions, shares
from nmsim.machines.systolic.slots import expected_misfit_share
from nmsim.machines.systolic.traffic import Moved, element_bits, transfer_cycles
from nmsim.result import Result

__all__ = ["estimate"]


class _Way(NamedTuple):
    """How a GEMM is shared out, and what each share takes alone, in closed form."""

    partition: Partition
    shares: Sequence[Share]
    runs: Sequence[Run]
    adds: Reduction | None

    @property
    def arrays(self) -> int:
        """How many have something to do."""
        return sum(share.arrays for share in self.shares)


def estimate(machine: SystolicArray, placement: Placement) -> Result:
    """What a placement of a sparse GEMM costs on all arrays, in closed form.

    Raises
    ------
    CapacityError
        if a buffer cannot hold what it needs at least.
    """
    found = [
        _result(machine, placement, way)
        for one in partitions(machine, placement)
        for way in _ways(machine, placement, one)
    ]
    best = min(found, key=lambda one: (one.cycles, one.dram_read_bytes + one.dram_write_bytes))
    if placement.selected:
        share = expected_misfit_share(placement.selected_mask, placement.native)
        best = replace(best, misfit_share=share)
    return best


def _ways(machine: SystolicArray, placement: Placement, partition: Partition) -> list[_Way]:
    """A partition, its folds cut as is fastest alone, and as if all transfers took n times."""
    parts = shares(machine, placement, partition)
    at_work = sum(share.arrays for share in parts)
    adds = reduction(machine, placement, at_work) if partition == "k" else None
    ways = []
    for times in (1, at_work) if machine.dram.gbps else (1,):
        slow = _own(machine, placement, partition, times)
        ways.append(
            _Way(partition, parts, [fastest(slow, one.placement, None) for one in parts], adds)
        )
    return ways


def _own(
    machine: SystolicArray, placement: Placement, partition: Partition, times: int
) -> SystolicArray:
    """One array with its part of the buffers, and a channel so many times slower."""
    dram = machine.dram
    if dram.gbps is not None:
        dram = dram.model_copy(update={"gbps": dram.gbps / times})
    sram = machine.sram
    if machine.buffers == "shared":
        shared, n = common(partition, placement), machine.arrays
        sizes = {
            f"{one}_kib": getattr(sram, f"{one}_kib") / (1 if one == shared else n) for one in "abc"
        }
        sram = sram.model_copy(update=sizes)
    return machine.model_copy(update={"dram": dram, "sram": sram})


def _result(machine: SystolicArray, placement: Placement, way: _Way) -> Result:
    each = [
        (_moved(share, run), share.arrays)
        for share, run in zip(way.shares, way.runs, strict=True)
    ]
    together = moved(machine, placement, way.partition, each)
    busy = _busy(machine, placement, way, together)
    owns = [
        _spent(machine, way, share, run, busy)
        for share, run in zip(way.shares, way.runs, strict=True)
    ]
    issued = sum(s.arrays * run.counted.issued for s, run in zip(way.shares, way.runs, strict=True))
    folds = sum(s.arrays * run.counted.folds for s, run in zip(way.shares, way.runs, strict=True))
    return written(
        machine,
        placement,
        way.partition,
        owns,
        together,
        issued,
        way.adds,
        folds // machine.arrays,
    )


def _moved(share: Share, run: Run) -> Moved:
    gemm, counted = share.placement.work.gemm, run.counted
    return Moved(
        counted.x_loaded,
        counted.y_loaded,
        counted.x_read,
        counted.y_read,
        counted.sums,
        counted.sums,
        gemm.m * gemm.n * gemm.count,
    )


def _busy(
    machine: SystolicArray, placement: Placement, way: _Way, together: Moved
) -> float:
    """Cycles of the channel until the arrays have what they need and their results have left."""
    bits = (
        together.x_loaded * element_bits(machine, placement, placement.x)
        + together.y_loaded * element_bits(machine, placement, placement.y)
        + (together.sums_in + together.sums_out) * machine.accumulator_bits
        + together.outputs * machine.output_bits
    )
    cycles = transfer_cycles(machine, bits)
    if way.adds and machine.dram.gbps is not None:  # those of the sums' way back come later
        elements = together.outputs
        last = elements * (way.adds.parts * machine.accumulator_bits + machine.output_bits)
        cycles -= transfer_cycles(machine, last)
    return cycles + machine.dram.latency_ns * machine.clock_mhz * 1e-3


def _spent(
    machine: SystolicArray, way: _Way, share: Share, run: Run, busy: float
) -> Own:
    """What an array of a share spends, in line with the others at both ends."""
    n = way.arrays
    waiting = run.latency + n * (run.first + run.last)
    cycles = max(run.compute + waiting, busy)
    waits = cycles - run.compute
    latency = min(waits, run.latency)
    write_back = min(waits - latency, n * run.last)
    counted = run.counted
    return Own(
        share.arrays,
        run.compute,
        counted.streamed,
        run.fill,
        run.shifts,
        counted.waited,
        waits - latency - write_back,
        latency,
        write_back,
    )
