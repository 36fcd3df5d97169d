"""What closed forms are given: numbers of an array, its resources, and of a placement, its demand.

Formulas take these alone, so that a kernel can go through the placements of many GEMMs at once.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import formula
from nmsim.machines.systolic.intersect.analytical import expected_fold_cycles
from nmsim.machines.systolic.intersect.folds import Fabric
from nmsim.machines.systolic.pe.beats import expected_beats, pe_groups
from nmsim.machines.systolic.pe.slots import expected_slots
from nmsim.machines.systolic.pipeline.memory import BACK_TO_BACK, EXPOSED, HIDDEN, UNCOUNTED
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.operands import (
    Operand,
    half_bits,
    operand_of,
    transfer_cycles,
)

__all__ = [
    "Demand",
    "Given",
    "Pace",
    "Resources",
    "countable",
    "given_by",
    "given_of",
    "resources_at",
    "resources_of",
]

PERIODS = {
    "exposed": EXPOSED,
    "preload_hidden": HIDDEN,
    "overlapped": HIDDEN,
    "back_to_back": BACK_TO_BACK,
    "uncounted": UNCOUNTED,
}
"""How folds follow each other, by what machines say of preloads and of drains."""


class Resources(NamedTuple):
    """What an array has.

    Parameters
    ----------
    rows, cols, dot_width, depth, fill
        R, C, products along K that a PE sums per cycle, what a fold takes along K with K on the
        rows, and cycles of its skew.
    preloads
        K is on the rows: x is held. Otherwise results are.
    period
        How a fold's shift stands to its neighbour (``pipeline.memory``).
    holds_groups, together
        PEs hold whole groups; multipliers that are handed one word of what streams.
    skewed, spills
        Operands move from PE to PE; sums without room in the C buffer go off to DRAM.
    latency, per_bit
        Cycles of a request, and of the channel for a bit.
    path
        Bits a cycle from the buffers; 0: as many as are asked for.
    x_half, y_half, sums_half
        Bits of x and y, and sums, that half of their buffers hold.
    """

    rows: int
    cols: int
    dot_width: int
    depth: int
    fill: int
    preloads: bool
    period: int
    holds_groups: bool
    together: int
    skewed: bool
    spills: bool
    accumulator_bits: int
    output_bits: int
    latency: float
    per_bit: float
    path: float
    x_half: float
    y_half: float
    sums_half: int


@formula
def resources_at(row: NDArray[np.float64]) -> Resources:
    """The numbers of an array, from a row of them: all of its integers are exact."""
    return Resources(
        int(row[0]),
        int(row[1]),
        int(row[2]),
        int(row[3]),
        int(row[4]),
        row[5] > 0,
        int(row[6]),
        row[7] > 0,
        int(row[8]),
        row[9] > 0,
        row[10] > 0,
        int(row[11]),
        int(row[12]),
        row[13],
        row[14],
        row[15],
        row[16],
        row[17],
        int(row[18]),
    )


class Demand(NamedTuple):
    """What a placement asks of an array, integers.

    Parameters
    ----------
    copies, x_lanes, y_lanes, k
        Copies of the GEMM, lanes of both operands, K as it is padded.
    x_k, y_k
        Stored elements of a lane along K; 0: as many as its tile has slots.
    y_stored
        The same of y as it stands in memory.
    x_bits, y_bits
        Of a stored element, with metadata.
    x_behind, x_size, y_behind, y_size
        Elements that a pass sends of an operand, and that it has.
    by_columns
        Lanes in lock-step lie along the columns, not along the rows or in time.
    x_walk, y_walk
        Where it stands how an operand is gathered; -1: it is not.
    full_slots, ragged_slots
        Along K of full and ragged tiles of the lanes in lock-step.
    """

    copies: int
    x_lanes: int
    y_lanes: int
    k: int
    x_k: int
    y_k: int
    y_stored: int
    x_bits: int
    y_bits: int
    x_behind: int
    x_size: int
    y_behind: int
    y_size: int
    by_columns: int
    x_walk: int
    y_walk: int
    full_slots: int
    ragged_slots: int


class Pace(NamedTuple):
    """Cycles of tiles, full ones and ragged ones.

    Parameters
    ----------
    full, full_last, ragged, ragged_last
        Beats of a row in a fold, a mean of all but the last, and in the last one; by the lanes that
        run in lock-step.
    full_full, full_ragged, ragged_full, ragged_ragged
        What tiles of an intersecting array stream, full or ragged by rows and by columns; below 0
        where slots say it.
    """

    full: float
    full_last: float
    ragged: float
    ragged_last: float
    full_full: float = -1.0
    full_ragged: float = -1.0
    ragged_full: float = -1.0
    ragged_ragged: float = -1.0


EVEN = Pace(1.0, 1.0, 1.0, 1.0)
"""Every row takes a beat."""


@lru_cache(maxsize=256)
def resources_of(machine: SystolicArray) -> Resources:
    """The numbers of an array."""
    flow = machine.flow
    x: Literal["a", "b"] = "b" if flow.cols == "n" else "a"
    named = machine.fold_period if flow.preloads else machine.drain
    return Resources(
        rows=machine.rows,
        cols=machine.cols,
        dot_width=machine.dot_width,
        depth=machine.depth,
        fill=machine.fill_cycles,
        preloads=flow.preloads,
        period=PERIODS[named],
        holds_groups=machine.holds_groups,
        together=machine.group if machine.holds_groups else machine.pe.macs_per_group,
        skewed=machine.feed == "skewed",
        spills=machine.partial_sums == "spill",
        accumulator_bits=machine.accumulator_bits,
        output_bits=machine.output_bits,
        latency=machine.dram.latency_ns * machine.clock_mhz * 1e-3,
        per_bit=transfer_cycles(machine, 1.0),
        path=machine.delivery.bits_per_cycle if machine.delivery else 0.0,
        x_half=float(half_bits(machine, x)),
        y_half=float(half_bits(machine, "b" if x == "a" else "a")),
        sums_half=int(machine.sram.c_kib * 4096 / machine.accumulator_bits),
    )


class Given(NamedTuple):
    """What closed forms are given of a placement."""

    demand: Demand
    pace: Pace


def given_of(machine: SystolicArray, placement: Placement) -> Given:
    """The numbers of a placement, but for what is gathered."""
    x, y = (operand_of(machine, placement, one) for one in (placement.x, placement.y))
    return given_by(machine, placement, x, y, (-1, -1))


def given_by(
    machine: SystolicArray, placement: Placement, x: Operand, y: Operand, walks: tuple[int, int]
) -> Given:
    """The numbers of a placement.

    Parameters
    ----------
    x, y
        Its operands in memory.
    walks
        Where it stands how x and y are gathered.
    """
    way, gemm = placement.way, placement.given.gemm
    x_stored, y_stored = placement.stored_as(way.x), placement.stored_as(way.y)
    slots, pace = _tiles(machine, placement)
    demand = Demand(
        gemm.count,
        placement.rows_of(way.x),
        placement.rows_of(way.y),
        placement.k,
        placement.along_k(way.x),
        placement.along_k(way.y),
        int(y_stored.elements),
        x_stored.bits,
        y_stored.bits,
        x.behind,
        x.size,
        y.behind,
        y.size,
        int(way.lanes == "cols"),
        *walks,
        *slots,
    )
    return Given(demand, pace)


def countable(resources: Resources, demand: Demand) -> bool:
    """Whether all counts of a placement fit 64 bits.

    Each is no more than the products of the GEMM with nothing pruned, by the bits of a sum, or by
    the rows that words pass on their way.
    """
    products = demand.copies * demand.x_lanes * demand.y_lanes * demand.k
    return products * max(64, resources.rows + resources.cols) < 1 << 62


def _tiles(machine: SystolicArray, placement: Placement) -> tuple[tuple[int, int], Pace]:
    """Slots along K of full and ragged tiles of lanes in lock-step, and how fast they stream."""
    way, k = placement.way, placement.k
    if machine.holds_groups:
        return _held(machine, placement)
    pace = EVEN if machine.intersecting is None else _intersected(machine, placement)
    if way.obeys:
        slots = way.native.stored(k)
        return (slots, slots), pace
    full, ragged = (
        round(expected_slots(placement.selected_mask, way.native, lanes, k))
        for lanes in _lock_step(machine, placement)
    )
    return (full, ragged), pace


def _lock_step(machine: SystolicArray, placement: Placement) -> tuple[int, int]:
    """Lanes of a full tile and of the ragged one that take the same slots; no tile: as many."""
    if placement.lanes == "cols":
        lanes, size = placement.rows_of(placement.x), machine.cols
    else:
        lanes = placement.rows_of(placement.y)
        size = lanes if placement.dataflow.preloads else machine.rows
    return min(size, lanes), lanes % size or min(size, lanes)


def _held(machine: SystolicArray, placement: Placement) -> tuple[tuple[int, int], Pace]:
    """The same of PEs that hold whole groups: beats of folds, and the slots that these make."""
    tile, found = (placement.selected_mask, placement.native), {}
    full, ragged = _lock_step(machine, placement)
    for lanes in {full, ragged}:
        each, slots = expected_beats(*tile, lanes, placement.k, pe_groups(machine))
        beats = float(each[:-1].mean()) if len(each) > 1 else 0.0, float(each[-1])
        found[lanes] = round(slots), beats
    return (found[full][0], found[ragged][0]), Pace(*found[full][1], *found[ragged][1])


def _intersected(machine: SystolicArray, placement: Placement) -> Pace:
    """Mean cycles of the tiles of C of an array that intersects; K's if nothing is masked."""
    pe, work = machine.intersecting, placement.work
    if pe is None or (work.a.is_dense and work.b.is_dense):
        return EVEN
    fabric = Fabric(machine.rows, machine.cols, pe.group, pe.lookahead)
    cycles = expected_fold_cycles(work.a, work.b, work.gemm.count, fabric).cycles
    # Full tiles come first, the ragged one is the last.
    last = slice(-1, None)
    rows, columns = (
        (slice(0, full) if full else last, last)
        for full in (
            placement.rows_of(placement.y) // machine.rows,
            placement.rows_of(placement.x) // machine.cols,
        )
    )
    means = [float(cycles[:, down, across].mean()) for down in rows for across in columns]
    return Pace(*EVEN[:4], *means)
