"""Topologies of SCALE-Sim: CSV files of convolutions, or of GEMMs by M, N and K.

What a file means is what SCALE-Sim 3 makes of it (scalesim-project/SCALE-Sim, MIT,
``scalesim/topology_utils.py``): fields by their places, whatever the header calls them; an output
of ceil((H - R + S) / S) pixels a dimension, which here is a pixel of padding behind the input where
the division leaves a rest; a layer whose name has DP in it once for every channel, depthwise.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmsim.csv_table import csv_text, delimiter_of
from nmsim.errors import NmsimError, SpecError
from nmsim.importers.gemm_table import as_network, cells_of, header_of
from nmsim.importing import IMPORTERS, Imported, Importer, Unused
from nmsim.pattern import Pattern

__all__ = ["read_topology"]

_FIELDS = (
    *("ifmap height", "ifmap width", "filter height", "filter width"),
    *("channels", "num filter", "strides"),
)
_MOST = 1 << 31

_TITLE, _COMMENT = "title line* without figures", "comment* after #"
_LAST = "cell* behind a line's last comma, which SCALE-Sim does not read"

_BEHIND = {
    "sparsity": "sparsity",
    "batch size": "batch",
    "batch": "batch",
    "stride width": "stride width",
    "stride w": "stride width",
}
"""Fields behind the strides, by what the header calls them."""


def _knows(head: bytes) -> bool:
    header = header_of(head)
    return len(header) > len(_FIELDS) and any("filter" in name for name in header[1:])


def read_topology(path: Path) -> Imported:
    """The fields of a network's YAML that a topology stands for, in M, N and K too.

    Raises
    ------
    SpecError
        naming the line and the field.
    """
    text = csv_text(path)
    header = header_of(text.encode())
    if {"m", "n", "k"} <= set(header):
        return as_network(path)
    if not _knows(text.encode()):
        raise SpecError(f"{path}: expected a header of SCALE-Sim: Layer name, {', '.join(_FIELDS)}")
    rows = _Rows.of(path, text, _behind(path, header))
    names = Unused()
    layers = [_layer(line, names) for line in rows.lines]
    document = {
        "summary": f"{path.stem}, a topology of SCALE-Sim",
        "source": f"imported from {path.name}, a topology of SCALE-Sim; outputs of "
        "ceil((H - R + S) / S) pixels, as it counts them",
        "batch": 1,
        "layers": layers,
    }
    return Imported(document, (*rows.told, *_told(path, layers), *names.told))


def _behind(path: Path, header: list[str]) -> list[str]:
    found = []
    for name in header[len(_FIELDS) + 1 :]:
        if name not in _BEHIND:
            raise SpecError(
                f"{path}: column {name!r} is not read, expected one of {', '.join(_BEHIND)}"
            )
        found.append(_BEHIND[name])
    return found


@dataclass(frozen=True)
class _Line:
    """A layer's line: where it stands, its name, its sizes, and fields behind them by name."""

    path: Path
    number: int
    name: str
    sizes: tuple[int, ...]
    behind: Mapping[str, str]
    comment: str

    def fault(self, problem: str) -> SpecError:
        return SpecError(f"{self.path}: line {self.number}: {problem}")


@dataclass(frozen=True)
class _Rows:
    """The layers of a file, and what was skipped of it."""

    lines: list[_Line]
    told: tuple[str, ...]

    @classmethod
    def of(cls, path: Path, text: str, behind: list[str]) -> "_Rows":
        lines, first, skipped = [], True, Counter[str]()
        columns = len(_FIELDS) + 1 + len(behind)
        delimiter = delimiter_of(text, ",;\t")
        for number, line in enumerate(text.splitlines(), 1):
            fields, hash_, comment = line.partition("#")
            cells = cells_of(fields, delimiter)
            if first:
                first = not cells
                continue
            skipped[_COMMENT] += bool(hash_)
            skipped[_TITLE] += len(cells) == 1
            if len(cells) == columns + 1 and not fields.rstrip().endswith(delimiter):
                cells.pop()
                skipped[_LAST] += 1
            if len(cells) > 1:
                lines.append(_line(path, number, cells, behind, comment.strip()))
        if not lines:
            raise SpecError(f"{path}: no rows, expected at least one layer")
        return cls(lines, _skipped(path, skipped))


def _skipped(path: Path, counts: Counter[str]) -> tuple[str, ...]:
    told = [
        f"{counts[what]} {what.replace('*', 's' * (counts[what] > 1))}"
        for what in (_TITLE, _COMMENT, _LAST)
        if counts[what]
    ]
    return (f"{path}: skipped {', '.join(told)}",) if told else ()


def _line(path: Path, number: int, cells: list[str], behind: list[str], comment: str) -> _Line:
    name, own, more = cells[0] or f"line {number}", cells[1:8], cells[8:]
    where = f"{path}: line {number}"
    if any(more[len(behind) :]):
        raise SpecError(f"{where}: {more[len(behind)]!r} stands behind the last column")
    own += ["1"] * (len(own) == len(_FIELDS) - 1)
    if len(own) < len(_FIELDS):
        raise SpecError(f"{where}: {_FIELDS[len(own)]} is missing")
    sizes = tuple(_size(where, *one) for one in zip(_FIELDS, own, strict=True))
    return _Line(path, number, name, sizes, dict(zip(behind, more, strict=False)), comment)


def _size(where: str, name: str, text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text[:19]) <= _MOST:
        return int(text)
    letters = " (a template, with letters for sizes)" if text.isalpha() else ""
    raise SpecError(
        f"{where}: {name} is {text[:40]!r}, expected an integer from 1 to {_MOST}{letters}"
    )


def _layer(line: _Line, names: Unused) -> dict[str, Any]:
    *sizes, channels, filters, stride = line.sizes
    image, window = sizes[:2], sizes[2:]
    for size, reach, axis in zip(image, window, ("height", "width"), strict=True):
        if reach > size:
            raise line.fault(
                f"filter {axis} is {reach}, expected {size} at most, the ifmap's, as SCALE-Sim does"
            )
    strides = [stride, _size_behind(line, "stride width", stride)]
    groups = channels if "DP" in line.name else 1
    padding = _padding(image, window, strides)
    found = {
        "name": names.of(line.name),
        "type": "conv",
        "in_channels": channels,
        "out_channels": filters * groups,
        "kernel": window,
        "stride": strides,
        "padding": padding,
        "groups": groups,
        "input_size": image,
        "images": _size_behind(line, "batch", 1),
        "pattern": _pattern(line),
        "note": "; ".join(_notes(line, groups, rounded=padding is not None)),
    }
    usual = {
        "stride": [1, 1],
        "padding": None,
        "groups": 1,
        "images": 1,
        "pattern": None,
        "note": "",
    }
    return {name: value for name, value in found.items() if value != usual.get(name, ())}


def _size_behind(line: _Line, name: str, usual: int) -> int:
    text = line.behind.get(name, "")
    return _size(f"{line.path}: line {line.number}", name, text) if text else usual


def _padding(image: list[int], window: list[int], strides: list[int]) -> Any:
    """Pixels behind the input that make the last place whole, which SCALE-Sim rounds up to."""
    sizes = zip(image, window, strides, strict=True)
    behind = [-(size - reach) % stride for size, reach, stride in sizes]
    return [[0, more] for more in behind] if any(behind) else None


def _pattern(line: _Line) -> str | None:
    text = line.behind.get("sparsity", "")
    if not text:
        return None
    try:
        pattern = Pattern.parse(text)
    except NmsimError as error:
        raise line.fault(f"sparsity is {text[:40]!r}: {error}") from error
    return None if pattern.is_dense else str(pattern)


def _notes(line: _Line, groups: int, *, rounded: bool) -> Iterator[str]:
    if rounded:
        yield "output size rounded up, as SCALE-Sim counts it"
    if "DP" in line.name:
        yield f"DP in its name: depthwise in SCALE-Sim, {groups} channels one by one"
    elif line.comment.lower() == "dw":
        yield "marked #dw, but counted by its channels and filters, as SCALE-Sim does"


def _told(path: Path, layers: list[dict[str, Any]]) -> Iterator[str]:
    said = [note for layer in layers for note in layer.get("note", "").split("; ") if note]
    for note in dict.fromkeys(said):
        often = said.count(note)
        yield f"{path}: {often} layer{'s' * (often > 1)}: {note}"


IMPORTERS.add(
    "scale-sim",
    Importer(
        "scale-sim",
        "a topology of SCALE-Sim",
        "network",
        _knows,
        lambda path, _: read_topology(path),
    ),
)
