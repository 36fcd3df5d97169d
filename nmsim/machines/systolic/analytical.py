"""The analytical twin of the systolic array: closed forms for cycles and bytes, no folds, no bits.

Cycles are folds times the time of a fold, or the transfer time if that is longer, or, where folds
are shorter than a request takes, the time of the requests in the place of those folds that load;
and what nothing hides: the first load and the last store. A mask that the selectors do not
cover counts by the expectation over uniformly drawn masks (``expected_slots``).
"""

import math
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from nmsim.machines.kind import Sample, Stored
from nmsim.machines.systolic.counts import Part, Shape, in_time, on_rows, shape, total
from nmsim.machines.systolic.intersect.survivors import expected_survivors
from nmsim.machines.systolic.mapper import Choice, Clock, Timed, choose
from nmsim.machines.systolic.parts import overheads
from nmsim.machines.systolic.pe.slots import expected_misfit_share
from nmsim.machines.systolic.pipeline.capacity import least_pieces, room, row_counts
from nmsim.machines.systolic.pipeline.folds import Cut
from nmsim.machines.systolic.placement import Placement, period_of, shifts_apart, with_masks
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.gathering import Reach, Side, elements_loaded, reach_of
from nmsim.machines.systolic.traffic.moves import Passed, passed, tile_of
from nmsim.machines.systolic.traffic.writeup import (
    Moved,
    Spent,
    transfer_cycles,
    windows_of,
    writeup,
)
from nmsim.mask import Mask, SparseGemm
from nmsim.result import Result, Survivors

__all__ = ["Run", "choice", "estimate", "fastest", "moved_of", "simulate", "stored", "timed"]


def simulate(
    machine: SystolicArray,
    work: SparseGemm,
    _sample: Sample | None = None,
    clock: Clock | None = None,
) -> Result:
    """Estimate what a sparse GEMM costs on an array, in closed form; there is nothing to sample.

    Parameters
    ----------
    clock
        By which placements are compared; None: that of one array.
    """
    result = choice(machine, work, clock).result
    if not work.a.fits or not work.b.fits:
        # A mask that was made along another axis may keep more than its pattern's share.
        result = replace(result, macs_issued=max(result.macs_issued, work.macs_useful))
    return result


def choice(machine: SystolicArray, work: SparseGemm, clock: Clock | None = None) -> Choice:
    """The placement that is fastest by the closed forms, and what it was chosen from."""
    return choose(machine, work, clock or timed)


def stored(
    machine: SystolicArray, work: SparseGemm, clock: Clock | None = None
) -> tuple[Stored, Stored]:
    """How A and B stand in an array's memory: what its placement of the GEMM makes of their masks.

    An operand that the selectors follow is stored as its slots, any other one as its own pattern if
    the array can expand it; either only where elements and metadata together take fewer bits than
    the operand has dense. A mask that breaks the selectors' pattern takes the slots that one drawn
    uniformly would (``expected_slots``).
    """
    if machine.intersecting is not None and (masked := with_masks(machine, work)):
        placement = masked[0]  # both masks, in either order: what that takes, their bits would say
    else:
        placement = choice(machine, work, clock).best.placement
    both = placement.a_stored, placement.b_stored
    a, b = reversed(both) if placement.transposed else both
    return _told(a, work.a), _told(b, work.b)


def _told(stored_as: Stored, mask: Mask) -> Stored:
    """How an operand is stored, with the reason where its mask is not used."""
    if mask.is_dense or stored_as.compressed or stored_as.why:
        return stored_as
    return stored_as._replace(why="the array runs it dense, which takes no longer")


def estimate(machine: SystolicArray, placement: Placement, cut: Cut | None = None) -> Result:
    """What a placement of a sparse GEMM costs, in closed form.

    Parameters
    ----------
    cut
        How its folds are cut; None: as is fastest.

    Raises
    ------
    CapacityError
        if a buffer cannot hold what it needs at least.
    """
    return timed(machine, placement, cut).result


def timed(machine: SystolicArray, placement: Placement, cut: Cut | None = None) -> Timed:
    """How long a placement takes in closed form; ``estimate`` tells what may be raised.

    What else it costs is written up if it is asked for.
    """
    run = fastest(machine, placement, cut)
    gemm = placement.work.gemm
    compute = math.ceil(run.compute)
    if machine.intersecting is not None:  # what is expected of the masks' bits may be too little
        useful = placement.work.macs_useful // gemm.repeat
        compute = max(compute, -(-useful // machine.peak_macs))
    cycles = max(compute, math.ceil(run.cycles))
    return Timed(
        placement, cycles * gemm.repeat, partial(_written, machine, placement, run, compute, cycles)
    )


def _written(
    machine: SystolicArray, placement: Placement, run: "Run", compute: int, cycles: int
) -> Result:
    """What a placement costs that takes so many cycles, some of them at work."""
    spent = Spent(
        compute=compute,
        waited=math.ceil(run.counted.waited),
        preload=run.counted.folds * machine.rows if shifts_apart(machine, placement) else 0,
        streamed=run.counted.streamed,
        cycles=cycles,
        issued=run.counted.issued
        if machine.intersecting is None
        else placement.work.macs_useful // placement.work.gemm.repeat,
        fill=run.fill,
        shifts=run.shifts,
        path=run.counted.waited,
        bandwidth=run.bandwidth,
        latency=run.latency,
        write_back=run.write_back,
    )
    result = writeup(machine, placement, moved_of(machine, placement, run), spent)
    if placement.selected:
        share = expected_misfit_share(placement.selected_mask, placement.native)
        return replace(result, misfit_share=share)
    return result if machine.intersecting is None else _survived(machine, placement, result)


def moved_of(machine: SystolicArray, placement: Placement, run: "Run") -> Moved:
    """What a placement moves, its folds cut so."""
    gemm = placement.work.gemm

    def loaded(position: Side, columns: int, read: int) -> int:
        return elements_loaded(machine, placement, position, run.rows, columns, read)

    return Moved(
        x_loaded=loaded(placement.x, run.counted.x_loaded, run.counted.x_read),
        y_loaded=loaded(placement.y, run.counted.y_loaded, run.counted.y_read),
        x_read=run.counted.x_read,
        y_read=run.counted.y_read,
        sums_in=run.counted.sums,
        sums_out=run.counted.sums,
        outputs=gemm.m * gemm.n * gemm.count,
        passed=_passed(machine, placement, run.counted),
    )


def _passed(machine: SystolicArray, placement: Placement, counted: Part) -> Passed:
    """What moves from PE to PE: of tiles that expect as many slots as their lanes do."""
    copies, given = placement.work.gemm.count, shape(machine, placement).tiles
    tiles = [
        tile_of(machine, placement, copies * t.across * t.down, t.width, t.high, t.slots)
        for t in given
    ]
    once = sum(copies * t.across * t.down * t.width * t.x_k for t in given)
    # With K on the rows x is read once for every chunk.
    chunks = counted.x_read // once if placement.dataflow.preloads else 1
    return passed(machine, placement, tiles, chunks)


def _survived(machine: SystolicArray, placement: Placement, result: Result) -> Result:
    """The result with what both masks are expected to leave."""
    work = placement.work
    survivors = None
    if not (work.a.is_dense or work.b.is_dense) and machine.intersecting is not None:
        group = machine.intersecting.group
        shares = expected_survivors(work.a, work.b, work.gemm.count, group)
        survivors = Survivors((), tuple(shares.tolist()))
    return replace(result, macs_issued=work.macs_useful, survivors=survivors)


class Run(NamedTuple):
    """A way to cut the folds of a GEMM: cycles, those without memory, and all that is counted.

    Of the cycles without memory those that skew and shifts take; of the others what is waited for.
    ``first`` and ``last`` are the transfers that nothing hides: of the first operands, and of the
    last results, ``out`` all of these that leave while they are made.
    """

    cycles: float
    compute: float
    counted: Part
    fill: float = 0.0
    shifts: float = 0.0
    bandwidth: float = 0.0
    latency: float = 0.0
    write_back: float = 0.0
    rows: int = 0
    first: float = 0.0
    last: float = 0.0
    out: float = 0.0


def fastest(machine: SystolicArray, placement: Placement, cut: Cut | None) -> Run:
    """The fastest way to cut folds, by the closed forms, or the one that is given."""
    given = shape(machine, placement)
    space = room(machine, placement, given.half, (given.least, given.most))
    spills = machine.partial_sums == "spill"
    if not placement.dataflow.preloads:
        reach = _reach(machine, placement, given, 0)
        first, others, edge = in_time(machine, placement, reach.of(given))
        pieces = cut.pieces if cut else least_pieces(spills, space, 0)
        return _Pipeline(machine, placement, given, reach, pieces, 0).run(first, others, edge)[0]
    best = Run(math.inf, 0.0, Part())
    for rows in (cut.rows,) if cut else row_counts(machine, placement, space):
        reach = _reach(machine, placement, given, rows)
        first, others, edge = on_rows(machine, placement, reach.of(given), rows)
        pieces = cut.pieces if cut else least_pieces(spills, space, rows)
        pipeline = _Pipeline(machine, placement, given, reach, pieces, rows)
        run, least = pipeline.run(first, others, edge)
        if run.cycles < best.cycles:
            best = run
        if least >= best.cycles:  # more chunks can only make the last results fewer
            break
    return best


class _Reach(NamedTuple):
    """What DRAM sends of both operands; ``least``, of y if each element comes once: bits, a copy.

    None where that is what it sends, however y is cut.
    """

    x: Reach
    y: Reach
    least: float | None

    def of(self, given: Shape) -> Shape:
        """The shape of a GEMM that knows which operands are loaded again."""
        return given._replace(half=given.half._replace(x=self.x.half, y=self.y.half))


def _reach(machine: SystolicArray, placement: Placement, given: Shape, rows: int) -> _Reach:
    windows = windows_of(machine, placement, placement.y) if rows else None
    size = placement.rows_of(placement.y) * placement.stored_as(placement.y).elements
    x = reach_of(machine, placement, placement.x, rows, given.half.x)
    y = reach_of(machine, placement, placement.y, rows, given.half.y)
    return _Reach(x, y, size * y.row if windows else None)


class _Pipeline:
    """The memory pipeline in closed form, cycles: how long the parts of a GEMM take.

    A part takes the longest of computing, of its transfers, and of waiting: piece q + 2 is asked
    for when piece q starts, so that two starts are a row's transfer and the latency apart at least,
    and three a whole piece's. What nothing hides is the first load and the last results.
    """

    def __init__(
        self,
        machine: SystolicArray,
        placement: Placement,
        given: Shape,
        reach: _Reach,
        pieces: int,
        rows: int,
    ) -> None:
        self.machine = machine
        self.placement = placement
        self.given = given
        self.pieces = pieces
        self.rows = rows
        self.period = period_of(machine, placement)
        self.latency = machine.dram.latency_ns * machine.clock_mhz * 1e-3
        self.per_bit = transfer_cycles(machine, 1.0)
        self.reach = reach

    def run(self, first: Part, others: Part, edge: float) -> tuple[Run, float]:
        """All copies of both parts, and what no other number of chunks, if larger, is below."""
        copies = self.placement.work.gemm.count
        whole = total([first, others])
        counted = whole.times(copies)
        shown = max(0.0, counted.shown - edge)
        fill, shifts = overheads(self.machine, self.placement, counted.folds, shown)
        compute = counted.streamed + counted.waited + fill + shifts
        moved = copies * (self._loads(whole) + self._stores(whole))
        head, tail, out, behind = self._edges()
        last = self.latency + self.machine.fill_cycles
        if self.placement.dataflow.preloads:
            last -= out  # results leave while the last of them are made
        busy = copies * max(self._own(first), self._loads(first))
        later = self._loads(others) + self._stores(others) - out + behind
        busy += copies * max(self._own(others), later)
        least = max(head + compute, moved, busy)
        first_late, others_late = self._late(first), self._late(others)
        late = copies * (first_late + others_late)
        late -= self._early((first, first_late), (others, others_late))
        cycles = max(least, head + compute + max(tail, late), moved + last)
        if self.reach.least is not None:  # of smaller chunks, more may be held
            once = copies * self.reach.least * self.per_bit
            least = max(head + compute, moved - copies * self._y(whole) + once)
        # Latency of the first request and of all that are not asked for early enough; results that
        # nothing hides; the rest of what is waited is for transfers.
        waits = cycles - compute
        latency = min(waits, self.latency + max(0.0, late))
        write_back = min(waits - latency, tail)
        bandwidth = waits - latency - write_back
        ends = (head - self.latency, tail, out if self.placement.dataflow.preloads else 0.0)
        waited = (bandwidth, latency, write_back)
        run = Run(cycles, compute, counted, fill, shifts, *waited, self.rows, *ends)
        return run, least

    def _loads(self, part: Part) -> float:
        sums = part.sums * self.machine.accumulator_bits * self.per_bit
        return self._x(part) + self._y(part) + sums

    def _x(self, part: Part) -> float:
        """Channel time of what a part loads of x."""
        x = self.reach.x
        return ((part.x_loaded - part.x_again) * x.first + part.x_again * x.again) * self.per_bit

    def _y(self, part: Part) -> float:
        """Channel time of what a part loads of y."""
        y = self.reach.y
        return ((part.y_loaded - part.y_again) * y.first + part.y_again * y.again) * self.per_bit

    def _stores(self, part: Part) -> float:
        sums = part.sums * self.machine.accumulator_bits
        return (sums + part.outputs * self.machine.output_bits) * self.per_bit

    def _own(self, part: Part) -> float:
        """What a part computes."""
        r, fill = self.machine.rows, self.machine.fill_cycles
        period = {"exposed": fill + r, "back_to_back": 0}.get(self.period, fill)
        return part.streamed + part.waited + part.shown + part.folds * period

    def _early(self, *parts: tuple[Part, float]) -> float:
        """What the first two pieces do not wait: their loads are asked for at once."""
        early, waits = 2, 0.0
        for part, late in parts:
            loading = self.pieces * part.whole or part.held
            if loading:
                waits += min(early, loading) * late / loading
                early -= min(early, loading)
        return waits

    def _late(self, part: Part) -> float:
        """What a part waits for requests to be answered, beside what it computes."""
        if not part.whole + part.held or not self.latency:
            return 0.0
        n, one = self.pieces, self._own(part) / part.folds
        fresh = max(part.held, part.fresh) if self.placement.dataflow.preloads else 0
        loads = self._loads(part)
        x = self._x(part) / fresh if fresh else 0.0
        y = (loads - fresh * x) / part.whole if part.whole else 0.0
        row = y / max(1.0, part.streamed / part.folds / max(self.given.tiles[0].beats))
        lead = self.machine.rows if self.period != "uncounted" else 0
        piece = self.latency + row if part.whole else 2 * one / n
        plain = max(n * piece / 2, (y + n * self.latency) / 3) if part.whole else 0.0
        filled = self.latency + max(x / self.machine.rows + lead, x + row)
        filled = max(plain, (filled + (n - 1) * piece) / 2)
        streaming = max(0, part.whole - fresh)
        return fresh * max(0.0, filled - one) + streaming * max(0.0, plain - one)

    def _edges(self) -> tuple[float, float, float, float]:
        """What the first fold waits for its operands, the last results for the channel, and take.

        And what the last results of the first tile of columns take, which leave behind the next.
        """
        machine, placement = self.machine, self.placement
        x_bits, y_bits = self.reach.x.first * self.per_bit, self.reach.y.row * self.per_bit
        r, fill = machine.rows, machine.fill_cycles
        tile = self.given.tiles[0]
        x_lanes, y_lanes = placement.rows_of(placement.x), placement.rows_of(placement.y)
        cols, high = min(machine.cols, x_lanes), min(machine.rows, y_lanes)
        last_cols = (x_lanes - 1) % machine.cols + 1
        out = machine.output_bits * self.per_bit * last_cols
        if not placement.dataflow.preloads:
            steps = max(1, -(-tile.slots // machine.dot_width))
            row = (cols * tile.x_k * x_bits + high * tile.y_k * y_bits) / steps
            out *= (y_lanes - 1) % r + 1
            leaving = 0 if self.period == "uncounted" else r
            return self.latency + row, max(0.0, out - leaving), out, 0.0
        depth, along = machine.depth, tile.along
        x = cols * (depth * tile.x_k // along if along > depth else tile.x_k) * x_bits
        row = (depth * tile.y_k // along if along > depth else tile.y_k) * y_bits
        lead = {"uncounted": 0, "back_to_back": r + 1}.get(self.period, r)
        rest = (y_lanes - 1) % self.rows + 1
        out *= rest
        first = x + row if self.period == "uncounted" else max(x / r, x - r, x + row - lead)
        behind = out / last_cols * cols if x_lanes > cols else 0.0
        return self.latency + first, max(0.0, out + r - rest - fill), out, behind
