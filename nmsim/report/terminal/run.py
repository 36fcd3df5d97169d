"""Result tables for a terminal: no boxes, one line per row, units under every header."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table
from rich.text import Text

from nmsim.gemm import PHASES
from nmsim.report.evidence import evidence_cell, tells
from nmsim.report.notation import MISSING, grouped, percent, prefix, printable, ratio, shorten
from nmsim.report.reasons import passed_over, reasons, told_once
from nmsim.report.rows import Rows, records
from nmsim.report.summary import (
    gemm_rows,
    phase_summary,
    point_summaries,
    quotient,
    step_counts,
    step_words,
    told_by,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["render", "render_sweep"]

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Shown:
    """A column: header, unit, cells, and how early it goes when there is no room (0: never)."""

    header: str
    unit: str
    cell: Callable[[Row], str]
    expendable: int = 0
    right: bool = True
    shrinks_to: int = 0


def render(table: Rows, totals: Mapping[str, Row], width: int) -> list[Table]:
    """A run for people: one line per GEMM, then one per phase and one for all.

    Parameters
    ----------
    table
        The rows.
    totals
        What `nmsim.result.totals` says of them.
    width
        Characters in a line. Columns that do not fit are left out, least telling first, and the
        caption says which; a number is never wrapped or cut.

    Returns
    -------
    list of rich tables
        the rows, and the notes that they refer to, if there are any.
    """
    rows = gemm_rows(table)
    sums = phase_summary(rows)
    lines = [
        {**sums[phase], **total, "layer": "total", "phase": phase}
        for phase, total in totals.items()
        if phase in sums and (phase != "all" or len(sums) != 2)
    ]
    told = told_once(rows)
    notes = list(dict.fromkeys(told.values()))
    numbered = [
        {**row, "told": _numbers((told[said] for said in reasons(row)), notes)} for row in rows
    ]
    shown = _table(_run_columns([*numbered, *lines], notes), numbered, lines, width)
    return [shown, _notes(notes)] if notes else [shown]


def render_sweep(df: "pd.DataFrame", width: int) -> list[Table]:
    """A sweep for people: one line per point with its speed-ups, and the reasons for them.

    Columns of the point that never change stand in the caption; reasons in a table of their own.
    """
    points = [{**point, "phases": phases, **phases["all"]} for point, phases in point_summaries(df)]
    told = told_once(records(df))
    notes = list(dict.fromkeys(told.values()))
    for point, rows in zip(points, _rows_of_points(df), strict=True):
        point["told"] = _numbers((told[said] for row in rows for said in reasons(row)), notes)
    swept = told_by(df.columns)
    varying = [name for name in swept if len({point.get(name) for point in points}) > 1]
    phases = [phase for phase in PHASES if any(phase in point["phases"] for point in points)]
    table = _table(_sweep_columns(points, varying, phases), points, [], width)
    fixed = [f"{name} {points[0][name]}" for name in swept if points and name not in varying]
    caption = [printable(", ".join(fixed)), str(table.caption or "")]
    table.caption = Text("\n".join(line for line in caption if line))
    return [table, _notes(notes)] if notes else [table]


def _run_columns(rows: Sequence[Row], notes: Sequence[str]) -> list[_Shown]:
    if any(row.get("waves") is not None for row in rows):
        return _wave_columns(rows, notes)
    return [
        _Shown("layer", "", lambda row: str(row["layer"]), right=False, shrinks_to=20),
        *([_Shown("", "", _told, right=False)] if notes else []),
        _Shown("phase", "", _phase, right=False),
        _Shown("M×N×K", "×count ×repeat", _size, 6, right=False),
        _Shown("A/B", "N:M", _patterns, 5, right=False),
        _Shown("kernel", "", lambda row: str(row.get("kernel", "")), 10, right=False),
        _scaled("cycles", "", "cycles", rows, 1),
        _time(rows),
        *_rates(),
        _Shown("bound by", "", _bound, 7, right=False),
        *_gains(rows),
        _Shown("ideal", "×", lambda row: ratio(row["speedup_ideal"]), 8),
    ]


def _wave_columns(rows: Sequence[Row], notes: Sequence[str]) -> list[_Shown]:
    """Columns of rows that ran in waves: with kernel and bound, these say more than rates do."""
    return [
        _Shown("layer", "", lambda row: str(row["layer"]), right=False, shrinks_to=16),
        *([_Shown("", "", _told, right=False)] if notes else []),
        _Shown("phase", "", _phase, right=False),
        _Shown("M×N×K", "×count ×repeat", _size, 6, right=False),
        _Shown("A/B", "N:M", _patterns, 4, right=False),
        _Shown("kernel ÷K", "tile_stages", _kernel_alone, 5, right=False),
        _Shown("waves", "", lambda row: grouped(row["waves"], 1) if "m" in row else "", 2),
        _scaled("cycles", "", "cycles", rows, 8),
        _time(rows, 1),
        *_rates((9, 11, 10)),
        _Shown("bound by", "", _bound_alone, 3, right=False),
        *_gains(rows),
        *([_Shown("evidence", "% beyond", evidence_cell, 6)] if tells(rows) else []),
        _Shown("ideal", "×", lambda row: ratio(row["speedup_ideal"]), 7),
    ]


def _sweep_columns(
    points: Sequence[Row], varying: Sequence[str], phases: Sequence[str]
) -> list[_Shown]:
    shown = [*phases, "all"] if len(phases) > 1 else phases
    return [
        *(
            _Shown(name, "", partial(_setting, name), right=False, shrinks_to=12)
            for name in varying
        ),
        *(_Shown(phase, "GEMMs ×", partial(_speedup_of, phase), 1) for phase in shown[:-1]),
        _Shown(shown[-1], "GEMMs ×", partial(_speedup_of, shown[-1])),
        *([_step_gain(points)] if any(map(step_counts, points)) else []),
        *([_once()] if any(point.get("once_us") for point in points) else []),
        *([_masks_alone()] if any(point["passed_over"] for point in points) else []),
        *([_Shown("why", "", _told, right=False)] if any(p["told"] for p in points) else []),
        *([_beyond()] if any(p["beyond_share"] is not None for p in points) else []),
        _Shown("ideal", "×", lambda row: ratio(row["speedup_ideal"]), 3),
        _scaled("cycles", "", "cycles", points, 5),
        _time(points, 2),
        *_rates(),
    ]


def _gains(rows: Sequence[Row]) -> list[_Shown]:
    """The gain of GEMMs, and of masks that were passed over, where there are such."""
    masks = [_masks_alone()] if any(map(passed_over, rows)) else []
    return [_Shown("speed-up", "GEMMs ×", lambda row: ratio(row["speedup"])), *masks]


def _masks_alone() -> _Shown:
    def cell(row: Row) -> str:
        return ratio(row["mask_speedup"]) if row.get("passed_over") or passed_over(row) else MISSING

    return _Shown("masks alone", "GEMMs ×", cell, 1)


def _beyond() -> _Shown:
    return _Shown("beyond", "% of time", lambda row: percent(row["beyond_share"]), 2)


def _step_gain(points: Sequence[Row]) -> _Shown:
    told = {"with masks": "+ masks ×", "estimated": "estimate ×"}
    unit = told[step_words(next(filter(step_counts, points)))]
    return _Shown("step", unit, lambda row: ratio(row["step_speedup"]))


def _once() -> _Shown:
    """What pruning and packing weights takes, once, where no step has it."""

    def cell(row: Row) -> str:
        return MISSING if row.get("once_us") is None else grouped(row["once_us"] / 1e3, 1)

    return _Shown("once", "packing ms", cell, 1)


def _rows_of_points(df: "pd.DataFrame") -> list[list[dict[str, Any]]]:
    """The rows of every point, in the order of `point_summaries`."""
    names = told_by(df.columns)
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in records(df):
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return list(found.values())


def _setting(name: str, point: Row) -> str:
    return str(point[name])


def _phase(row: Row) -> str:
    """The phase of a GEMM, and which part of a launch it is."""
    return " ".join(filter(None, (str(row["phase"]), str(row.get("part") or ""))))


def _speedup_of(phase: str, point: Row) -> str:
    return ratio(point["phases"].get(phase, {}).get("speedup"))


def _rates(expendable: tuple[int, int, int] = (2, 9, 3)) -> list[_Shown]:
    stall, used, dram = expendable
    return [
        _Shown("stall", "%", lambda row: percent(_stalls(row)), stall),
        _Shown("util.", "%", lambda row: percent(row["utilization"]), used),
        _Shown("DRAM", "GB/s", lambda row: grouped(row["dram_gbps"], 1), dram),
    ]


def _stalls(row: Row) -> float | None:
    return quotient(row["stall_cycles"], row["cycles"])


def _scaled(header: str, unit: str, name: str, rows: Sequence[Row], expendable: int = 0) -> _Shown:
    """A count under one SI prefix for the whole column, so that its numbers can be compared."""
    divisor, letter = prefix(max((row[name] for row in rows), default=0), below=1e7)
    digits = 1 if letter else 0

    def cell(row: Row) -> str:
        return grouped(row[name] / divisor if letter else row[name], digits)

    return _Shown(header, letter + unit, cell, expendable)


def _time(rows: Sequence[Row], expendable: int = 4) -> _Shown:
    longest = max((row["time_us"] for row in rows), default=0.0)
    divisor, unit = next(
        (pair for pair in ((1.0, "µs"), (1e3, "ms")) if longest < 1e6 * pair[0]), (1e6, "s")
    )
    return _Shown("time", unit, lambda row: grouped(row["time_us"] / divisor, 1), expendable)


def _size(row: Row) -> str:
    if "m" not in row:
        return ""
    copies = "".join(f" ×{row[name]}" for name in ("count", "repeat"))
    size = f"{row['m']}×{row['n']}×{row['k']}"
    return size if row["count"] == row["repeat"] == 1 else size + copies


def _patterns(row: Row) -> str:
    if "a_pattern" not in row:
        return ""
    pair = (row["a_pattern"], row["b_pattern"])
    return "dense" if set(pair) == {"dense"} else "/".join(pair)


def _kernel_alone(row: Row) -> str:
    """``64x64x64_3 ÷4`` of ``cublas 64x64x64_3 split 4``: which library, the patterns tell."""
    if "m" not in row:
        return ""
    name = str(row["kernel"]).partition(" ")[2] or str(row["kernel"])
    return name.replace(" split ", " ÷")


def _bound(row: Row) -> str:
    return _most(row).removeprefix("dram ")


def _bound_alone(row: Row) -> str:
    """What limits a row that ran in waves: a bandwidth by its memory alone, one of several."""
    return _most(row).removesuffix(" bandwidth").removesuffix(" reduction")


def _most(row: Row) -> str:
    bound = row["bound"]
    if isinstance(bound, str):
        return bound
    name, share = next(iter(bound.items()), (MISSING, 1.0))
    return str(name) if share > 0.995 else "mixed"


def _told(row: Row) -> str:
    return str(row.get("told", ""))


def _numbers(texts: Iterable[str], notes: Sequence[str]) -> str:
    """Where texts stand in the notes: ``[1][3]``."""
    found = {notes.index(text) + 1 for text in texts}
    return "".join(f"[{number}]" for number in sorted(found))


def _notes(notes: Sequence[str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for number, note in enumerate(notes, start=1):
        table.add_row(Text(f"[{number}]"), Text(printable(note)))
    return table


def _table(
    columns: Sequence[_Shown], rows: Sequence[Row], lines: Sequence[Row], width: int
) -> Table:
    cells = {column: [printable(column.cell(row)) for row in (*rows, *lines)] for column in columns}
    natural = {column: _width(column, cells[column]) for column in columns}
    kept = _fitting(natural, width)
    gap = 2 if _least(kept, natural, 2) <= width else 1
    sizes = _sizes(kept, natural, width - _least(kept, natural, gap))
    left_out = [column.header for column in columns if column not in kept]
    table = Table(
        box=None,
        padding=(0, gap, 0, 0),
        pad_edge=False,
        header_style="bold",
        caption=Text(f"no room for: {', '.join(left_out)}") if left_out else None,
        caption_justify="left",
    )
    for column, size in sizes.items():
        heading = Text(f"{column.header}\n{column.unit}")
        side: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(heading, justify=side, no_wrap=True, min_width=size)
    shown = [[shorten(cell, size) for cell in cells[column]] for column, size in sizes.items()]
    _fill(table, list(zip(*shown, strict=True)), len(rows))
    return table


def _fill(table: Table, lines: list[tuple[str, ...]], rows: int) -> None:
    for number, line in enumerate(lines):
        if number == rows:
            table.add_row()
        last = number == len(lines) - 1 and number >= rows
        table.add_row(*(Text(cell) for cell in line), style="bold" if last else None)


def _width(column: _Shown, cells: Sequence[str]) -> int:
    return max(len(text) for text in (column.header, column.unit, *cells))


def _shortest(column: _Shown, natural: Mapping[_Shown, int]) -> int:
    return min(natural[column], column.shrinks_to or natural[column])


def _least(columns: Iterable[_Shown], natural: Mapping[_Shown, int], gap: int) -> int:
    """Characters of a line whose names are as short as they may be."""
    sizes = [_shortest(column, natural) for column in columns]
    return sum(sizes) + gap * (len(sizes) - 1)


def _fitting(natural: Mapping[_Shown, int], width: int) -> list[_Shown]:
    """The columns that there is room for, one blank between them."""
    kept = list(natural)
    while _least(kept, natural, 1) > width and any(column.expendable for column in kept):
        kept.remove(max(kept, key=lambda column: column.expendable))
    return kept


def _sizes(
    columns: Iterable[_Shown], natural: Mapping[_Shown, int], spare: int
) -> dict[_Shown, int]:
    """Characters of each column: those that had to shrink share what is left, first come."""
    sizes = {}
    for column in columns:
        least = _shortest(column, natural)
        sizes[column] = min(natural[column], least + max(spare, 0))
        spare -= sizes[column] - least
    return sizes
