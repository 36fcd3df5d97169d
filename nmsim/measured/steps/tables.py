"""Measured steps of networks: CSV files, and the one that ships with nmsim.

A row is one step: a training step, or a forward pass. It says what ran it (``stack``, ``layout``,
``attention``, ``optimizer``), so that a prediction takes the same conditions. A row whose
``network`` is empty is of none in the catalog, or not fit to judge by; ``note`` says why.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nmsim.csv_table import Rules, Table, csv_text, parse_csv
from nmsim.errors import SpecError
from nmsim.measured.tables import MeasuredFile
from nmsim.spec import Catalog

__all__ = ["COLUMNS", "STEP_TABLES", "MeasuredStep", "is_steps", "read_steps", "shipped_steps"]

COLUMNS = (
    *("source", "hardware", "name", "network", "scenario", "dtype", "batch", "tokens", "stack"),
    *("layout", "attention", "optimizer", "step_ms", "test", "note"),
)
"""Columns of every table of steps."""

_RULES = Rules(
    columns=COLUMNS,
    missing=f"column {{!r}} is missing (expected {','.join(COLUMNS)})",
    rows="measured step",
)

STEP_TABLES: Catalog[MeasuredFile] = Catalog("measured steps", Path(__file__).parent, MeasuredFile)
"""The tables that ship with nmsim; the times stand in NAME.csv beside NAME.yaml."""

_CHOICES = {
    "scenario": ("train", "infer"),
    "layout": ("channels_last", "channels_first"),
    "attention": ("fused", "products"),
    "optimizer": ("momentum", "adam", "accumulated", "none"),
    "test": ("yes", "indicative"),
}
"""What cells of some columns may hold. ``accumulated``: a step whose gradients are added to those
of others, of which the optimizer's own step is one of many."""

T = TypeVar("T")


@dataclass(frozen=True)
class MeasuredStep:
    """A measured step, and the conditions that it was measured under.

    Parameters
    ----------
    line
        Of the file.
    source, name
        Where it was published, and what it is called there.
    network
        In the catalog; "": none is, or the row is not fit to judge by.
    tokens
        Of a sample; None: as the network has it.
    step_ms
        Measured.
    fit
        Whether its conditions allow a test; else it is indicative.
    note
        What is known to be missing from a prediction, or why there is none.
    """

    line: int
    source: str
    hardware: str
    name: str
    network: str
    scenario: str
    dtype: str
    batch: int
    tokens: int | None
    stack: str
    layout: str
    attention: str
    optimizer: str
    step_ms: float
    fit: bool
    note: str


def is_steps(path: Path) -> bool:
    """Whether a file's first line names ``step_ms``, which tables of GEMMs do not."""
    try:
        heading = next(iter(csv_text(path).splitlines()), "")
    except SpecError:  # told by whoever reads it
        return False
    return "step_ms" in heading.split(",")


def read_steps(path: Path) -> list[MeasuredStep]:
    """Read a table of measured steps, all of it or none.

    Raises
    ------
    SpecError
        naming the file, the line and the column of the first row that cannot be used.
    """
    found = parse_csv(str(path), csv_text(path), _RULES)
    return [_step(found, number) for number in range(len(found.rows))]


def shipped_steps() -> list[MeasuredStep]:
    """The measured steps that ship with nmsim."""
    folder = STEP_TABLES.folder
    return [step for name in STEP_TABLES for step in read_steps(folder / f"{name}.csv")]


def _step(found: Table, number: int) -> MeasuredStep:
    cells = dict(zip(found.header, found.rows[number], strict=True))

    def read(column: str, parse: Callable[[str], T], expected: str) -> T:
        try:
            return parse(cells[column])
        except ValueError:
            problem = f"{column} is {cells[column][:40]!r}, expected {expected}"
            raise found.fault(number, problem) from None

    for column, allowed in _CHOICES.items():
        read(column, allowed.index, " or ".join(allowed))
    return MeasuredStep(
        line=found.lines[number],
        batch=read("batch", _count, "an integer of 1 or more"),
        tokens=read("tokens", lambda text: _count(text) if text else None, "an integer or nothing"),
        step_ms=read("step_ms", _time, "milliseconds above 0"),
        fit=cells["test"] == "yes",
        **{name: cells[name] for name in _TEXTS},
    )


_TEXTS = (
    *("source", "hardware", "name", "network", "scenario", "dtype", "stack", "layout"),
    *("attention", "optimizer", "note"),
)


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError(text)
    return value


def _time(text: str) -> float:
    if not 0 < (value := float(text)) < 1e12:
        raise ValueError(text)
    return value
