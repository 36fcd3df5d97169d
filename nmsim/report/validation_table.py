"""The rows of a validation, read back from a folder."""

from pathlib import Path
from typing import Any

import pandas as pd

from nmsim.csv_table import Rules, read_csv
from nmsim.errors import SpecError
from nmsim.report.rows import unquoted

__all__ = ["read_validation"]

_TEXTS = ("machine", "file", "library", "sparsity", "dtype_in", "model_kernel", "bound", "size")
_INTEGERS = ("m", "n", "k", "batch", "split", "tiles", "line")
_REALS = ("measured_us", "predicted_us", "ratio", "waves")
_RULES = Rules(columns=(*_TEXTS, *_INTEGERS, *_REALS), missing="no column {!r}", ended=True)


def read_validation(path: Path) -> pd.DataFrame:
    """The rows that ``nmsim validate --out`` wrote, all columns text but those that are drawn.

    Raises
    ------
    SpecError
        if the file is no table, or a column is missing or holds something else.
    """
    columns = read_csv(path, _RULES).columns()
    return pd.DataFrame({name: _column(path, name, cells) for name, cells in columns.items()})


def _column(path: Path, name: str, cells: list[str]) -> "pd.Series[Any]":
    texts = pd.Series(list(map(unquoted, cells)), dtype="str")
    if name not in (*_INTEGERS, *_REALS):
        return texts
    try:
        return texts.astype("int64" if name in _INTEGERS else "float64")
    except (ValueError, TypeError) as error:
        raise SpecError(f"{path}: column {name}: {error}") from error
