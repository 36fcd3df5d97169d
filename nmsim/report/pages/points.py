"""The table of every point of a sweep, and what a browser needs to draw and brush them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nmsim.gemm import PHASES
from nmsim.report.files import RESULTS
from nmsim.report.pages.chosen import chosen_point
from nmsim.report.pages.grid import GridColumn, grid
from nmsim.report.pages.markup import Safe, el, joined, literal
from nmsim.report.pages.rows import MOST_ROWS, grid_column, meaning_of
from nmsim.report.plots.sweep.front import measured, pair, ticks
from nmsim.report.plots.sweep.parallel import measures_shown, plain_axis
from nmsim.report.space import MEASURES, Measure, Space
from nmsim.report.summary import bound_shares, quotient, step_counts

__all__ = ["points_grid", "space_script"]

Total = Mapping[str, Any]


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


def points_grid(
    space: Space,
    command: Callable[[Total, int], str],
    pages: Mapping[Sequence[str], str],
) -> Safe:
    """A line per point: the fields that differ, its speed-ups and reasons, sums of all rows.

    Parameters
    ----------
    command
        What runs a point alone, from what it is told by and its number.
    pages
        Addresses of pages of points, by the words of the commands that wrote them.
    """
    numbers = list(range(len(space.points)))
    if len(numbers) > MOST_ROWS:
        numbers = numbers[:: -(-len(numbers) // MOST_ROWS)]
    names = [*(field.name for field in space.fields), *space.followers]
    points = [space.points[number] for number in numbers]
    values: dict[str, list[Any]] = {name: [point[name] for point, _ in points] for name in names}
    whole = [sums["all"] for _, sums in points]
    columns = [grid_column(name, [point for point, _ in points], shown=True) for name in names]
    for one in (*_gains(space), *_SUMS):
        made = [_reasons(total) if one.value is None else one.value(total) for total in whole]
        if any(value not in (None, "") for value in made):
            name = _free(one.name, values)
            values[name] = made
            columns.append(_sum_column(replace(one, name=name), made))
    for measure in MEASURES:
        if measure.name in space.measures:
            name = _POINTS[measure.name]
            values[name] = [space.measures[measure.name][number] for number in numbers]
            meaning = "as figures show it"
            columns.append(GridColumn(name, measure.title, measure.unit, meaning, number=True))
    for phase in PHASES:
        name = _free(phase, values)
        values[name] = [sums[phase]["speedup"] if phase in sums else None for _, sums in points]
        meaning = f"dense cycles over these, of {phase} alone"
        columns.append(GridColumn(name, name, "speed-up of GEMMs ×", meaning, number=True))
    told = [command(space.points[number][0], number) for number in numbers]
    name = _free("command", values)
    values[name] = told
    columns.append(GridColumn(name, name, "", "runs the point alone, with a page of its own"))
    shown = chosen_point(space, dict(zip(numbers, told, strict=True)), name, pages)
    filters = [field.name for field in space.fields if len(field.levels) <= 200]
    table = grid(
        "points", "Every point", columns, values, filters=filters, linked=True, numbers=numbers
    )
    said = _points_said(len(space.points), len(numbers))
    return joined((said, space_script(space), shown, table))


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """The name of a column of results, which no field of the sweep has."""
    return f"{name} (result)" if name in taken else name


def space_script(space: Space) -> Safe:
    """What the browser needs to draw fronts of other measures, and to follow a brush."""
    across, up = pair(space)
    about: dict[str, Any] = {
        "fields": [*(field.name for field in space.fields), *space.followers],
        "measures": [
            {"column": _column_of(one), "title": one.axis, "more": one.more, **ticks(space, one)}
            for one in measured(space)
        ],
        "across": _column_of(across),
        "up": _column_of(up),
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


def _column_of(measure: Measure) -> str:
    """The column of a measure, or of a field, which may be called as a measure is."""
    return _POINTS[measure.name] if any(measure is one for one in MEASURES) else measure.name


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
