"""The analytical twin of the systolic array: closed forms for cycles and bytes, no folds, no bits.

Cycles are folds times the time of a fold, or the transfer time if that is longer, or, where folds
are shorter than a request takes, the time of the requests in the place of those folds that load;
and what nothing hides: the first load and the last store. A mask that the selectors do not
cover counts by the expectation over uniformly drawn masks (``expected_slots``).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from nmsim.machines.kind import Sample, Stored
from nmsim.machines.systolic.intersect.analytical import Expected, expected_fold_cycles
from nmsim.machines.systolic.intersect.folds import Fabric
from nmsim.machines.systolic.intersect.survivors import expected_survivors
from nmsim.machines.systolic.mapper import Choice, choose
from nmsim.machines.systolic.placement import Placement, with_masks
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.slots import expected_misfit_share, expected_slots
from nmsim.machines.systolic.traffic import Moved, Spent, element_bits, transfer_cycles, writeup
from nmsim.mask import Mask, SparseGemm
from nmsim.result import Result, Survivors

__all__ = ["choice", "estimate", "simulate", "stored"]


class _Part(NamedTuple):
    """A rectangle of C, or the sum of several: folds, cycles that stream, MAC slots, elements.

    ``loading`` counts the folds that wait for a load; ``waited`` is the time, cycles, that folds
    wait for the path from the buffers, ``draining`` that for the outputs of the fold before.
    """

    folds: int = 0
    loading: int = 0
    streamed: float = 0
    waited: float = 0
    draining: float = 0
    issued: int = 0
    x_loaded: int = 0
    y_loaded: int = 0
    x_read: int = 0
    y_read: int = 0
    spilled: int = 0

    def times(self, count: int) -> "_Part":
        return _Part._make(count * value for value in self)


def _sum(parts: Iterable[_Part]) -> _Part:
    return _Part._make(map(sum, zip(*parts, strict=True)))


@dataclass(frozen=True)
class _Edges:
    """What no fold hides: elements of the first load (x, y) and of the last store.

    ``draining`` is what the first fold is taken to wait for outputs, though there are none yet.
    """

    x: float
    y: float
    output: int
    draining: float = 0


def simulate(machine: SystolicArray, work: SparseGemm, _sample: Sample | None = None) -> Result:
    """Estimate what a sparse GEMM costs on an array, in closed form; there is nothing to sample."""
    result = choice(machine, work).result
    if work.a.fits and work.b.fits:
        return result
    # A mask that was made along another axis may keep more than its pattern's share.
    return replace(result, macs_issued=max(result.macs_issued, work.macs_useful))


def choice(machine: SystolicArray, work: SparseGemm) -> Choice:
    """The placement that is fastest by the closed forms, and what it was chosen from."""
    return choose(machine, work, estimate)


def stored(machine: SystolicArray, work: SparseGemm) -> tuple[Stored, Stored]:
    """How A and B stand in an array's memory: what its placement of the GEMM makes of their masks.

    An operand that the selectors follow is stored as its slots, any other one as its own pattern if
    the array can expand it; either only where elements and metadata together take fewer bits than
    the operand has dense. A mask that breaks the selectors' pattern takes the slots that one drawn
    uniformly would (``expected_slots``).
    """
    if machine.intersecting is not None and (masked := with_masks(machine, work)):
        placement = masked[0]  # both masks, in either order: what that takes, their bits would say
    else:
        placement = choice(machine, work).best.placement
    both = placement.a_stored, placement.b_stored
    a, b = reversed(both) if placement.transposed else both
    return _told(a, work.a), _told(b, work.b)


def _told(stored_as: Stored, mask: Mask) -> Stored:
    """How an operand is stored, with the reason where its mask is not used."""
    if mask.is_dense or stored_as.compressed or stored_as.why:
        return stored_as
    return stored_as._replace(why="the array runs it dense, which takes no longer")


def estimate(machine: SystolicArray, placement: Placement) -> Result:
    """What a placement of a sparse GEMM costs, in closed form."""
    work = placement.work
    on_rows = placement.dataflow.rows == "k"
    one, edges = (_k_on_rows if on_rows else _k_in_time)(machine, placement)
    gemm = placement.work.gemm
    copies = one.times(gemm.count)
    shift = machine.preload if placement.dataflow.preloads else machine.drain
    r = machine.rows
    per_fold = machine.fill_cycles + (r if shift == "exposed" else 0)
    once = r if shift == "overlapped" else 0
    draining = copies.draining - edges.draining
    busy = copies.streamed + copies.waited + draining + copies.folds * per_fold
    compute = math.ceil(busy) + once
    if machine.intersecting is not None:  # what is expected of the masks' bits may be too little
        compute = max(compute, -(-work.macs_useful // (gemm.repeat * machine.peak_macs)))
    moved = Moved(
        x_loaded=copies.x_loaded,
        y_loaded=copies.y_loaded,
        x_read=copies.x_read,
        y_read=copies.y_read,
        sums_in=copies.spilled,
        sums_out=copies.spilled,
        outputs=gemm.m * gemm.n * gemm.count,
    )
    shifts_in = placement.dataflow.preloads and machine.preload != "overlapped"
    spent = Spent(
        compute=compute,
        waited=math.ceil(copies.waited),
        preload=copies.folds * r if shifts_in else 0,
        streamed=copies.streamed,
        cycles=_with_memory(machine, placement, moved, edges, compute, copies),
        issued=copies.issued,
    )
    result = writeup(machine, placement, moved, spent)
    if placement.selected:
        share = expected_misfit_share(placement.selected_mask, placement.native)
        return replace(result, misfit_share=share)
    if machine.intersecting is None:
        return result
    a, b, group = work.a, work.b, machine.intersecting.group
    both = not (a.is_dense or b.is_dense)
    return replace(
        result,
        macs_issued=work.macs_useful,
        survivors=Survivors((), tuple(expected_survivors(a, b, gemm.count, group).tolist()))
        if both
        else None,
    )


def _with_memory(
    machine: SystolicArray,
    placement: Placement,
    moved: Moved,
    edges: _Edges,
    compute: int,
    all_copies: _Part,
) -> int:
    """The longest of computing, transferring and waiting, with the edges that none hides."""
    folds, loading = all_copies.folds, all_copies.loading
    x_bits = element_bits(machine, placement, placement.x)
    y_bits = element_bits(machine, placement, placement.y)
    spilled = (moved.sums_in + moved.sums_out) * machine.accumulator_bits
    outputs = moved.outputs * machine.output_bits
    inputs = moved.x_loaded * x_bits + moved.y_loaded * y_bits
    first = transfer_cycles(machine, edges.x * x_bits + edges.y * y_bits)
    last = transfer_cycles(machine, edges.output * machine.output_bits)
    transfer = transfer_cycles(machine, inputs + spilled + outputs)
    latency = machine.dram.latency_ns * machine.clock_mhz * 1e-3
    fold = compute / folds
    load = transfer_cycles(machine, inputs) / loading
    waiting = (folds - loading) * fold + (loading - 1) * max(fold, load + latency)
    return math.ceil(latency + max(first + compute + last, transfer, waiting))


def _tiles(lanes: int, size: int) -> list[tuple[int, int]]:
    """Full tiles and the ragged one, as (how many, lanes in each)."""
    full, rest = divmod(lanes, size)
    return [(count, width) for count, width in ((full, size), (1, rest)) if count and width]


def _along_k(placement: Placement, lanes: int) -> tuple[int, int, int]:
    """Slots along K, and stored elements of x and y along K, where lanes run in lock-step."""
    mask = placement.selected_mask
    slots = round(expected_slots(mask, placement.native, lanes, placement.k))
    return slots, placement.along_k(placement.x) or slots, placement.along_k(placement.y) or slots


def _waits(
    machine: SystolicArray, placement: Placement, streamed: float, x_read: int, y_read: int
) -> float:
    """Cycles that one fold waits for the path from the buffers: what its bits take beyond it."""
    if machine.delivery is None:
        return 0.0
    x, y = (
        read * placement.stored_as(position).bits / machine.delivery.bits_per_cycle
        for read, position in ((x_read, placement.x), (y_read, placement.y))
    )
    shift = machine.preload if placement.dataflow.preloads else "overlapped"
    if shift == "overlapped":
        return max(0.0, x + y - streamed)
    return max(0.0, y - streamed) + (max(0.0, x - machine.rows) if shift == "exposed" else 0.0)


def _shares(slots: int, deep: int, rows: int) -> list[tuple[int, Callable[[int], int]]]:
    """Folds along K alike, and which part they take of an operand's stored elements along K."""

    def full(k: int) -> int:
        return rows * k // slots

    return [(deep - 1, full), (1, lambda k: k - (deep - 1) * full(k))]


def _half_bits(machine: SystolicArray, position: str) -> float:
    """Bits that half of an operand's buffer holds."""
    return 4096 * (machine.sram.a_kib if position == "a" else machine.sram.b_kib)


def _k_on_rows(machine: SystolicArray, placement: Placement) -> tuple[_Part, _Edges]:
    """K on the rows (ws, is): x held, y streaming in chunks that the C buffer can sum."""
    x_lanes, y_lanes = placement.rows_of(placement.x), placement.rows_of(placement.y)
    x_half = _half_bits(machine, placement.x) / element_bits(machine, placement, placement.x)
    y_half = _half_bits(machine, placement.y) / element_bits(machine, placement, placement.y)
    sums_half = int(machine.sram.c_kib * 4096 / machine.accumulator_bits)
    tiles = -(-x_lanes // machine.cols)
    parts: list[_Part] = []
    edges: list[_Edges] = []
    for count, width in _tiles(x_lanes, machine.cols):
        slots, x_k, y_k = _along_k(placement, width if placement.lanes == "cols" else y_lanes)
        deep = -(-slots // machine.rows)
        spills = machine.partial_sums == "spill"
        fits = y_lanes if spills else max(1, sums_half // width)
        chunk = -(-y_lanes // -(-y_lanes // fits))
        chunks = -(-y_lanes // chunk)
        x_stays, y_stays = width * x_k <= x_half, y_lanes * y_k <= y_half
        shares = _shares(slots, deep, machine.rows)
        waited = sum(
            times * many * _waits(machine, placement, rows, width * share(x_k), rows * share(y_k))
            for times, share in shares
            for many, rows in ((chunks - 1, chunk), (1, y_lanes - (chunks - 1) * chunk))
        )
        part = _Part(
            folds=deep * chunks,
            loading=deep if x_stays and y_stays else deep * chunks,
            streamed=deep * y_lanes,
            waited=waited,
            issued=width * y_lanes * slots,
            x_loaded=width * x_k * (1 if x_stays else chunks),
            y_loaded=0 if y_stays else y_lanes * y_k,
            x_read=width * x_k * chunks,
            y_read=y_lanes * y_k,
            spilled=(deep - 1) * max(0, chunk * width - sums_half) if spills else 0,
        )
        # While y is read for the first time, every chunk of it loads.
        later = deep * (chunks - 1) if x_stays and y_stays and not parts else 0
        parts += [part.times(count), _Part(loading=later)]
        first_x, first_y = width * x_k / deep, chunk * y_k / deep
        rest = y_lanes - (chunks - 1) * chunk
        edges.append(_Edges(min(first_x, x_half), min(first_y, y_half), rest * width))
    total = _sum(parts)
    once = _Part(y_loaded=0 if total.y_loaded else total.y_read // tiles)
    return _sum([total, once]), _Edges(edges[0].x, edges[0].y, edges[-1].output)


def _intersected(machine: SystolicArray, work: SparseGemm) -> Expected | None:
    """Expected cycles of the folds of an intersecting array; None if nothing is masked: K."""
    pe = machine.intersecting
    if pe is None or (work.a.is_dense and work.b.is_dense):
        return None
    fabric = Fabric(machine.rows, machine.cols, pe.group, pe.lookahead)
    return expected_fold_cycles(work.a, work.b, work.gemm.count, fabric)


def _k_in_time(machine: SystolicArray, placement: Placement) -> tuple[_Part, _Edges]:
    """K in time (os): a tile of C held, rows of tiles from left to right."""
    expected = _intersected(machine, placement.work)
    x_lanes, y_lanes = placement.rows_of(placement.x), placement.rows_of(placement.y)
    x_half = _half_bits(machine, placement.x) / element_bits(machine, placement, placement.x)
    y_half = _half_bits(machine, placement.y) / element_bits(machine, placement, placement.y)
    parts: list[_Part] = []
    edges: list[_Edges] = []
    for row_class, (row_tiles, rows) in enumerate(_tiles(y_lanes, machine.rows)):
        for col_class, (col_tiles, cols) in enumerate(_tiles(x_lanes, machine.cols)):
            slots, x_k, y_k = _along_k(placement, cols if placement.lanes == "cols" else rows)
            x_stays, y_stays = x_lanes * x_k <= x_half, rows * y_k <= y_half
            streamed: float = math.ceil(slots / machine.dot_width)
            if expected is not None:
                # full tiles come first, the ragged one is the last
                down = slice(0, row_tiles) if rows == machine.rows else slice(-1, None)
                across = slice(0, col_tiles) if cols == machine.cols else slice(-1, None)
                streamed = float(expected.cycles[:, down, across].mean())
            waited = _waits(machine, placement, streamed, cols * x_k, rows * y_k)
            late = max(0.0, machine.rows - machine.fill_cycles - streamed - waited)
            draining = late if machine.drain == "overlapped" else 0.0
            part = _Part(
                folds=1,
                loading=0 if x_stays and y_stays else 1,
                streamed=streamed,
                waited=waited,
                draining=draining,
                issued=rows * cols * slots,
                x_loaded=0 if x_stays else cols * x_k,
                y_loaded=0 if y_stays else rows * y_k,
                x_read=cols * x_k,
                y_read=rows * y_k,
            )
            # What stays is loaded once: x along the first row of tiles, y at the start of each row.
            x_first = col_tiles if x_stays and row_class == 0 else 0
            y_first = row_tiles if y_stays and col_class == 0 else 0
            shared = 1 if x_first and y_first else 0
            once = _Part(
                loading=x_first + y_first - shared if x_stays and y_stays else 0,
                x_loaded=x_first * cols * x_k,
                y_loaded=y_first * rows * y_k,
            )
            parts += [part.times(row_tiles * col_tiles), once]
            first_x, first_y = min(cols * x_k, x_half), min(rows * y_k, y_half)
            edges.append(_Edges(first_x, first_y, rows * cols, draining))
    first = edges[0]
    return _sum(parts), _Edges(first.x, first.y, edges[-1].output, first.draining)
