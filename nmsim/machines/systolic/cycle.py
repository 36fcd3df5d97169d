"""The cycle model of a systolic array: place a GEMM, find its slots, run its folds."""

import math
from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError
from nmsim.machines.kind import Sample
from nmsim.machines.systolic import analytical
from nmsim.machines.systolic.closed_form.given import resources_of
from nmsim.machines.systolic.closed_form.pipeline import overheads
from nmsim.machines.systolic.intersect.folds import Fabric, fold_cycles
from nmsim.machines.systolic.intersect.sampling import Sampled, sample_cycles
from nmsim.machines.systolic.intersect.survivors import survivors_of
from nmsim.machines.systolic.mapper import Choice, Clock, Timed, choose, each
from nmsim.machines.systolic.pe.beats import pe_groups, tile_beats
from nmsim.machines.systolic.pe.slots import tile_slots
from nmsim.machines.systolic.pipeline.capacity import Half, halves, room
from nmsim.machines.systolic.pipeline.cutting import UNSEEN, Sight, sum_folds
from nmsim.machines.systolic.pipeline.folds import Array, Buffers, Cut, Room, Sums, Work
from nmsim.machines.systolic.pipeline.memory import (
    TICKS,
    UNCOUNTED,
    Timing,
)
from nmsim.machines.systolic.placement import Placement, Side, shifts_apart
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.gathering import (
    Reach,
    elements_loaded,
    geometry_of,
    known_loads,
    least_bits,
    reach_of,
    walk_of,
)
from nmsim.machines.systolic.traffic.moves import Passed, passed, tiles_of
from nmsim.machines.systolic.traffic.operands import element_bits
from nmsim.machines.systolic.traffic.writeup import Moved, Spent, writeup
from nmsim.mask import Mask, SparseGemm
from nmsim.result import Result

__all__ = [
    "Counted",
    "array_of",
    "buffers_of",
    "choice",
    "count",
    "intersected",
    "moved_of",
    "passed_of",
    "refuse_beyond_64_bits",
    "run",
    "simulate",
    "slots_of",
    "timed",
    "work_of",
]


def simulate(machine: SystolicArray, work: SparseGemm, sample: Sample | None = None) -> Result:
    """Run a sparse GEMM on an array, fold by fold.

    Bits of a mask are asked for only where time depends on them: under a native pattern that does
    not cover the mask's, and on arrays that intersect.

    Parameters
    ----------
    sample
        Run about so many folds of an intersecting array, and estimate the others.

    Raises
    ------
    ShapeError
        if its times or sums might not fit 64 bits.
    """
    return choice(machine, work, sample).result


def choice(machine: SystolicArray, work: SparseGemm, sample: Sample | None = None) -> Choice:
    """The placement that is fastest fold by fold, and what it was chosen from."""
    clock = CLOCK if sample is None else each(partial(timed, sample=sample))
    # The closed forms of an array that intersects read both masks: that is no hint to save time by.
    closed_form = analytical.CLOCK if machine.intersecting is None else None
    return choose(machine, work, clock, closed_form)


def run(machine: SystolicArray, placement: Placement, sample: Sample | None = None) -> Result:
    """Run a placement of a sparse GEMM, fold by fold.

    Raises
    ------
    CapacityError
        if a buffer cannot hold what it needs at least.
    ShapeError
        if its times or sums might not fit 64 bits.
    """
    return timed(machine, placement, sample).result


def timed(machine: SystolicArray, placement: Placement, sample: Sample | None = None) -> Timed:
    """How long a placement of a sparse GEMM takes, fold by fold; ``run`` tells what may be raised.

    What its folds add up to is written up if it is asked for.
    """
    counted = count(machine, placement, sample)
    cycles = -(-max(counted.sums.compute, counted.sums.total) // TICKS)
    return Timed(
        placement,
        cycles * placement.work.gemm.repeat,
        partial(_written, machine, placement, counted),
    )


CLOCK: Clock = each(timed)
"""By which placements are compared that run fold by fold."""


def _written(machine: SystolicArray, placement: Placement, counted: "Counted") -> Result:
    """What a placement costs, from what its folds add up to."""
    work, (sums, folds, slots) = placement.work, counted
    result = _summed(machine, placement, sums, passed_of(machine, placement, slots, sums.cut))
    if placement.selected:
        share = placement.selected_mask.misfit_share(placement.native)
        result = replace(result, misfit_share=share)
    pe = machine.intersecting
    if folds is None or pe is None:
        return result
    g = work.gemm
    return replace(
        result,
        macs_issued=work.macs_useful,
        half_width=math.ceil(folds.half_width) * g.repeat,
        folds_run=folds.sampled,
        survivors=survivors_of(work.a, work.b, g.count, pe.group),
        note=_sampled(folds, result.compute_cycles // g.repeat),
    )


class Counted(NamedTuple):
    """What folds add up to, those of an array that intersects, and slots along K of every tile."""

    sums: Sums
    folds: Sampled | None
    slots: NDArray[np.int64]


def count(machine: SystolicArray, placement: Placement, sample: Sample | None = None) -> Counted:
    """Run the folds of a placement."""
    slots, beats = slots_of(machine, placement)
    half = halves(machine, placement)
    space = room(machine, placement, (int(slots.min()), int(slots.max())))
    array, buffers = array_of(machine, placement), buffers_of(machine, placement, half)
    refuse_beyond_64_bits(machine, placement, array, buffers, space)
    folds = intersected(machine, placement, sample)
    sums = sum_folds(
        array,
        buffers,
        work_of(machine, placement),
        space,
        slots,
        beats if folds is None else folds.folds,
        sight_of(machine, placement, buffers),
    )
    return Counted(sums, folds, slots)


def passed_of(
    machine: SystolicArray, placement: Placement, slots: NDArray[np.int64], cut: Cut
) -> Passed:
    """What PEs pass on, from the slots of tiles and how folds are cut."""
    held = placement.dataflow.preloads
    chunks = -(-placement.rows_of(placement.y) // cut.rows) if held else 1
    return passed(resources_of(machine), tiles_of(machine, placement, slots), chunks)


def slots_of(
    machine: SystolicArray, placement: Placement
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Slots along K of every tile of lanes, and beats of its folds where PEs hold whole groups."""
    tiles = (
        placement.selected_mask,
        placement.native,
        placement.work.gemm.count,
        _lock_step(machine, placement),
        placement.k,
    )
    if not machine.holds_groups:
        return tile_slots(*tiles), None
    each, slots = tile_beats(*tiles, pe_groups(machine))
    return slots, each


def intersected(
    machine: SystolicArray, placement: Placement, sample: Sample | None
) -> Sampled | None:
    """Cycles that each fold of an array that intersects spends on surviving products."""
    pe = machine.intersecting
    if pe is None:
        return None
    work = placement.work
    g = work.gemm
    fabric = Fabric(machine.rows, machine.cols, pe.group, pe.lookahead)
    regular = _regular_cycles(work, pe.group)
    if regular is not None:
        shape = (g.count, math.ceil(g.m / machine.rows), math.ceil(g.n / machine.cols))
        return Sampled.exact(np.full(shape, regular, np.int64))
    if sample is None:
        if placement.transposed and machine.rows == machine.cols:
            return Sampled.exact(_folds(work.b, work.a, g.count, fabric).transpose(0, 2, 1))
        return Sampled.exact(_folds(work.a, work.b, g.count, fabric))
    least = _least(machine, placement)
    return sample_cycles(
        work.a, work.b, g.count, fabric, sample=sample.folds, seed=sample.seed, least=least
    )


@lru_cache(maxsize=1)
def _folds(a: Mask, b: Mask, copies: int, fabric: Fabric) -> NDArray[np.int64]:
    """Cycles of every fold; remembered for the other order of the operands of one GEMM."""
    return fold_cycles(a, b, copies, fabric)


def _least(machine: SystolicArray, placement: Placement) -> NDArray[np.float64]:
    """Cycles that a fold takes if nothing survives: its words' on the path, its neighbour's drain.

    Returns
    -------
    float64 array, copies x row tiles x column tiles
    """
    g, array = placement.work.gemm, array_of(machine, placement)
    rows, cols = (
        np.minimum(size, lanes - np.arange(0, lanes, size))
        for size, lanes in ((machine.rows, g.m), (machine.cols, g.n))
    )
    a, b = (
        lanes * placement.along_k(position) * delivery / TICKS
        for lanes, position, delivery in (
            (rows, "a", array.y_delivery),
            (cols, "b", array.x_delivery),
        )
    )
    behind = machine.rows if machine.drain in ("overlapped", "back_to_back") else 0
    least = np.maximum(a[:, None] + b[None, :], float(behind))
    return np.broadcast_to(least, (g.count, *least.shape))


def _regular_cycles(work: SparseGemm, group: int) -> int | None:
    """Cycles of every fold where no bits are needed: each group leaves every PE as many products.

    One operand is dense, and the other keeps the same number in every group.
    """
    masked = [mask for mask in (work.a, work.b) if not mask.is_dense]
    if not masked:
        return work.k
    if len(masked) == 2 or not masked[0].regular or group % masked[0].pattern.group:
        return None
    return masked[0].pattern.stored(work.k)


def _sampled(folds: Sampled, compute_cycles: int) -> str:
    if folds.sampled == folds.folds.size:
        return ""
    within = folds.half_width / max(1, compute_cycles)
    return (
        f"sampled: {folds.sampled} of {folds.folds.size} folds were run, compute cycles are "
        f"within {within:.2%} at {folds.confidence:.0%} confidence"
    )


def array_of(machine: SystolicArray, placement: Placement) -> Array:
    """The array, how its folds follow each other, and stored elements' time on the path."""
    per_bit = TICKS / machine.delivery.bits_per_cycle if machine.delivery else 0.0
    x, y = (per_bit * placement.stored_as(position).bits for position in (placement.x, placement.y))
    timing = Timing(
        period=resources_of(machine).period,
        held=placement.dataflow.preloads,
        shift=machine.rows * TICKS,
        fill=machine.fill_cycles * TICKS,
        latency=math.ceil(machine.dram.latency_ns * machine.clock_mhz * 1e-3 * TICKS),
    )
    return Array(machine.rows, machine.cols, machine.dot_width, machine.depth, timing, x, y)


def work_of(machine: SystolicArray, placement: Placement) -> Work:
    """Copies, lanes and stored elements of a placement."""
    x, y = placement.x, placement.y
    return Work(
        copies=placement.work.gemm.count,
        x_lanes=placement.rows_of(x),
        y_lanes=placement.rows_of(y),
        x_k=placement.along_k(x),
        y_k=placement.along_k(y),
        x_selected=placement.selected == x,
        y_selected=placement.selected == y,
        intersecting=machine.intersecting is not None,
        whole_k=placement.k if machine.holds_groups else 0,
    )


def moved_of(machine: SystolicArray, placement: Placement, sums: Sums, passed_on: Passed) -> Moved:
    """What the folds of a placement move, from what they add up to."""

    def loaded(position: Side, columns: int, read: int) -> int:
        return elements_loaded(machine, placement, position, sums.cut.rows, columns, read)

    return Moved(
        loaded(placement.x, sums.x_loaded, sums.x_read),
        loaded(placement.y, sums.y_loaded, sums.y_read),
        sums.x_read,
        sums.y_read,
        sums.sums_in,
        sums.sums_out,
        sums.outputs,
        passed_on,
    )


def _summed(machine: SystolicArray, placement: Placement, sums: Sums, moved: Passed) -> Result:
    compute = -(-sums.compute // TICKS)
    fill, shifts = overheads(resources_of(machine), sums.folds, sums.shifted / TICKS)
    work = placement.work
    return writeup(
        machine,
        placement,
        moved_of(machine, placement, sums, moved),
        Spent(
            compute=compute,
            waited=-(-sums.waited // TICKS),
            streamed=sums.streamed // TICKS,
            preload=sums.folds * machine.rows if shifts_apart(machine, placement) else 0,
            cycles=max(compute, -(-sums.total // TICKS)),
            issued=sums.issued
            if machine.intersecting is None
            else work.macs_useful // work.gemm.repeat,
            fill=fill,
            shifts=shifts,
            path=sums.waited / TICKS,
            bandwidth=sums.bandwidth / TICKS,
            latency=sums.latency / TICKS,
            write_back=sums.write_back / TICKS,
        ),
    )


def refuse_beyond_64_bits(
    machine: SystolicArray, placement: Placement, array: Array, buffers: Buffers, space: Room
) -> None:
    """The kernels count in 64-bit integers, which wrap silently: bound from above what they count.

    Folds are at most tiles of columns times tiles of K (or of rows) times chunks; every fold loads,
    stores and waits at most once for all that it touches, and every piece, of a row at least, for
    the latency.
    """
    g, k = placement.work.gemm, placement.k
    timing = array.timing
    x, y = placement.rows_of(placement.x), placement.rows_of(placement.y)
    on_rows = timing.held
    column_tiles = math.ceil(x / machine.cols)
    row_tiles = math.ceil(k / machine.depth if on_rows else y / machine.rows)
    chunks = math.ceil(y / space.sum_rows) if on_rows else 1
    folds = column_tiles * row_tiles * chunks
    beats = machine.group if machine.holds_groups else 1
    streamed = column_tiles * row_tiles * (y * beats if on_rows else k)
    ticks = TICKS * (streamed + 4.0 * folds) + folds * timing.fill
    ticks += folds * timing.shift if timing.period != UNCOUNTED else 0
    ticks += (2 * streamed + folds) * timing.latency
    ticks += x * k * (chunks if on_rows else row_tiles) * (buffers.x_ticks + array.x_delivery)
    ticks += y * k * column_tiles * (buffers.y_ticks + array.y_delivery)
    ticks += x * y * (2 * row_tiles * buffers.sum_ticks + buffers.output_ticks)
    issued = x * y * k
    if g.count * max(ticks, issued) > 2.0**62:
        raise ShapeError(
            f"GEMM {g.layer!r} {g.phase}, {g.count} x {g.m} x {g.n} x {g.k} on {machine.name}: "
            "too large to count in 64 bits, expected fewer or smaller copies"
        )


def _lock_step(machine: SystolicArray, placement: Placement) -> int:
    """Lanes of the selected operand that must take the same slots."""
    lanes = placement.rows_of(placement.selected or "b")
    return {"rows": machine.rows, "cols": machine.cols, "time": lanes}[placement.lanes]


def buffers_of(machine: SystolicArray, placement: Placement, half: Half) -> Buffers:
    """Channel time and half-buffer capacity per stored element.

    Of a y that streams and is gathered, what each chunk of all its rows would ask.
    """
    per_bit = _ticks_per_bit(machine)
    rows = placement.rows_of(placement.y)
    streams = placement.dataflow.preloads and len(geometry_of(machine, placement, placement.y))
    x = reach_of(machine, placement, placement.x, rows, half.x)
    y_bits = element_bits(machine, placement, placement.y)
    y = Reach(y_bits, y_bits, half.y, least_bits(machine, placement, placement.y))
    if not streams:
        y = reach_of(machine, placement, placement.y, rows, half.y)
    return Buffers(
        x_ticks=x.first * per_bit,
        y_ticks=y.first * per_bit,
        x_again=x.again * per_bit,
        y_again=y.again * per_bit,
        y_row=y.row * per_bit,
        sum_ticks=machine.accumulator_bits * per_bit,
        output_ticks=machine.output_bits * per_bit,
        x_half=x.half,
        y_half=y.half,
        sums_half=half.sums,
        spill=machine.partial_sums == "spill",
    )


def _ticks_per_bit(machine: SystolicArray) -> float:
    gbps = machine.dram.gbps
    return TICKS * machine.clock_mhz / (gbps * 8e3) if gbps is not None else 0.0


def sight_of(machine: SystolicArray, placement: Placement, buffers: Buffers) -> Sight:
    """How y is gathered where it streams."""
    geometry = geometry_of(machine, placement, placement.y)
    if not placement.dataflow.preloads or not len(geometry):
        return UNSEEN
    rows, stored = placement.rows_of(placement.y), placement.stored_as(placement.y)
    return Sight(
        geometry,
        walk_of(machine, placement, placement.y, 1),
        buffers.y_ticks,
        rows * placement.work.k,
        placement.work.gemm.count * rows * stored.elements * buffers.y_row,
        known_loads(machine, placement, placement.y),
    )
