"""What closed forms are given: numbers of an array, its resources, and of a placement, its demand.

Formulas take these alone, so that a kernel can go through the placements of many GEMMs at once.
"""

from functools import lru_cache
from typing import Literal, NamedTuple


from nmsim.machines.systolic.intersect.analytical import expected_fold_cycles
from nmsim.machines.systolic.intersect.folds import Fabric
from nmsim.machines.systolic.pe.beats import expected_beats, pe_groups
from nmsim.machines.systolic.pe.slots import expected_slots
from nmsim.machines.systolic.pipeline.memory import BACK_TO_BACK, EXPOSED, HIDDEN, UNCOUNTED
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.operands import distinct, half_bits, transfer_cycles

__all__ = [
    "NOT_EXPECTED",
    "PERIODS",
    "Demand",
    "Resources",
    "Tiled",
    "countable",
    "demand_of",
    "resources_of",
    "tiled_of",
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


Kinds = tuple[tuple[float, float], tuple[float, float]]
"""A number of full tiles and of the ragged one, by rows and by columns; or two numbers of each."""


class Tiled(NamedTuple):
    """What full and ragged tiles of lanes in lock-step take.

    Parameters
    ----------
    slots
        Along K.
    beats
        A mean of the folds but the last, and the last one's.
    expected
        Cycles of tiles of an intersecting array, full or ragged by rows and by columns;
        ``NOT_EXPECTED`` where slots say it.
    """

    slots: tuple[int, int]
    beats: Kinds
    expected: Kinds


NOT_EXPECTED: Kinds = ((-1.0, -1.0), (-1.0, -1.0))
ONE_BEAT: Kinds = ((1.0, 1.0), (1.0, 1.0))


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


def demand_of(
    machine: SystolicArray, placement: Placement, walks: tuple[int, int] = (-1, -1)
) -> Demand:
    """The numbers of a placement.

    Parameters
    ----------
    walks
        Where it stands how x and y are gathered.
    """
    x, y = placement.x, placement.y
    x_stored, y_stored = placement.stored_as(x), placement.stored_as(y)
    x_behind, x_size = distinct(machine, placement, x)
    y_behind, y_size = distinct(machine, placement, y)
    return Demand(
        placement.work.gemm.count,
        placement.rows_of(x),
        placement.rows_of(y),
        placement.k,
        placement.along_k(x),
        placement.along_k(y),
        int(y_stored.elements),
        x_stored.bits,
        y_stored.bits,
        x_behind,
        x_size,
        y_behind,
        y_size,
        int(placement.lanes == "cols"),
        *walks,
    )


def countable(resources: Resources, demand: Demand) -> bool:
    """Whether all counts of a placement fit 64 bits.

    Each is no more than the products of the GEMM with nothing pruned, by the bits of a sum, or by
    the rows that words pass on their way.
    """
    products = demand.copies * demand.x_lanes * demand.y_lanes * demand.k
    return products * max(64, resources.rows + resources.cols) < 1 << 62


def tiled_of(machine: SystolicArray, placement: Placement) -> Tiled:
    """What the tiles of a placement take, where lanes run in lock-step."""
    mask, native = placement.selected_mask, placement.native
    full, ragged = _lock_step(machine, placement)
    if machine.holds_groups:
        return _held(machine, placement, full, ragged)
    expected = NOT_EXPECTED if machine.intersecting is None else _intersected(machine, placement)
    if mask.obeys(native):
        slots = native.stored(placement.k)
        return Tiled((slots, slots), ONE_BEAT, expected)
    of = [round(expected_slots(mask, native, lanes, placement.k)) for lanes in (full, ragged)]
    return Tiled((of[0], of[1]), ONE_BEAT, expected)


def _lock_step(machine: SystolicArray, placement: Placement) -> tuple[int, int]:
    """Lanes of a full tile and of the ragged one that take the same slots; no tile: as many."""
    if placement.lanes == "cols":
        lanes, size = placement.rows_of(placement.x), machine.cols
    else:
        lanes = placement.rows_of(placement.y)
        size = lanes if placement.dataflow.preloads else machine.rows
    return min(size, lanes), lanes % size or min(size, lanes)


def _held(machine: SystolicArray, placement: Placement, full: int, ragged: int) -> Tiled:
    """The same of PEs that hold whole groups: beats of folds, and the slots that these make."""
    tile = placement.selected_mask, placement.native
    found = {}
    for lanes in {full, ragged}:
        each, slots = expected_beats(*tile, lanes, placement.k, pe_groups(machine))
        beats = float(each[:-1].mean()) if len(each) > 1 else 0.0, float(each[-1])
        found[lanes] = round(slots), beats
    slots, beats = zip(found[full], found[ragged], strict=True)
    return Tiled(slots, beats, NOT_EXPECTED)


def _intersected(machine: SystolicArray, placement: Placement) -> Kinds:
    """Mean cycles of the tiles of C of an array that intersects; K's if nothing is masked."""
    pe, work = machine.intersecting, placement.work
    if pe is None or (work.a.is_dense and work.b.is_dense):
        return NOT_EXPECTED
    fabric = Fabric(machine.rows, machine.cols, pe.group, pe.lookahead)
    cycles = expected_fold_cycles(work.a, work.b, work.gemm.count, fabric).cycles
    # Full tiles come first, the ragged one is the last.
    (down, ragged_down), (across, ragged_across) = (
        (slice(0, full) if full else last, last)
        for full, last in (
            (placement.rows_of(placement.y) // machine.rows, slice(-1, None)),
            (placement.rows_of(placement.x) // machine.cols, slice(-1, None)),
        )
    )
    return (
        (float(cycles[:, down, across].mean()), float(cycles[:, down, ragged_across].mean())),
        (
            float(cycles[:, ragged_down, across].mean()),
            float(cycles[:, ragged_down, ragged_across].mean()),
        ),
    )
