"""From points to what is stored of them: the work of a sweep, as its workers do it.

`outcomes` is all that a sweep asks of whoever runs points, one process or a hundred machines.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nmsim.errors import NmsimError
from nmsim.result import totals
from nmsim.run.experiment.schema import Keep
from nmsim.run.point import Point, rows
from nmsim.run.store import COLUMNS_OF, Outcome

__all__ = ["Chunk", "outcomes"]

Row = Mapping[str, Any]
Cells = tuple[Any, ...]

Chunk = Sequence[tuple[int, Point]]
"""Points with the numbers that a store has for them."""

_PLAIN = frozenset((int, float, str, bool, type(None)))


def outcomes(chunk: Chunk, keep: Keep) -> list[tuple[int, Outcome]]:
    """Run points one after the other; one that raises takes none of the others with it."""
    return [(number, _outcome(point, keep)) for number, point in chunk]


def _outcome(point: Point, keep: Keep) -> Outcome:
    began = time.process_time()
    try:
        found: list[Row] = list(rows(point))
        kept = _KEPT[keep](found)
    except NmsimError as error:
        return Outcome(time.process_time() - began, {}, str(error))
    except (MemoryError, OSError) as error:  # of the machine that it ran on, not of the point
        why = f"{type(error).__name__}: {error}"
        return Outcome(time.process_time() - began, {}, why.rstrip(": "), lost=True)
    except Exception as error:  # noqa: BLE001 - a fault in one point is told, and the others run
        return Outcome(time.process_time() - began, {}, f"{type(error).__name__}: {error}")
    return Outcome(time.process_time() - began, kept)


def _rows(found: list[Row]) -> dict[str, list[Cells]]:
    names = COLUMNS_OF["gemm"]
    return {"gemm": [_cells(row, names) for row in found], **_totals(found)}


def _layers(found: list[Row]) -> dict[str, list[Cells]]:
    """Sums over all phases of each layer, in the order in which layers come first."""
    of_layer: dict[str, list[Row]] = {}
    for row in found:
        of_layer.setdefault(row["layer"], []).append(row)
    names = COLUMNS_OF["layer"]
    summed = ({"layer": name, **totals(own)["all"]} for name, own in of_layer.items())
    return {"layer": [_cells(row, names) for row in summed], **_totals(found)}


def _totals(found: list[Row]) -> dict[str, list[Cells]]:
    """Sums of each phase and of ``all``."""
    names = COLUMNS_OF["total"]
    summed = ({"phase": phase, **total} for phase, total in totals(found).items())
    return {"total": [_cells(row, names) for row in summed]}


_KEPT: Mapping[Keep, Callable[[list[Row]], dict[str, list[Cells]]]] = {
    "rows": _rows,
    "layers": _layers,
    "totals": _totals,
}


def _cells(row: Row, names: Sequence[str]) -> Cells:
    """Values of columns as SQLite takes them: plain ones of Python."""
    values = map(row.get, names)
    return tuple(v if type(v) in _PLAIN else _plain(v) for v in values)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
