"""The points of an experiment, all checked before one is run: what each is called, and its key.

A grid is a product, and so are its checks: each distinct machine is resolved once, and each
distinct run (model, recipe, scenario and so on) once, whatever the number of their points.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from nmsim.errors import NmsimError, SpecError
from nmsim.machines import kind_of
from nmsim.pattern import Pattern
from nmsim.registry import unknown_name
from nmsim.run.experiment.fields import default
from nmsim.run.experiment.grid import Grid, Values, point_of
from nmsim.run.experiment.identity import (
    OF_MACHINE,
    OF_MASKS,
    OF_REST,
    OF_WORKLOAD,
    key_of,
    machine_digest,
    masks_digest,
    rest_digest,
    workload_digest,
)
from nmsim.run.experiment.schema import Experiment
from nmsim.run.point import Point
from nmsim.run.workload import Workload

__all__ = ["LABELS", "Place", "Plan", "Planner", "planned"]

LABELS = ("model", "recipe", "pattern", "hardware", "batch", "fidelity", "seed")
"""What every point is told by, whatever is varied."""

_DRAWS = 64
"""Combinations that are looked at for one that has a value and is a point."""


class Place(NamedTuple):
    """A point's place in an experiment.

    Parameters
    ----------
    number
        Of its combination in the grid.
    key
        Of what determines it: points with one key are one point.
    known, varied
        What it is told by: values of `LABELS`, and of the other fields that are varied.
    """

    number: int
    key: bytes
    known: tuple[Any, ...]
    varied: tuple[Any, ...]


@dataclass(frozen=True)
class Plan:
    """An experiment whose points are known and can be run.

    Parameters
    ----------
    experiment
        As its file says it.
    grid
        What it varies.
    places
        Its points, in order.
    columns
        What tables of results call the fields that are varied, beside `LABELS`.
    examples
        Of every model, recipe and machine that its points name, the first point that does.
    """

    experiment: Experiment
    grid: Grid
    places: tuple[Place, ...]
    columns: tuple[str, ...]
    examples: tuple[Point, ...]

    def point(self, place: Place) -> Point:
        """The point of a place."""
        values = self.grid.at(place.number)
        assert values is not None, "a place is a point"  # noqa: S101
        return point_of(self.grid, values)


def planned(experiment: Experiment, where: Path | str = "the experiment") -> Plan:
    """Check every point of an experiment and find its key.

    Parameters
    ----------
    where
        What messages name: its file.

    Raises
    ------
    SpecError
        naming the file, and the first field whose value cannot be.
    """
    planner = Planner(experiment, where)
    return planner.plan(planner.grid)


class Planner:
    """Checks points of an experiment as they are asked for.

    Parameters
    ----------
    experiment
        Whose points they are.
    where
        What messages name: its file.
    """

    def __init__(self, experiment: Experiment, where: Path | str = "the experiment") -> None:
        self.experiment, self.grid = experiment, experiment.grid
        self._where = where
        self._checks = _Checks(self.grid)
        self._varied = tuple(one for one in self.grid.fields if one.column not in LABELS)
        self._columns = tuple(one.column for one in self._varied)

    def plan(self, points: Iterable[tuple[int, Values]], before: Sequence[Place] = ()) -> Plan:
        """A plan of points, behind those that were planned before.

        Parameters
        ----------
        points
            Numbers of combinations, and their values.

        Raises
        ------
        SpecError
            naming the file, and the first field whose value cannot be.
        """
        try:
            places = (*before, *(self._place(*point) for point in points))
        except NmsimError as error:
            raise SpecError(f"{self._where}: {error}") from error
        if not places:
            raise SpecError(
                f"{self._where}: when: none of {len(self.grid)} combinations is a point"
            )
        return Plan(self.experiment, self.grid, places, self._columns, self._checks.examples)

    def covering(self) -> Plan:
        """A plan of few points in which each value of each axis stands, where a point has it.

        What is searched is checked by it: a mistake in one value is told before any point is run.
        """
        draw = random.Random(0)  # noqa: S311 - which points stand for a value is no secret
        found: dict[int, Values] = {}
        stride = 1
        for axis in reversed(self.grid.axes):
            for step in range(len(axis.values)):
                found |= self._with(step, stride, len(axis.values), draw)
            stride *= len(axis.values)
        return self.plan(found.items() or islice(self.grid, 1))

    def _with(self, step: int, stride: int, size: int, draw: random.Random) -> dict[int, Values]:
        """A combination with a value of an axis that is a point, if one is drawn."""
        number = 0
        for _ in range(_DRAWS):
            whole = stride * size
            number = number - number % whole + step * stride + number % stride
            values = self.grid.at(number)
            if values is not None:
                return {number: values}
            number = draw.randrange(len(self.grid))
        return {}

    def _place(self, number: int, values: Values) -> Place:
        checks = self._checks
        parts = {what: checks.part(what, values) for what in _PARTS}
        workload = parts["workload"].workload
        assert workload is not None, "its part has one"  # noqa: S101
        samples, phases = checks.together(workload, values)
        digests = [part.digest for part in parts.values()]
        key = key_of(digests, samples, phases, self.experiment.keep)
        names = (parts["workload"].name, parts["masks"].name, _pattern(values))
        said = (values.get("fidelity", "cycle"), values.get("seed", 0))
        known = (*names, parts["machine"].name, samples, *said)
        varied = tuple(_told(values[field.name]) for field in self._varied)
        for name, value in zip((*LABELS, *self._columns), (*known, *varied), strict=True):
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise SpecError(f"{name} is {value}, expected an integer of 64 bits")
        return Place(number, key, known, varied)


@lru_cache(maxsize=1024)
def _spelt(pattern: Any) -> str:
    return str(Pattern.parse(pattern))


def _pattern(values: Values) -> str:
    return _spelt(values.get("pattern", default("pattern")))


def _told(value: Any) -> Any:
    """A value as a cell of a table."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


class _Part(NamedTuple):
    """A part of a point that was checked: what it hashes to, and what is known of it then."""

    digest: bytes
    name: str = ""
    workload: Workload | None = None


class _Checks:
    """Parts of points that were checked so far, by the values of the varied fields that make them.

    Parameters
    ----------
    grid
        Whose points they are.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._done: dict[str, dict[str, _Part]] = {what: {} for what in _PARTS}
        self._joint: set[str] = set()
        self._examples: dict[tuple[str, str], Point] = {}
        own = tuple(field.name for field in grid.fields if field.path)
        varied = {field.name for field in grid.fields}
        self._fields = {
            what: tuple(
                name for name in (*of, *(own if what == "machine" else ())) if name in varied
            )
            for what, (of, _) in _PARTS.items()
        }

    @property
    def examples(self) -> tuple[Point, ...]:
        """Of every model, recipe and machine the first point that names it, each point once."""
        return tuple({id(point): point for point in self._examples.values()}.values())

    def part(self, what: str, values: Values) -> _Part:
        """A part of a point, checked once."""
        fields = self._fields[what]
        key = repr([values[name] for name in fields]) if fields else ""
        done = self._done[what]
        if key not in done:
            point = point_of(self._grid, values)
            try:
                done[key] = _PARTS[what][1](point)
            except NmsimError as error:
                which = "" if what == "machine" else _which(fields, values)
                raise SpecError(f"{which}{error}") from error
            for name in ("model", "recipe", "hardware"):
                self._examples.setdefault((name, str(getattr(point, name))), point)
        return done[key]

    def together(self, workload: Workload, values: Values) -> tuple[int, tuple[str, ...]]:
        """Samples and phases of a point, held against its layers: what no part says alone."""
        batch, phases = values.get("batch"), values.get("phases") or ()
        samples = workload.default_batch if batch is None else int(batch)
        phases = (phases,) if isinstance(phases, str) else tuple(phases)
        wanted = phases or workload.scenario.phases
        layers, passes = values.get("layers", "*"), values.get("micro_batches", 1)
        if layers != "*" or phases or passes != 1:
            key = f"{id(workload)} {layers} {wanted} {passes} {samples}"
            if key not in self._joint:
                _check_together(point_of(self._grid, values), workload)
                self._joint.add(key)
        return samples, wanted


def _which(fields: tuple[str, ...], values: Values) -> str:
    """The values of a point that are to blame, as a message begins; empty where nothing varies."""
    told = ", ".join(f"{name} {_told(values[name])}" for name in fields)
    return f"at {told}: " if told else ""


def _machine(point: Point) -> _Part:
    machine = point.machine
    if point.sample is not None and not kind_of(machine).samples(machine, point.fidelity):
        raise SpecError(f"sample is {point.sample}, expected none: {machine.name} runs all folds")
    return _Part(machine_digest(point), machine.name)


def _workload(point: Point) -> _Part:
    workload = point.workload
    return _Part(workload_digest(point), workload.name, workload)


def _masks(point: Point) -> _Part:
    return _Part(masks_digest(point), point.setting.recipe.name)


def _rest(point: Point) -> _Part:
    return _Part(rest_digest(point))


_PARTS: dict[str, tuple[tuple[str, ...], Callable[[Point], _Part]]] = {
    "machine": ((*OF_MACHINE, "fidelity", "sample"), _machine),
    "workload": (OF_WORKLOAD, _workload),
    "masks": (OF_MASKS, _masks),
    "rest": (OF_REST, _rest),
}
"""Parts of a point: the keywords that each is made of, and its check."""


def _check_together(point: Point, workload: Workload) -> None:
    known = [layer.name for layer in workload.layers]
    if known and not any(fnmatchcase(name, point.layers) for name in known):
        raise unknown_name("layer", point.layers, set(known))
    missing = sorted(set(point.wanted) - set(workload.scenario.phases))
    if missing:
        raise SpecError(
            f"phase is {missing[0]!r}, expected forward alone in scenario {workload.scenario.name}"
        )
    _ = point.at_once
