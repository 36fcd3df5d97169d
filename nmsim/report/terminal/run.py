"""Result tables for a terminal: no boxes, one line per row, units under every header."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from nmsim.gemm import PHASES
from nmsim.report.evidence import evidence_cell, tells
from nmsim.report.notation import MISSING, gain, grouped, percent, prefix, printable, ratio
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
from nmsim.report.terminal.layout import Shown, laid_out
from nmsim.report.terminal.selection import Room, Selection

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["render", "render_sweep"]

Row = Mapping[str, Any]


_ALL = Selection()


def render(
    table: Rows, totals: Mapping[str, Row], room: Room, selection: Selection = _ALL
) -> list[Table]:
    """A run for people: one line per GEMM, then one per phase and one for all.

    Parameters
    ----------
    table
        The rows.
    totals
        What `nmsim.result.totals` says of them.
    room
        Columns that there is no room for are left out, least telling first, and the caption says
        which; a number is never wrapped or cut.
    selection
        Of the GEMMs; one line stands for those that it leaves out.

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
    shown, rest = selection.of(rows)
    told = told_once(shown)
    notes = list(dict.fromkeys(told.values()))
    numbered: list[Row] = [
        {**row, "told": _numbers((told[said] for said in reasons(row)), notes)} for row in shown
    ]
    numbered += [_folded(rest, sums["all"])] if rest else []
    drawn = laid_out(_run_columns([*numbered, *lines], notes), numbered, lines, room)
    return [drawn, _notes(notes)] if notes else [drawn]


def _folded(rest: Sequence[Row], whole: Row) -> Row:
    """A line that stands for GEMMs: how many they are, and which share of the time is theirs."""
    summed = phase_summary(rest)["all"]
    share = percent(quotient(summed["time_us"], whole["time_us"]))
    many = f"{len(rest):,} more GEMM{'s' * (len(rest) > 1)}"
    return {**summed, "layer": many, "phase": f"{share}% of time"}


def render_sweep(df: "pd.DataFrame", room: Room, selection: Selection = _ALL) -> list[Table]:
    """A sweep for people: one line per point with its speed-ups, and the reasons for them.

    Columns of the point that never change stand in the caption; reasons in a table of their own.
    """
    every = [{**point, "phases": phases, **phases["all"]} for point, phases in point_summaries(df)]
    shown, rest = selection.of(every)
    of_point = {id(p): rows for p, rows in zip(every, _rows_of_points(df), strict=True)}
    rows_of = [of_point[id(point)] for point in shown]
    told = told_once(row for rows in rows_of for row in rows)
    notes = list(dict.fromkeys(told.values()))
    points = [
        {**p, "told": _numbers((told[said] for row in rows for said in reasons(row)), notes)}
        for p, rows in zip(shown, rows_of, strict=True)
    ]
    swept = told_by(df.columns)
    varying = [name for name in swept if len({point.get(name) for point in every}) > 1]
    phases = [phase for phase in PHASES if any(phase in point["phases"] for point in points)]
    table = laid_out(_sweep_columns(points, varying, phases), points, [], room)
    fixed = [f"{name} {every[0][name]}" for name in swept if every and name not in varying]
    caption = [f"{len(rest):,} more points"] * bool(rest)
    caption += [printable(", ".join(fixed)), str(table.caption or "")]
    table.caption = Text("\n".join(line for line in caption if line))
    return [table, _notes(notes)] if notes else [table]


def _run_columns(rows: Sequence[Row], notes: Sequence[str]) -> list[Shown]:
    if any(row.get("waves") is not None for row in rows):
        return _wave_columns(rows, notes)
    return [
        Shown("layer", "", lambda row: str(row["layer"]), right=False, shrinks_to=20),
        *([Shown("", "", _told, right=False)] if notes else []),
        Shown("phase", "", _phase, right=False),
        Shown("M×N×K", "×count ×repeat", _size, 9, right=False),
        Shown("A/B", "N:M", _patterns, 6, right=False),
        Shown("kernel", "", lambda row: str(row.get("kernel", "")), 11, right=False),
        _scaled("cycles", "", "cycles", rows, 7),
        _time(rows, 3),
        *_rates((5, 10, 8)),
        Shown("bound by", "", _bound, 2, right=False),
        *_gains(rows),
        _ideal(1),
    ]


def _wave_columns(rows: Sequence[Row], notes: Sequence[str]) -> list[Shown]:
    """Columns of rows that ran in waves: with kernel and bound, these say more than rates do."""
    return [
        Shown("layer", "", lambda row: str(row["layer"]), right=False, shrinks_to=16),
        *([Shown("", "", _told, right=False)] if notes else []),
        Shown("phase", "", _phase, right=False),
        Shown("M×N×K", "×count ×repeat", _size, 9, right=False),
        Shown("A/B", "N:M", _patterns, 7, right=False),
        Shown("kernel ÷K", "tile_stages", _kernel_alone, 5, right=False),
        Shown("waves", "", lambda row: grouped(row["waves"], 1) if "m" in row else "", 3),
        _scaled("cycles", "", "cycles", rows, 10),
        _time(rows, 2),
        *_rates((11, 13, 12)),
        Shown("bound by", "", _bound_alone, 1, right=False),
        *_gains(rows),
        *([Shown("evidence", "% beyond", evidence_cell, 8)] if tells(rows) else []),
        _ideal(4),
    ]


def _sweep_columns(
    points: Sequence[Row], varying: Sequence[str], phases: Sequence[str]
) -> list[Shown]:
    shown = [*phases, "all"] if len(phases) > 1 else phases
    return [
        *(Shown(name, "", partial(_setting, name), right=False, shrinks_to=12) for name in varying),
        *(Shown(phase, "GEMMs ×", partial(_speedup_of, phase), 2) for phase in shown[:-1]),
        Shown(shown[-1], "GEMMs ×", partial(_speedup_of, shown[-1])),
        *([_step_gain(points)] if any(map(step_counts, points)) else []),
        *([_once()] if any(point.get("once_us") for point in points) else []),
        *([_masks_alone()] if any(point["passed_over"] for point in points) else []),
        *([Shown("why", "", _told, right=False)] if any(p["told"] for p in points) else []),
        *([_beyond()] if any(p["beyond_share"] is not None for p in points) else []),
        _ideal(1),
        _time(points, 3),
        _scaled("cycles", "", "cycles", points, 6),
        *_rates((7, 9, 8)),
    ]


def _gains(rows: Sequence[Row]) -> list[Shown]:
    """The gain of GEMMs, and of masks that were passed over, where there are such."""
    masks = [_masks_alone()] if any(map(passed_over, rows)) else []
    return [Shown("speed-up", "GEMMs ×", lambda row: gain(row["speedup"])), *masks]


def _ideal(expendable: int) -> Shown:
    return Shown("ideal", "×", lambda row: ratio(row["speedup_ideal"]), expendable)


def _masks_alone() -> Shown:
    def cell(row: Row) -> str:
        return ratio(row["mask_speedup"]) if row.get("passed_over") or passed_over(row) else MISSING

    return Shown("masks alone", "GEMMs ×", cell, 4)


def _beyond() -> Shown:
    return Shown("beyond", "% of time", lambda row: percent(row["beyond_share"]), 5)


def _step_gain(points: Sequence[Row]) -> Shown:
    told = {"with masks": "+ masks ×", "estimated": "estimate ×"}
    unit = told[step_words(next(filter(step_counts, points)))]
    return Shown("step", unit, lambda row: gain(row["step_speedup"]))


def _once() -> Shown:
    """What pruning and packing weights takes, once, where no step has it."""

    def cell(row: Row) -> str:
        return MISSING if row.get("once_us") is None else grouped(row["once_us"] / 1e3, 1)

    return Shown("once", "packing ms", cell, 1)


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
    return gain(point["phases"].get(phase, {}).get("speedup"))


def _rates(expendable: tuple[int, int, int]) -> list[Shown]:
    stall, used, dram = expendable
    return [
        Shown("stall", "%", lambda row: percent(_stalls(row)), stall),
        Shown("util.", "%", lambda row: percent(row["utilization"]), used),
        Shown("DRAM", "GB/s", lambda row: grouped(row["dram_gbps"], 1), dram),
    ]


def _stalls(row: Row) -> float | None:
    return quotient(row["stall_cycles"], row["cycles"])


def _scaled(header: str, unit: str, name: str, rows: Sequence[Row], expendable: int = 0) -> Shown:
    """A count under one SI prefix for the whole column, so that its numbers can be compared."""
    divisor, letter = prefix(max((row[name] for row in rows), default=0), below=1e7)
    digits = 1 if letter else 0

    def cell(row: Row) -> str:
        return grouped(row[name] / divisor if letter else row[name], digits)

    return Shown(header, letter + unit, cell, expendable)


def _time(rows: Sequence[Row], expendable: int) -> Shown:
    longest = max((row["time_us"] for row in rows), default=0.0)
    divisor, unit = next(
        (pair for pair in ((1.0, "µs"), (1e3, "ms")) if longest < 1e6 * pair[0]), (1e6, "s")
    )
    return Shown("time", unit, lambda row: grouped(row["time_us"] / divisor, 1), expendable)


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
