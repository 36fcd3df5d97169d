"""The table of every row, and what the columns of results are called and mean."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from nmsim.machines import COLUMNS
from nmsim.report.files import RESULTS
from nmsim.report.pages.grid import GridColumn, grid
from nmsim.report.pages.markup import Head, Safe, el, joined
from nmsim.report.reasons import why
from nmsim.report.summary import gemm_rows, quotient
from nmsim.result import Column

__all__ = ["GLOSSARY", "MOST_ROWS", "grid_column", "meaning_of", "rows_grid", "unit_of"]

MOST_ROWS = 20_000
"""Rows that a page holds; of more, those that take most of the time and a sample of the others."""

Total = Mapping[str, Any]

GLOSSARY = (
    Head("model", "", "network"),
    Head("recipe", "", "which operand is pruned in which phase, and by which algorithm"),
    Head("pattern", "N:M", "at most N kept of every M consecutive elements along K"),
    Head("batch", "", "samples"),
    Head("fidelity", "", "the cycle-level model, or closed forms"),
    Head("seed", "", "of tensors and stochastic pruners"),
)
"""What the columns that only a sweep has mean."""

_DERIVED = (
    Column("why", "", "what the row says of its speed-up"),
    Column("time_share", "%", "of the time of all rows"),
    Column("speedup_ideal", "x", "dense over the MACs that masks leave: what they promise"),
)

_KNOWN: dict[str, Head | Column] = {
    **{head.name: head for head in GLOSSARY},
    **{column.name: column for column in (*COLUMNS, *_DERIVED)},
}

_FIRST = ("layer", "phase", "m", "n", "k", "a_pattern", "b_pattern", "time_us", "time_share")
_SHOWN = (*_FIRST, "speedup", "speedup_ideal", "why", "bound")
"""Columns of a row that are shown unasked, in this order; the others follow in the table's."""

_FILTERS = ("phase", "layer", "hardware", "kind", "fidelity", "pattern", "bound")


_TITLES = {
    "a_pattern": "A",
    "b_pattern": "B",
    "time_us": "time",
    "time_share": "share",
    "speedup": "speed-up",
    "speedup_ideal": "ideal",
    "bound": "bound by",
}
"""Headings of columns that are shown unasked, where their names would take room."""


def unit_of(name: str) -> str:
    """The unit of a column of results; "": it has none, or is no such column."""
    known = _KNOWN.get(name)
    unit = known.unit if known else ""
    return {"us": "µs", "x": "×"}.get(unit, unit)


def meaning_of(name: str) -> str:
    """What a column of results holds."""
    known = _KNOWN.get(name)
    return str(known.meaning) if known else ""


def rows_grid(df: pd.DataFrame, *, linked: bool) -> Safe:
    """Rows and all columns that hold something; of too many rows a sample, which says so.

    Parameters
    ----------
    linked
        Marks of figures stand for rows.
    """
    numbers = _sample(df)
    rows = gemm_rows(df.iloc[numbers])
    whole = float(df["time_us"].sum())
    for row in rows:
        share = quotient(row["time_us"], whole)
        row |= {"why": why(row), "time_share": None if share is None else 100 * share}
    swept = [str(name) for name in df.columns if name not in {c.name for c in COLUMNS}]
    order = [*swept, *_SHOWN, *(str(n) for n in df.columns if n not in (*swept, *_SHOWN))]
    several = [name for name in swept if len({row[name] for row in rows}) > 1]
    columns = [
        grid_column(name, rows, shown=name in _SHOWN or name in several)
        for name in order
        if any(row.get(name) not in (None, "") for row in rows)
    ]
    values = {column.name: [row.get(column.name) for row in rows] for column in columns}
    filters = [one for one in (*several, *_FILTERS) if one in values]
    table = grid(
        "rows", "Every row", columns, values, filters=_once(filters), linked=linked, numbers=numbers
    )
    return joined((_sampled_said(len(df), len(numbers)), table))


def _once(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _sample(df: pd.DataFrame) -> list[int]:
    """Places of the rows that a page holds: half of them the longest, half evenly of the others."""
    if len(df) <= MOST_ROWS:
        return list(range(len(df)))
    order = df["time_us"].to_numpy().argsort(kind="stable")[::-1]
    longest, others = order[: MOST_ROWS // 2], sorted(order[MOST_ROWS // 2 :].tolist())
    step = -(-len(others) // (MOST_ROWS // 2))
    return sorted([*longest.tolist(), *others[::step]])


def _sampled_said(whole: int, held: int) -> Safe:
    if whole == held:
        return Safe("")
    text = (
        f"Of {whole:,} rows this page holds {held:,}: the {MOST_ROWS // 2:,} that take most time, "
        "and an even sample of the others. All are in "
    )
    return el("p", text, el("a", RESULTS, href=RESULTS), ", beside this page.", class_="none")


def grid_column(name: str, rows: Sequence[Total], *, shown: bool) -> GridColumn:
    """A column of results, or a field of a sweep, as a table has it: a number where all are."""
    numeric = all(
        isinstance(row.get(name), int | float | None) and not isinstance(row.get(name), bool)
        for row in rows
    )
    return GridColumn(
        name, _TITLES.get(name, name), unit_of(name), meaning_of(name), numeric, shown
    )
