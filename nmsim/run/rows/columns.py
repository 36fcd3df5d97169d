"""The columns of result rows: of which type each is, and rows whose values are of these types.

Apart from the table that pandas makes of them (`nmsim.run.rows.frame`), which takes longer to load
than many a run.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from nmsim.errors import SpecError
from nmsim.machines import COLUMNS

__all__ = [
    "FLAGS",
    "INTEGERS",
    "OPTIONAL",
    "REALS",
    "TEXTS",
    "named",
    "typed_rows",
    "typed_value",
]

_COUNTED = {
    "elements",
    "cycles",
    "folds",
    "MACs",
    "bytes",
    "bits",
    "bit-ops",
    "muxes",
    "levels",
    "threadblocks",
    "words",
    "sums",
    "kernels",
}
_MEASURED = {"us", "fraction", "GB/s", "x", "bits/cycle", "products", "rounds", "pJ"}
INTEGERS = {c.name for c in COLUMNS if c.unit in _COUNTED} | {"count", "repeat", "batch", "seed"}
REALS = {c.name for c in COLUMNS if c.unit in _MEASURED}
FLAGS = {"transposed"}
OPTIONAL = {c.name for c in COLUMNS if c.optional}
TEXTS = {c.name for c in COLUMNS} - INTEGERS - REALS - FLAGS
TEXTS |= {"model", "recipe", "pattern", "fidelity"}


def named(rows: list[Mapping[str, Any]]) -> list[str]:
    """Names of the columns of rows: those beside `nmsim.machines.COLUMNS` first, then those.

    Raises
    ------
    SpecError
        if the first row lacks a column that is not optional.
    """
    known = [column.name for column in COLUMNS]
    extra = [name for name in rows[0] if name not in known] if rows else []
    for name in known:
        if rows and name not in rows[0] and name not in OPTIONAL:
            raise SpecError(f"results: no column {name!r}")
    return [*extra, *known]


def typed_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of which each has every column in order, as plain Python values, None for none.

    They are what `nmsim.report.records` says of their table.

    Raises
    ------
    SpecError
        if the first row lacks a column that is not optional.
    """
    found: list[dict[str, Any]] = []
    names: list[str] = []
    for row in rows:  # one by one: a hundred thousand twice would be a gigabyte
        names = names or named([row])
        found.append({name: typed_value(name, row.get(name)) for name in names})
    return found


def typed_value(name: str, value: Any) -> Any:
    """A value of a column as the column has it; None: there is none.

    Counts are int, other numbers float, flags bool and the rest text, of which none is empty.
    """
    if isinstance(value, float) and math.isnan(value):
        value = None
    if name in FLAGS:
        return bool(value)
    if name in TEXTS:
        return "" if value is None else str(value)
    if value is None:
        return None
    if name in INTEGERS:
        return int(value)
    return float(value) if name in REALS else value
