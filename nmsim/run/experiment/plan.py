"""The points of an experiment, all checked before one is run: what each is called, and its key.

A grid is a product, and so are its checks: each distinct machine is resolved once, and each
distinct run (model, recipe, scenario and so on) once, whatever the number of their points.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from nmsim.errors import NmsimError, SpecError
from nmsim.machines import kind_of
from nmsim.registry import unknown_name
from nmsim.run.experiment.fields import RUN
from nmsim.run.experiment.grid import Grid, Values
from nmsim.run.experiment.identity import OF_MACHINE, key_of, machine_digest, run_digest
from nmsim.run.experiment.schema import Experiment, point_of
from nmsim.run.point import Point

__all__ = ["LABELS", "Place", "Plan", "planned"]

LABELS = ("model", "recipe", "pattern", "hardware", "batch", "fidelity", "seed")
"""What every point is told by, whatever is varied."""

_BOTH = ("tp",)
"""Keywords that a machine is checked against too."""


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
    grid = experiment.grid
    varied = tuple(one for one in grid.fields if one.column not in LABELS)
    checks = _Checks(grid)
    places = []
    try:
        for number, values in grid:
            machine, run = checks.machine(values), checks.run(values)
            key = key_of(machine.digest, run.digest, experiment.keep)
            known = (*run.known[:3], machine.name, *run.known[3:])
            places.append(Place(number, key, known, tuple(_told(values[f.name]) for f in varied)))
    except NmsimError as error:
        raise SpecError(f"{where}: {error}") from error
    if not places:
        raise SpecError(f"{where}: when: none of {len(grid)} combinations is a point")
    columns = tuple(one.column for one in varied)
    return Plan(experiment, grid, tuple(places), columns, checks.examples)


def _told(value: Any) -> Any:
    """A value as a cell of a table."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


class _Ran(NamedTuple):
    """A machine, or a run, that was checked: what it hashes to and what it is told by."""

    digest: bytes
    name: str = ""
    known: tuple[Any, ...] = ()


@dataclass
class _Checks:
    """Machines and runs that were checked so far, by the values that make them."""

    grid: Grid
    _done: dict[str, _Ran] = field(default_factory=dict)
    _examples: dict[tuple[str, str], Point] = field(default_factory=dict)

    @property
    def examples(self) -> tuple[Point, ...]:
        """Of every model, recipe and machine the first point that names it, each point once."""
        return tuple({id(point): point for point in self._examples.values()}.values())

    def machine(self, values: Values) -> _Ran:
        """The machine of a point."""
        return self._once("machine", values, self._of_machine, _machine)

    def run(self, values: Values) -> _Ran:
        """What the machine of a point runs."""
        return self._once("run", values, self._of_run, _run)

    def _once(
        self, what: str, values: Values, fields: tuple[str, ...], check: Callable[[Point], _Ran]
    ) -> _Ran:
        key = f"{what} {[values.get(name) for name in fields]!r}"
        if key not in self._done:
            point = point_of(self.grid, values)
            try:
                self._done[key] = check(point)
            except NmsimError as error:
                which = _which(self.grid, fields, values) if what == "run" else ""
                raise SpecError(f"{which}{error}") from error
            for name in ("model", "recipe", "hardware"):
                self._examples.setdefault((name, str(getattr(point, name))), point)
        return self._done[key]

    @property
    def _of_machine(self) -> tuple[str, ...]:
        own = tuple(one.name for one in self.grid.fields if one.path)
        return (*OF_MACHINE, *_BOTH, "fidelity", "sample", *own)

    @property
    def _of_run(self) -> tuple[str, ...]:
        return tuple(name for name in RUN if name not in OF_MACHINE)


def _which(grid: Grid, fields: tuple[str, ...], values: Values) -> str:
    """The values of a point that are to blame, as a message begins; empty where nothing varies."""
    own = [one.name for one in grid.fields if one.name in fields]
    told = ", ".join(f"{name} {_told(values[name])}" for name in own)
    return f"at {told}: " if told else ""


def _machine(point: Point) -> _Ran:
    machine = point.machine
    if point.sample is not None and not kind_of(machine).samples(machine, point.fidelity):
        raise SpecError(f"sample is {point.sample}, expected none: {machine.name} runs all folds")
    return _Ran(machine_digest(point), machine.name)


def _run(point: Point) -> _Ran:
    workload, setting = point.workload, point.setting
    known = [layer.name for layer in workload.layers]
    if workload.trace is None and point.layers != "*" and known:
        _check_layers(point.layers, known)
    missing = sorted(set(point.wanted) - set(workload.scenario.phases))
    if missing:
        raise SpecError(
            f"phase is {missing[0]!r}, expected forward alone in scenario {workload.scenario.name}"
        )
    told = (workload.name, setting.recipe.name, str(setting.pattern), point.samples)
    return _Ran(run_digest(point), "", (*told, point.fidelity, point.seed))


def _check_layers(glob: str, known: list[str]) -> None:
    if not any(fnmatchcase(name, glob) for name in known):
        raise unknown_name("layer", glob, set(known))
