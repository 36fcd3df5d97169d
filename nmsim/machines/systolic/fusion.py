"""Attention as one kernel on an array: its products one after the other, scores never in DRAM.

The array multiplies what the GEMMs are, whole squares, and on the way back makes the scores once
more, as nothing kept them. DRAM sends Q, K, V and takes O, each once, with a statistic a row, while
the array works: a bound from below, as no buffer is asked to hold a block of scores, and as the
softmax is no work of an array.
"""

import math
from collections.abc import Sequence
from functools import reduce

from nmsim.attention import Attention
from nmsim.errors import SpecError
from nmsim.gemm import Gemm
from nmsim.machines.attention import Fusion
from nmsim.machines.systolic.engines import simulate_analytical, simulate_cycle
from nmsim.machines.systolic.parts import bound_of
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.traffic.operands import transfer_cycles
from nmsim.mask import SparseGemm
from nmsim.result import Parts, Result

__all__ = ["FUSION"]


def _why_not(machine: SystolicArray, _attention: Attention, _phase: str) -> str:
    return "" if machine.fused_attention else "fused_attention is false"


def _products(attention: Attention, phase: str) -> list[Gemm]:
    """What the array multiplies in a phase, one repeat: on the way back, the scores first."""
    scores = attention.products("forward")[:1] if phase == "backward" else ()
    count = attention.batch * attention.kv_heads
    return [
        Gemm(one.m, one.n, one.k, count, attention.layer, kind="attention")
        for one in (*scores, *attention.products(phase))
    ]


def _simulate(machine: SystolicArray, gemm: Gemm, fidelity: str) -> Result:
    attention = gemm.attention
    if attention is None:
        raise SpecError(f"{machine.name}: GEMM {gemm.layer!r}, expected an attention")
    on_chip = machine.model_copy(update={"dram": machine.dram.model_copy(update=_UNLIMITED)})
    simulate = simulate_cycle if fidelity == "cycle" else simulate_analytical
    products = _products(attention, gemm.phase)
    runs = [simulate(on_chip, SparseGemm.dense(product), None) for product in products]
    return _written(machine, gemm, attention, runs)


_UNLIMITED = {"gbps": None, "latency_ns": 0.0}


def _written(
    machine: SystolicArray, gemm: Gemm, attention: Attention, runs: Sequence[Result]
) -> Result:
    """The result of products that are on chip and of tensors that are not, all repeats."""
    widths = machine.operand_bits / 8, machine.output_bits / 8
    moved, repeat = attention.traffic(gemm.phase, *widths), attention.repeat
    cycles = sum(run.cycles for run in runs)
    bits = 8 * (moved.read + moved.written) / repeat
    waited = max(0, math.ceil(transfer_cycles(machine, bits)) - cycles)
    latency = math.ceil(machine.dram.latency_ns * machine.clock_mhz / 1e3)
    own = reduce(_added, (run.parts for run in runs if run.parts), Parts(*[0] * len(Parts._fields)))
    parts = own._replace(dram_wait=waited, latency_wait=latency, writeback_wait=0).times(repeat)
    counted = {name: sum(run.own[name] for run in runs) * repeat for name in runs[0].own}
    return Result(
        engine=runs[0].engine,
        kernel=f"fused {' '.join(dict.fromkeys(run.kernel for run in runs))}",
        transposed=False,
        compute_cycles=cycles * repeat,
        stall_cycles=(waited + latency) * repeat,
        clock_mhz=machine.clock_mhz,
        peak_macs=machine.peak_macs,
        macs_issued=sum(run.macs_issued for run in runs) * repeat,
        dram_read_bytes=moved.read,
        dram_write_bytes=moved.written,
        sram_read_bytes=sum(run.sram_read_bytes for run in runs) * repeat,
        metadata_bytes=0,
        bound=bound_of(parts),
        delivery_cycles=sum(run.delivery_cycles for run in runs) * repeat,
        note="fused: Q, K, V and O through DRAM once each, products as GEMMs, no softmax",
        parts=parts,
        own=counted,
    )


def _added(one: Parts, other: Parts) -> Parts:
    return Parts._make(a + b for a, b in zip(one, other, strict=True))


FUSION = Fusion(_why_not, _simulate)
"""How arrays run attention layers."""
