"""The store as it is read: by anybody, while a sweep writes it too."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nmsim.errors import SpecError
from nmsim.files.strict_json import parse_json
from nmsim.run.store.tables import quoted

__all__ = ["STORE", "Damaged", "Stored", "has_store", "whole"]

STORE = "results.sqlite"


class Damaged(sqlite3.DatabaseError):
    """A store that SQLite reads, but no sweep has written so."""


_FITS: dict[str, set[type]] = {
    "INTEGER": {int, float, bytes, type(None)},
    "REAL": {int, float, bytes, type(None)},
    "TEXT": {str, bytes, type(None)},
}
"""Types of the values that a column may hold; SQLite itself takes any."""


_AT_ONCE = 10_000
"""Rows that are in memory at a time while a store is streamed."""


def has_store(folder: Path) -> bool:
    """Whether a folder holds the store of a sweep."""
    return (folder / STORE).is_file()


@dataclass(frozen=True)
class Stored:
    """The store of a folder, open to be read: `opened` gives one.

    Parameters
    ----------
    path
        Its file.
    """

    path: Path
    _connection: sqlite3.Connection

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator["Stored"]:
        """Open the store of a folder.

        Raises
        ------
        SpecError
            naming the file: there is none, or it is no store, or damaged.
        """
        path = folder / STORE
        if not path.is_file():
            raise SpecError(f"{path}: no such file, expected the store of a sweep")
        try:
            with closing(_connected(path)) as connection:
                yield cls(path, connection)
        except sqlite3.Error as error:
            raise SpecError(f"{path}: is no store of results, or damaged ({error})") from error

    def manifest(self) -> dict[str, Any]:
        """What the last sweep was asked for."""
        found = self._of_sweep("manifest")
        document = parse_json(found, f"{self.path}: manifest")
        if not isinstance(document, dict):
            raise SpecError(f"{self.path}: manifest is no JSON object")
        return document

    def keep(self) -> str:
        """What the last sweep keeps of a point."""
        return self._of_sweep("keep")

    def _of_sweep(self, column: str) -> str:
        found = self._connection.execute(
            f"SELECT {column} FROM sweep ORDER BY number DESC LIMIT 1"  # noqa: S608 - two are asked
        ).fetchone()
        if found is None:
            raise SpecError(f"{self.path}: holds no sweep")
        return str(found[0])

    def count(self, view: str) -> int:
        """Rows of a view."""
        (many,) = self._connection.execute(f"SELECT count(*) FROM {view}").fetchone()  # noqa: S608
        return int(many)

    def digits(self, view: str, columns: Sequence[str]) -> dict[str, int]:
        """Columns that hold counts beyond 64 bits, and the most digits that one has."""
        if not columns:
            return {}
        most = ", ".join(
            f"max(CASE typeof({quoted(name)}) WHEN 'blob' THEN length({quoted(name)}) END)"
            for name in columns
        )
        found = self._connection.execute(f"SELECT {most} FROM {view}").fetchone()  # noqa: S608
        return {name: many for name, many in zip(columns, found, strict=True) if many}

    def columns(self, view: str) -> dict[str, str]:
        """Names of a view's columns and their types."""
        return {row[1]: row[2] for row in self._connection.execute(f"PRAGMA table_info({view})")}

    def sums(self) -> Iterator[dict[str, Any]]:
        """Sums of the points of the last sweep, a phase after the other, whatever it keeps.

        Each has what its point is told by, ``phase``, and the columns of `nmsim.result.totals`.
        """
        told = [name for name in self.columns("place") if name not in ("position", "id")]
        sums = [name for name in self.columns("total") if name not in ("point", *told)]
        self._check_sums()
        named = ", ".join(
            f"{table}.{quoted(name)}"
            for table, names in (("place", told), ("total", sums))
            for name in names
        )
        found = self._connection.execute(
            f"SELECT {named} FROM place JOIN total ON total.point = place.id "  # noqa: S608
            "ORDER BY place.position, total.rowid"
        )
        names = (*told, *sums)
        fits = _fits({**self.columns("place"), **self.columns("total")}, names)
        for row in found:
            _check([row], names, fits)
            yield dict(zip(names, map(whole, row), strict=True))

    def _check_sums(self) -> None:
        lacking = self._connection.execute(
            "SELECT position FROM place WHERE id IN (SELECT point FROM total) "
            "AND id NOT IN (SELECT point FROM total WHERE phase = 'all') LIMIT 1"
        ).fetchone()
        if lacking is not None:
            raise Damaged(f"point {lacking[0]} has no sums of all phases together")

    def batches(
        self, view: str, columns: Sequence[str], most: int = _AT_ONCE
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Rows of a view in order, so many at a time, counts beyond 64 bits as integers."""
        named = ", ".join(map(quoted, columns))
        fits = _fits(self.columns(view), columns)
        found = self._connection.execute(f"SELECT {named} FROM {view}")  # noqa: S608
        while batch := found.fetchmany(most):
            large = _check(batch, columns, fits)
            yield [tuple(map(whole, row)) for row in batch] if large else batch


def _fits(types: dict[str, str], names: Sequence[str]) -> list[set[type]]:
    """Of each column, the types of what it may hold."""
    for name in names:
        if types.get(name) not in _FITS:
            raise Damaged(f"no column {name!r} of the type that a sweep gives it")
    return [_FITS[types[name]] for name in names]


def _check(batch: list[tuple[Any, ...]], names: Sequence[str], fits: list[set[type]]) -> bool:
    """Hold values to the types of their columns; whether counts beyond 64 bits are among them."""
    large = False
    for name, fit, values in zip(names, fits, zip(*batch, strict=True), strict=True):
        found = set(map(type, values))
        if not found <= fit:
            wrong = next(value for value in values if type(value) not in fit)
            raise Damaged(f"{name} is {str(wrong)[:40]!r}, expected another type")
        large = large or bytes in found
    return large


def whole(value: Any) -> Any:
    """A stored value as it was given: a count beyond 64 bits is stored as its digits."""
    if not isinstance(value, bytes):
        return value
    if not value.isdigit():
        raise Damaged(f"{value[:20]!r} is no count")
    return int(value)


def _connected(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; of a file in a folder that cannot be written, as it is."""
    name = quote(str(path.absolute()))
    try:
        connection = sqlite3.connect(f"file:{name}?mode=ro", uri=True, timeout=60)
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection = sqlite3.connect(f"file:{name}?immutable=1", uri=True)
        connection.execute("SELECT count(*) FROM sweep").fetchone()
    return connection
