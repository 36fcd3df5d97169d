"""Rows of a folder of results as one Parquet file (extra ``parquet``), units beside the columns.

A count beyond 64 bits, which Parquet's integers do not hold, makes its column one of decimals, as
wide as it must be: nothing is rounded.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from nmsim.exporters import EXPORTERS, Exporter
from nmsim.extras import extra
from nmsim.machines import COLUMNS
from nmsim.report import results
from nmsim.run.rows.columns import FLAGS

__all__ = ["write_parquet"]

_DIGITS = (38, 76)
"""Of decimals that every reader of Parquet has, and of those that some have: more than any count
of a point's fields of 64 bits has, which are products of three of them at most."""


def write_parquet(folder: Path, path: Path) -> None:
    """Write the rows of a folder, a group of rows at a time, each column of one type.

    Raises
    ------
    MissingExtra
        if pyarrow is not installed.
    SpecError
        naming what of the folder is missing or damaged.
    """
    arrow, parquet = extra("parquet", "pyarrow"), extra("parquet", "pyarrow.parquet")
    with results.opened(folder) as found:
        schema = _schema(arrow, found)
        with parquet.ParquetWriter(path, schema) as writer:
            for batch in found.batches():
                columns = [
                    _column(arrow, field, values, wide=field.name in found.digits)
                    for field, values in zip(schema, zip(*batch, strict=True), strict=True)
                ]
                writer.write_table(arrow.Table.from_arrays(columns, schema=schema))


def _schema(arrow: Any, found: results.Results) -> Any:
    units = {column.name: column.unit for column in COLUMNS if column.unit}
    return arrow.schema(
        arrow.field(
            name,
            _type(arrow, name, kind, found.digits.get(name, 0)),
            metadata={"unit": units[name]} if name in units else None,
        )
        for name, kind in zip(found.columns, found.types, strict=True)
    )


def _type(arrow: Any, name: str, kind: str, digits: int) -> Any:
    if name in FLAGS:
        return arrow.bool_()
    if kind == "INTEGER" and digits:
        few, many = _DIGITS
        return arrow.decimal128(few) if digits <= few else arrow.decimal256(many)
    return {"INTEGER": arrow.int64(), "REAL": arrow.float64(), "TEXT": arrow.string()}[kind]


def _column(arrow: Any, field: Any, values: Sequence[Any], *, wide: bool) -> Any:
    """Values of a column; ``wide``: it holds counts beyond 64 bits."""
    make: Callable[[Any], Any] | None = bool if field.type == arrow.bool_() else None
    if wide:
        make = Decimal if arrow.types.is_decimal(field.type) else float
    if make is not None:
        values = [None if value is None else make(value) for value in values]
    return arrow.array(values, field.type)


EXPORTERS.add(
    "parquet", Exporter("every row as Parquet (extra `parquet`), streamed", file=write_parquet)
)
