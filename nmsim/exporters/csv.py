"""Rows of a folder of results as one CSV file, as ``results.csv`` has them, however many."""

import csv
from pathlib import Path
from typing import Any

from nmsim.exporters import EXPORTERS, Exporter
from nmsim.report import results
from nmsim.report.rows import quoted
from nmsim.run.rows.columns import FLAGS

__all__ = ["write_csv"]


def write_csv(folder: Path, path: Path) -> None:
    """Write the rows of a folder, floats in full precision, nothing where a value is missing.

    Raises
    ------
    SpecError
        naming what of the folder is missing or damaged.
    """
    with (
        results.opened(folder) as found,
        path.open("w", encoding="utf-8", newline="", errors="backslashreplace") as file,
    ):
        flags = [at for at, name in enumerate(found.columns) if name in FLAGS]
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(found.columns)
        for batch in found.batches():
            writer.writerows(_cells(row, flags) for row in batch)


def _cells(row: tuple[Any, ...], flags: list[int]) -> list[Any]:
    cells = [quoted(value) if isinstance(value, str) else value for value in row]
    for at in flags:
        cells[at] = bool(cells[at])
    return cells


EXPORTERS.add("csv", Exporter("every row as CSV, streamed into one file", file=write_csv))
