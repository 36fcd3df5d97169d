"""Several arrays, fold by fold: with buffers of their own they contend, with shared ones never.

With private buffers each array has a program of its own, and all programs go through one channel
(``nmsim.machines.systolic.pipeline.contention``). How a GEMM is shared out, and how the folds of
each part are cut, is chosen by the time that this takes: of each partition two cuts are tried, the
one that would be fastest if the array had the channel to itself, and the one that would be if every
transfer took as many times longer as arrays share it. A way that cannot be the fastest is not run:
none takes less than its slowest array alone, nor than the channel for all its bytes.

With shared buffers one engine serves all arrays, fold by fold, so that nothing contends: what each
fold loads and stores is that of all arrays together, in the recurrence of one.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.systolic.cycle import (
    array_of,
    buffers_of,
    refuse_beyond_64_bits,
    slots_of,
    work_of,
)
from nmsim.machines.systolic.pipeline.capacity import Halves, halves, room
from nmsim.machines.systolic.pipeline.contention import Contended, Finished, contend
from nmsim.machines.systolic.pipeline.cutting import sum_cut, sum_folds
from nmsim.machines.systolic.pipeline.folds import Array, Buffers, Cut, Sums, Work
from nmsim.machines.systolic.pipeline.memory import TICKS
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.several.outcome import Own, Reduction, moved, reduction, written
from nmsim.machines.systolic.several.programs import program_of
from nmsim.machines.systolic.several.shares import Share, Split, common, possible, shares, splits
from nmsim.machines.systolic.traffic import Moved
from nmsim.result import Result

__all__ = ["run"]


class _Loops(NamedTuple):
    """What the kernels need of one array's share."""

    share: Share
    array: Array
    buffers: Buffers
    work: Work
    slots: NDArray[np.int64]

    def cut_for(self, machine: SystolicArray, half: Halves, slower: "_Slower") -> Cut:
        """The fastest cut if every transfer took so many times longer."""
        extremes = int(self.slots.min()), int(self.slots.max())
        space = room(machine, self.share.placement, half, extremes)
        refuse_beyond_64_bits(machine, self.share.placement, self.array, self.buffers, space)
        buffers = slower.of(self.buffers)
        return sum_folds(self.array, buffers, self.work, space, self.slots).cut

    def sums(self, cut: Cut, slower: "_Slower") -> Sums:
        """What the folds add up to, cut so, alone on the channel."""
        return sum_cut(self.array, slower.of(self.buffers), self.work, cut, self.slots)


class _Slower(NamedTuple):
    """How many times longer transfers of each sort take."""

    x: float = 1.0
    y: float = 1.0
    sums: float = 1.0

    def of(self, buffers: Buffers) -> Buffers:
        """The channel as it is then."""
        return buffers._replace(
            x_ticks=self.x * buffers.x_ticks,
            y_ticks=self.y * buffers.y_ticks,
            sum_ticks=self.sums * buffers.sum_ticks,
            output_ticks=self.sums * buffers.output_ticks,
        )


class _Way(NamedTuple):
    """A way to run a GEMM on all arrays: how it is shared out, cut, and what each share adds up to.

    ``alone`` is what it takes at least before sums are added up, ticks.
    """

    split: Split
    loops: Sequence[_Loops]
    sums: Sequence[Sums]
    adds: Reduction | None
    alone: float

    @property
    def least(self) -> float:
        """What it takes at least, ticks."""
        return self.alone + (TICKS * (self.adds.cycles + self.adds.latency) if self.adds else 0.0)


def run(machine: SystolicArray, placement: Placement) -> Result:
    """Run a placement of a sparse GEMM on all arrays of a machine, shared out as is fastest.

    Raises
    ------
    CapacityError
        if a buffer cannot hold what it needs at least.
    ShapeError
        if its times or sums might not fit 64 bits.
    """
    ways = splits(machine, placement)
    if machine.buffers == "shared":
        found = possible(
            partial(lambda one: [_in_lock_step(machine, placement, one)], one) for one in ways
        )
    else:
        found = _contending(machine, placement, ways)
    best = min(found, key=lambda one: (one.cycles, one.dram_read_bytes + one.dram_write_bytes))
    if placement.selected:
        share = placement.selected_mask.misfit_share(placement.native)
        best = replace(best, misfit_share=share)
    return best


def _loops(machine: SystolicArray, share: Share, half: Halves, sums_leave: bool) -> _Loops:
    """A share as the kernels take it; under a partition of K its sums leave, not its results."""
    placement = share.placement
    buffers = buffers_of(machine, placement, half)
    if sums_leave:
        buffers = buffers._replace(output_ticks=buffers.sum_ticks)
    return _Loops(
        share,
        array_of(machine, placement),
        buffers,
        work_of(placement),
        slots_of(machine, placement),
    )


def _contending(
    machine: SystolicArray, placement: Placement, open_to_it: Sequence[Split]
) -> list[Result]:
    """Results of those ways that may be the fastest; each array with buffers of its own."""
    ways = sorted(
        possible(partial(_ways, machine, placement, one) for one in open_to_it),
        key=lambda way: way.least,
    )
    found: list[Result] = []
    for way in ways:
        least = math.ceil(way.least / TICKS) * placement.work.gemm.repeat
        if not found or least < min(one.cycles for one in found):
            found.append(_contended(machine, placement, way))
    return found


def _ways(machine: SystolicArray, placement: Placement, split: Split) -> list[_Way]:
    parts = shares(machine, placement, split)
    at_work = sum(share.arrays for share in parts)
    adds = reduction(machine, placement, at_work) if split.by == "k" else None
    loops = [
        _loops(machine, share, halves(machine, share.placement), adds is not None)
        for share in parts
    ]
    tried: set[tuple[Cut, ...]] = set()
    found = []
    for times in (1, at_work):
        slower = _Slower(times, times, times)
        cuts = tuple(
            one.cut_for(machine, halves(machine, one.share.placement), slower) for one in loops
        )
        if cuts not in tried:
            tried.add(cuts)
            sums = [one.sums(cut, _Slower()) for one, cut in zip(loops, cuts, strict=True)]
            found.append(_Way(split, loops, sums, adds, _least(loops, sums)))
    return found


def _least(loops: Sequence[_Loops], sums: Sequence[Sums]) -> float:
    """Ticks that no order of the arrays' transfers goes below."""
    busy = sum(
        one.share.arrays * _channel_ticks(one.buffers, of)
        for one, of in zip(loops, sums, strict=True)
    )
    return max(busy, *(of.total for of in sums))


def _channel_ticks(buffers: Buffers, sums: Sums) -> float:
    """Channel time of all that one array moves."""
    return (
        sums.x_loaded * buffers.x_ticks
        + sums.y_loaded * buffers.y_ticks
        + (sums.sums_in + sums.sums_out) * buffers.sum_ticks
        + sums.outputs * buffers.output_ticks
    )


def _contended(machine: SystolicArray, placement: Placement, way: _Way) -> Result:
    """What a way takes with all arrays on one channel."""
    which = [i for i, one in enumerate(way.loops) for _ in range(one.share.arrays)]
    ran = _events(machine, way, which)
    owns = []
    for i, finished in zip(which, ran.arrays, strict=True):
        own = Own.of(machine, way.loops[i].share.placement, way.sums[i], 1)
        bandwidth, latency, write_back = (ticks / TICKS for ticks in finished[1:4])
        owns.append(own._replace(bandwidth=bandwidth, latency=latency, write_back=write_back))
    if ran.exact:
        return _told(machine, placement, way, owns)
    last = max(range(len(owns)), key=lambda i: owns[i].cycles)
    short = max(0.0, way.alone / TICKS - owns[last].cycles)
    owns[last] = owns[last]._replace(bandwidth=owns[last].bandwidth + short)
    return replace(_told(machine, placement, way, owns), note=_STEADY)


_STEADY = "arrays on one channel: not every fold was run, some were taken to be like others"

UNEVEN = 20_000
"""Folds of an array that may each differ; of more of them the tiles' mean stands for all."""


def _events(machine: SystolicArray, way: _Way, which: Sequence[int]) -> Contended:
    """When each array is done; alone if the channel has no limit or nobody else is there."""
    if machine.dram.gbps is None or len(which) == 1:
        alone = [
            Finished(sums.total, sums.bandwidth, sums.latency, sums.write_back, 0)
            for sums in way.sums
        ]
        return Contended([alone[i] for i in which], 0, exact=True)
    programs = []
    for one, sums in zip(way.loops, way.sums, strict=True):
        slots = _evened(one.slots, sums.folds)
        programs.append(program_of(one.array, one.buffers, one.work, sums.cut, slots))
    ran = contend([programs[i] for i in which], way.loops[0].array.timing)
    even = all(_repeats(one.slots, of.folds) for one, of in zip(way.loops, way.sums, strict=True))
    return ran._replace(exact=ran.exact and even)


def _repeats(slots: NDArray[np.int64], folds: int) -> bool:
    """Whether folds may be run as they are: few, or of tiles that take as many slots each."""
    return folds <= UNEVEN or bool((slots == slots[0, 0]).all())


def _evened(slots: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """Slots as the events take them: where many folds differ, the mean of all tiles.

    Bytes and slots are counted from the tiles as they are; what is evened out is when their
    transfers are asked for.
    """
    if _repeats(slots, folds):
        return slots
    return np.full_like(slots, max(1, round(float(slots.mean()))))


def _in_lock_step(machine: SystolicArray, placement: Placement, split: Split) -> Result:
    """All arrays run one program, that of the largest share, from buffers that they share."""
    parts = shares(machine, placement, split)
    adds = None
    if split.by == "k":
        adds = reduction(machine, placement, sum(share.arrays for share in parts))
    first, shared = parts[0], common(split)
    half = _shared_out(halves(machine, first.placement), split, first.placement, shared)
    loops = [_loops(machine, share, half, adds is not None) for share in parts]
    lead = loops[0]._replace(slots=_fullest([one.slots for one in loops]))
    slower = _all_together(loops, shared)
    cut = lead.cut_for(machine, half, slower)
    together = lead.sums(cut, slower)
    sums = [one.sums(cut, _Slower()) for one in loops]
    waits = (together.bandwidth, together.latency, together.write_back)
    bandwidth, latency, write_back = (ticks / TICKS for ticks in waits)
    longest = together.compute / TICKS
    owns = []
    for one, of in zip(loops, sums, strict=True):
        own = Own.of(machine, one.share.placement, of, one.share.arrays)
        own = own._replace(bandwidth=bandwidth, latency=latency, write_back=write_back)
        owns.append(own)
    owns[0] = owns[0]._replace(
        compute=longest, streamed=owns[0].streamed + longest - owns[0].compute
    )
    return _told(machine, placement, _Way(split, loops, sums, adds, 0.0), owns)


def _shared_out(half: Halves, split: Split, placement: Placement, shared: str) -> Halves:
    """What of half the shared buffers is each array's: all for what they have in common."""
    n = split.arrays
    return Halves(
        half.x if placement.x == shared else half.x / n,
        half.y if placement.y == shared else half.y / n,
        half.sums // n,
    )


def _fullest(each: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The most slots of any array, tile by tile: in lock-step the others wait."""
    most = each[0].copy()
    for slots in each[1:]:
        copies, tiles = (min(a, b) for a, b in zip(slots.shape, most.shape, strict=True))
        most[:copies, :tiles] = np.maximum(most[:copies, :tiles], slots[:copies, :tiles])
    return most


def _all_together(loops: Sequence[_Loops], shared: str) -> _Slower:
    """What all arrays move over what the first one does, of each operand and of C."""

    def ratio(sizes: Sequence[int]) -> float:
        total = sum(one.share.arrays * size for one, size in zip(loops, sizes, strict=True))
        return total / sizes[0]

    placements = [one.share.placement for one in loops]
    x, y = (
        [one.work.gemm.count * one.rows_of(position) * one.k for one in placements]
        for position in (placements[0].x, placements[0].y)
    )
    c = [one.work.gemm.count * one.work.gemm.m * one.work.gemm.n for one in placements]
    first = placements[0]
    return _Slower(
        1.0 if first.x == shared else ratio(x), 1.0 if first.y == shared else ratio(y), ratio(c)
    )


def _told(machine: SystolicArray, placement: Placement, way: _Way, owns: Sequence[Own]) -> Result:
    each = [
        (
            Moved(
                of.x_loaded,
                of.y_loaded,
                of.x_read,
                of.y_read,
                of.sums_in,
                of.sums_out,
                of.outputs,
            ),
            one.share.arrays,
        )
        for one, of in zip(way.loops, way.sums, strict=True)
    ]
    arrays = [one.share.arrays for one in way.loops]
    issued = sum(n * of.issued for n, of in zip(arrays, way.sums, strict=True))
    folds = sum(n * of.folds for n, of in zip(arrays, way.sums, strict=True))
    return written(
        machine,
        placement,
        way.split,
        owns,
        moved(machine, placement, way.split, each),
        issued,
        way.adds,
        folds // machine.arrays,
    )
