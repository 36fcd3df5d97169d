"""The cycle model of a systolic array: place a GEMM, find its slots, run its folds."""

import math

from nmsim.engine.folds import Array, Buffers, Work, launch
from nmsim.engine.memory import TICKS
from nmsim.engine.placement import Placement, place
from nmsim.engine.slots import tile_slots
from nmsim.engine.traffic import Moved, element_bits, writeup
from nmsim.hardware import SystolicArray
from nmsim.mask import SparseGemm
from nmsim.result import Run

__all__ = ["simulate"]


def simulate(machine: SystolicArray, work: SparseGemm) -> Run:
    """Run a sparse GEMM on an array, fold by fold.

    Bits of a mask are asked for only where slots depend on them: under a native pattern that does
    not cover the mask's.
    """
    placement = place(machine, work)
    x, y = placement.x, placement.y
    slots = tile_slots(
        placement.selected_mask,
        placement.native,
        placement.work.gemm.count,
        _lock_step(machine, placement),
        placement.k,
    )
    sums = launch(
        Array(machine.rows, machine.cols, _overhead(machine, placement)),
        _buffers(machine, placement),
        Work(
            copies=placement.work.gemm.count,
            x_lanes=placement.rows_of(x),
            y_lanes=placement.rows_of(y),
            x_k=placement.stored_as(x).stored(placement.k),
            y_k=placement.stored_as(y).stored(placement.k),
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
