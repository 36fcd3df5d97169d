"""Gathering a machine's evidence: which GEMMs were measured of what its answers rest on.

From tables, and from single figures that constants were set by and no table has
(``figures.csv``). A row counts for the library that ran it, never for one that stands in, and not
if its time cannot be. Times are left behind: only sizes are kept.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.csv_table import Rules, read_csv
from nmsim.errors import SpecError
from nmsim.evidence.file import AttentionRecord, Evidence, Record
from nmsim.evidence.file import Routine as Measured
from nmsim.machines import Call, Machine, kind_of
from nmsim.machines.kind import Constants
from nmsim.machines.kind import Measured as Offered
from nmsim.measured.attention.tables import AttentionTable
from nmsim.measured.predict import call_of, impossible, machine_of
from nmsim.measured.routines import routines_of
from nmsim.measured.tables import COLUMNS, MeasuredTable, Routine

__all__ = ["FIGURES", "Gathered", "evidence_of", "gather", "gathered"]

FIGURES = Path(__file__).with_name("figures.csv")
"""Figures that constants of the machines that ship rest on, beside the tables."""

_RULES = Rules(
    columns=(*(name for name in COLUMNS if name != "time_us"), "figure"),
    missing="no column {!r}",
    rows="figure",
)

Sizes = NDArray[np.float64]


class Gathered(NamedTuple):
    """Rows of one routine that count for one library's constants.

    Parameters
    ----------
    constants, call
        What they are measured of.
    sizes, source
        Rows x 4: M, N, K and copies; and where each row's time comes from.
    conditions
        What the clock did.
    table, rows
        Which table, by its place among those gathered from (-1: a figure), and its rows.
    """

    constants: Constants
    call: Call
    sizes: Sizes
    source: list[str]
    conditions: str
    table: int
    rows: NDArray[np.intp]


@dataclass(frozen=True)
class _Key:
    """What rows have in common that go into one record."""

    key: str
    fields: str


def evidence_of(machine: Machine) -> Offered:
    """What a machine's kind offers to say how near measured data its answers stand.

    Raises
    ------
    SpecError
        of a kind that has nothing measured.
    """
    offered = kind_of(machine).evidence
    if offered is None:
        raise SpecError(f"hardware {machine.name}: expected a GPU, as measured times are of one")
    return offered


def gather(
    machine: Machine,
    tables: Sequence[MeasuredTable],
    attention: Sequence[AttentionTable] = (),
    *,
    figures: Path | None = FIGURES,
) -> Evidence:
    """The evidence of a machine, from tables whose rows are taken to be measured on it.

    Parameters
    ----------
    attention
        Tables of fused attention, whose rows on the machine's GPU count.
    figures
        Beside the tables: those of this file that name the machine's GPU; None: none.

    Raises
    ------
    SpecError
        if its constants are another machine's, or if no row counts.
    """
    offered = evidence_of(machine)
    if machine.unfitted:
        raise SpecError(f"{machine.name}: expected its own constants, it is {machine.unfitted}")
    rows = [*gathered(machine, tables), *_figures(machine, figures)]
    if not rows:
        raise SpecError(f"{machine.name}: expected measured rows of a library that it has")
    records: dict[_Key, list[Gathered]] = {}
    for one in rows:
        key = _Key(one.constants.key, repr(sorted(one.constants.fields.items(), key=str)))
        records.setdefault(key, []).append(one)
    found = (_record(machine, own) for own in records.values())
    return Evidence(
        machine.name,
        offered.fields(machine),
        tuple(sorted(found, key=_order)),
        tuple(_attention(machine, attention)),
    )


def _attention(machine: Machine, tables: Sequence[AttentionTable]) -> Iterator[AttentionRecord]:
    """Calls of fused attention that were measured on a machine, by library and phase."""
    found: dict[tuple[str, str], list[tuple[str, NDArray[np.int64]]]] = {}
    for table in tables:
        columns = (table.columns[name] for name in ("gpu", "variant", "library"))
        keys = list(zip(*columns, table.runs, strict=True))
        for key in dict.fromkeys(keys):
            library, runs = _library(machine, *key[:3]), key[3]
            at = [row for row, own in enumerate(keys) if own == key and table.fit[row]]
            for phase in runs if library and at else ():
                found.setdefault((library, phase), []).append((table.file, table.shapes[at]))
    for (library, phase), rows in sorted(found.items()):
        whole = np.concatenate([one for _, one in rows])
        files = tuple(dict.fromkeys(file for file, _ in rows))
        distinct = np.unique(whole, axis=0).astype(np.uint32)
        yield AttentionRecord(library, phase, len(whole), files, distinct)


def _library(machine: Machine, gpu: str, variant: str, text: str) -> str:
    """The library of a machine that a row of attention ran; "" if it is another machine's."""
    routines = kind_of(machine).attention
    if routines is None or machine_of(gpu, variant) != machine.name:
        return ""
    return routines.library_of(machine, text)


def _order(record: Record) -> tuple[int, str]:
    return -record.rows, record.key


def gathered(machine: Machine, tables: Sequence[MeasuredTable]) -> Iterator[Gathered]:
    """The rows of tables that count for a machine's constants, routine by routine."""
    offered = evidence_of(machine)
    for number, table in enumerate(tables):
        own = [_is_of(machine, routine) for routine in table.routines]
        if not any(own):
            continue
        wrong = [one.row for one in (*table.refused, *impossible(table, machine))]
        for index in np.flatnonzero(own).tolist():
            routine = table.routines[index]
            call, _ = call_of(machine, routine)
            rests_on = offered.constants(machine, call)
            at = np.setdiff1d(np.flatnonzero(table.routine_of == index), wrong)
            if rests_on is not None and len(at):
                sources = table.columns["source"]
                yield Gathered(
                    rests_on,
                    call,
                    table.sizes[at],
                    [sources[row] for row in at.tolist()],
                    routine.conditions,
                    number,
                    at,
                )


def _is_of(machine: Machine, routine: Routine) -> bool:
    """Whether a routine ran on a machine, or on a GPU that no machine of the catalog describes."""
    return machine_of(routine.gpu, routine.variant) in ("", machine.name)


def _figures(machine: Machine, path: Path | None) -> Iterator[Gathered]:
    """Figures of a machine, each as a row."""
    if path is None:
        return
    columns = read_csv(path, _RULES).columns()
    names = [name for name in Routine._fields if name in columns]
    for row, source in enumerate(columns["source"]):
        said = dict.fromkeys(Routine._fields, "") | {name: columns[name][row] for name in names}
        routine = Routine(**said)
        if machine_of(routine.gpu, routine.variant) != machine.name:
            continue
        call, _ = call_of(machine, routine)
        rests_on = evidence_of(machine).constants(machine, call)
        if rests_on is None:
            raise SpecError(f"{path}: line {row + 2}: {machine.name} has no {routine.library}")
        sizes = np.array([[float(columns[name][row]) for name in ("m", "n", "k", "batch")]])
        yield Gathered(rests_on, call, sizes, [source], "free", -1, np.array([row]))


def _record(machine: Machine, parts: Sequence[Gathered]) -> Record:
    routines = list(dict.fromkeys(_measured(one.call) for one in parts))
    numbers = [
        np.full(len(one.sizes), routines.index(_measured(one.call)), np.float64) for one in parts
    ]
    whole = np.concatenate([one.sizes for one in parts])
    sizes = np.column_stack([whole, np.concatenate(numbers)])
    distinct = np.unique(sizes, axis=0).astype(np.uint32)
    ranges, bounds = _made_of(machine, parts)
    known = parts[0].constants
    sources = Counter(source for one in parts for source in one.source)
    return Record(
        key=known.key,
        library=known.library,
        pattern=known.pattern,
        rows=len(sizes),
        sources=tuple(source for source, _ in sources.most_common()),
        conditions=tuple(dict.fromkeys(one.conditions for one in parts)),
        ranges=ranges,
        bounds=bounds,
        fields=known.fields,
        routines=tuple(routines),
        sizes=distinct,
    )


def _measured(call: Call) -> Measured:
    return Measured(
        call.dtype, call.accumulator, str(call.pattern), call.sparse_operand, call.vector_length
    )


def _made_of(
    machine: Machine, parts: Sequence[Gathered]
) -> tuple[dict[str, tuple[float, float]], dict[str, int]]:
    """Least and greatest sizes, tiles and waves of measured GEMMs, and what binds how many."""
    accounts = [routines_of(machine).account(machine, one.call, one.sizes) for one in parts]
    sizes = np.concatenate([one.sizes for one in parts])
    columns: dict[str, NDArray[Any]] = dict(zip("mnk", sizes.T, strict=False))
    columns |= {
        name: np.concatenate([one[name] for one in accounts]) for name in ("tiles", "waves")
    }
    bounds = Counter(bound for one in accounts for bound in one["bound"].tolist())
    ranges = {
        name: (_rounded(values.min()), _rounded(values.max())) for name, values in columns.items()
    }
    return ranges, dict(bounds.most_common())


def _rounded(value: Any) -> float:
    return float(f"{float(value):.4g}") if value % 1 else int(value)
