"""The rows of a result as plain values, as CSV and as JSON: of a table, or as they were run.

A command that prints rows makes no table of them: pandas takes longer to load than many a run.
"""

import csv
import io
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from nmsim.machines import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Rows",
    "document_json",
    "manifest_json",
    "quoted",
    "records",
    "to_csv",
    "to_json",
    "unquoted",
]

Rows: TypeAlias = "pd.DataFrame | Sequence[Mapping[str, Any]]"
"""A table, or rows with every column in order (`nmsim.run.rows.columns.typed_rows`)."""


def records(rows: Rows) -> list[dict[str, Any]]:
    """The rows as plain Python values, None for what is missing, as `nmsim.result.totals` reads."""
    if isinstance(rows, Sequence):
        return [dict(row) for row in rows]
    columns = {
        str(name): [
            None if gone else value
            for value, gone in zip(rows[name].tolist(), rows[name].isna(), strict=True)
        ]
        for name in rows.columns
    }
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def to_csv(rows: Rows) -> str:
    """The rows as CSV, floats in full precision, nothing where a value is missing.

    A text that a spreadsheet would take for a formula is quoted (``quoted``).
    """
    if not isinstance(rows, Sequence):
        texts = {
            name: rows[name].map(quoted, na_action="ignore")
            for name in rows.select_dtypes(include=["object", "string"]).columns
        }
        return rows.assign(**texts).to_csv(index=False, lineterminator="\n")
    names = list(rows[0]) if rows else [column.name for column in COLUMNS]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([quoted(row[name]) for name in names] for row in rows)
    return out.getvalue()


_FORMULAS = ("=", "+", "-", "@", "'")
"""How a cell begins that a spreadsheet computes, or that was quoted so that it does not."""


def quoted(value: Any) -> Any:
    """A text with a quote before it where a spreadsheet would take it for a formula.

    Examples
    --------
    >>> quoted("=1+1"), unquoted("'=1+1"), quoted("conv1"), quoted(-1.0)
    ("'=1+1", '=1+1', 'conv1', -1.0)
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def unquoted(text: str) -> str:
    """A text as it was before ``quoted``."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULAS) else text


def to_json(
    manifest: Mapping[str, Any],
    rows: Rows,
    totals: Mapping[str, Mapping[str, Any]],
    answer: str = "",
) -> str:
    """One strict JSON document: ``{"answer", "manifest", "rows": [...], "total": {...}}``.

    Missing and non-finite values are null.
    """
    return document_json(
        {"answer": answer, "manifest": manifest, "rows": records(rows), "total": totals}
    )


def manifest_json(manifest: Mapping[str, Any], rows: Rows) -> str:
    """The manifest as it is stored: with the number of rows, so that a cut table shows."""
    return document_json({**manifest, "rows": len(rows)}) + "\n"


def document_json(document: Any) -> str:
    """A document as strict JSON: missing and non-finite values are null."""
    return json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    # Who holds pandas' NA has loaded pandas; None stands for it where nobody has.
    absent = value is getattr(sys.modules.get("pandas"), "NA", None)
    if absent or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if value is None or isinstance(value, bool | int | str | float):
        return value
    return str(value)
