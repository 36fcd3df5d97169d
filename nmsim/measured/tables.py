"""Measured times of GEMMs: CSV files read column by column, and those that ship with nmsim.

A file has the columns of `COLUMNS` and any others. ``y[m,n] = sum over k``: of a linear layer, m
counts tokens, n out features, k in features, so that the weight is B.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from nmsim.csv_table import Rules, Table, read_csv
from nmsim.errors import PatternError, SpecError
from nmsim.gemm import MAX_SIZE
from nmsim.measured.conditions import CONDITIONS, clocks, floors
from nmsim.pattern import Pattern
from nmsim.spec import Catalog, Spec

__all__ = [
    "COLUMNS",
    "MEASURED",
    "MeasuredFile",
    "MeasuredTable",
    "Refusal",
    "Routine",
    "raise_first",
    "read_measured",
    "read_shipped",
    "refuse_predictions",
    "shipped_path",
    "with_predictions",
]

COLUMNS = (
    *("source", "gpu", "variant", "library", "sparsity", "sparse_operand", "dtype_in"),
    *("dtype_acc", "m", "n", "k", "batch", "time_us"),
)
"""Columns that every measured file has."""

OPTIONAL = ("vector_length", "in_turn", "conditions", "host_us", "floor_us")
"""Columns that a file may have: V of V:N:M, how many B launches of one size go through, what the
clock did, what the host adds to a time, the shortest that the timer can show."""

PREDICTED = "predicted_us"
"""The column that predictions stand in."""

_RULES = Rules(
    columns=COLUMNS,
    missing=f"column {{!r}} is missing (expected {','.join(COLUMNS)})",
    rows="measured GEMM",
)
T = TypeVar("T")

_SIZES = ("m", "n", "k", "batch")
_INTEGER = re.compile(r"[0-9]{1,12}")
_NUMBER = re.compile(r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")


class MeasuredFile(Spec):
    """Where a shipped file of measured times comes from."""

    summary: str
    source: str
    licence: str
    conditions: str


MEASURED: Catalog[MeasuredFile] = Catalog("measured file", Path(__file__).parent, MeasuredFile)
"""The measured files that ship with nmsim; the times stand beside NAME.yaml (``shipped_path``)."""


class Routine(NamedTuple):
    """What rows have in common beside sizes: texts as they stand in the file, stripped."""

    gpu: str
    variant: str
    library: str
    sparsity: str
    sparse_operand: str
    dtype_in: str
    dtype_acc: str
    vector_length: str
    in_turn: str
    conditions: str

    @property
    def pattern(self) -> Pattern:
        """Pattern of the compressed operand; dense if none is."""
        return Pattern.parse(self.sparsity)

    @property
    def operand(self) -> str:
        """Which is compressed: "a", "b" (also where the file does not say), "" if dense."""
        return "" if self.pattern.is_dense else self.sparse_operand.lower() or "b"


class Refusal(NamedTuple):
    """A row that cannot be used, counted from 0, and why."""

    row: int
    why: str


@dataclass(frozen=True, eq=False)
class MeasuredTable:
    """A file of measured times, column by column: routines, sizes, times, and every record.

    Parameters
    ----------
    file
        As it is called in messages.
    columns
        Texts of every column, by name, in the file's order.
    lines
        Number of the line that each row ends on.
    heading, records
        The header and every row as they stand in the file, without the end of the line.
    sizes
        Rows x 4: M, N, K and copies in one launch.
    time_us
        Measured, microseconds.
    host_us, floor_us
        What the host adds to each time, and the shortest time that its timer shows; 0 if none.
    routines, routine_of
        The distinct routines, and which of them each row ran; -1 of rows that are refused.
    refused
        Rows that cannot be used: a number, pattern, operand or condition that is none.
    """

    file: str
    columns: dict[str, list[str]]
    lines: list[int]
    heading: str
    records: list[str]
    sizes: NDArray[np.float64]
    time_us: NDArray[np.float64]
    host_us: NDArray[np.float64]
    floor_us: NDArray[np.float64]
    routines: list[Routine]
    routine_of: NDArray[np.intp]
    refused: tuple[Refusal, ...]

    def __len__(self) -> int:
        return len(self.lines)

    def fault(self, row: int, problem: str) -> SpecError:
        """An error that names the file and the line of a row."""
        return SpecError(f"{self.file}: line {self.lines[row]}: {problem}")


def read_measured(path: Path, *, strict: bool = True) -> MeasuredTable:
    """Read a measured file, plain or gzipped.

    Parameters
    ----------
    strict
        Whether one row that cannot be used refuses the file; else it is among ``refused``.

    Raises
    ------
    SpecError
        naming the line and the column of the first row that cannot be used, or what the file lacks.
    """
    found = read_csv(path, _RULES)
    table = found.columns()
    rows = _Rows(found, table)
    sizes = [rows.column(name, _size) for name in _SIZES]
    times = rows.column("time_us", _time)
    added = [rows.column(name, _added) for name in ("host_us", "floor_us")]
    routines, routine_of = rows.routines()
    read = MeasuredTable(
        file=str(path),
        columns=table,
        lines=found.lines,
        heading=found.records[0],
        records=found.records[1:],
        sizes=np.array(sizes, np.float64).T.copy(),
        time_us=np.array(times, np.float64),
        host_us=np.array(added[0], np.float64),
        floor_us=np.array(added[1], np.float64),
        routines=routines,
        routine_of=routine_of,
        refused=tuple(Refusal(row, why) for row, why in sorted(rows.wrong.items())),
    )
    if strict:
        raise_first([(read, read.refused)])
    return read


def raise_first(files: Sequence[tuple[MeasuredTable, Sequence[Refusal]]]) -> None:
    """Raise the first refusal of a row, if there is any, as an error that tells how many follow.

    Raises
    ------
    SpecError
        naming the file and the line.
    """
    count = sum(len(refused) for _, refused in files)
    for rows, refused in files:
        if refused:
            more = f" (and {count - 1:,} more)" if count > 1 else ""
            raise rows.fault(refused[0].row, f"{refused[0].why}{more}")


def shipped_path(name: str) -> Path:
    """Where the times of a file that ships with nmsim stand: NAME.csv.gz, or NAME.csv."""
    packed = MEASURED.folder / f"{name}.csv.gz"
    return packed if packed.is_file() else MEASURED.folder / f"{name}.csv"


def read_shipped(name: str) -> MeasuredTable:
    """A file that ships with nmsim, called by its own name in messages."""
    path = shipped_path(name)
    return replace(_read_once(path), file=path.name)


_read_once = lru_cache(maxsize=None)(read_measured)


class _Rows:
    """Checks columns by their distinct texts, and remembers why rows cannot be used."""

    def __init__(self, found: Table, table: dict[str, list[str]]) -> None:
        rows = len(found.lines)
        self.cells = {name: [""] * rows for name in OPTIONAL} | table
        self.cells["conditions"] = clocks(table, rows)
        self.cells["floor_us"] = floors(table, rows)
        self.wrong: dict[int, str] = {}

    def column(self, name: str, parse: Callable[[str], float]) -> list[float]:
        """The numbers of a column; 0 where there is none, which is wrong."""
        texts, known, bad = self.cells[name], {}, {}
        for text in set(texts):
            try:
                known[text] = parse(text.strip())
            except ValueError as error:
                known[text] = 0.0
                bad[text] = f"{name} is {text[:40]!r}, expected {error}"
        self._refuse(texts, bad)
        return [known[text] for text in texts]

    def routines(self) -> tuple[list[Routine], NDArray[np.intp]]:
        """The distinct routines of rows that can be used, and which of them each row ran."""
        keys = list(zip(*(self.cells[name] for name in Routine._fields), strict=True))
        named = {key: Routine(*(text.strip() for text in key)) for key in dict.fromkeys(keys)}
        problems = {key: next(_problems(routine), "") for key, routine in named.items()}
        self._refuse(keys, {key: why for key, why in problems.items() if why})
        usable = [key for row, key in enumerate(keys) if row not in self.wrong]
        distinct = {key: number for number, key in enumerate(dict.fromkeys(usable))}
        of = [-1 if row in self.wrong else distinct[key] for row, key in enumerate(keys)]
        return [named[key] for key in distinct], np.array(of, np.intp)

    def _refuse(self, cells: Sequence[T], bad: Mapping[T, str]) -> None:
        if bad:
            for row, cell in enumerate(cells):
                if cell in bad:
                    self.wrong.setdefault(row, bad[cell])


def _size(text: str) -> float:
    if not _INTEGER.fullmatch(text) or not 1 <= int(text) <= MAX_SIZE:
        raise ValueError(f"an integer of 1 to {MAX_SIZE}")
    return float(text)


def _time(text: str) -> float:
    if not _NUMBER.fullmatch(text) or not 1e-6 <= float(text) <= 1e12:
        raise ValueError("a time above 0 in microseconds, 1e-6 to 1e12")
    return float(text)


def _added(text: str) -> float:
    if text and (not _NUMBER.fullmatch(text) or not float(text) <= 1e12):
        raise ValueError("a time in microseconds, up to 1e12, or nothing")
    return float(text or 0)


def _problems(routine: Routine) -> Iterator[str]:
    """What is wrong with a routine, naming the column."""
    operand, length = routine.sparse_operand, routine.vector_length
    try:
        dense = routine.pattern.is_dense
    except PatternError:
        dense = False
        yield f"sparsity is {routine.sparsity[:40]!r}, expected dense or N:M with 1 <= N <= M"
    if operand.lower() not in ("", "a", "b"):
        yield f"sparse_operand is {operand[:40]!r}, expected A, B or nothing"
    if operand and routine.sparsity == "dense":
        yield f"sparse_operand is {operand!r}, but sparsity is dense"
    if not routine.dtype_in:
        yield "dtype_in is empty, expected a number format such as bf16"
    if length and (not _INTEGER.fullmatch(length) or not 1 <= int(length) <= MAX_SIZE):
        yield f"vector_length is {length[:40]!r}, expected an integer of 1 or more, or nothing"
    turns = routine.in_turn
    if turns and (not _INTEGER.fullmatch(turns) or int(turns) > MAX_SIZE):
        yield f"in_turn is {turns[:40]!r}, expected an integer of 0 (cold) or more, or nothing"
    if routine.conditions not in CONDITIONS:
        yield f"conditions is {routine.conditions[:40]!r}, expected one of {', '.join(CONDITIONS)}"
    if length and dense:
        yield f"vector_length is {length[:40]!r}, but sparsity is {routine.sparsity}"


def refuse_predictions(path: Path, files: Sequence[MeasuredTable]) -> None:
    """Tell beforehand that predictions cannot be written: over a file, or beside others.

    Raises
    ------
    SpecError
        if the path is one of the files, or a file already has the column.
    """
    for rows in files:
        if PREDICTED in rows.columns:
            raise SpecError(f"{rows.file}: line 1: column {PREDICTED!r} stands there already")
        if Path(rows.file).exists() and path.exists() and path.samefile(rows.file):
            raise SpecError(f"--predictions {path}: is the measured file itself")


def with_predictions(files: Sequence[MeasuredTable], times: Sequence[NDArray[np.float64]]) -> str:
    """Every row as it stands in its file, and the predicted time in full precision.

    Files of the same header are joined; of others, cells are moved to the columns of all.

    Parameters
    ----------
    times
        Of every file, microseconds by row; NaN leaves the cell empty.
    """
    cells = [["" if math.isnan(t) else repr(t) for t in known.tolist()] for known in times]
    if len({tuple(rows.columns) for rows in files}) == 1:
        lines = [f"{files[0].heading},{PREDICTED}"]
        for rows, predicted in zip(files, cells, strict=True):
            lines += [f"{row},{cell}" for row, cell in zip(rows.records, predicted, strict=True)]
        return "\n".join(lines) + "\n"
    names = list(dict.fromkeys(name for rows in files for name in rows.columns))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, PREDICTED])
    for rows, predicted in zip(files, cells, strict=True):
        columns = [rows.columns.get(name, [""] * len(rows)) for name in names]
        writer.writerows(zip(*columns, predicted, strict=True))
    return text.getvalue()
