"""The store as a sweep writes it: what is to run, what of it is there already, what came of it."""

import fcntl
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nmsim.errors import SpecError
from nmsim.run.experiment.plan import LABELS, Place, Plan
from nmsim.run.store.network import network_file_system
from nmsim.run.store.reading import STORE, whole
from nmsim.run.store.tables import (
    APPLICATION,
    COLUMNS_OF,
    LABEL_TYPES,
    TABLE_OF,
    TABLES,
    VERSION,
    column_type,
    columns_sql,
    place_table,
    quoted,
    views,
)

__all__ = ["Counts", "Outcome", "Store"]

Cells = tuple[Any, ...]

_BUSY_MS = 60_000
"""How long a reader may keep the writer waiting, and another writer this one."""


class Outcome(NamedTuple):
    """What came of a point.

    Parameters
    ----------
    seconds
        It took so long, of CPU time.
    rows
        By table of what is kept, rows with its columns in order.
    reason
        Why there are none; empty: there are.
    lost
        Whether what failed was not the point's own doing (memory, a worker that was killed): the
        next run of the sweep tries it again.
    """

    seconds: float
    rows: Mapping[str, Sequence[Cells]]
    reason: str = ""
    lost: bool = False

    @property
    def status(self) -> str:
        """As the table of points has it: ``done``, ``failed`` or ``lost``."""
        if not self.reason:
            return "done"
        return "lost" if self.lost else "failed"


class Counts(NamedTuple):
    """Points of the last sweep: all of them, and those that are stored, to run, and failed."""

    total: int
    done: int
    failed: int
    left: int


@dataclass(frozen=True)
class Store:
    """A store that is open to be written: `opened` gives one, for as long as it is needed.

    Parameters
    ----------
    path
        Its file.
    told
        What its user must know: that it stands where readers have to wait.
    """

    path: Path
    told: str
    _connection: sqlite3.Connection

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, *, fresh: bool = False) -> Iterator["Store"]:
        """Open the store of a folder, which is made if need be; nobody else can meanwhile.

        Parameters
        ----------
        fresh
            Remove what it holds.

        Raises
        ------
        SpecError
            naming the file: it cannot be written, is no store, is of a newer version of nmsim, or
            another sweep writes it.
        """
        path = folder / STORE
        with _alone(folder):
            if fresh:
                for end in ("", "-wal", "-shm", "-journal"):
                    path.with_name(path.name + end).unlink(missing_ok=True)
            try:
                with closing(_connected(path)) as connection:
                    told = _set_up(connection, path)
                    yield cls(path, told, connection)
                    _close(connection)
            except sqlite3.Error as error:
                raise SpecError(f"{path}: cannot be written as a store ({error})") from error

    def begin(self, plan: Plan, version: str) -> Counts:
        """Take down what a sweep is to run; what is stored under the same keys is kept.

        Points that were lost are to be run again.
        """
        with self._connection as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE point SET status = 'planned', reason = NULL WHERE status = 'lost'")
            self._lay_out(plan)
            db.execute(
                "INSERT INTO sweep (nmsim, keep, manifest) VALUES (?, ?, '{}')",
                (version, _keep(plan)),
            )
        return self.counts()

    def extend(self, plan: Plan) -> None:
        """Take down the points that a plan has behind those of the last sweep."""
        with self._connection as db:
            db.execute("BEGIN IMMEDIATE")
            there = {row[1]: row[2] for row in db.execute("PRAGMA table_info(place)")}
            types = _column_types(plan)
            if {name: there[name] for name in types} == types:
                (first,) = db.execute("SELECT count(*) FROM place").fetchone()
                self._put(plan.places, first)
            else:  # a derived field has values of another type than before
                self._lay_out(plan)

    def _lay_out(self, plan: Plan) -> None:
        """Make the places of a plan, and the views that show them."""
        db, types = self._connection, _column_types(plan)
        for name in ("VIEW IF EXISTS points", "VIEW IF EXISTS rows", "TABLE IF EXISTS place"):
            db.execute(f"DROP {name}")
        for statement in (place_table(types), *_split(views(tuple(types), _keep(plan)))):
            db.execute(statement)
        self._put(plan.places, 0)

    def _put(self, places: Sequence[Place], first: int) -> None:
        """Write places from the first that is not there, and the points that they have."""
        db, new = self._connection, places[first:]
        db.executemany(
            "INSERT INTO point (key) VALUES (?) ON CONFLICT DO NOTHING",
            ((place.key,) for place in new),
        )
        if not new:
            return
        ids = dict(db.execute("SELECT key, id FROM point"))
        marks = ", ".join("?" * (2 + len(new[0].known) + len(new[0].varied)))
        db.executemany(
            f"INSERT INTO place VALUES ({marks})",  # noqa: S608 - question marks
            (
                (at, ids[place.key], *place.known, *place.varied)
                for at, place in enumerate(new, first)
            ),
        )

    def counts(self) -> Counts:
        """How far the last sweep is."""
        found = dict(
            self._connection.execute(
                "SELECT status, count(*) FROM place JOIN point USING (id) GROUP BY status"
            )
        )
        failed = found.get("failed", 0) + found.get("lost", 0)
        done, left = found.get("done", 0), found.get("planned", 0)
        return Counts(done + failed + left, done, failed, left)

    def to_run(self) -> list[tuple[int, int]]:
        """Points that are to be run, each once: its number in the store, and its first place."""
        return self._connection.execute(
            "SELECT id, min(position) FROM place JOIN point USING (id) "
            "WHERE status = 'planned' GROUP BY id ORDER BY min(position)"
        ).fetchall()

    def seconds(self) -> float | None:
        """Mean CPU time of the points of the last sweep that are stored; None if none is."""
        (mean,) = self._connection.execute(
            "SELECT avg(seconds) FROM place JOIN point USING (id) WHERE status = 'done'"
        ).fetchone()
        return None if mean is None else float(mean)

    def add(self, outcomes: Iterable[tuple[int, Outcome]]) -> None:
        """Store what came of points, all or none of it."""
        found = list(outcomes)
        with self._connection as db:
            db.execute("BEGIN IMMEDIATE")
            for table in TABLE_OF.values():
                self._insert(table, found)
            db.executemany(
                "UPDATE point SET status = ?, reason = ?, seconds = ? WHERE id = ?",
                ((o.status, o.reason or None, o.seconds, point) for point, o in found),
            )

    def _insert(self, table: str, found: list[tuple[int, Outcome]]) -> None:
        rows = [(point, *row) for point, o in found for row in o.rows.get(table, ())]
        if not rows:
            return
        marks = ", ".join("?" * (1 + len(COLUMNS_OF[table])))
        names = ", ".join(map(quoted, COLUMNS_OF[table]))
        statement = f"INSERT INTO {table} (point, {names}) VALUES ({marks})"  # noqa: S608
        try:
            self._connection.executemany(statement, rows)
        except OverflowError:  # a count beyond 64 bits; what was inserted before it goes again
            points = [(point,) for point, _ in found]
            self._connection.executemany(f"DELETE FROM {table} WHERE point = ?", points)  # noqa: S608
            self._connection.executemany(statement, (tuple(map(_storable, r)) for r in rows))

    def points(self, numbers: Iterable[int]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows of the view ``points``, by the point's number."""
        for number in numbers:
            found = self._connection.execute("SELECT * FROM points WHERE point = ?", (number,))
            names = [column for column, *_ in found.description]
            yield number, dict(zip(names, map(whole, found.fetchone()), strict=True))

    def failures(self) -> tuple[int, str]:
        """Points that failed, and of the first of them its place and the reason."""
        first = self.failed(1)
        return (self.counts().failed, f"point {first[0][0]}: {first[0][1]}") if first else (0, "")

    def failed(self, most: int) -> list[tuple[int, str]]:
        """The first points that failed: places and reasons."""
        return self._connection.execute(
            "SELECT position, reason FROM place JOIN point USING (id) "
            "WHERE status IN ('failed', 'lost') ORDER BY position LIMIT ?",
            (most,),
        ).fetchall()

    def digest(self) -> str:
        """A hash of what the last sweep's rows follow from: its points, and what became of them."""
        whole = hashlib.sha256()
        for key, status in self._connection.execute(
            "SELECT key, status FROM place JOIN point USING (id) ORDER BY position"
        ):
            whole.update(key + status.encode())
        return whole.hexdigest()[:16]

    def kept(self) -> int:
        """Rows of the last sweep."""
        (many,) = self._connection.execute("SELECT count(*) FROM rows").fetchone()
        return int(many)

    def describe(self, manifest: Mapping[str, Any]) -> None:
        """Store the manifest of the last sweep."""
        with self._connection as db:
            db.execute(
                "UPDATE sweep SET manifest = ? WHERE number = (SELECT max(number) FROM sweep)",
                (json.dumps(manifest, ensure_ascii=False, default=str),),
            )


def _keep(plan: Plan) -> Any:
    return plan.experiment.keep


def _split(statements: str) -> list[str]:
    return [one for one in statements.split(";") if one.strip()]


def _column_types(plan: Plan) -> dict[str, str]:
    """The type of every column that a point is told by."""
    return {**LABEL_TYPES, **_types(plan)}


def _types(plan: Plan) -> dict[str, str]:
    """The type of each varied field's column: that of all its values, TEXT where they are mixed."""
    found = {}
    for at, name in enumerate(plan.columns):
        kinds = {type(place.varied[at]) for place in plan.places} - {type(None)}
        if kinds <= {int, bool}:
            found[name] = "INTEGER"
        else:
            found[name] = "REAL" if kinds <= {int, float, bool} else "TEXT"
    return found


def _storable(value: Any) -> Any:
    """A count beyond 64 bits as its digits."""
    large = isinstance(value, int) and not -(2**63) <= value < 2**63
    return str(value).encode() if large else value


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a folder, so that no other sweep writes to it; the system lets go when this one ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SpecError(f"{folder}: cannot be written ({error.strerror or error})") from error
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SpecError(f"{folder}: another sweep is writing there, expected none") from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(held)


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_MS / 1e3, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    return connection


def _set_up(connection: sqlite3.Connection, path: Path) -> str:
    """Check that a file is a store, or make it one; what to say of where it stands."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION:
        raise SpecError(f"{path}: is no store of results, expected one or none")
    if version > VERSION:
        raise SpecError(f"{path}: tables of version {version}, expected {VERSION}: upgrade nmsim")
    told = _journal(connection, path)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")
    for statement in _split("".join([TABLES, *map(columns_sql, COLUMNS_OF)])):
        connection.execute(statement)
    for table in COLUMNS_OF:
        _widen(connection, table)
    return told


def _journal(connection: sqlite3.Connection, path: Path) -> str:
    """Write ahead where that works: readers never wait then. Else roll back."""
    remote = network_file_system(path.parent)
    if not remote:
        with suppress(sqlite3.OperationalError):
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode == "wal":
                return ""
    connection.execute("PRAGMA journal_mode = DELETE")
    why = f"{path.parent} is on {remote}" if remote else f"{path.parent} has no shared memory"
    return f"{why}: the store keeps a rollback journal, and whoever reads it may have to wait"


def _widen(connection: sqlite3.Connection, table: str) -> None:
    """Add columns that this version of nmsim has and the one that made the store had not."""
    there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    for name in COLUMNS_OF[table]:
        if name not in there:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {quoted(name)} {column_type(name)}")


def _close(connection: sqlite3.Connection) -> None:
    """Leave one file that may be copied; where somebody reads it, the log stays beside it."""
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA busy_timeout = 0")
        connection.execute("PRAGMA journal_mode = DELETE")


assert tuple(LABEL_TYPES) == LABELS  # noqa: S101 - places are written by position
