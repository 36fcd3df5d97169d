"""Sums over rows: per phase of a run, and per phase of every point of a sweep."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nmsim.machines import COLUMNS
from nmsim.report.reasons import counted, passed_over
from nmsim.report.rows import Rows, records
from nmsim.result import macs_left, totals

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "SWEPT",
    "bound_shares",
    "dram_supply",
    "estimated",
    "gemm_rows",
    "masks_cost",
    "meant_speedup",
    "of_sums",
    "phase_summary",
    "point_summaries",
    "quotient",
    "step_counts",
    "step_words",
    "stored_summaries",
    "told_by",
]

SWEPT = ("model", "recipe", "pattern", "hardware", "batch", "fidelity", "seed")
"""The columns that tell the points of a sweep apart."""

_KNOWN = frozenset(column.name for column in COLUMNS) | {"point"}


def told_by(names: Iterable[str]) -> list[str]:
    """The columns that tell the points of a sweep apart: `SWEPT`, and fields that it varied."""
    columns = list(names)
    varied = [name for name in columns if name not in _KNOWN and name not in SWEPT]
    return [*(name for name in SWEPT if name in columns), *varied]


_STORED = frozenset(("point", "phase", *totals(())["all"]))
"""Columns of the sums of points, beside those that tell the points apart."""

_SUMS = ("compute_cycles", "stall_cycles", "sram_read_bytes", "metadata_bytes", "scatter_bytes")


def gemm_rows(rows: Rows) -> list[dict[str, Any]]:
    """The rows with ``speedup_ideal`` and ``mask_speedup``, as `nmsim.result.totals` has them."""
    return [
        {
            **row,
            "speedup_ideal": quotient(row["macs_dense"], macs_left(row)),
            "mask_speedup": quotient(row["dense_cycles"], row["mask_cycles"]),
        }
        for row in records(rows)
    ]


def phase_summary(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """`nmsim.result.totals` per phase and for ``all``, and what follows from the same rows.

    Added are the sums of compute and stall cycles and of bytes, ``utilization`` (weighted by
    cycles), ``selector_mux2`` (the most of any row), ``dram_gbps``, ``bound`` (the share of time
    that each bound limits), ``reasons`` (`nmsim.report.reasons.counted`) and ``passed_over``: in
    how many GEMMs a mask that could be used is not.
    """
    table = list(rows)
    return {
        phase: {**total, **_added(_of_phase(table, phase))}
        for phase, total in totals(table).items()
    }


def point_summaries(
    df: "pd.DataFrame", by: Sequence[str] = ()
) -> list[tuple[dict[str, Any], dict[str, dict[str, Any]]]]:
    """For every point of a sweep, in order of appearance: its columns and its `phase_summary`."""
    names = [name for name in by if name in df] or told_by(df.columns)
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in records(df):
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return [
        (dict(zip(names, key, strict=True)), phase_summary(rows)) for key, rows in groups.items()
    ]


def of_sums(df: "pd.DataFrame") -> bool:
    """Whether a table is of the sums of points alone, a row a phase, without rows of GEMMs."""
    return "layer" not in df and "phase" in df


def stored_summaries(
    df: "pd.DataFrame",
) -> list[tuple[dict[str, Any], dict[str, dict[str, Any]]]]:
    """Of a table of the sums of points (`of_sums`), what `point_summaries` has of rows.

    What only rows tell is None: utilisation, parts of cycles; there are no bounds and no reasons.
    """
    names = [str(name) for name in df.columns if name not in _STORED]
    groups: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in records(df):
        sums = {name: value for name, value in row.items() if name in _STORED}
        traffic = row["dram_read_bytes"] + row["dram_write_bytes"]
        own = {"dram_gbps": quotient(traffic * 1e-3, row["time_us"])}
        phases = groups.setdefault(tuple(row[name] for name in names), {})
        phases[row["phase"]] = {**_UNTOLD, **sums, **own}
    return [(dict(zip(names, key, strict=True)), phases) for key, phases in groups.items()]


def masks_cost(total: Mapping[str, Any]) -> bool:
    """Whether making masks, or an exchange, takes time: a step gains other than its GEMMs do."""
    beside = total.get("mask_us") or total.get("communication_us")
    return bool(beside) and total.get("step_speedup") is not None


def estimated(total: Mapping[str, Any]) -> bool:
    """Whether what is no GEMM of a network was estimated, so that a step is all of it."""
    return bool(total.get("elementwise_us")) and total.get("step_speedup") is not None


def step_counts(total: Mapping[str, Any]) -> bool:
    """Whether a step has something beside its GEMMs, so that it gains other than they do."""
    return masks_cost(total) or estimated(total)


def step_words(total: Mapping[str, Any]) -> str:
    """What a step has beside its GEMMs: ``with masks``, or all of it, as an estimate."""
    return "estimated" if estimated(total) else "with masks"


def meant_speedup(total: Mapping[str, Any]) -> float | None:
    """The speed-up of the step where it has something beside its GEMMs, else that of its GEMMs."""
    speedup: float | None = total["step_speedup"] if step_counts(total) else total["speedup"]
    return speedup


def quotient(numerator: float | None, denominator: float | None) -> float | None:
    """A ratio, None where it has no value."""
    return numerator / denominator if numerator is not None and denominator else None


def dram_supply(machine: Mapping[str, Any]) -> float | None:
    """GB/s that a machine's DRAM has; None where nothing limits it."""
    supply = (machine.get("dram") or {}).get("gbps")
    return float(supply) if supply else None


def bound_shares(shares: Mapping[str, float]) -> str:
    """Say what limits a sum of rows: ``dram bandwidth 83 %, compute 17 %`` of its time."""
    told = {name: share for name, share in shares.items() if share >= 0.005} or shares
    if len(told) == 1:
        return next(iter(told))
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in told.items())


def _of_phase(rows: list[Mapping[str, Any]], phase: str) -> list[Mapping[str, Any]]:
    return rows if phase == "all" else [row for row in rows if row["phase"] == phase]


def _added(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    cycles = sum(row["cycles"] for row in rows)
    time = math.fsum(row["time_us"] for row in rows)
    traffic = sum(row["dram_read_bytes"] + row["dram_write_bytes"] for row in rows)
    slots = math.fsum(row["utilization"] * row["cycles"] for row in rows)
    return {
        **{name: sum(row[name] for row in rows) for name in _SUMS},
        "utilization": quotient(slots, cycles),
        "dram_gbps": quotient(traffic * 1e-3, time),
        "bound": _bounds(rows, time),
        "reasons": counted(rows),
        "passed_over": sum(map(passed_over, rows)),
        "selector_mux2": max(
            (one for row in rows if (one := row.get("selector_mux2")) is not None), default=None
        ),
    }


_UNTOLD: Mapping[str, Any] = {
    **dict.fromkeys((*_SUMS, "utilization", "selector_mux2")),
    "bound": {},
    "reasons": [],
    "passed_over": 0,
}
"""What `phase_summary` adds, of sums whose rows were not kept."""


def _bounds(rows: list[Mapping[str, Any]], time: float) -> dict[str, float]:
    spent: Counter[str] = Counter()
    for row in rows:
        spent[row["bound"]] += row["time_us"]
    return {name: quotient(us, time) or 0.0 for name, us in spent.most_common()}
