"""The points of a sweep as a design space: what differs between them, and what is measured of each.

Fields are the columns of a table that say what was run. Those that are one for all points, and
those that follow from others (a machine's name from its fields, columns equal to rows), vary
nothing of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from nmsim.machines import COLUMNS
from nmsim.report.notation import worded
from nmsim.report.summary import (
    SWEPT,
    estimated,
    meant_speedup,
    of_sums,
    point_summaries,
    step_counts,
    stored_summaries,
)

__all__ = ["MEASURES", "Field", "Kind", "Measure", "Space", "space_of"]

Kind = Literal["point", "groups", "lines", "heat map", "parallel"]

Total = Mapping[str, Any]

_MOST_CELLS = 2500
"""Cells of a heat map; values that are scattered wider are no grid."""


@dataclass(frozen=True)
class Field:
    """A field that varies: its name, whether it is a number, and its values in order."""

    name: str
    number: bool
    levels: tuple[Any, ...]

    @property
    def known(self) -> tuple[Any, ...]:
        """The values but none, which some points may have."""
        return tuple(one for one in self.levels if one is not None)

    @property
    def gaps(self) -> bool:
        """Whether some points have no value of it."""
        return None in self.levels


@dataclass(frozen=True)
class Measure:
    """Something that is measured of a point: its unit, and whether more of it is better."""

    name: str
    title: str
    unit: str
    more: bool
    value: Callable[[Total], float | None]

    @property
    def axis(self) -> str:
        """What stands at an axis."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title


def _time(total: Total) -> float | None:
    """Microseconds of the step where it has something beside its GEMMs, else of these."""
    us: float | None = total["step_us"] if step_counts(total) else total["time_us"]
    return us


def _bytes(total: Total) -> float:
    return float(total["dram_read_bytes"] + total["dram_write_bytes"])


MEASURES = (
    Measure("speedup", "speed-up", "×", True, meant_speedup),
    Measure("time_us", "time", "µs", False, _time),
    Measure("energy_pj", "energy", "pJ", False, lambda total: total.get("energy_pj")),
    Measure("selector_mux2", "selectors", "muxes", False, lambda total: total.get("selector_mux2")),
    Measure("dram_bytes", "DRAM traffic", "B", False, _bytes),
    Measure("speedup_ideal", "promised speed-up", "×", True, lambda total: total["speedup_ideal"]),
    Measure("utilization", "utilisation", "", True, lambda total: total["utilization"]),
)
"""What is measured of a point, the first that has values first."""


@dataclass(frozen=True)
class Space:
    """The points of a sweep, in order of appearance.

    Parameters
    ----------
    points
        Settings and sums per phase (`nmsim.report.summary.phase_summary`) of each.
    fields
        What varies of its own, numbers first.
    followers
        What varies with those.
    """

    points: Sequence[tuple[Mapping[str, Any], Mapping[str, Total]]]
    fields: tuple[Field, ...]
    followers: tuple[str, ...]

    @property
    def numbers(self) -> tuple[Field, ...]:
        """Fields that are numbers."""
        return tuple(field for field in self.fields if field.number)

    @property
    def categories(self) -> tuple[Field, ...]:
        """Fields whose values have no order."""
        return tuple(field for field in self.fields if not field.number)

    @property
    def kind(self) -> Kind:
        """The figure that the space gets, by what varies."""
        if len(self.points) == 1:
            return "point"
        numbers = self.numbers
        if len(numbers) == 2 and _cells(numbers) > max(_MOST_CELLS, 4 * len(self.points)):
            return "parallel"
        by_number: tuple[Kind, ...] = ("groups", "lines", "heat map", "parallel")
        return by_number[min(len(numbers), 3)]

    @cached_property
    def measures(self) -> dict[str, list[float | None]]:
        """Values of all points, by the names of `MEASURES` that have any."""
        found = {one.name: [one.value(sums["all"]) for _, sums in self.points] for one in MEASURES}
        return {
            name: values for name, values in found.items() if any(v is not None for v in values)
        }

    @property
    def estimated(self) -> bool:
        """Whether a speed-up is of a step that was estimated in whole or part."""
        return any(estimated(sums["all"]) for _, sums in self.points)

    @property
    def of_steps(self) -> bool:
        """Whether a speed-up is of a step, not of its GEMMs alone."""
        return any(step_counts(sums["all"]) for _, sums in self.points)

    def told(self, number: int) -> list[str]:
        """What tells a point from the others, a field a line."""
        names = [*(field.name for field in self.fields), *self.followers]
        point = self.points[number][0]
        return [f"{name} {worded(point[name])}" for name in names]


def _cells(fields: Sequence[Field]) -> int:
    return len(fields[0].levels) * len(fields[1].levels)


def space_of(df: pd.DataFrame) -> Space:
    """The design space of a sweep's table: a row per GEMM, or the sums of points (`of_sums`)."""
    points = stored_summaries(df) if of_sums(df) else _summaries(df)
    named = [({name: _known(one) for name, one in point.items()}, sums) for point, sums in points]
    names = list(named[0][0]) if named else []
    fields, followers = _varying({name: [point[name] for point, _ in named] for name in names})
    return Space(named, fields, followers)


def _summaries(df: pd.DataFrame) -> list[tuple[dict[str, Any], dict[str, dict[str, Any]]]]:
    columns = {column.name for column in COLUMNS}
    names = [n for n in SWEPT if n in df] + [
        str(n) for n in df.columns if n not in columns and n not in SWEPT
    ]
    read = df.assign(**{name: _numbers(df[name]) for name in names if name not in SWEPT})
    return point_summaries(read, names)


def _known(value: Any) -> Any:
    """A value of a field; None where a text tells of none."""
    return None if value == "" else value


def _numbers(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """A column that was read from a file as text, as the numbers that it holds, if it holds any."""
    if column.dtype != object and not pd.api.types.is_string_dtype(column.dtype):
        return column
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column


Columns = Mapping[str, Sequence[Any]]
"""What the points have of each field, None for what there is not."""


def _varying(settings: Columns) -> tuple[tuple[Field, ...], tuple[str, ...]]:
    several = [name for name, values in settings.items() if len(set(values)) > 1]
    numbers = [name for name in several if _counts(settings[name]) and name != "seed"]
    own: list[str] = []
    for name in (*numbers, *(name for name in several if name not in numbers)):
        if not _follows(settings, own, name, numeric=name in numbers):
            own.append(name)
    fields = tuple(Field(n, n in numbers, _values(settings[n], n in numbers)) for n in own)
    return fields, tuple(name for name in several if name not in own)


def _counts(values: Sequence[Any]) -> bool:
    """Whether a field is a number wherever a point has it."""
    known = [value for value in values if value is not None]
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in known)


def _follows(settings: Columns, own: list[str], name: str, *, numeric: bool) -> bool:
    """Whether a field is told by others: a number by one of them, a name by all together."""
    if numeric:
        return any(_paired(settings, other, name) for other in own)
    numbers = [other for other in own if _counts(settings[other])]
    return bool(numbers) and name == "hardware" and _told(settings, numbers, name)


def _paired(settings: Columns, one: str, other: str) -> bool:
    """Whether two numbers go together: each tells the other, again and again or in their order.

    Where every point has values of its own, as those of a random search have, they tell each other
    by chance alone.
    """
    if not (_told(settings, [one], other) and _told(settings, [other], one)):
        return False
    pairs = set(zip(settings[one], settings[other], strict=True))
    ordered = [b for a, b in sorted(p for p in pairs if None not in p)]
    return len(pairs) < len(settings[one]) or ordered in (sorted(ordered), sorted(ordered)[::-1])


def _told(settings: Columns, by: list[str], name: str) -> bool:
    telling = list(zip(*(settings[one] for one in by), strict=True))
    return len(set(telling)) == len(set(zip(telling, settings[name], strict=True)))


def _values(values: Sequence[Any], number: bool) -> tuple[Any, ...]:
    """The values that a field has, those of numbers in order and what is none behind them."""
    found = list(dict.fromkeys(values))
    return tuple(sorted(found, key=lambda one: (one is None, one or 0)) if number else found)
