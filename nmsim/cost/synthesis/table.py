"""The committed table of synthesised PEs and MACs: how it is made, and read."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from nmsim.cost.bill import Cell
from nmsim.cost.pe.mac import MULTIPLIERS, cells_in
from nmsim.cost.pe.structure import PeStructure
from nmsim.cost.synthesis.cases import CASES, MACS
from nmsim.cost.synthesis.flow import Flow, Synthesised, synthesise
from nmsim.cost.verilog import mac_module, pe_design

__all__ = ["TABLE", "Row", "dense_of", "make", "rows", "synthesised"]

TABLE = Path(__file__).parent / "pes.csv"
MAC_TABLE = Path(__file__).parent.parent / "pe" / "macs.csv"


class Row(NamedTuple):
    """A PE as a flow made it; ``mac`` are the cells of the MAC where it kept its hierarchy."""

    case: str
    flow: str
    multiplier: str
    levels: int
    transistors: int
    cells: Mapping[Cell, int]
    mac: Mapping[Cell, int]
    version: str
    script: str


def synthesised(case: str, flow: Flow, multiplier: str) -> Row:
    """A row of the table, made anew (extra ``synth``)."""
    made = synthesise(pe_design(CASES[case]), "pe", flow, booth=multiplier == "booth")
    return Row(
        case, flow, multiplier, made.levels, made.transistors, made.cells, made.mac_cells,
        made.version, made.script,
    )  # fmt: skip


def dense_of(case: str) -> str:
    """The dense PE that a structure of the table adds to."""
    dense = CASES[case].dense
    own = [name for name, one in CASES.items() if _alike(one, dense)]
    return own[0]


def _alike(one: PeStructure, dense: PeStructure) -> bool:
    fields = ("operand_bits", "sum_bits", "floating", "dataflow", "macs", "group")
    return all(getattr(one, name) == getattr(dense, name) for name in fields)


def make(tell: Callable[[str], Any] = print) -> None:
    """Synthesise all cases and write both tables; half an hour (extra ``synth``)."""
    flows: tuple[Flow, ...] = ("kept", "raw")
    plan: list[tuple[str, Flow, str]] = [(case, f, "default") for f in flows for case in CASES]
    plan += [(case, "flat", one) for case in CASES for one in MULTIPLIERS]
    _write(MAC_TABLE, _MAC_FIELDS, _made_macs(tell))
    _write(TABLE, Row._fields, _made(plan, tell))


def _made(plan: Iterable[tuple[str, Flow, str]], tell: Callable[[str], Any]) -> Iterator[Any]:
    for case, flow, multiplier in plan:
        row = synthesised(case, flow, multiplier)
        tell(f"{case} {flow} {multiplier}: {row.transistors} transistors")
        yield row._replace(cells=_text(row.cells), mac=_text(row.mac))  # type: ignore[arg-type]


_MAC_FIELDS = (
    "arithmetic", "operand_bits", "sum_bits", "lanes", "multiplier", "levels", "transistors",
    "cells", "version", "script",
)  # fmt: skip


def _made_macs(tell: Callable[[str], Any]) -> Iterator[tuple[Any, ...]]:
    for pe in MACS:
        for multiplier in MULTIPLIERS:
            made: Synthesised = synthesise(
                {"mac.v": mac_module(pe)}, "mac", "flat", booth=multiplier == "booth"
            )
            kind = "float" if pe.floating else "int"
            name = f"MAC {kind}{pe.operand_bits} x {pe.macs} {multiplier}"
            tell(f"{name}: {made.transistors} transistors")
            yield (
                kind, pe.operand_bits, pe.sum_bits, pe.macs, multiplier, made.levels,
                made.transistors, _text(made.cells), made.version, made.script,
            )  # fmt: skip


def _write(path: Path, fields: Iterable[str], lines: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(fields)
        for line in lines:
            writer.writerow(line)
            file.flush()


def _text(cells: Mapping[Cell, int]) -> str:
    return " ".join(f"{cell}:{count}" for cell, count in sorted(cells.items()))


@cache
def rows() -> tuple[Row, ...]:
    """The rows of the committed table."""
    with TABLE.open(newline="") as file:
        return tuple(
            Row(
                one["case"],
                one["flow"],
                one["multiplier"],
                int(one["levels"]),
                int(one["transistors"]),
                cells_in(one["cells"]),
                cells_in(one["mac"]),
                one["version"],
                one["script"],
            )
            for one in csv.DictReader(file)
        )
