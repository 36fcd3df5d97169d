"""Rows of a result table, column by column: sparse GEMMs, how they ran, and what they cost."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from nmsim.cost import bit_operations
from nmsim.machines import OWN_COLUMNS, Machine, Ran, kind_of
from nmsim.mask import SparseGemm
from nmsim.result import LAUNCH_COLUMNS, SLOT_COLUMNS, Columns, Parts, Result, Survivors
from nmsim.step.scatter import scatter_bytes, scatter_us

__all__ = ["Dense", "GemmRun", "by_format", "gemm_columns"]


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


class GemmRun(NamedTuple):
    """A GEMM with its masks, as a machine ran it.

    Parameters
    ----------
    work, ran
        The GEMM, and the machine in the number format that it ran in.
    result
        What it cost.
    dense
        What it costs with nothing pruned; None: not compared.
    """

    work: SparseGemm
    ran: Ran
    result: Result
    dense: Dense | None


def by_format(works: Iterable[SparseGemm]) -> dict[str, list[int]]:
    """Places of GEMMs by the number format that they ask for: each runs on a machine of its own."""
    formats: dict[str, list[int]] = {}
    for place, work in enumerate(works):
        formats.setdefault(work.number_format, []).append(place)
    return formats


def gemm_columns(machine: Machine, runs: Sequence[GemmRun]) -> Columns:
    """The columns of ``nmsim.machines.COLUMNS`` that follow from GEMMs alone, a value for each.

    Parameters
    ----------
    machine
        As it was asked for.
    """
    works, results = [run.work for run in runs], [run.result for run in runs]
    kind = kind_of(machine)
    columns = _asked(works)
    columns |= {name: [getattr(one, name) for one in results] for name in _RESULTS}
    columns["hardware"] = [machine.name] * len(runs)
    columns |= dict.fromkeys((*SLOT_COLUMNS, *OWN_COLUMNS), [None] * len(runs))
    columns |= _parts(results)
    columns |= _scattered(machine, runs)
    columns |= _survivors(results)
    columns |= kind.columns(machine, works, results)
    columns |= _bit_operations(runs, columns)
    columns |= _against(runs)
    columns["note"] = [
        "; ".join(filter(None, (run.work.note, run.result.note, run.ran.note))) for run in runs
    ]
    return columns


_OF_GEMM = ("kind", "phase", "gradient_of", "part", "m", "n", "k", "count", "repeat")

_RESULTS = (
    *("transposed", "kernel", "engine", "compute_cycles", "stall_cycles", "cycles", "time_us"),
    *("delivery_cycles", "half_width", "folds_run", "tiles", "waves", "macs_issued"),
    *("utilization", "dram_read_bytes", "dram_write_bytes", "sram_read_bytes"),
    *("a_bits_per_cycle", "b_bits_per_cycle", "metadata_bytes", "compressed", "misfit_share"),
    *("dram_gbps", "bound", "mask_cycles", "chosen"),
)
"""Columns that are a result's own fields."""


def _asked(works: Sequence[SparseGemm]) -> Columns:
    """What the GEMMs are, with their masks."""
    return {
        "layer": [work.gemm.layer for work in works],
        **{name: [getattr(work.gemm, name) for work in works] for name in _OF_GEMM},
        "a_pattern": [str(work.a.pattern) for work in works],
        "b_pattern": [str(work.b.pattern) for work in works],
        "macs_dense": [work.gemm.macs for work in works],
        "macs_useful": [work.macs_useful for work in works],
    }


def _parts(results: Sequence[Result]) -> Columns:
    """Where cycles go, of machines that tell; what streams is split by their kinds."""
    found = [Parts.columns(one.parts) for one in results]
    parts = {name: [one[name] for one in found] for name in found[0]}
    none = [None if one.parts is None else 0 for one in results]
    return {**parts, **dict.fromkeys(LAUNCH_COLUMNS, none)}


def _scattered(machine: Machine, runs: Sequence[GemmRun]) -> Columns:
    own = kind_of(machine).in_format(machine, "").machine
    return {
        "scatter_bytes": [scatter_bytes(run.ran.machine, run.work.gemm) for run in runs],
        "scatter_us": [scatter_us(run.ran.machine, run.work.gemm) for run in runs],
        "dense_scatter_us": [scatter_us(own, run.work.gemm) for run in runs],
    }


def _against(runs: Sequence[GemmRun]) -> Columns:
    """The dense run, the gain over it, and the part of the gain that is the number format's."""
    found = zip(*(_gains(run.result, run.dense) for run in runs), strict=True)
    return {name: list(values) for name, values in zip(_GAINS, found, strict=True)}


_GAINS = ("speedup", "dense_cycles", "dense_time_us", "format_speedup")


def _gains(result: Result, dense: Dense | None) -> tuple[Any, ...]:
    if dense is None:
        return (None,) * len(_GAINS)
    run, other = dense
    gains = (run.cycles / one.cycles if one and one.cycles else None for one in (result, other))
    speedup, of_format = gains
    return speedup, run.cycles, run.time_us, of_format


def _survivors(results: Sequence[Result]) -> Columns:
    none: tuple[float, ...] = ()
    measured = [one.survivors.measured if one.survivors else none for one in results]
    expected = [one.survivors.expected if one.survivors else none for one in results]
    return {
        "survivors_mean": [Survivors.mean(one) for one in measured],
        "survivors_expected": [Survivors.mean(one) for one in expected],
        "survivors": [" ".join(f"{share:.6f}" for share in one) or None for one in measured],
    }


def _bit_operations(runs: Sequence[GemmRun], columns: Columns) -> Columns:
    bits = [kind_of(run.ran.machine).operand_bits(run.ran.machine) for run in runs]
    return {
        f"bit_operations_{name}": list(map(bit_operations, columns[f"macs_{name}"], bits, bits))
        for name in ("issued", "useful")
    } | {"number_format": [run.ran.name for run in runs]}
