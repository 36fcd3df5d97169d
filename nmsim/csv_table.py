"""CSV files: read whole and strictly, every mistake told with its file and line.

What the cells mean is for whoever reads them; `Table.fault` makes their errors read alike.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from nmsim.errors import SpecError

__all__ = ["Rules", "Table", "csv_text", "delimiter_of", "parse_csv", "read_csv"]


@dataclass(frozen=True)
class Rules:
    """What a CSV file must have, and how it is told that it has not.

    Parameters
    ----------
    columns
        Those that must be there, in the order in which the first that is not is named.
    missing
        What is said of that one, with its name for ``{}``.
    rows
        What at least one row is of: "GEMM"; empty: there may be none.
    filled
        Rows may be shorter than the header: what is not there is empty.
    ended
        The last line must have its end, or the file was cut short.
    delimiters
        What cells may be told apart by; it is the one that the header has most of.
    loose
        Names of columns are read in any case; empty cells behind the last column are none.
    """

    columns: Collection[str] = ()
    missing: str = "column {!r} is missing"
    rows: str = ""
    filled: bool = False
    ended: bool = False
    delimiters: str = ","
    loose: bool = False


@dataclass(frozen=True, eq=False)
class Table:
    """The cells of a CSV file, as text.

    Parameters
    ----------
    file
        As it is called in messages.
    header
        Names of the columns, without blanks around them.
    rows
        As many cells in each as the header has; equal texts are one object.
    lines
        The line that each row ends on, from 1.
    records
        The header and every row as they stand in the file, without the end of the line.
    """

    file: str
    header: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    records: list[str]

    def columns(self) -> dict[str, list[str]]:
        """The cells by column, in the order of the header."""
        if not self.rows:
            return {name: [] for name in self.header}
        return dict(zip(self.header, map(list, zip(*self.rows, strict=True)), strict=True))

    def fault(self, row: int, problem: str) -> SpecError:
        """An error that names the file and the line of a row, counted from 0."""
        return _fault(self.file, self.lines[row], problem)


def _fault(file: str, line: int, problem: str) -> SpecError:
    return SpecError(f"{file}: line {line}: {problem}")


def read_csv(path: Path, rules: Rules) -> Table:
    """Read a CSV file, plain or gzipped, all of it or none.

    Raises
    ------
    SpecError
        naming the file, the line and what was expected.
    """
    return parse_csv(str(path), csv_text(path), rules)


def csv_text(path: Path) -> str:
    """The text of a CSV file, UTF-8 with or without a mark of it; ``.gz`` is unpacked.

    Raises
    ------
    SpecError
        naming the file, if it cannot be read.
    """
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(
            f"{path}: expected a CSV text file: not UTF-8 (byte {error.start})"
        ) from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise SpecError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"
        ) from error


def parse_csv(file: str, text: str, rules: Rules) -> Table:
    """Read the text of a CSV file; blank lines count as lines, but are no rows.

    Raises
    ------
    SpecError
        as ``read_csv``.
    """
    source = list(io.StringIO(text, newline=""))
    reader = csv.reader(source, strict=True, delimiter=delimiter_of(text, rules.delimiters))
    shared: dict[str, str] = {}
    rows, ends = [], []
    try:
        header = _header(next(filter(None, reader), []), rules)
        _check_header(file, reader.line_num, header, rules)
        ends.append(reader.line_num)
        for cells in filter(None, reader):
            ends.append(reader.line_num)
            row = [shared.setdefault(cell, cell) for cell in _cells(cells, len(header), rules)]
            if len(row) != len(header):
                raise _fault(file, reader.line_num, _wrong_length(len(row), len(header), rules))
            rows.append(row)
    except csv.Error as error:
        raise _fault(file, reader.line_num, f"not CSV ({error})") from error
    if rules.rows and not rows:
        raise SpecError(f"{file}: no rows, expected at least one {rules.rows}")
    if rules.ended and not text.endswith("\n"):
        raise _fault(file, reader.line_num, "cut short, no end of line")
    records = ["".join(source[a:b]).strip("\r\n") for a, b in pairwise([0, *ends])]
    return Table(file, header, rows, ends[1:], records)


def delimiter_of(text: str, delimiters: str) -> str:
    """Of several delimiters the one that the first line with a text has most of."""
    first = next((line for line in io.StringIO(text) if line.strip()), "")
    return max(delimiters, key=first.count)


def _header(cells: list[str], rules: Rules) -> tuple[str, ...]:
    names = [name.strip() for name in cells]
    if rules.loose:
        names = [" ".join(name.lower().split()) for name in names]
        while names and not names[-1]:
            names.pop()
    return tuple(names)


def _check_header(file: str, line: int, header: tuple[str, ...], rules: Rules) -> None:
    for problem in _problems(header, rules):
        if any(header):
            raise _fault(file, line, problem)
        raise SpecError(f"{file}: empty, expected a header and rows: {problem}")


def _problems(header: tuple[str, ...], rules: Rules) -> Iterator[str]:
    for name in header:
        if header.count(name) > 1:
            yield f"column {name!r} stands there twice"
    for name in rules.columns:
        if name not in header:
            yield rules.missing.format(name)


def _cells(cells: list[str], columns: int, rules: Rules) -> list[str]:
    if rules.loose and len(cells) > columns and not any(map(str.strip, cells[columns:])):
        return cells[:columns]
    return [*cells, *[""] * (columns - len(cells))] if rules.filled else cells


def _wrong_length(found: int, columns: int, rules: Rules) -> str:
    if rules.filled:
        return "more fields than the header has columns"
    return f"{found} fields, the header has {columns}"
