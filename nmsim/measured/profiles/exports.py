"""Exports of profilers, read: Nsight Systems' and Nsight Compute's CSV, PyTorch's trace.

Formats are known by content: ``nsys stats --report cuda_gpu_trace`` and ``cuda_gpu_kern_sum``,
``--format csv``; ``ncu --csv --page raw``; ``torch.profiler``'s ``export_chrome_trace`` (Trace
Event Format), plain or gzipped, in which a kernel's ``External id`` names the operation that
launched it, whose ``Input Dims`` stand there if ``record_shapes`` was on.
"""

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nmsim.errors import SpecError
from nmsim.measured.profiles.kernels import KernelRun, Size

__all__ = ["Export", "read_export"]

MOST_BYTES = 1 << 30
"""Of an export, unpacked: a step of training a large network is a hundredth of that."""

KNOWN = "nsys stats (cuda_gpu_trace, cuda_gpu_kern_sum), ncu --csv --page raw, or a torch trace"

Cells = Mapping[str, str]


class Export(NamedTuple):
    """The kernels of an export, in the order of their launches if it has one."""

    kind: str
    kernels: tuple[KernelRun, ...]
    ordered: bool


def read_export(path: Path) -> Export:
    """Read an export of a profiler, of whichever kind it is.

    Raises
    ------
    SpecError
        in one line: for a file that cannot be read, is no export, is cut short, has a value of
        another type, holds no kernel, or is too large.
    """
    text = _text(path)
    if not text.strip():
        raise SpecError(f"{path}: empty, expected an export: {KNOWN}")
    export = _trace(path, text) if text.lstrip()[0] in "{[" else _table(path, text)
    if not export.kernels:
        raise SpecError(f"{path}: {export.kind} export without a kernel")
    return export


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise SpecError(_too_large(path))
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = zlib.decompressobj(31).decompress(data, MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise SpecError(_too_large(path))
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 text (byte {error.start}), expected {KNOWN}") from error
    except (OSError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        why = getattr(error, "strerror", None) or error
        raise SpecError(f"{path}: cannot be read ({why})") from error


def _too_large(path: Path) -> str:
    return f"{path}: more than {MOST_BYTES:,} bytes, expected an export of a step or two"


# ---- tables


class _Table(NamedTuple):
    """What tells a kind of table, and makes a kernel of a row; None: the row is none."""

    kind: str
    columns: tuple[str, ...]
    kernel: Callable[["_Row"], KernelRun | None]
    ordered: bool
    units: bool = False
    """The first row has units."""


class _Row(NamedTuple):
    file: Path
    line: int
    cells: Cells
    units: Cells

    def number(self, name: str) -> float:
        """A cell as a number that is not negative; thousands may be told apart by commas."""
        cell = self.cells[name].strip()
        try:
            value = float(cell.replace(",", ""))
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise SpecError(
                f"{self.file}: line {self.line}: {name} is {cell[:40]!r}, expected a number, "
                "0 or more"
            )
        return value

    @property
    def where(self) -> str:
        return f"line {self.line}"


def _launched(row: _Row) -> KernelRun | None:
    if not row.cells["GrdX"].strip():  # a copy or a memset
        return None
    blocks = math.prod(int(row.number(f"Grd{axis}")) for axis in "XYZ")
    us = row.number("Duration (ns)") / 1e3
    return KernelRun(row.cells["Name"].strip(), us, row.where, blocks=blocks)


def _summed(row: _Row) -> KernelRun:
    calls = int(row.number("Instances"))
    us = row.number("Total Time (ns)") / max(1, calls) / 1e3
    return KernelRun(row.cells["Name"].strip(), us, row.where, calls=calls)


_PER_US = {"ns": 1e3, "nsecond": 1e3, "us": 1.0, "usecond": 1.0, "ms": 1e-3, "msecond": 1e-3}


def _counted(row: _Row) -> KernelRun:
    unit = row.units.get(_DURATION, "").strip()
    if unit not in _PER_US:
        raise SpecError(
            f"{row.file}: unit of {_DURATION} is {unit!r}, expected one of {', '.join(_PER_US)}"
        )
    sides = row.cells["Grid Size"].strip().strip("()").split(",")
    if len(sides) != 3 or not all(side.strip().isdecimal() for side in sides):
        told = row.cells["Grid Size"][:40]
        raise SpecError(f"{row.file}: {row.where}: Grid Size is {told!r}, expected (x, y, z)")
    us = row.number(_DURATION) / _PER_US[unit]
    name = row.cells["Kernel Name"].strip()
    return KernelRun(name, us, row.where, blocks=math.prod(map(int, sides)))


_DURATION = "gpu__time_duration.sum"

_TABLES = (
    _Table(
        "nsys cuda_gpu_trace",
        ("Start (ns)", "Duration (ns)", "GrdX", "GrdY", "GrdZ", "Name"),
        _launched,
        ordered=True,
    ),
    _Table(
        "nsys cuda_gpu_kern_sum", ("Total Time (ns)", "Instances", "Name"), _summed, ordered=False
    ),
    _Table("ncu raw", ("Kernel Name", "Grid Size", _DURATION), _counted, ordered=True, units=True),
)


def _table(path: Path, text: str) -> Export:
    """A CSV, before which a profiler may have printed lines of its own."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    kernels: list[KernelRun] = []
    try:
        found, header = _header(path, reader)
        units: Cells = dict(zip(header, next(reader, []), strict=False)) if found.units else {}
        for cells in filter(None, reader):
            if len(cells) != len(header):
                raise SpecError(
                    f"{path}: line {reader.line_num}: {len(cells)} fields, the header has "
                    f"{len(header)}: cut short?"
                )
            row = _Row(path, reader.line_num, dict(zip(header, cells, strict=True)), units)
            if kernel := found.kernel(row):
                kernels.append(kernel)
    except csv.Error as error:
        raise SpecError(f"{path}: line {reader.line_num}: not CSV ({error}): cut short?") from error
    return Export(found.kind, tuple(kernels), found.ordered)


def _header(path: Path, reader: Iterator[list[str]]) -> tuple[_Table, list[str]]:
    for cells in reader:
        header = [cell.strip() for cell in cells]
        for table in _TABLES:
            if {*table.columns} <= {*header}:
                return table, header
        if "Kernel Name" in header and _DURATION not in header:
            raise SpecError(
                f"{path}: an ncu export without {_DURATION}, expected --page raw and that metric"
            )
    raise SpecError(f"{path}: no header of an export that is known, expected {KNOWN}")


# ---- traces


def _trace(path: Path, text: str) -> Export:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}: not JSON ({error}): cut short?") from error
    events = document.get("traceEvents") if isinstance(document, dict) else document
    if not isinstance(events, list):
        raise SpecError(f"{path}: JSON without a list traceEvents, expected a torch trace")
    operations: dict[Any, Mapping[str, Any]] = {}
    found: list[tuple[float, KernelRun]] = []
    for number, event in enumerate(events):
        if not isinstance(event, dict):
            raise SpecError(f"{path}: event {number}: expected an object, found {event!r:.40}")
        told = _Event(path, number, event)
        if event.get("cat") == "cpu_op" and "External id" in told.arguments:
            operations[_key(told)] = event
    for number, event in enumerate(events):
        if event.get("ph") == "X" and str(event.get("cat")).lower() == "kernel":
            told = _Event(path, number, event)
            found.append((told.number("ts"), _kernel(told, operations)))
    found.sort(key=lambda one: one[0])
    return Export("torch trace", tuple(kernel for _, kernel in found), ordered=True)


class _Event(NamedTuple):
    file: Path
    place: int
    event: Mapping[str, Any]

    def number(self, name: str) -> float:
        """A field as a number that is not negative."""
        value = self.event.get(name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        found = float(value) if number and value is not None else math.nan
        if math.isfinite(found) and found >= 0:
            return found
        raise self.fault(f"{name} is {value!r:.40}, expected a number, 0 or more")

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What stands in ``args``."""
        args = self.event.get("args", {})
        if not isinstance(args, dict):
            raise self.fault(f"args is {args!r:.40}, expected an object")
        return args

    def fault(self, problem: str) -> SpecError:
        return SpecError(f"{self.file}: event {self.place}: {problem}")


def _key(event: _Event) -> str:
    return str(event.arguments.get("External id", event.arguments.get("external id")))


def _kernel(event: _Event, operations: Mapping[Any, Mapping[str, Any]]) -> KernelRun:
    name, grid = event.event.get("name"), event.arguments.get("grid")
    if not isinstance(name, str):
        raise event.fault(f"name is {name!r:.40}, expected a text")
    if grid is not None and not (
        isinstance(grid, list) and all(type(side) is int and side > 0 for side in grid)
    ):
        raise event.fault(f"grid is {grid!r:.40}, expected three whole numbers")
    operation = operations.get(_key(event), {})
    arguments = operation.get("args", {})
    called = str(operation.get("name", ""))
    return KernelRun(
        name,
        event.number("dur"),
        f"event {event.place}",
        blocks=None if grid is None else math.prod(grid),
        operation=called,
        size=_size(called, arguments.get("Input Dims")),
    )


_OPERANDS = {
    **dict.fromkeys(("aten::mm", "aten::bmm", "aten::_scaled_mm", "aten::matmul"), (0, 1)),
    **dict.fromkeys(("aten::addmm", "aten::baddbmm", "aten::_addmm_activation"), (1, 2)),
}
"""Where the operands stand among an operation's inputs, the second with K before N."""


def _size(operation: str, dims: Any) -> Size | None:
    """M, N, K and copies by the shapes that an operation was given; None: they do not tell."""
    if operation == "aten::linear" and _shaped(dims, (0, 1)):
        (*rows, k), (n, other) = dims[0], dims[1]
        return (math.prod(rows), n, k, 1) if k == other else None
    places = _OPERANDS.get(operation)
    if places is None or not _shaped(dims, places):
        return None
    (*copies, m, k), (*others, inner, n) = dims[places[0]], dims[places[1]]
    same = k == inner and copies == others
    return (m, n, k, math.prod(copies)) if same else None


def _shaped(dims: Any, places: tuple[int, int]) -> bool:
    if not isinstance(dims, list) or len(dims) <= max(places):
        return False
    return all(
        isinstance(dims[at], list)
        and len(dims[at]) > 1
        and all(type(side) is int and side > 0 for side in dims[at])
        for at in places
    )
