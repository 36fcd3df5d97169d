"""Several arrays in closed form: the slowest of them, or the channel, and a queue at both ends.

With one array nothing hides its first transfer and its last results. Of n arrays that start at once
the last one stands in line behind n - 1 first transfers. Who waits once is then out of the others'
way, pieces being asked for two ahead, as long as the channel is not busy throughout, and leaves its
last results after them: the deterministic case of a closed queueing network of n customers and one
server, whose throughput is the lesser of the customers' own and the server's (Denning and Buzen,
ACM Computing Surveys 1978, section 6). So a GEMM takes the longer of

- what an array computes, its waits for latency, its first transfer f and its last results l, and
  n - 1 times the longer of f and l;
- the channel for the bytes of all arrays, and a request's latency and a fold's way through the
  array behind the last load, as far as that is longer than last results take.

Arrays that share their buffers have no line to stand in: first transfers and last results are those
of all arrays, and what they have in common is loaded once.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from nmsim.machines.systolic.analytical import moved_of
from nmsim.machines.systolic.closed_form.fastest import Run, fastest
from nmsim.machines.systolic.pe.slots import expected_misfit_share
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.several.outcome import (
    Own,
    Reduction,
    moved,
    noted,
    reduction,
    written,
)
from nmsim.machines.systolic.several.shares import (
    Share,
    Split,
    own_part,
    possible,
    shares,
    splits,
)
from nmsim.machines.systolic.traffic.operands import element_bits, transfer_cycles
from nmsim.machines.systolic.traffic.writeup import Moved
from nmsim.result import Result

__all__ = ["estimate"]


class _Way(NamedTuple):
    """How a GEMM is shared out, and what each share takes alone, in closed form."""

    split: Split
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
    ways = possible(partial(_ways, machine, placement, one) for one in splits(machine, placement))
    found = [_result(machine, placement, way) for way in ways]
    best = min(found, key=lambda one: (one.cycles, one.dram_read_bytes + one.dram_write_bytes))
    if placement.selected:
        share = expected_misfit_share(placement.selected_mask, placement.native)
        best = replace(best, misfit_share=share)
    return best


def _ways(machine: SystolicArray, placement: Placement, split: Split) -> list[_Way]:
    """A partition, its folds cut as is fastest alone, and as if all transfers took n times."""
    parts = shares(machine, placement, split)
    at_work = sum(share.arrays for share in parts)
    adds = reduction(machine, placement, at_work) if split.by == "k" else None
    ways = []
    for times in (1, at_work) if machine.dram.gbps else (1,):
        slow = _own(machine, split, times)
        ways.append(_Way(split, parts, [fastest(slow, one.placement) for one in parts], adds))
    return ways


def _own(machine: SystolicArray, split: Split, times: int) -> SystolicArray:
    """One array with its part of the buffers, and a channel so many times slower."""
    own, dram = own_part(machine, split), machine.dram
    if dram.gbps is None or times == 1:
        return own
    slow = dram.model_copy(update={"gbps": dram.gbps / times})
    return own.model_copy(update={"dram": slow})


def _result(machine: SystolicArray, placement: Placement, way: _Way) -> Result:
    own = own_part(machine, way.split)
    moves = [
        moved_of(own, share.placement, run) for share, run in zip(way.shares, way.runs, strict=True)
    ]
    together = moved(machine, placement, way.split, way.shares, moves)
    busy = _busy(machine, placement, way, together)
    owns = [
        _spent(machine, way, share, run, busy)
        for share, run in zip(way.shares, way.runs, strict=True)
    ]
    issued = sum(s.arrays * run.counts.issued for s, run in zip(way.shares, way.runs, strict=True))
    folds = sum(s.arrays * run.counts.folds for s, run in zip(way.shares, way.runs, strict=True))
    result = written(
        machine,
        placement,
        way.split,
        owns,
        together,
        issued,
        way.adds,
        folds // machine.arrays,
    )
    return noted(machine, way.shares, result)


def _busy(machine: SystolicArray, placement: Placement, way: _Way, together: Moved) -> float:
    """Cycles of the channel until the arrays have what they need and their results have left.

    Behind the last load come a request's latency and a fold's way through the array, while last
    results leave that were made before.
    """
    bits = (
        together.x_loaded * element_bits(machine, placement, placement.x)
        + together.y_loaded * element_bits(machine, placement, placement.y)
        + (together.sums_in + together.sums_out) * machine.accumulator_bits
        + together.outputs * machine.output_bits
    )
    if way.adds:  # what is added up goes through the channel later
        sums = way.adds.parts * machine.accumulator_bits + machine.output_bits
        bits -= together.outputs * sums
    behind = machine.dram.latency_ns * machine.clock_mhz * 1e-3 + machine.fill_cycles
    out = sum(share.arrays * run.times.out for share, run in zip(way.shares, way.runs, strict=True))
    return transfer_cycles(machine, bits) + max(0.0, behind - out)


def _spent(machine: SystolicArray, way: _Way, share: Share, run: Run, busy: float) -> Own:
    """What an array of a share spends, in line with the others at both ends."""
    n, alone = way.arrays, run.times
    first, last = n * alone.first, n * alone.last
    if machine.buffers == "private":  # those who came later to the first are later at the last
        first, last = alone.first, alone.last + (n - 1) * max(alone.first, alone.last)
    cycles = max(alone.compute + alone.latency + first + last, busy)
    waits = cycles - alone.compute
    latency = min(waits, alone.latency)
    write_back = min(waits - latency, alone.last)
    return Own(
        share.arrays,
        alone.compute,
        alone.streamed,
        alone.fill,
        alone.shifts,
        alone.waited,
        waits - latency - write_back,
        latency,
        write_back,
    )
