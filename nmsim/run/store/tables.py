"""Tables and views of a store, as SQL: what stands in them, and of which type.

| table | a row is |
|---|---|
| ``sweep`` | a sweep that ran here, with its manifest; the last one is what the views show |
| ``point`` | a point by the key of what determines it, whichever sweep asked for it |
| ``place`` | a point's place in the last sweep, and what it is told by there |
| ``gemm``, ``layer``, ``total`` | what was kept of a point: of a GEMM, a layer, a phase |

Columns are typed: INTEGER, REAL or TEXT. A count beyond 64 bits is a BLOB of its digits, which
SQLite leaves as it is. A value that there is not is NULL.
"""

from collections.abc import Iterable, Mapping, Sequence

from nmsim.machines import COLUMNS
from nmsim.result import totals
from nmsim.run.experiment.plan import LABELS
from nmsim.run.experiment.schema import Keep
from nmsim.run.rows.columns import FLAGS, INTEGERS, REALS

__all__ = [
    "APPLICATION",
    "COLUMNS_OF",
    "LABEL_TYPES",
    "TABLES",
    "TABLE_OF",
    "VERSION",
    "column_type",
    "columns_sql",
    "place_table",
    "quoted",
    "views",
]

APPLICATION = 0x6E6D736D
"""``nmsm``, by which a file is known as a store."""

VERSION = 1
"""Of these tables; a store of a newer one is refused."""

TABLE_OF: Mapping[Keep, str] = {"rows": "gemm", "layers": "layer", "totals": "total"}
"""The table that the view ``rows`` shows, by what an experiment keeps."""

_TOTALS = tuple(totals(())["all"])
"""Columns of sums, as `nmsim.result.totals` has them."""

_WHOLE = ("masked", "losing")

COLUMNS_OF: Mapping[str, tuple[str, ...]] = {
    "gemm": tuple(column.name for column in COLUMNS if column.name != "hardware"),
    "layer": ("layer", *_TOTALS),
    "total": ("phase", *_TOTALS),
}
"""Columns of what is kept, beside the point's number; the machine's name is the point's."""

LABEL_TYPES = {name: "INTEGER" if name in ("batch", "seed") else "TEXT" for name in LABELS}

TABLES = """
CREATE TABLE IF NOT EXISTS sweep (
    number INTEGER PRIMARY KEY, nmsim TEXT NOT NULL, keep TEXT NOT NULL, manifest TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS point (
    id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, status TEXT NOT NULL DEFAULT 'planned',
    reason TEXT, seconds REAL);
"""


def column_type(name: str) -> str:
    """The type of a column of what is kept."""
    if name in INTEGERS or name in FLAGS or name in _WHOLE or name.endswith("_cycles"):
        return "INTEGER"
    return "REAL" if name in REALS or name in _TOTALS else "TEXT"


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def columns_sql(table: str) -> str:
    """Statement that makes a table of what is kept."""
    columns = ", ".join(f"{quoted(one)} {column_type(one)}" for one in COLUMNS_OF[table])
    return (
        f"CREATE TABLE IF NOT EXISTS {table} (point INTEGER NOT NULL REFERENCES point, {columns});"
        f"CREATE INDEX IF NOT EXISTS {table}_point ON {table}(point);"
    )


def place_table(types: Mapping[str, str]) -> str:
    """Statement that makes the table of places, a column for each of what points are told by."""
    columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in types.items())
    return (
        "CREATE TABLE place (position INTEGER PRIMARY KEY, "
        f"id INTEGER NOT NULL REFERENCES point, {columns});"
    )


def views(labels: Sequence[str], keep: Keep) -> str:
    """Statements that make the views of the last sweep."""
    told = ", ".join(f"place.{quoted(name)}" for name in labels)
    table = TABLE_OF[keep]
    sums = _listed("total", [one for one in _TOTALS if one not in labels])
    rows = _listed(table, [one for one in COLUMNS_OF[table] if one not in labels])
    points = f"place.position AS point, {told}, point.status, point.reason, point.seconds, {sums}"
    with_sums = "LEFT JOIN total ON total.point = place.id AND total.phase = 'all'"
    of_points = f"place JOIN point ON point.id = place.id {with_sums} ORDER BY place.position"
    of_rows = f"place JOIN {table} ON {table}.point = place.id"
    order = f"ORDER BY place.position, {table}.rowid"
    return (
        f"CREATE VIEW points AS SELECT {points} FROM {of_points};"  # noqa: S608 - quoted names
        f"CREATE VIEW rows AS SELECT place.position AS point, {told}, {rows} FROM {of_rows} {order}"
    )


def _listed(table: str, names: Iterable[str]) -> str:
    return ", ".join(f"{table}.{quoted(name)}" for name in names)
