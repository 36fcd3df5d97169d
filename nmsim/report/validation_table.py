"""The rows of a validation, read back from a folder."""

import io
from pathlib import Path

import pandas as pd

from nmsim.errors import SpecError

__all__ = ["read_validation"]

_TEXTS = ("machine", "file", "library", "sparsity", "dtype_in", "model_kernel", "bound", "size")
_INTEGERS = ("m", "n", "k", "batch", "split", "tiles", "line")
_REALS = ("measured_us", "predicted_us", "ratio", "waves")


def read_validation(path: Path, text: str) -> pd.DataFrame:
    """The rows that ``nmsim validate --out`` wrote, all columns text but those that are drawn.

    Raises
    ------
    SpecError
        if the text is no table, or a column is missing or holds something else.
    """
    if not text.endswith("\n"):
        raise SpecError(f"{path}: cut short, no end of line")
    try:
        df = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except (ValueError, pd.errors.ParserError) as error:
        raise SpecError(f"{path}: not CSV ({' '.join(str(error).split())})") from error
    for name in (*_TEXTS, *_INTEGERS, *_REALS):
        if name not in df:
            raise SpecError(f"{path}, line 1: no column {name!r}")
    for name in (*_INTEGERS, *_REALS):
        try:
            numbers = pd.to_numeric(df[name])
        except (ValueError, TypeError) as error:
            raise SpecError(f"{path}: column {name}: {error}") from error
        df[name] = numbers.astype("int64") if name in _INTEGERS else numbers.astype("float64")
    return df
