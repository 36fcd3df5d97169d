"""The rows of a folder of results, whatever holds them: the store of a sweep, or its CSV."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nmsim.machines import COLUMNS
from nmsim.report.rows import quoted, records
from nmsim.report.table import holds_sweep, read_results
from nmsim.run.rows.columns import FLAGS, INTEGERS, REALS
from nmsim.run.store import Stored
from nmsim.run.store.frame import column_names, stored_frame

__all__ = ["Results", "load_results", "opened", "write_csv"]

Batch = Sequence[tuple[Any, ...]]


@dataclass(frozen=True)
class Results:
    """Rows that are read a part at a time.

    Parameters
    ----------
    columns, types
        Names, in order, and of each what SQL calls its type: INTEGER, REAL or TEXT.
    digits
        Columns that hold counts beyond 64 bits, and the most digits that one has.
    batches
        Gives the rows, in order, a list of tuples at a time; None is a value that there is not.
    """

    columns: Sequence[str]
    types: Sequence[str]
    digits: Mapping[str, int]
    batches: Callable[[], Iterator[Batch]]


@contextmanager
def opened(folder: Path) -> Iterator[Results]:
    """The rows of a folder of results, for as long as they are read.

    Raises
    ------
    SpecError
        naming what of the folder is missing or damaged.
    """
    if not holds_sweep(folder):
        yield _of_table(read_results(folder)[0])
        return
    with Stored.opened(folder) as stored:
        columns, types = column_names(stored), stored.columns("rows")
        yield Results(
            columns,
            [types[name] for name in columns],
            stored.digits("rows", columns),
            lambda: stored.batches("rows", columns),
        )


def _of_table(table: pd.DataFrame) -> Results:
    names = [str(name) for name in table.columns]
    whole = INTEGERS | FLAGS
    types = ["INTEGER" if n in whole else "REAL" if n in REALS else "TEXT" for n in names]
    rows = [tuple(row.values()) for row in records(table)]
    digits: dict[str, int] = {}
    for name, values in zip(names, zip(*rows, strict=True), strict=False):
        large = [v for v in values if isinstance(v, int) and not -(2**63) <= v < 2**63]
        if large:
            digits[name] = max(len(str(one)) for one in large)
    return Results(names, types, digits, lambda: iter([rows]))


def write_csv(folder: Path, path: Path) -> None:
    """Write the rows of a folder, floats in full precision, nothing where a value is missing.

    Raises
    ------
    SpecError
        naming what of the folder is missing or damaged.
    """
    with (
        opened(folder) as found,
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


def load_results(folder: str | Path) -> pd.DataFrame:
    """The rows of a folder of results as a table (pandas), in the order of the sweep.

    Of a sweep column ``point`` numbers its points, and a column for every field that it varied
    follows; what rows are (of GEMMs, layers or phases) is what the experiment kept. The folder of
    a sweep that still runs holds what is done so far.

    Parameters
    ----------
    folder
        ``--out`` of ``nmsim sweep`` or of ``nmsim simulate``.

    Returns
    -------
    pandas.DataFrame
        ``attrs["units"]`` has the unit of each column of results, ``attrs["meanings"]`` what it is.

    Raises
    ------
    SpecError
        naming what of the folder is missing or damaged.
    """
    there = Path(folder)
    if holds_sweep(there):
        with Stored.opened(there) as stored:
            return stored_frame(stored, ["point", *column_names(stored)])
    table, _ = read_results(there)
    known = [column for column in COLUMNS if column.name in table]
    table.attrs["units"] = {column.name: column.unit for column in known}
    table.attrs["meanings"] = {column.name: column.meaning for column in known}
    return table
