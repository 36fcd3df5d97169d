"""Rows of a folder of results as one Parquet file (extra ``parquet``), units beside the columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nmsim.exporters import EXPORTERS, Exporter
from nmsim.extras import extra
from nmsim.machines import COLUMNS
from nmsim.report import results
from nmsim.run.rows.columns import FLAGS

__all__ = ["write_parquet"]


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
        schema = _schema(arrow, found.columns, found.types)
        with parquet.ParquetWriter(path, schema) as writer:
            for batch in found.batches():
                columns = [
                    _column(arrow, field, values)
                    for field, values in zip(schema, zip(*batch, strict=True), strict=True)
                ]
                writer.write_table(arrow.Table.from_arrays(columns, schema=schema))


def _schema(arrow: Any, columns: Sequence[str], types: Sequence[str]) -> Any:
    units = {column.name: column.unit for column in COLUMNS if column.unit}
    kinds = {"INTEGER": arrow.int64(), "REAL": arrow.float64(), "TEXT": arrow.string()}
    return arrow.schema(
        arrow.field(
            name,
            arrow.bool_() if name in FLAGS else kinds[kind],
            metadata={"unit": units[name]} if name in units else None,
        )
        for name, kind in zip(columns, types, strict=True)
    )


def _column(arrow: Any, field: Any, values: Sequence[Any]) -> Any:
    """Values of a column; counts beyond 64 bits, of which Parquet has none, as floats refuse."""
    if field.type == arrow.bool_():
        return arrow.array([None if value is None else bool(value) for value in values])
    return arrow.array(values, field.type)


EXPORTERS.add(
    "parquet", Exporter("every row as Parquet (extra `parquet`), streamed", file=write_parquet)
)
