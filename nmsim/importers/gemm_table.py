"""Tables of GEMMs: CSV with a row for each, SCALE-Sim's topologies in M, N and K among them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from nmsim.csv_table import Rules, Table, csv_text, delimiter_of, parse_csv
from nmsim.errors import NmsimError, ShapeError, SpecError
from nmsim.formats import WEIGHTS_ALONE, NumberFormat
from nmsim.gemm import PHASES, Gemm, Phase
from nmsim.importing import IMPORTERS, Imported, Importer, Unused
from nmsim.network.layer import Bare
from nmsim.network.operand import OPERANDS, Brought, Role
from nmsim.pattern import Pattern
from nmsim.registry import unknown_name

__all__ = ["as_network", "cells_of", "header_of", "read_gemms"]

T = TypeVar("T")

_SIZES = ("m", "n", "k", "count", "repeat", "batch")
_NEEDED = ("k", "layer", "m", "n")
_WORDS = ("phase", "dtype", "a_pattern", "b_pattern", "sparsity")
COLUMNS = ("layer", *_SIZES, *_WORDS)
"""What a table may say of a GEMM; `layer`, `m`, `n` and `k` it must."""

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_RULES = Rules(
    columns=_NEEDED,
    missing="column {!r} is missing (expected layer, m, n, k and optionally "
    f"{', '.join(name for name in COLUMNS if name not in _NEEDED)})",
    rows="GEMM",
    filled=True,
    delimiters=",;\t",
    loose=True,
)


def header_of(head: bytes) -> list[str]:
    """Names in the first line of a text file that has one, in lower case; none if it is no text."""
    text = head.decode("utf-8-sig", "ignore")
    if "\0" in text:
        return []
    first = next((line for line in text.splitlines() if line.strip()), "")
    cells = cells_of(first, delimiter_of(first, _RULES.delimiters))
    return [" ".join(cell.strip('"').lower().split()) for cell in cells]


def cells_of(line: str, delimiter: str) -> list[str]:
    """Cells of a line without quotes, but for empty ones behind the last."""
    cells = [cell.strip() for cell in line.split(delimiter)]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _knows(head: bytes) -> bool:
    return {"m", "n", "k"} <= set(header_of(head))


def read_gemms(path: Path) -> Imported:
    """The GEMMs in a CSV file, and what of its lines was skipped.

    Columns are ``COLUMNS``, in any order and case, told apart by comma, semicolon or tab. ``batch``
    is of how many samples the GEMM is: m is of one of them, or k in the update phase. ``sparsity``
    is SCALE-Sim's N:M of the filters: b's. A layer without a name is called by its line.

    Raises
    ------
    SpecError
        naming the line and the column.
    """
    table = parse_csv(str(path), csv_text(path), _RULES)
    _check_columns(table)
    columns = {
        name: list(_sizes(table, name, cells))
        for name, cells in table.columns().items()
        if name in _SIZES
    }
    return Imported(tuple(_gemms(table, columns)))


def _check_columns(table: Table) -> None:
    for name in table.header:
        if name not in COLUMNS:
            raise replace(table, lines=[1]).fault(0, str(unknown_name("column", name, COLUMNS)))


def _sizes(table: Table, name: str, cells: list[str]) -> Iterator[int]:
    optional = name not in _NEEDED
    for number, cell in enumerate(cells):
        text = cell.strip()
        if optional and not text:
            yield 1
        elif _INTEGER.fullmatch(text):
            yield int(text)
        else:
            raise table.fault(number, f"{name} is {text[:40]!r}, expected an integer of 1 or more")


def _gemms(table: Table, sizes: Mapping[str, list[int]]) -> Iterator[Bare]:
    """GEMMs row by row; a table of sizes alone has none of the rest to be looked for."""
    at, ones = table.header.index("layer"), [1] * len(table.rows)
    own = [sizes.get(name, ones) for name in _SIZES]
    said = {name: table.header.index(name) for name in _WORDS if name in table.header}
    for number, (cells, *values) in enumerate(zip(table.rows, *own, strict=True)):
        layer = cells[at].strip() or f"line {table.lines[number]}"
        row = {name: cells[column].strip() for name, column in said.items()}
        try:
            yield _gemm(layer, row, *values)
        except NmsimError as error:
            raise table.fault(number, str(error)) from error


def _gemm(layer: str, row: Mapping[str, str], *sizes: int) -> Bare:
    m, n, k, count, repeat, batch = sizes
    if not row and batch == 1:
        return Bare(Gemm(m, n, k, count, layer, "forward", repeat))
    phase = _phase(row.get("phase", "").lower() or "forward")
    dtype = row.get("dtype", "").lower()
    if dtype:
        _one_of("dtype", dtype, get_args(NumberFormat))
    if dtype in WEIGHTS_ALONE and phase != "forward":
        raise ShapeError(f"dtype is {dtype!r}, expected phase forward: it packs weights")
    if batch < 1:
        raise ShapeError(f"batch is {batch}, expected an integer of 1 or more")
    m, k = (m, k * batch) if phase == "update" else (m * batch, k)
    gemm = Gemm(m, n, k, count, layer, phase, repeat)
    return Bare(gemm, masks=_masks(row, phase), number_format=dtype, batched=batch > 1)


def _phase(text: str) -> Phase:
    return PHASES[PHASES.index(_one_of("phase", text, PHASES))]


def _one_of(name: str, value: T, known: tuple[T, ...]) -> T:
    if value not in known:
        raise unknown_name(name, str(value), map(str, known))
    return value


def _masks(row: Mapping[str, str], phase: Phase) -> tuple[Brought, ...]:
    """Masks of a row: of A, of B, by whichever of two names its pattern stands there."""
    if row.get("sparsity") and row.get("b_pattern"):
        raise ShapeError("b_pattern and sparsity: expected one of them, as both are b's")
    a, b = OPERANDS[phase]
    found = []
    for name, operand in (("a_pattern", a), ("b_pattern", b), ("sparsity", b)):
        if text := row.get(name):
            try:
                pattern = Pattern.parse(text)
            except NmsimError as error:
                raise ShapeError(f"{name} is {text[:40]!r}: {error}") from error
            role: Role = operand.tensor  # type: ignore[assignment]  # of a GEMM it is one
            found.append(Brought(role, phase, pattern))
    return tuple(found)


def as_network(path: Path) -> Imported:
    """The forward GEMMs of a table as layers of a network: copies are groups of a convolution.

    Raises
    ------
    SpecError
        naming the first GEMM that says what no layer does.
    """
    found = read_gemms(path)
    names = Unused()
    layers = [_layer(path, bare, names) for bare in found.content]
    document = {
        "summary": f"GEMMs of {path.name} as layers",
        "source": f"imported from {path.name}, a table of GEMMs",
        "batch": 1,
        "layers": layers,
    }
    return Imported(document, (*found.told, *names.told))


def _layer(path: Path, bare: Bare, names: Unused) -> dict[str, Any]:
    g = bare.gemm
    if g.phase != "forward":
        raise SpecError(
            f"{path}: GEMM {g.layer!r}: phase is {g.phase!r}, which no layer of a network says: "
            "expected forward GEMMs; simulate the table"
        )
    weights = {mask.role: str(mask.pattern) for mask in bare.masks}
    if "activation" in weights:
        raise SpecError(
            f"{path}: GEMM {g.layer!r}: a_pattern is {weights['activation']}, expected none: a "
            "network's layer says the pattern of its weight alone; simulate the table"
        )
    repeat = {} if g.repeat == 1 else {"repeat": g.repeat}
    pattern = {"pattern": weights["weight"]} if "weight" in weights else {}
    form = {"number_format": bare.number_format} if bare.number_format else {}
    return {"name": names.of(g.layer), **_sizes_of(g), **repeat, **pattern, **form}


def _sizes_of(g: Gemm) -> dict[str, Any]:
    if g.count == 1:
        return {"type": "linear", "in_features": g.k, "out_features": g.n, "tokens": g.m}
    channels = {"in_channels": g.count * g.k, "out_channels": g.count * g.n}
    image = {"kernel": 1, "groups": g.count, "input_size": [g.m, 1]}
    return {"type": "conv", **channels, **image, "input": "linear"}


IMPORTERS.add(
    "csv",
    Importer(
        "csv",
        "a table of GEMMs",
        "gemms",
        _knows,
        lambda path, _: read_gemms(path),
        network=as_network,
        suffixes=(".csv",),
    ),
)
