"""The tables of a page: totals of a run, points of a sweep, every row, the glossary, machines."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from nmsim.gemm import PHASES
from nmsim.machines import COLUMNS
from nmsim.report.markup import Cell, Head, Safe, el, facts, fields, joined, sheet
from nmsim.report.notation import (
    MISSING,
    duration,
    grouped,
    percent,
    ratio,
    significant,
    trimmed,
)
from nmsim.report.summary import (
    SWEPT,
    bound_shares,
    dram_supply,
    gemm_rows,
    phase_summary,
    point_summaries,
    quotient,
)
from nmsim.report.sums import amounts, costs, speedups, step_speedup
from nmsim.report.table import RESULTS, records
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
    Head("fidelity", "", "cycle-level model or its analytical twin"),
    Head("seed", "", "of tensors and stochastic pruners"),
)
"""What the columns that only a sweep has mean."""


def tiles(df: pd.DataFrame, manifest: Mapping[str, Any]) -> Safe:
    """The five figures that a reader looks for first, each with what to hold it against."""
    whole = phase_summary(gemm_rows(df))["all"]
    supply = dram_supply(manifest["machine"])
    dense = whole["dense_time_us"]
    shown = (
        (
            "Speed-up",
            _times(whole["speedup"]),
            f"ideal of the masks {_times(whole['speedup_ideal'])}",
        ),
        ("Time", duration(whole["time_us"]), f"dense twin {duration(dense)}"),
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


def best_points(df: pd.DataFrame) -> Safe:
    """For every model of a sweep, the point that gains most over all phases.

    Of two fidelities the cycle-level one decides.
    """
    best: dict[str, tuple[bool, float, Mapping[str, Any]]] = {}
    for point, sums in point_summaries(df):
        exact, model = point["fidelity"] == "cycle", point["model"]
        speedup = sums["all"]["speedup"]
        if speedup is not None and (model not in best or (exact, speedup) > best[model][:2]):
            best[model] = (exact, speedup, point)
    shown = (
        (
            f"{model}: highest speed-up over all phases",
            _times(speedup),
            " · ".join(str(point[n]) for n in ("pattern", "recipe", "hardware", "fidelity")),
        )
        for model, (_, speedup, point) in best.items()
    )
    return el("div", *(_tile(*tile) for tile in shown), class_="tiles")


def _tile(what: str, much: str, more: str) -> Safe:
    parts = (("what", what), ("much", much), ("more", more))
    return el("div", *(el("div", text, class_=style) for style, text in parts), class_="tile")


def _times(speedup: float | None) -> str:
    return MISSING if speedup is None else f"{ratio(speedup)}×"


def totals_table(df: pd.DataFrame) -> Safe:
    """One line per phase and one for all: cycles, time, MACs, bytes, speed-up, bound."""
    sums = phase_summary(gemm_rows(df))
    if len(sums) == 2:
        sums.pop("all")
    columns = (
        *speedups(),
        *costs(list(sums.values())),
        *amounts(list(sums.values())),
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
    """One line per point of a sweep: its settings, the speed-up of every phase, sums of all."""
    points = point_summaries(df)
    names = [name for name in SWEPT if name in df]
    phases = [phase for phase in PHASES if any(phase in sums for _, sums in points)]
    whole = [sums["all"] for _, sums in points]
    speedup, ideal = speedups()
    rest = (step_speedup(), ideal, *costs(whole), *amounts(whole))
    heads = [
        *(Head(name) for name in names),
        *(Head(phase, "speed-up ×", "dense cycles over these", number=True) for phase in phases),
        Head("all phases", "speed-up ×", "dense cycles over these", number=True),
        *(one.head for one in rest),
        Head("bound by", "share of time"),
    ]
    rows = [
        [
            *(_plain(point[name]) for name in names),
            *(speedup.cell(sums.get(phase, {"speedup": None})) for phase in (*phases, "all")),
            *(one.cell(sums["all"]) for one in rest),
            Cell(bound_shares(sums["all"]["bound"])),
        ]
        for point, sums in points
    ]
    return sheet(heads, rows, "sortable")


def rows_table(df: pd.DataFrame) -> Safe:
    """Every row and column; only where they are, if a page could not carry them."""
    if len(df) > _MOST_ROWS:
        text = f"{len(df):,} rows are too many for a page: they are in "
        return el("p", text, el("a", RESULTS, href=RESULTS), ", beside this page.", class_="none")
    rows = records(df)
    known: dict[str, Head | Column] = {head.name: head for head in _GLOSSARY}
    known.update((column.name, column) for column in COLUMNS)
    heads = [
        Head(name, _unit(known.get(name)), _meaning(known.get(name)), _is_number(df, name))
        for name in map(str, df.columns)
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
