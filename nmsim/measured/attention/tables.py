"""Measured times of fused attention: CSV files, plain or gzipped, and those that ship with nmsim.

A row is one call. A file has the columns of `COLUMNS`, `library` (or `framework`), and `query_len`
with `kv_len` (or `seq` for both); any others are kept out of the way.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nmsim.attention import Attention
from nmsim.csv_table import Rules, Table, csv_text, parse_csv
from nmsim.errors import NmsimError, SpecError
from nmsim.measured.tables import MeasuredFile
from nmsim.spec import Catalog

__all__ = [
    "ATTENTION_TABLES",
    "COLUMNS",
    "AttentionTable",
    "is_attention",
    "read_attention",
    "shipped_attention",
]

COLUMNS = ("gpu", "phase", "batch", "heads", "head_dim", "time_us")
"""Columns that every table of attention has."""

_RULES = Rules(
    columns=COLUMNS,
    missing=f"column {{!r}} is missing (expected {','.join(COLUMNS)})",
    rows="measured attention",
)

ATTENTION_TABLES: Catalog[MeasuredFile] = Catalog(
    "measured attention", Path(__file__).parent, MeasuredFile
)
"""The tables that ship with nmsim; the times stand in NAME.csv.gz beside NAME.yaml."""

PHASES = {
    "forward": ("forward",),
    "fwd": ("forward",),
    "prefill": ("forward",),
    "encoder": ("forward",),
    "decode": ("forward",),
    "backward": ("backward",),
    "bwd": ("backward",),
    "forward+backward": ("forward", "backward"),
    "fwd+bwd": ("forward", "backward"),
}
"""What the first word of a row's phase runs."""


@dataclass(frozen=True, eq=False)
class AttentionTable:
    """A table of measured attention, column by column.

    Parameters
    ----------
    file
        As it is called in messages.
    heading, records
        The header and every row as they stand in the file, without the end of the line.
    lines
        Of the file, of each row.
    columns
        Texts by column: ``gpu``, ``variant``, ``library``, ``phase`` as the table gives them.
    shapes
        Rows x 9, as ``AttentionCalls`` takes them.
    runs
        What each row's phase runs: forward, backward, or both.
    time_us
        Measured, microseconds.
    fit
        Whether the table says that a row is fit to judge by (column ``test``, "yes..."; without
        that column, all are).
    """

    file: str
    heading: str
    records: list[str]
    lines: list[int]
    columns: dict[str, list[str]]
    shapes: NDArray[np.int64]
    runs: list[tuple[str, ...]]
    time_us: NDArray[np.float64]
    fit: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.lines)


def is_attention(path: Path) -> bool:
    """Whether a file's first line names a ``head_dim``, which tables of GEMMs do not."""
    try:
        heading = next(iter(csv_text(path).splitlines()), "")
    except SpecError:  # told by whoever reads it
        return False
    return "head_dim" in heading.split(",")


def read_attention(path: Path) -> AttentionTable:
    """Read a table of measured attention, all of it or none.

    Raises
    ------
    SpecError
        naming the file, the line and the column of the first row that cannot be used.
    """
    found = parse_csv(str(path), csv_text(path), _RULES)
    return _Reader(found).table()


def shipped_attention() -> list[AttentionTable]:
    """The tables that ship with nmsim."""
    folder = ATTENTION_TABLES.folder
    return [
        replace(read_attention(folder / f"{name}.csv.gz"), file=f"{name}.csv.gz")
        for name in ATTENTION_TABLES
    ]


class _Reader:
    """Cells of a table, by the names that a column may have."""

    def __init__(self, found: Table) -> None:
        self.found = found
        self.cells = found.columns()
        self.empty = [""] * len(found.rows)

    def texts(self, *names: str, needed: bool = False) -> list[str]:
        """The column of the first of these names that is there; empty cells if none is."""
        for name in names:
            if name in self.cells:
                return self.cells[name]
        if needed:
            raise SpecError(f"{self.found.file}: column {' or '.join(names)} is missing")
        return self.empty

    def numbers(
        self, texts: list[str], name: str, parse: Callable[[str], float], expected: str
    ) -> list[float]:
        """A column's numbers, each distinct text parsed once."""
        known: dict[str, float] = {}
        for row, text in enumerate(texts):
            if text in known:
                continue
            try:
                known[text] = parse(text)
            except ValueError:
                problem = f"{name} is {text[:40]!r}, expected {expected}"
                raise self.found.fault(row, problem) from None
        return [known[text] for text in texts]

    def sizes(self, *names: str, needed: bool = False) -> list[int]:
        texts = self.texts(*names, needed=needed)
        parse = lambda text: float(int(text or 0))  # noqa: E731
        return [int(n) for n in self.numbers(texts, names[0], parse, "an integer")]

    def runs(self, phases: list[str]) -> list[tuple[str, ...]]:
        found = []
        for row, phase in enumerate(phases):
            word = next(iter(phase.split()), "")
            if word not in PHASES:
                known = ", ".join(PHASES)
                problem = f"phase is {phase[:40]!r}, expected one that begins with {known}"
                raise self.found.fault(row, problem)
            found.append(PHASES[word])
        return found

    def causal(self, phases: list[str]) -> list[int]:
        """A column ``causal`` of 0 or 1 says it, else the phase: all are, but "not causal"."""
        said = self.texts("causal")
        return [
            int(text == "1") if text else int("not causal" not in phase and "encoder" not in phase)
            for text, phase in zip(said, phases, strict=True)
        ]

    def shapes(self, phases: list[str]) -> NDArray[np.int64]:
        heads, dims = self.sizes("heads"), self.sizes("head_dim")
        columns = (
            self.sizes("batch"),
            heads,
            [own or every for own, every in zip(self.sizes("kv_heads"), heads, strict=True)],
            self.sizes("query_len", "queries", "seq", needed=True),
            self.sizes("kv_len", "keys", "seq", needed=True),
            dims,
            [own or every for own, every in zip(self.sizes("v_head_dim"), dims, strict=True)],
            self.causal(phases),
            self.sizes("window"),
        )
        shapes = np.array(columns, np.int64).T.copy()
        for row, one in enumerate(shapes.tolist()):
            batch, heads_, kv, queries, keys, dim, v_dim, causal, window = one
            try:
                Attention(batch, heads_, queries, keys, dim, kv, v_dim, bool(causal), window)
            except NmsimError as error:
                raise self.found.fault(row, str(error)) from error
        return shapes

    def table(self) -> AttentionTable:
        phases = [phase.strip().lower() for phase in self.texts("phase")]
        times = self.numbers(self.texts("time_us"), "time_us", _time, "a time above 0 in us")
        fit = self.texts("test")
        return AttentionTable(
            file=self.found.file,
            heading=self.found.records[0],
            records=self.found.records[1:],
            lines=self.found.lines,
            columns={
                "gpu": self.texts("gpu"),
                "variant": self.texts("variant"),
                "library": self.texts("library", "framework", needed=True),
                "phase": phases,
            },
            shapes=self.shapes(phases),
            runs=self.runs(phases),
            time_us=np.array(times),
            fit=np.array([not text or text.startswith("yes") for text in fit]),
        )


def _time(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise ValueError
    return value
