"""One row of a result table: what a sparse GEMM was, how it ran, and what it cost."""

from typing import Any, NamedTuple

from nmsim.cost import bit_operations
from nmsim.machines import OWN_COLUMNS, Machine, Ran, kind_of
from nmsim.mask import SparseGemm
from nmsim.result import LAUNCH_COLUMNS, SLOT_COLUMNS, Parts, Result, Survivors
from nmsim.step.scatter import scatter_bytes, scatter_us

__all__ = ["Dense", "row_of"]

Row = dict[str, Any]


class Dense(NamedTuple):
    """What a GEMM costs with nothing pruned.

    Parameters
    ----------
    run
        In the machine's own number format: the dense run.
    in_format
        In the number format that the GEMM ran in; None where that is the machine's own.
    """

    run: Result
    in_format: Result | None


def row_of(
    machine: Machine, ran: Ran, work: SparseGemm, result: Result, dense: Dense | None
) -> Row:
    """The columns of ``nmsim.machines.COLUMNS`` that follow from one GEMM alone.

    Parameters
    ----------
    machine, ran
        As it was asked for, and as it ran the GEMM's number format.
    work, result
        The GEMM with its masks, and what it cost.
    dense
        What the GEMM costs with nothing pruned; None: not compared.
    """
    g, kind = work.gemm, kind_of(machine)
    return {
        "layer": g.layer,
        "kind": g.kind,
        "phase": g.phase,
        "gradient_of": g.gradient_of,
        "part": g.part,
        "m": g.m,
        "n": g.n,
        "k": g.k,
        "count": g.count,
        "repeat": g.repeat,
        "a_pattern": str(work.a.pattern),
        "b_pattern": str(work.b.pattern),
        "transposed": result.transposed,
        "kernel": result.kernel,
        "engine": result.engine,
        "hardware": machine.name,
        "compute_cycles": result.compute_cycles,
        "stall_cycles": result.stall_cycles,
        "cycles": result.cycles,
        "time_us": result.time_us,
        "delivery_cycles": result.delivery_cycles,
        **dict.fromkeys(SLOT_COLUMNS),
        **Parts.columns(result.parts),
        **dict.fromkeys(LAUNCH_COLUMNS, None if result.parts is None else 0),
        "half_width": result.half_width,
        "folds_run": result.folds_run,
        "tiles": result.tiles,
        "waves": result.waves,
        "macs_dense": g.macs,
        "macs_issued": result.macs_issued,
        "macs_useful": work.macs_useful,
        "utilization": result.utilization,
        "dram_read_bytes": result.dram_read_bytes,
        "dram_write_bytes": result.dram_write_bytes,
        "sram_read_bytes": result.sram_read_bytes,
        "a_bits_per_cycle": result.a_bits_per_cycle,
        "b_bits_per_cycle": result.b_bits_per_cycle,
        "metadata_bytes": result.metadata_bytes,
        "scatter_bytes": scatter_bytes(ran.machine, g),
        "scatter_us": scatter_us(ran.machine, g),
        "dense_scatter_us": scatter_us(kind.in_format(machine, "").machine, g),
        "compressed": result.compressed,
        "misfit_share": result.misfit_share,
        **_survivors(result.survivors),
        **dict.fromkeys(OWN_COLUMNS),
        **kind.columns(machine, work, result),
        **_bit_operations(kind.operand_bits(ran.machine), work, result),
        "dram_gbps": result.dram_gbps,
        "bound": result.bound,
        **_against(result, dense),
        "mask_cycles": result.mask_cycles,
        "chosen": result.chosen,
        "number_format": ran.name,
        "note": "; ".join(filter(None, (work.note, result.note, ran.note))),
    }


def _against(result: Result, dense: Dense | None) -> Row:
    """The dense run, the gain over it, and the part of the gain that is the number format's."""
    names = ("speedup", "dense_cycles", "dense_time_us", "format_speedup")
    if dense is None:
        return dict.fromkeys(names)
    run, other = dense
    gains = (run.cycles / one.cycles if one and one.cycles else None for one in (result, other))
    speedup, of_format = gains
    return dict(zip(names, (speedup, run.cycles, run.time_us, of_format), strict=True))


def _survivors(found: Survivors | None) -> Row:
    measured, expected = (found.measured, found.expected) if found else ((), ())
    return {
        "survivors_mean": Survivors.mean(measured),
        "survivors_expected": Survivors.mean(expected),
        "survivors": " ".join(f"{share:.6f}" for share in measured) or None,
    }


def _bit_operations(bits: int, work: SparseGemm, result: Result) -> Row:
    return {
        "bit_operations_issued": bit_operations(result.macs_issued, bits, bits),
        "bit_operations_useful": bit_operations(work.macs_useful, bits, bits),
    }
