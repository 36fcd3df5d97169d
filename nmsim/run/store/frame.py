"""The rows of a store as a table (pandas)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from nmsim.machines import COLUMNS
from nmsim.run.experiment.plan import LABELS
from nmsim.run.rows.columns import FLAGS, INTEGERS, OPTIONAL, REALS, TEXTS
from nmsim.run.store.reading import Damaged, Stored

__all__ = ["column_names", "stored_frame"]


def column_names(stored: Stored) -> list[str]:
    """Columns of stored rows, in the order of a table of results: first what points are told by."""
    columns = list(stored.columns("rows"))
    if stored.keep() != "rows":
        return [name for name in columns if name != "point"]
    known = [column.name for column in COLUMNS]
    lacking = [one.name for one in COLUMNS if one.name not in columns and not one.optional]
    if lacking:  # an earlier version's store lacks what may be left out
        raise Damaged(f"rows have no column {lacking[0]!r}")
    own = [name for name in columns if name not in known and name != "point"]
    return [*own, *(name for name in known if name in columns)]


def stored_frame(stored: Stored, columns: Sequence[str] = (), view: str = "rows") -> pd.DataFrame:
    """Rows of a view as a table, each column of the type that results have, in the sweep's order.

    ``attrs["units"]`` and ``attrs["meanings"]`` tell of the columns of results.

    Parameters
    ----------
    columns
        Those wanted; none: all.
    """
    types = stored.columns(view)
    names = list(columns or types)
    parts: list[list[Any]] = [[] for _ in names]
    for batch in stored.batches(view, names):
        for part, values in zip(parts, zip(*batch, strict=True), strict=True):
            part.extend(values)
    table = pd.DataFrame(
        {name: _array(name, types[name], part) for name, part in zip(names, parts, strict=True)}
    )
    known = [column for column in COLUMNS if column.name in types]
    table.attrs["units"] = {column.name: column.unit for column in known}
    table.attrs["meanings"] = {column.name: column.meaning for column in known}
    return table


def _array(name: str, kind: str, values: list[Any]) -> Any:
    """Values of a column as results have them (`nmsim.run.rows.frame`): of one type."""
    known = name in INTEGERS | REALS | TEXTS | FLAGS or name in ("point", *LABELS)
    if name in FLAGS:
        return np.array(values, np.bool_)
    if kind == "INTEGER":
        return _counts(values, optional=name in OPTIONAL or not known)
    if kind == "REAL":
        return np.array(values, np.float64)  # of None it makes NaN
    return pd.array(["" if v is None else v for v in values], dtype="str")


def _counts(values: list[Any], *, optional: bool) -> Any:
    gaps = None in values
    absent = np.array([value is None for value in values] if gaps else len(values) * [False])
    try:
        numbers = np.array([value or 0 for value in values] if gaps else values, np.int64)
    except OverflowError:  # beyond 64 bits: Python's integers
        return pd.array(values, dtype="object")
    return pd.arrays.IntegerArray(numbers, absent.astype(np.bool_)) if gaps or optional else numbers
