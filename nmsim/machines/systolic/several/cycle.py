"""Several arrays, fold by fold: with buffers of their own they contend, with shared ones never.

With private buffers each array has a program of its own, and all programs go through one channel
(``nmsim.machines.systolic.pipeline.contention``). How a GEMM is shared out, and how the folds of
each part are cut, is chosen by the time that this takes: of each partition all cuts that one array
alone would try, the same for all parts, the likely ones first. A way that cannot be the fastest is
not run: none takes less than its slowest array alone, nor than the channel for all its bytes. A
search that grows too long ends, and the row's note says so (``SEARCHED``).

With shared buffers one engine serves all arrays, fold by fold, so that nothing contends: what each
fold loads and stores is that of all arrays together, in the recurrence of one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.systolic.cycle import (
    array_of,
    buffers_of,
    moved_of,
    passed_of,
    refuse_beyond_64_bits,
    sight_of,
    slots_of,
    work_of,
)
from nmsim.machines.systolic.pipeline.capacity import halves, least_pieces, room
from nmsim.machines.systolic.pipeline.contention import Contended, Finished, Program, contend
from nmsim.machines.systolic.pipeline.cutting import (
    Sight,
    cuts_below,
    gathered,
    sum_cut,
    sum_folds,
)
from nmsim.machines.systolic.pipeline.folds import Array, Buffers, Cut, Room, Sums, Work
from nmsim.machines.systolic.pipeline.memory import TICKS, Pieces
from nmsim.machines.systolic.pipeline.program import pieces_of
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
from nmsim.machines.systolic.several.programs import program_of
from nmsim.machines.systolic.several.shares import (
    Share,
    Split,
    common,
    own_part,
    possible,
    shares,
    splits,
)
from nmsim.result import Result

__all__ = ["Way", "chosen", "run"]


class _Loops(NamedTuple):
    """What the kernels need of one array's share."""

    share: Share
    array: Array
    buffers: Buffers
    work: Work
    slots: NDArray[np.int64]
    beats: NDArray[np.int64] | None
    sight: Sight

    def slower(self, x: float, y: float, sums: float) -> "_Loops":
        """The same if transfers of each sort took so many times longer."""
        of, sight = self.buffers, self.sight
        buffers = of._replace(
            x_ticks=x * of.x_ticks,
            y_ticks=y * of.y_ticks,
            x_again=x * of.x_again,
            y_again=y * of.y_again,
            y_row=y * of.y_row,
            sum_ticks=sums * of.sum_ticks,
            output_ticks=sums * of.output_ticks,
        )
        sight = sight._replace(ticks=y * sight.ticks, least=y * sight.least)
        return self._replace(buffers=buffers, sight=sight)

    def room(self, machine: SystolicArray) -> Room:
        """What half of each buffer holds; what does not fit it, or 64 bits, is refused."""
        placement, extremes = self.share.placement, (int(self.slots.min()), int(self.slots.max()))
        space = room(machine, placement, extremes)
        refuse_beyond_64_bits(machine, placement, self.array, self.buffers, space)
        return space

    def cut(self, space: Room) -> Cut:
        """The fastest cut alone on the channel."""
        loops = self.array, self.buffers, self.work
        return sum_folds(*loops, space, self.slots, self.beats, self.sight).cut

    def cuts_below(self, space: Room, cycles: int) -> list[Cut]:
        """All cuts that may take fewer cycles, as many arrays beside it as have such a share."""
        folds = self.array, self.buffers, self.work, space, self.slots, self.beats, self.sight
        return cuts_below(*folds, (cycles, self.share.arrays))

    def holds(self, space: Room, cut: Cut) -> bool:
        """Whether the buffers hold two pieces of folds that are cut so."""
        least = least_pieces(self.buffers.spill, space, cut.rows)
        return cut.rows <= space.sum_rows and cut.pieces >= least

    def sums(self, cut: Cut) -> Sums:
        """What the folds add up to, cut so, alone on the channel."""
        loops = self.array, self.buffers, self.work
        return sum_cut(*loops, cut, self.slots, self.beats, self.sight)

    def seen(self, cut: Cut) -> Buffers:
        """The buffers' numbers where the streaming operand comes in such chunks."""
        return gathered(self.buffers, self.sight, cut.rows)

    def program(self, cut: Cut) -> Program:
        """The folds, cut so, as runs of those alike."""
        return program_of(self.array, self.seen(cut), self.work, cut, self.slots, self.beats)

    def pieces(self, cut: Cut) -> Iterator[Pieces]:
        """The folds, cut so, one by one."""
        buffers = self.seen(cut)
        runs = pieces_of(self.array, buffers, self.work, cut, self.slots, self.beats)
        return (one for one, times in runs for _ in range(times))


class Way(NamedTuple):
    """A way to run a GEMM on all arrays: how it is shared out, cut, and what each share adds up to.

    ``alone`` is what it takes at least before sums are added up, ticks; ``together`` what arrays in
    lock-step run, all their transfers in one.
    """

    split: Split
    loops: Sequence[_Loops]
    sums: Sequence[Sums]
    adds: Reduction | None
    alone: float
    together: _Loops | None = None

    @property
    def least(self) -> float:
        """What it takes at least, ticks."""
        return self.alone + (TICKS * (self.adds.cycles + self.adds.latency) if self.adds else 0.0)

    @property
    def pieces(self) -> list[int]:
        """How many pieces each of ``programs`` has."""
        each = [one.folds * one.cut.pieces for one in self.sums]
        if self.together is not None:
            return each[:1]
        return [n for one, n in zip(self.loops, each, strict=True) for _ in range(one.share.arrays)]

    def programs(self) -> list[Iterator[Pieces]]:
        """The folds of each array that has work, one by one; of arrays in lock-step, of all."""
        if self.together is not None:
            return [self.together.pieces(self.sums[0].cut)]
        return [
            one.pieces(of.cut)
            for one, of in zip(self.loops, self.sums, strict=True)
            for _ in range(one.share.arrays)
        ]


def run(machine: SystolicArray, placement: Placement) -> Result:
    """Run a placement of a sparse GEMM on all arrays of a machine, shared out as is fastest."""
    return chosen(machine, placement)[0]


def chosen(machine: SystolicArray, placement: Placement) -> tuple[Result, Way]:
    """What the fastest way to share out a placement of a sparse GEMM takes, and which it is.

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
    best, way = min(found, key=lambda one: _rank(one[0]))
    if placement.selected:
        share = placement.selected_mask.misfit_share(placement.native)
        best = replace(best, misfit_share=share)
    return best, way


def _rank(one: Result) -> tuple[int, int]:
    return one.cycles, one.dram_read_bytes + one.dram_write_bytes


def _loops(machine: SystolicArray, share: Share, sums_leave: bool) -> _Loops:
    """A share as the kernels take it; under a partition of K its sums leave, not its results."""
    placement = share.placement
    buffers = buffers_of(machine, placement, halves(machine, placement))
    if sums_leave:
        buffers = buffers._replace(output_ticks=buffers.sum_ticks)
    return _Loops(
        share,
        array_of(machine, placement),
        buffers,
        work_of(machine, placement),
        *slots_of(machine, placement),
        sight_of(machine, placement, buffers),
    )


class _Parts(NamedTuple):
    """A GEMM that is shared out, and what half of the buffers of each share's arrays hold."""

    split: Split
    loops: Sequence[_Loops]
    rooms: Sequence[Room]
    adds: Reduction | None

    @property
    def lead(self) -> int:
        """The largest share: its cut decides that of the others."""
        sizes = [(one.work.y_lanes, one.work.x_lanes, one.share.placement.k) for one in self.loops]
        return max(range(len(sizes)), key=lambda i: sizes[i])

    def way(self, cut: Cut) -> Way | None:
        """All shares in as many chunks and pieces as the largest, cut so; None: one has no room."""
        chunks = -(-self.loops[self.lead].work.y_lanes // cut.rows) if cut.rows else 0
        cuts = [
            Cut(-(-one.work.y_lanes // chunks) if chunks else 0, cut.pieces) for one in self.loops
        ]
        each = list(zip(self.loops, cuts, strict=True))
        if not all(one.holds(has, of) for (one, of), has in zip(each, self.rooms, strict=True)):
            return None
        sums = [one.sums(of) for one, of in each]
        return Way(self.split, self.loops, sums, self.adds, _least(self.loops, sums))

    def likely(self) -> list[Way]:
        """Cuts that are fastest alone, and if every transfer took as long as all arrays' do."""
        lead, space = self.loops[self.lead], self.rooms[self.lead]
        at_work = sum(one.share.arrays for one in self.loops)
        cuts = {lead.slower(n, n, n).cut(space) for n in (1, at_work)}
        return [way for cut in sorted(cuts) if (way := self.way(cut))]

    def below(self, cycles: int) -> list[Way]:
        """All ways that may take fewer cycles."""
        adds = int(self.adds.cycles + self.adds.latency) if self.adds else 0
        lead, space = self.loops[self.lead], self.rooms[self.lead]
        cuts = lead.cuts_below(space, cycles - adds + 1)
        return [way for cut in cuts if (way := self.way(cut))]


def _parts(machine: SystolicArray, placement: Placement, split: Split) -> _Parts:
    given_out = shares(machine, placement, split)
    at_work = sum(share.arrays for share in given_out)
    adds = reduction(machine, placement, at_work) if split.by == "k" else None
    loops = [_loops(machine, share, adds is not None) for share in given_out]
    return _Parts(split, loops, [one.room(machine) for one in loops], adds)


def _contending(
    machine: SystolicArray, placement: Placement, open_to_it: Sequence[Split]
) -> list[tuple[Result, Way]]:
    """Results of those ways that may be the fastest; each array with buffers of its own.

    Likely ones come first, so that few others have to be run.
    """
    parts = possible(
        partial(lambda one: [_parts(machine, placement, one)], one) for one in open_to_it
    )
    ran: list[tuple[Result, Way]] = []
    likely = [way for one in parts for way in one.likely()]
    left, _ = _run_all(machine, placement, likely, ran, SEARCHED)
    least = min((one.cycles for one, _ in ran), default=_NEVER) // placement.work.gemm.repeat
    below = [way for one in parts for way in one.below(least)]
    _, every = _run_all(machine, placement, below, ran, left)
    if every:
        return ran
    return [(noted(machine, [], one, _NOT_EVERY), way) for one, way in ran]


_NEVER = 2**62
"""Cycles that nothing takes."""

SEARCHED, _SET_UP = 2**22, 2**12
"""Folds and pieces that are run to find the fastest way, about; behind them no other is tried. To
set up a way counts as so many of them."""

_NOT_EVERY = "arrays on one channel: not every way to cut the folds was tried"


def _run_all(
    machine: SystolicArray,
    placement: Placement,
    ways: Sequence[Way],
    ran: list[tuple[Result, Way]],
    left: int,
) -> tuple[int, bool]:
    """Run ways that may be faster than those that ran, and let them join these.

    Returns
    -------
    How many folds and pieces may still be run, and whether every such way was.
    """
    for way in sorted(ways, key=lambda one: (one.least, sum(one.pieces))):
        least = math.ceil(way.least / TICKS) * placement.work.gemm.repeat
        if least >= min((one.cycles for one, _ in ran), default=_NEVER):
            break
        if left < 0:
            return left, False
        result, pieces = _contended(machine, placement, way)
        ran.append((result, way))
        left -= _SET_UP + pieces + sum(of.folds for of in way.sums)
    return left, True


def _least(loops: Sequence[_Loops], sums: Sequence[Sums]) -> float:
    """Ticks that no order of the arrays' transfers goes below."""
    busy = sum(
        one.share.arrays * _channel_ticks(one.seen(of.cut), of)
        for one, of in zip(loops, sums, strict=True)
    )
    return max(busy, *(of.total for of in sums))


def _channel_ticks(buffers: Buffers, sums: Sums) -> float:
    """Channel time of all that one array moves, at least."""
    return (
        sums.x_loaded * min(buffers.x_ticks, buffers.x_again)
        + sums.y_loaded * min(buffers.y_ticks, buffers.y_again)
        + (sums.sums_in + sums.sums_out) * buffers.sum_ticks
        + sums.outputs * buffers.output_ticks
    )


def _contended(machine: SystolicArray, placement: Placement, way: Way) -> tuple[Result, int]:
    """What a way takes with all arrays on one channel, and how many pieces were run to see it."""
    which = [i for i, one in enumerate(way.loops) for _ in range(one.share.arrays)]
    ran = _turns(machine, way, which)
    owns = []
    for i, finished in zip(which, ran.arrays, strict=True):
        own = Own.of(machine, way.sums[i], 1)
        bandwidth, latency, write_back = (ticks / TICKS for ticks in finished[1:4])
        owns.append(own._replace(bandwidth=bandwidth, latency=latency, write_back=write_back))
    if ran.exact:
        return _told(machine, placement, way, owns), ran.steps
    last = max(range(len(owns)), key=lambda i: owns[i].cycles)
    short = max(0.0, way.alone / TICKS - owns[last].cycles)
    owns[last] = owns[last]._replace(bandwidth=owns[last].bandwidth + short)
    return _told(machine, placement, way, owns, _STEADY), ran.steps


_STEADY = "arrays on one channel: not every fold was run, some were taken to be like others"

UNEVEN = 20_000
"""Folds of an array that may each differ; of more of them the tiles' mean stands for all."""


def _turns(machine: SystolicArray, way: Way, which: Sequence[int]) -> Contended:
    """When each array is done; alone if the channel has no limit or nobody else is there."""
    if machine.dram.gbps is None or len(which) == 1:
        alone = [
            Finished(sums.total, sums.bandwidth, sums.latency, sums.write_back, 0)
            for sums in way.sums
        ]
        return Contended([alone[i] for i in which], 0, exact=True)
    programs = []
    for one, sums in zip(way.loops, way.sums, strict=True):
        programs.append(_evened(one, sums.folds).program(sums.cut))
    ran = contend([programs[i] for i in which], way.loops[0].array.timing)
    even = all(_repeats(one, of.folds) for one, of in zip(way.loops, way.sums, strict=True))
    return ran._replace(exact=ran.exact and even)


def _repeats(one: _Loops, folds: int) -> bool:
    """Whether folds may be run as they are: few, or of tiles alike, slots and beats."""
    each = [one.slots] if one.beats is None else [one.slots, one.beats]
    return folds <= UNEVEN or all(bool((of == of[0, 0]).all()) for of in each)


def _evened(one: _Loops, folds: int) -> _Loops:
    """Slots and beats as the events take them: where many folds differ, the mean of all tiles.

    Bytes and slots are counted from the tiles as they are; what is evened out is when their
    transfers are asked for.
    """
    if _repeats(one, folds):
        return one
    beats = None if one.beats is None else _mean(one.beats)
    return one._replace(slots=_mean(one.slots), beats=beats)


def _mean(each: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.full_like(each, max(1, round(float(each.mean()))))


def _in_lock_step(machine: SystolicArray, placement: Placement, split: Split) -> tuple[Result, Way]:
    """All arrays run one program, that of the largest share, from buffers that they share."""
    parts = shares(machine, placement, split)
    adds = None
    if split.by == "k":
        adds = reduction(machine, placement, sum(share.arrays for share in parts))
    own = own_part(machine, split)
    loops = [_loops(own, share, adds is not None) for share in parts]
    lead = _all_together(loops, common(split))
    cut = lead.cut(lead.room(own))
    together, sums = lead.sums(cut), [one.sums(cut) for one in loops]
    waits = (together.bandwidth, together.latency, together.write_back)
    bandwidth, latency, write_back = (ticks / TICKS for ticks in waits)
    longest = together.compute / TICKS
    owns = []
    for one, of in zip(loops, sums, strict=True):
        spent = Own.of(machine, of, one.share.arrays)
        waited = spent._replace(bandwidth=bandwidth, latency=latency, write_back=write_back)
        owns.append(waited)
    owns[0] = owns[0]._replace(
        compute=longest, streamed=owns[0].streamed + longest - owns[0].compute
    )
    way = Way(split, loops, sums, adds, 0.0, lead)
    return _told(machine, placement, way, owns), way


def _fullest(each: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The most slots, or beats, of any array, tile by tile: in lock-step the others wait."""
    most = each[0].copy()
    for one in each[1:]:
        both = tuple(slice(min(a, b)) for a, b in zip(one.shape, most.shape, strict=True))
        most[both] = np.maximum(most[both], one[both])
    return most


def _all_together(loops: Sequence[_Loops], shared: str) -> _Loops:
    """The first array's loops, the others waited for, with transfers of all of them for its own."""

    def ratio(sizes: Sequence[int]) -> float:
        total = sum(one.share.arrays * size for one, size in zip(loops, sizes, strict=True))
        return total / sizes[0]

    placements = [one.share.placement for one in loops]
    x, y = (
        [one.work.gemm.count * one.rows_of(position) * one.k for one in placements]
        for position in (placements[0].x, placements[0].y)
    )
    c = [one.work.gemm.count * one.work.gemm.m * one.work.gemm.n for one in placements]
    first, beats = placements[0], [one.beats for one in loops if one.beats is not None]
    lead = loops[0]._replace(
        slots=_fullest([one.slots for one in loops]), beats=_fullest(beats) if beats else None
    )
    return lead.slower(
        1.0 if first.x == shared else ratio(x), 1.0 if first.y == shared else ratio(y), ratio(c)
    )


def _told(
    machine: SystolicArray, placement: Placement, way: Way, owns: Sequence[Own], note: str = ""
) -> Result:
    own, parts = own_part(machine, way.split), [one.share for one in way.loops]
    moves = []
    for one, of in zip(way.loops, way.sums, strict=True):
        passed_on = passed_of(own, one.share.placement, one.slots, of.cut)
        moves.append(moved_of(own, one.share.placement, of, passed_on))
    counts = [share.arrays for share in parts]
    issued = sum(n * of.issued for n, of in zip(counts, way.sums, strict=True))
    folds = sum(n * of.folds for n, of in zip(counts, way.sums, strict=True))
    result = written(
        machine,
        placement,
        way.split,
        owns,
        moved(machine, placement, way.split, parts, moves),
        issued,
        way.adds,
        folds // machine.arrays,
    )
    return noted(machine, parts, result, note)
