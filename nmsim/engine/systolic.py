"""The cycle model of a systolic array: place a GEMM, find its slots, run its folds."""

import math

from nmsim.engine.folds import Array, Buffers, Work, launch
from nmsim.engine.memory import TICKS
from nmsim.engine.placement import Placement, place, store_selected
from nmsim.engine.slots import tile_slots
from nmsim.engine.traffic import Moved, element_bits, writeup
from nmsim.errors import ShapeError
from nmsim.hardware import SystolicArray
from nmsim.mask import SparseGemm
from nmsim.result import Run

__all__ = ["simulate"]


def simulate(machine: SystolicArray, work: SparseGemm) -> Run:
    """Run a sparse GEMM on an array, fold by fold.

    Bits of a mask are asked for only where slots depend on them: under a native pattern that does
    not cover the mask's.

    Raises
    ------
    ShapeError
        if its times or sums might not fit 64 bits.
    """
    placement = place(machine, work)
    x, y = placement.x, placement.y
    _refuse_beyond_64_bits(machine, placement, _buffers(machine, placement))
    slots = tile_slots(
        placement.selected_mask,
        placement.native,
        placement.work.gemm.count,
        _lock_step(machine, placement),
        placement.k,
    )
    placement = store_selected(machine, placement, float(slots.mean()))
    sums = launch(
        Array(machine.rows, machine.cols, _overhead(machine, placement)),
        _buffers(machine, placement),
        Work(
            copies=placement.work.gemm.count,
            x_lanes=placement.rows_of(x),
            y_lanes=placement.rows_of(y),
            x_k=placement.along_k(x),
            y_k=placement.along_k(y),
            x_selected=placement.selected == x,
            y_selected=placement.selected == y,
        ),
        slots,
        k_on_rows=placement.dataflow.rows == "k",
    )
    once = machine.rows * _moves(machine, placement).count("overlapped")
    return writeup(
        machine,
        placement,
        Moved(
            sums.x_loaded,
            sums.y_loaded,
            sums.x_read,
            sums.y_read,
            sums.sums_in,
            sums.sums_out,
            sums.outputs,
        ),
        compute=sums.compute + once,
        streamed=sums.streamed,
        cycles=-(-sums.total // TICKS) + once,
        issued=sums.issued,
    )


def _refuse_beyond_64_bits(machine: SystolicArray, placement: Placement, buffers: Buffers) -> None:
    """The kernels count in 64-bit integers, which wrap silently: bound from above what they count.

    Folds are at most tiles of columns times tiles of K (or of rows) times chunks; every fold loads,
    stores and waits at most once for all that it touches.
    """
    g, k = placement.work.gemm, placement.k
    x, y = placement.rows_of(placement.x), placement.rows_of(placement.y)
    on_rows = placement.dataflow.rows == "k"
    column_tiles = math.ceil(x / machine.cols)
    row_tiles = math.ceil((k if on_rows else y) / machine.rows)
    chunks = math.ceil(y / max(1, buffers.sums_half // machine.cols)) if on_rows else 1
    folds = column_tiles * row_tiles * chunks
    cycles = column_tiles * row_tiles * (y if on_rows else k)
    cycles += folds * _overhead(machine, placement)
    ticks = TICKS * cycles + folds * (3.0 + 2 * buffers.latency)
    ticks += x * k * (chunks if on_rows else row_tiles) * buffers.x_ticks
    ticks += y * k * column_tiles * buffers.y_ticks
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


def _overhead(machine: SystolicArray, placement: Placement) -> int:
    """Cycles of a fold beside those that stream: skew in and out, exposed preload and drain."""
    exposed = _moves(machine, placement).count("exposed")
    return machine.rows + machine.cols - 2 + machine.rows * exposed


def _moves(machine: SystolicArray, placement: Placement) -> tuple[str, ...]:
    """How each shift of the dataflow, of R cycles, is exposed."""
    preload = (machine.preload,) if placement.dataflow.preloads else ()
    drain = (machine.drain,) if placement.dataflow.drains else ()
    return preload + drain


def _buffers(machine: SystolicArray, placement: Placement) -> Buffers:
    """Channel time and half-buffer capacity per stored element."""
    gbps = machine.dram.gbps
    per_bit = TICKS * machine.clock_mhz / (gbps * 8e3) if gbps is not None else 0.0
    half_bits = {"a": machine.sram.a_kib * 4096, "b": machine.sram.b_kib * 4096}
    x_bits = element_bits(machine, placement, placement.x)
    y_bits = element_bits(machine, placement, placement.y)
    return Buffers(
        x_ticks=x_bits * per_bit,
        y_ticks=y_bits * per_bit,
        sum_ticks=machine.accumulator_bits * per_bit,
        output_ticks=machine.output_bits * per_bit,
        x_half=half_bits[placement.x] / x_bits,
        y_half=half_bits[placement.y] / y_bits,
        sums_half=int(machine.sram.c_kib * 4096 / machine.accumulator_bits),
        latency=math.ceil(machine.dram.latency_ns * machine.clock_mhz * 1e-3 * TICKS),
        spill=machine.partial_sums == "spill",
    )
