"""The analytical twin of the systolic array: closed forms for cycles and bytes, no folds, no bits.

Cycles are folds times the time of a fold, or the transfer time if that is longer, or, where folds
are shorter than a request takes, the time of the requests in the place of those folds that load;
and what nothing hides: the first load and the last store. A mask that the selectors do not
cover counts by the expectation over uniformly drawn masks (``expected_slots``).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from nmsim.errors import CapacityError
from nmsim.jit.loading import no_garbage
from nmsim.machines.kind import Stored
from nmsim.machines.systolic.closed_form.fastest import Run, fastest, runs
from nmsim.machines.systolic.intersect.survivors import expected_survivors
from nmsim.machines.systolic.mapper import Choice, Clock, Outcome, Timed, choose, choose_all
from nmsim.machines.systolic.pe.slots import expected_misfit_share
from nmsim.machines.systolic.pipeline.folds import Cut
from nmsim.machines.systolic.placement import Placement, shifts_apart, with_masks
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.gathering import elements_sent
from nmsim.machines.systolic.traffic.moves import Passed
from nmsim.machines.systolic.traffic.writeup import Moved, Spent, writeup
from nmsim.mask import Mask, SparseGemm
from nmsim.result import Result, Survivors

__all__ = [
    "CLOCK",
    "choice",
    "estimate",
    "moved_of",
    "simulate",
    "simulate_all",
    "stored",
    "timed",
]


def simulate(machine: SystolicArray, work: SparseGemm, clock: Clock | None = None) -> Result:
    """Estimate what a sparse GEMM costs on an array, in closed form.

    Parameters
    ----------
    clock
        By which placements are compared; None: that of one array.
    """
    return simulate_all(machine, [work], clock)[0]


def simulate_all(
    machine: SystolicArray, works: Sequence[SparseGemm], clock: Clock | None = None
) -> list[Result]:
    """Estimate what each of some sparse GEMMs costs on an array.

    Raises
    ------
    CapacityError
        of the first GEMM for which a buffer is too small.
    """
    with no_garbage():
        found = zip(works, choose_all(machine, works, clock or CLOCK), strict=True)
        return [_result(work, choice) for work, choice in found]


def _result(work: SparseGemm, choice: Choice | CapacityError) -> Result:
    if isinstance(choice, CapacityError):
        raise choice
    result = choice.result
    if work.a.fits and work.b.fits:
        return result
    # A mask that was made along another axis may keep more than its pattern's share.
    return replace(result, macs_issued=max(result.macs_issued, work.macs_useful))


def choice(machine: SystolicArray, work: SparseGemm, clock: Clock | None = None) -> Choice:
    """The placement that is fastest by the closed forms, and what it was chosen from."""
    return choose(machine, work, clock or CLOCK)


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
    return _timed(machine, placement, fastest(machine, placement, cut))


def _clock(machine: SystolicArray, placements: Sequence[Placement]) -> list[Outcome]:
    """How long placements take in closed form, all at once."""
    found = zip(placements, runs(machine, placements), strict=True)
    return [
        run if isinstance(run, CapacityError) else _timed(machine, placement, run)
        for placement, run in found
    ]


CLOCK: Clock = _clock
"""By which placements are compared."""


def _timed(machine: SystolicArray, placement: Placement, run: Run) -> Timed:
    gemm = placement.given.gemm
    compute = math.ceil(run.times.compute)
    if machine.intersecting is not None:  # what is expected of the masks' bits may be too little
        useful = placement.given.macs_useful // gemm.repeat
        compute = max(compute, -(-useful // machine.peak_macs))
    cycles = max(compute, math.ceil(run.times.cycles))
    return Timed(
        placement, cycles * gemm.repeat, partial(_written, machine, placement, run, compute, cycles)
    )


def _written(
    machine: SystolicArray, placement: Placement, run: Run, compute: int, cycles: int
) -> Result:
    """What a placement costs that takes so many cycles, some of them at work."""
    found, counts = run
    dense = machine.intersecting is None
    spent = Spent(
        compute=compute,
        waited=math.ceil(found.waited),
        preload=counts.folds * machine.rows if shifts_apart(machine, placement) else 0,
        streamed=found.streamed,
        cycles=cycles,
        issued=counts.issued
        if dense
        else placement.given.macs_useful // placement.given.gemm.repeat,
        fill=found.fill,
        shifts=found.shifts,
        path=found.waited,
        bandwidth=found.bandwidth,
        latency=found.latency,
        write_back=found.write_back,
    )
    misfit, way = None, placement.way
    if way.selected:
        mask = placement.selected_mask
        misfit = 0.0 if way.obeys else expected_misfit_share(mask, way.native)
    result = writeup(machine, placement, moved_of(machine, placement, run), spent, misfit)
    return result if dense or misfit is not None else _survived(machine, placement, result)


def moved_of(machine: SystolicArray, placement: Placement, run: Run) -> Moved:
    """What a placement moves, its folds cut so."""
    c, y_lanes = run.counts, placement.rows_of(placement.y)
    x_loaded, y_loaded = c.x_loaded, c.y_loaded
    if c.x_first >= 0:
        passes = -(-y_lanes // (c.rows or machine.rows))
        size, once = placement.rows_of(placement.x) * placement.given.k, c.x_read // passes
        x_loaded = elements_sent((c.x_first, c.x_later), size, once, x_loaded)
    if c.y_first >= 0:
        passes = -(-placement.rows_of(placement.x) // machine.cols)
        size, once = y_lanes * placement.given.k, c.y_read // passes
        y_loaded = elements_sent((c.y_first, c.y_later), size, once, y_loaded)
    passed = Passed(c.x_words, c.y_words, c.passed_sums, c.made)
    return Moved(x_loaded, y_loaded, c.x_read, c.y_read, c.sums, c.sums, c.outputs, passed)


def _survived(machine: SystolicArray, placement: Placement, result: Result) -> Result:
    """The result with what both masks are expected to leave."""
    work = placement.work
    survivors = None
    if not (work.a.is_dense or work.b.is_dense) and machine.intersecting is not None:
        group = machine.intersecting.group
        shares = expected_survivors(work.a, work.b, work.gemm.count, group)
        survivors = Survivors((), tuple(shares.tolist()))
    return replace(result, macs_issued=work.macs_useful, survivors=survivors)
