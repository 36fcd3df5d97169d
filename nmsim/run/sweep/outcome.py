"""From points to what is stored of them: the work of a sweep, as its workers do it.

`outcomes` is all that a sweep asks of whoever runs points, one process or a hundred machines.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nmsim.errors import NmsimError
from nmsim.jit.loading import no_garbage
from nmsim.result import Columns, totals_of
from nmsim.run.experiment.schema import Keep
from nmsim.run.point import Point, tables
from nmsim.run.store import COLUMNS_OF, Outcome

__all__ = ["Chunk", "outcomes"]

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
        with no_garbage():  # a point leaves little, and to look for it takes a third of its time
            kept = _KEPT[keep](_joined(list(tables(point))))
    except NmsimError as error:
        return Outcome(time.process_time() - began, {}, str(error))
    except (MemoryError, OSError) as error:  # of the machine that it ran on, not of the point
        why = f"{type(error).__name__}: {error}"
        return Outcome(time.process_time() - began, {}, why.rstrip(": "), lost=True)
    except Exception as error:  # noqa: BLE001 - a fault in one point is told, and the others run
        return Outcome(time.process_time() - began, {}, f"{type(error).__name__}: {error}")
    return Outcome(time.process_time() - began, kept)


def _joined(parts: Sequence[Columns]) -> Columns:
    """All rows of a point, column by column."""
    if len(parts) == 1:
        return parts[0]
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def _rows(found: Columns) -> dict[str, list[Cells]]:
    return {"gemm": _cells(found, COLUMNS_OF["gemm"]), **_totals(found)}


def _layers(found: Columns) -> dict[str, list[Cells]]:
    """Sums over all phases of each layer, in the order in which layers come first."""
    of_layer: dict[str, list[int]] = {}
    for place, name in enumerate(found["layer"]):
        of_layer.setdefault(name, []).append(place)
    summed = [
        {"layer": name, **totals_of(_some(found, places))["all"]}
        for name, places in of_layer.items()
    ]
    return {"layer": _rows_of(summed, COLUMNS_OF["layer"]), **_totals(found)}


def _some(found: Columns, places: Sequence[int]) -> Columns:
    return {name: [values[place] for place in places] for name, values in found.items()}


def _totals(found: Columns) -> dict[str, list[Cells]]:
    """Sums of each phase and of ``all``."""
    summed = [{"phase": phase, **total} for phase, total in totals_of(found).items()]
    return {"total": _rows_of(summed, COLUMNS_OF["total"])}


_KEPT: Mapping[Keep, Callable[[Columns], dict[str, list[Cells]]]] = {
    "rows": _rows,
    "layers": _layers,
    "totals": _totals,
}


def _rows_of(summed: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Cells]:
    return _cells({name: [one.get(name) for one in summed] for name in names}, names)


def _cells(found: Columns, names: Sequence[str]) -> list[Cells]:
    """Rows of some columns as SQLite takes them: plain values of Python."""
    none: Sequence[Any] = [None] * len(next(iter(found.values())))
    return list(zip(*(_plain(found.get(name, none)) for name in names), strict=True))


def _plain(values: Sequence[Any]) -> Sequence[Any]:
    if _PLAIN.issuperset(map(type, values)):
        return values
    return [
        one if type(one) in _PLAIN else one.item() if hasattr(one, "item") else str(one)
        for one in values
    ]
