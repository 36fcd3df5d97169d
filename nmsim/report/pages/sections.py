"""The tables of a page: totals of a run, points of a sweep, every row, the glossary, machines."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from nmsim.gemm import PHASES
from nmsim.machines import COLUMNS
from nmsim.report.evidence import beyond_tile
from nmsim.report.notation import (
    MISSING,
    duration,
    grouped,
    percent,
    ratio,
    significant,
    trimmed,
)
from nmsim.report.pages.markup import Cell, Head, Safe, el, facts, fields, joined, sheet
from nmsim.report.rows import records
from nmsim.report.summary import (
    SWEPT,
    bound_shares,
    dram_supply,
    estimated,
    gemm_rows,
    meant_speedup,
    phase_summary,
    point_summaries,
    quotient,
    step_counts,
    step_words,
)
from nmsim.report.sums import amounts, costs, speedups
from nmsim.report.table import RESULTS
from nmsim.result import Column

__all__ = [
    "best_points",
    "glossary",
    "machines",
    "points_table",
    "rows_table",
    "tiles",
    "totals_table",
]

Total = Mapping[str, Any]

_MOST_ROWS = 1000

_GLOSSARY = (
    Head("model", "", "network"),
    Head("recipe", "", "which operand is pruned in which phase, and by which algorithm"),
    Head("pattern", "N:M", "at most N kept of every M consecutive elements along K"),
    Head("batch", "", "samples"),
    Head("fidelity", "", "the cycle-level model, or closed forms"),
    Head("seed", "", "of tensors and stochastic pruners"),
)
"""What the columns that only a sweep has mean."""


def tiles(df: pd.DataFrame, manifest: Mapping[str, Any]) -> Safe:
    """The figures that a reader looks for first, each with what to hold it against."""
    whole = phase_summary(gemm_rows(df))["all"]
    supply = dram_supply(manifest["machine"])
    shown = (
        _gain(whole),
        *([] if whole["beyond_share"] is None else [beyond_tile(whole)]),
        _time(whole),
        (
            "Stalled",
            f"{percent(quotient(whole['stall_cycles'], whole['cycles']))} %",
            f"of {grouped(whole['cycles'])} cycles",
        ),
        ("Utilisation", f"{percent(whole['utilization'])} %", "of the MAC slots in these cycles"),
        (
            "DRAM traffic",
            f"{grouped(whole['dram_gbps'], 1)} GB/s",
            f"the machine has {trimmed(supply)} GB/s" if supply else "the machine sets no limit",
        ),
    )
    return el("div", *(_tile(*tile) for tile in shown), class_="tiles")


def _gain(whole: Total) -> tuple[str, str, str]:
    """The speed-up that is meant, and what it is to be held against."""
    ideal = f"ideal of the masks {_times(whole['speedup_ideal'])}"
    gemms = _times(whole["speedup"])
    if step_counts(whole):
        shown = _times(whole["step_speedup"])
        name = f"Speed-up of the step, {step_words(whole)}"
        return name, shown, f"its GEMMs alone {gemms}; {ideal}"
    return "Speed-up of the GEMMs", gemms, ideal


def _within(text: str) -> str:
    """A text as it goes on within another one."""
    return text[:1].lower() + text[1:]


def _time(whole: Total) -> tuple[str, str, str]:
    if step_counts(whole):
        beside = f"{percent(whole['mask_share'])} % of it masks"
        if estimated(whole):
            share = percent(whole["time_us"] / whole["step_us"])
            beside = f"an estimate; {share} % of it GEMMs, {beside}"
        against = f"dense step {duration(whole['dense_step_us'])}"
        return "Time of the step", duration(whole["step_us"]), f"{beside}; {against}"
    dense = f"dense run {duration(whole['dense_time_us'])}"
    return "Time of the GEMMs", duration(whole["time_us"]), dense


def best_points(df: pd.DataFrame) -> Safe:
    """For every model of a sweep, the point whose step gains most over all phases.

    Of two fidelities the cycle-level one decides.
    """
    best: dict[str, tuple[bool, float, Mapping[str, Any], Total]] = {}
    for point, sums in point_summaries(df):
        exact, model = point["fidelity"] == "cycle", point["model"]
        speedup = meant_speedup(sums["all"])
        if speedup is not None and (model not in best or (exact, speedup) > best[model][:2]):
            best[model] = (exact, speedup, point, sums["all"])
    shown = (
        (
            f"{model}: highest {_within(_gain(whole)[0])}",
            _times(speedup),
            " · ".join(
                [
                    *(str(point[n]) for n in ("pattern", "recipe", "hardware", "fidelity")),
                    *([f"its GEMMs alone {_times(whole['speedup'])}"] * step_counts(whole)),
                ]
            ),
        )
        for model, (_, speedup, point, whole) in best.items()
    )
    return el("div", *(_tile(*tile) for tile in shown), class_="tiles")


def _tile(what: str, much: str, more: str) -> Safe:
    parts = (("what", what), ("much", much), ("more", more))
    return el("div", *(el("div", text, class_=style) for style, text in parts), class_="tile")


def _times(speedup: float | None) -> str:
    return MISSING if speedup is None else f"{ratio(speedup)}×"


def totals_table(df: pd.DataFrame) -> Safe:
    """One line per phase and one for all: speed-ups, cycles, time, bandwidth, bound.

    MACs and bytes stand in the table of the step, under this one.
    """
    sums = phase_summary(gemm_rows(df))
    if len(sums) == 2:
        sums.pop("all")
    columns = (
        *speedups(list(sums.values())),
        *costs(list(sums.values())),
    )
    rows = [
        [
            Cell("all phases" if phase == "all" else phase, style=f"phase {phase}"),
            *(one.cell(total) for one in columns),
            Cell(bound_shares(total["bound"]) or MISSING),
        ]
        for phase, total in sums.items()
    ]
    bound = Head("bound by", "share of time", "what limits the rows of the phase")
    return sheet((Head("phase"), *(one.head for one in columns), bound), rows, "totals")


def points_table(df: pd.DataFrame) -> Safe:
    """One line per point of a sweep: its settings, its speed-ups and reasons, sums of all rows.

    Settings that are one for all points stand over the page, but for what a point is known by.
    """
    points = point_summaries(df)
    known = ("model", "pattern", "hardware")
    names = [name for name in SWEPT if name in df and (name in known or len(set(df[name])) > 1)]
    phases = [phase for phase in PHASES if any(phase in sums for _, sums in points)]
    whole = [sums["all"] for _, sums in points]
    gains, rest = speedups(whole), (*costs(whole), *amounts(whole))
    heads = [
        *(Head(name) for name in names),
        *(one.head for one in gains),
        Head("why", "what rows say of their speed-ups", "that of most GEMMs first"),
        *(Head(p, "speed-up of GEMMs ×", "dense cycles over these", number=True) for p in phases),
        *(one.head for one in rest),
        Head("bound by", "share of time"),
    ]
    rows = [
        [
            *(_plain(point[name]) for name in names),
            *(one.cell(sums["all"]) for one in gains),
            Cell("; ".join(sums["all"]["reasons"]) or MISSING, style="why"),
            *(_of_gemms(sums.get(phase)) for phase in phases),
            *(one.cell(sums["all"]) for one in rest),
            Cell(bound_shares(sums["all"]["bound"])),
        ]
        for point, sums in points
    ]
    return sheet(heads, rows, "sortable points")


def _of_gemms(total: Total | None) -> Cell:
    gain: float | None = None if total is None else total["speedup"]
    return Cell(ratio(gain), MISSING if gain is None else f"{gain:,}", gain)


def rows_table(df: pd.DataFrame) -> Safe:
    """Every row, and every column that holds something; else where rows are that are too many."""
    if len(df) > _MOST_ROWS:
        text = f"{len(df):,} rows are too many for a page: they are in "
        return el("p", text, el("a", RESULTS, href=RESULTS), ", beside this page.", class_="none")
    rows = records(df)
    known: dict[str, Head | Column] = {head.name: head for head in _GLOSSARY}
    known.update((column.name, column) for column in COLUMNS)
    heads = [
        Head(name, _unit(known.get(name)), _meaning(known.get(name)), _is_number(df, name))
        for name in map(str, df.columns)
        if any(row[name] not in {None, ""} for row in rows)
    ]
    return sheet(heads, ([_plain(row[head.name]) for head in heads] for row in rows), "sortable")


def _unit(column: Any) -> str:
    return {"us": "µs", "x": "×"}.get(column.unit, column.unit) if column else ""


def _meaning(column: Any) -> str:
    return str(column.meaning) if column else ""


def _is_number(df: pd.DataFrame, name: str) -> bool:
    values = df[name].dropna()
    return (
        bool(len(values))
        and not isinstance(values.iloc[0], str | bool)
        and (df[name].dtype != "bool")
    )


def _plain(value: Any) -> Cell:
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    if value is None:
        return Cell(MISSING)
    if isinstance(value, int):
        return Cell(grouped(value))
    if isinstance(value, float):
        return Cell(significant(value))
    return Cell(str(value), str(value), style=str(value) if value in PHASES else "")


def glossary(swept: bool) -> Safe:
    """What every column means, and its unit."""
    columns = (*(_GLOSSARY if swept else ()), *COLUMNS)
    rows = [[Cell(c.name), Cell(_unit(c) or MISSING), Cell(c.meaning)] for c in columns]
    return sheet((Head("column"), Head("unit"), Head("meaning")), rows, "glossary")


def machines(manifest: Mapping[str, Any]) -> Safe:
    """Every field of every machine, and where its figures come from."""
    found = (
        manifest["machines"]
        if manifest["kind"] == "sweep"
        else {manifest["machine"].get("name") or manifest["hardware"]: manifest["machine"]}
    )
    return el(
        "div", *(_machine(name, machine) for name, machine in found.items()), class_="machines"
    )


def _machine(name: str, machine: Mapping[str, Any]) -> Safe:
    shown = {key: value for key, value in machine.items() if key not in {"name", "summary"}}
    parts = (
        el("h3", name),
        el("p", machine.get("summary", ""), class_="lead"),
        facts(fields(shown)),
    )
    return el("section", joined(parts))
