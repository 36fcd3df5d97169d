"""The sums that a page shows of a run, a phase or a point: each with its unit and its notation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nmsim.machines import COLUMNS
from nmsim.report.notation import MISSING, grouped, percent, prefix, ratio
from nmsim.report.pages.markup import Cell, Head
from nmsim.report.summary import quotient, step_counts

__all__ = ["SumColumn", "amounts", "costs", "speedups"]

Total = Mapping[str, Any]


@dataclass(frozen=True)
class SumColumn:
    """A column of sums: how it is called, what it holds, the number and how it is written."""

    name: str
    unit: str
    meaning: str
    value: Callable[[Total], float | None]
    written: Callable[[float | None], str]

    @property
    def head(self) -> Head:
        """The header of the column, with unit and meaning."""
        return Head(self.name, self.unit, self.meaning, number=True)

    def cell(self, total: Total) -> Cell:
        """The number of one line, rounded to read, exact to point at."""
        value = self.value(total)
        return Cell(self.written(value), MISSING if value is None else f"{value:,}", value)


def speedups(sums: Sequence[Total]) -> tuple[SumColumn, ...]:
    """Columns of what was gained, by GEMMs and by the step, and of what the masks promised.

    Those of the step, of masks that were passed over and of number formats stand where some sum
    has one that differs from the gain of its GEMMs.
    """
    step = any(map(step_counts, sums))
    masks = any(total["passed_over"] for total in sums)
    formats = any(total["format_speedup"] is not None for total in sums)
    return (
        *([_speedup("of the step", "step_speedup", _OF_THE_STEP)] if step else []),
        _speedup("of GEMMs", "speedup", "dense cycles over these"),
        *([_masks_alone()] if masks else []),
        *([_speedup("of formats", "format_speedup", _OF_FORMATS)] if formats else []),
        _speedup("ideal", "speedup_ideal", "dense over useful MACs: what the masks promise"),
        *([_beyond()] if any(total["beyond_share"] is not None for total in sums) else []),
    )


_OF_THE_STEP = "the dense step over GEMMs, masks and what is estimated beside them"
_OF_FORMATS = "of GEMMs: the part that number formats would gain without masks"


def _masks_alone() -> SumColumn:
    return SumColumn(
        "masks alone",
        "speed-up ×",
        "of GEMMs, if masks were used where they are passed over, too; none: they are nowhere",
        lambda total: total["mask_speedup"] if total["passed_over"] else None,
        ratio,
    )


def _beyond() -> SumColumn:
    return SumColumn(
        "beyond",
        "% of time",
        "of GEMMs whose time or speed-up stands beyond what was measured (column evidence)",
        lambda total: total["beyond_share"],
        percent,
    )


def _speedup(name: str, key: str, meaning: str) -> SumColumn:
    unit = "× MAC ratio" if name == "ideal" else "speed-up ×"
    return SumColumn(name, unit, meaning, lambda total: total[key], ratio)


def costs(sums: Sequence[Total]) -> tuple[SumColumn, ...]:
    """Columns of cycles and time, and of how well the machine was used meanwhile."""
    return (
        _scaled("cycles", "cycles", "compute and stall", sums, "cycles"),
        _time(sums),
        SumColumn(
            "stalled",
            "% of cycles",
            "waiting for memory",
            lambda t: quotient(t["stall_cycles"], t["cycles"]),
            percent,
        ),
        SumColumn(
            "utilisation",
            "% of peak",
            "MAC slots spent over all in these cycles",
            lambda t: t["utilization"],
            percent,
        ),
        SumColumn(
            "bandwidth",
            "GB/s",
            "DRAM traffic over time",
            lambda t: t["dram_gbps"],
            lambda value: grouped(value, 1),
        ),
        *([_once()] if any(total.get("once_us") for total in sums) else []),
    )


def _once() -> SumColumn:
    return SumColumn(
        "once",
        "ms",
        "pruning and packing weights that do not change, before the first step; no part of one",
        lambda total: total.get("once_us"),
        lambda value: grouped(None if value is None else value / 1e3, 2),
    )


def amounts(sums: Sequence[Total]) -> tuple[SumColumn, ...]:
    """Columns of MACs and bytes, each kind under one SI prefix."""
    macs, dram = (
        ("macs_dense", "macs_issued", "macs_useful"),
        ("dram_read_bytes", "dram_write_bytes"),
    )
    meanings = {column.name: column.meaning for column in COLUMNS}
    return (
        *(_scaled(f"MACs {n[5:]}", "MACs", meanings[n], sums, n, macs) for n in macs),
        *(_scaled(f"DRAM {n[5:-6]}", "B", meanings[n], sums, n, dram) for n in dram),
    )


def _scaled(
    name: str,
    unit: str,
    meaning: str,
    sums: Sequence[Total],
    column: str,
    together: Sequence[str] = (),
) -> SumColumn:
    """A count under one SI prefix for all columns that are to be compared with it."""
    largest = max((total[c] for total in sums for c in together or (column,)), default=0)
    divisor, letter = prefix(largest, below=1e7 if column == "cycles" else 1e4)

    def written(value: float | None) -> str:
        return grouped(None if value is None else value / divisor, 2) if letter else grouped(value)

    spaced = f"{letter} {unit}" if unit == "cycles" else f"{letter}{unit}"
    return SumColumn(name, spaced.strip(), meaning, lambda total: total[column], written)


def _time(sums: Sequence[Total]) -> SumColumn:
    longest = max((total["time_us"] for total in sums), default=0.0)
    divisor, unit = (1e3, "ms") if longest >= 1e4 else (1.0, "µs")
    return SumColumn(
        "time",
        unit,
        "cycles over clock",
        lambda total: total["time_us"],
        lambda value: grouped(None if value is None else value / divisor, 2),
    )
