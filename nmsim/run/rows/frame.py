"""Result rows as a table (pandas): its columns, their order and their types."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from nmsim.run.rows.columns import FLAGS, INTEGERS, OPTIONAL, REALS, TEXTS, named, typed_value

__all__ = ["frame", "missing", "typed_frame"]


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per GEMM: columns beside `nmsim.machines.COLUMNS` first, then those, in order.

    Counts are int64, other numbers float64, ``transposed`` is bool, the rest is text, whatever the
    rows are and however few. Optional counts are nullable Int64, other optional numbers NaN where
    there is none. A count beyond 64 bits turns its column into Python integers.

    Raises
    ------
    SpecError
        if the first row lacks a column that is not optional.
    """
    table = list(rows)
    return typed_frame(named(table), table)


def typed_frame(names: list[str], rows: list[Mapping[str, Any]]) -> pd.DataFrame:
    """A table of the named columns, each of the type that its values have in results."""
    return pd.DataFrame({name: _column(name, [row.get(name) for row in rows]) for name in names})


def _column(name: str, values: list[Any]) -> Any:
    """Values as an array of pandas or numpy: a table of arrays has no indexes to compare."""
    typed = [typed_value(name, None if missing(value) else value) for value in values]
    if name in INTEGERS:
        return _integers(typed, name in OPTIONAL)
    if name in REALS:
        return np.array([math.nan if v is None else v for v in typed], np.float64)
    if name in FLAGS:
        return np.array(typed, np.bool_)
    if name in TEXTS:
        return pd.array(typed, dtype="str")
    return pd.Series(values)


def _integers(values: list[Any], optional: bool) -> Any:
    absent = [v is None or missing(v) for v in values]
    counts = [0 if gone else int(v) for v, gone in zip(values, absent, strict=True)]
    if counts and not -(2**63) <= min(counts) <= max(counts) < 2**63:
        known = [None if gone else v for v, gone in zip(counts, absent, strict=True)]
        return pd.array(known, dtype="object")
    numbers = np.array(counts, np.int64)
    if optional or any(absent):
        return pd.arrays.IntegerArray(numbers, np.array(absent, np.bool_))
    return numbers


def missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, NA or NaN."""
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))
