"""The large tables of a page: every row of a run, every point of a sweep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from nmsim.gemm import PHASES
from nmsim.machines import COLUMNS
from nmsim.report.files import RESULTS
from nmsim.report.pages.grid import GridColumn, grid
from nmsim.report.pages.markup import Head, Safe, el, joined, literal
from nmsim.report.plots.sweep.front import measured, pair
from nmsim.report.plots.sweep.parallel import measures_shown, plain_axis
from nmsim.report.reasons import why
from nmsim.report.space import MEASURES, Space
from nmsim.report.summary import bound_shares, gemm_rows, quotient, step_counts
from nmsim.result import Column

__all__ = ["GLOSSARY", "MOST_ROWS", "meaning_of", "points_grid", "rows_grid", "unit_of"]

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
        _column(name, rows, shown=name in _SHOWN or name in several)
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


def _column(name: str, rows: Sequence[Total], *, shown: bool) -> GridColumn:
    numeric = all(
        isinstance(row.get(name), int | float | None) and not isinstance(row.get(name), bool)
        for row in rows
    )
    return GridColumn(
        name, _TITLES.get(name, name), unit_of(name), meaning_of(name), numeric, shown
    )


@dataclass(frozen=True)
class _Sum:
    """A column of points: its name, unit and meaning, and what it is of a point's sums."""

    name: str
    unit: str
    meaning: str
    value: Any
    shown: bool = False


def _of(key: str, scale: float = 1.0) -> Any:
    def value(total: Total) -> float | None:
        found = total.get(key)
        return None if found is None else scale * found

    return value


_SUMS = (
    _Sum("why", "", "what rows say of their speed-ups, that of most GEMMs first", None, shown=True),
    _Sum("time", "µs", "of the GEMMs", _of("time_us"), shown=True),
    _Sum("step", "µs", "GEMMs, masks and what is estimated beside them", _of("step_us")),
    _Sum("masks", "µs", "making the masks", _of("mask_us")),
    _Sum("dense step", "µs", "of the dense run", _of("dense_step_us")),
    _Sum("cycles", "cycles", "of the GEMMs", _of("cycles")),
    _Sum("stalled", "%", "of cycles, waiting for memory",
         lambda t: _percent(quotient(t["stall_cycles"], t["cycles"]))),
    _Sum("utilisation", "%", "MAC slots spent over all in these cycles",
         lambda t: _percent(t["utilization"]), shown=True),
    _Sum("bandwidth", "GB/s", "DRAM traffic over time", _of("dram_gbps"), shown=True),
    _Sum("energy", "pJ", "of the GEMMs", _of("energy_pj"), shown=True),
    _Sum("selectors", "muxes", "two-input multiplexers of the array", _of("selector_mux2")),
    _Sum("beyond", "% of time", "beyond what was measured (column evidence)",
         _of("beyond_share", 100)),
    _Sum("once", "µs", "pruning and packing weights that do not change", _of("once_us")),
    _Sum("MACs dense", "MACs", meaning_of("macs_dense"), _of("macs_dense")),
    _Sum("MACs issued", "MACs", meaning_of("macs_issued"), _of("macs_issued")),
    _Sum("MACs useful", "MACs", meaning_of("macs_useful"), _of("macs_useful")),
    _Sum("DRAM read", "bytes", meaning_of("dram_read_bytes"), _of("dram_read_bytes")),
    _Sum("DRAM written", "bytes", meaning_of("dram_write_bytes"), _of("dram_write_bytes")),
    _Sum("bound by", "share of time", "what limits the rows",
         lambda t: bound_shares(t["bound"]), shown=True),
)  # fmt: skip
"""Sums of a point beside its speed-ups."""


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _gains(space: Space) -> list[_Sum]:
    """Speed-ups of a point; those that none has, or that are those of GEMMs again, are left out."""
    whole = [sums["all"] for _, sums in space.points]
    steps, masks = any(map(step_counts, whole)), any(total["passed_over"] for total in whole)
    formats = any(total["format_speedup"] is not None for total in whole)
    kept = (
        (steps, "speed-up of the step", "dense step over this one", "step_speedup"),
        (True, "speed-up of GEMMs", "dense cycles over these", "speedup"),
        (masks, "masks alone", "of GEMMs, if every mask that can be used were", "mask_speedup"),
        (formats, "of formats", "the part that number formats gain", "format_speedup"),
        (True, "ideal", "dense over useful MACs: what the masks promise", "speedup_ideal"),
    )
    return [
        _Sum(name, "×", meaning, _of(key), shown=True)
        for there, name, meaning, key in kept
        if there
    ]


def points_grid(space: Space) -> Safe:
    """A line per point: the fields that differ, its speed-ups and reasons, sums of all rows."""
    numbers = list(range(len(space.points)))
    if len(numbers) > MOST_ROWS:
        numbers = numbers[:: -(-len(numbers) // MOST_ROWS)]
    names = [*(field.name for field in space.fields), *space.followers]
    points = [space.points[number] for number in numbers]
    values: dict[str, list[Any]] = {name: [point[name] for point, _ in points] for name in names}
    whole = [sums["all"] for _, sums in points]
    columns = [_column(name, [point for point, _ in points], shown=True) for name in names]
    for one in (*_gains(space), *_SUMS):
        made = [_reasons(total) if one.value is None else one.value(total) for total in whole]
        if any(value not in (None, "") for value in made):
            values[one.name] = made
            columns.append(_sum_column(one, made))
    for measure in MEASURES:
        if measure.name in space.measures:
            name = _POINTS[measure.name]
            values[name] = [space.measures[measure.name][number] for number in numbers]
            meaning = "as figures show it"
            columns.append(GridColumn(name, measure.title, measure.unit, meaning, number=True))
    for phase in PHASES:
        values[phase] = [sums[phase]["speedup"] if phase in sums else None for _, sums in points]
        meaning = f"dense cycles over these, of {phase} alone"
        columns.append(GridColumn(phase, phase, "speed-up of GEMMs ×", meaning, number=True))
    filters = [field.name for field in space.fields if len(field.levels) <= 200]
    table = grid(
        "points", "Every point", columns, values, filters=filters, linked=True, numbers=numbers
    )
    return joined((_points_said(len(space.points), len(numbers)), space_script(space), table))


def space_script(space: Space) -> Safe:
    """What the browser needs to draw fronts of other measures, and to follow a brush."""
    across, up = pair(space)
    about: dict[str, Any] = {
        "fields": [*(field.name for field in space.fields), *space.followers],
        "measures": [
            {"column": _POINTS.get(one.name, one.name), "title": one.axis, "more": one.more}
            for one in measured(space)
        ],
        "across": _POINTS.get(across.name, across.name),
        "up": _POINTS.get(up.name, up.name),
    }
    if space.kind == "parallel":
        about |= {"axes": _axes(space), "shade": _POINTS[next(iter(space.measures))]}
    return Safe(f'<script type="application/json" id="space">{literal(about)}</script>')


def _axes(space: Space) -> list[dict[str, Any]]:
    """Columns of parallel axes; of those that show places of values, the values."""
    fields = [
        {"column": field.name, **({} if plain_axis(field) else {"places": list(field.levels)})}
        for field in space.fields
    ]
    return [*fields, *({"column": _POINTS[one.name]} for one in measures_shown(space))]


_POINTS = {measure.name: f"~{measure.name}" for measure in MEASURES}
"""Columns of measures, which no field is called: fields may have any name."""


def _reasons(total: Total) -> str:
    return "; ".join(total["reasons"])


def _sum_column(one: _Sum, values: Sequence[Any]) -> GridColumn:
    numeric = not any(isinstance(value, str) for value in values)
    return GridColumn(one.name, one.name, one.unit, one.meaning, numeric, one.shown)


def _points_said(whole: int, held: int) -> Safe:
    if whole == held:
        return Safe("")
    text = f"Of {whole:,} points this page holds every {-(-whole // held)}th. All are in "
    return el("p", text, el("a", RESULTS, href=RESULTS), ", beside this page.", class_="none")
