"""The points of an experiment, as values of its fields: axes multiplied, some fields derived."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nmsim.errors import SpecError
from nmsim.run.experiment.axes import Axis
from nmsim.run.experiment.expression import Expression
from nmsim.run.experiment.fields import (
    RUN,
    Field,
    default,
    field_named,
    machine_value,
    refuse_twice,
)
from nmsim.run.point import Point

__all__ = ["MOST", "MOST_SEARCHED", "Grid", "Values", "point_of"]

Values = dict[str, Any]
"""Values of an experiment's fields by name: those that it varies or derives, and what is fixed."""

MOST = 10_000_000
"""Points of an experiment before any condition."""

MOST_SEARCHED = 10**18
"""The same where an experiment searches: it looks at some of them."""


@dataclass(frozen=True)
class Grid:
    """All combinations of axes, in their order: the last axis changes fastest.

    Parameters
    ----------
    fixed
        Keywords of the run that have one value.
    axes
        What is varied.
    derived
        Fields that follow from others, in order.
    conditions
        Which combinations are points: those in which all hold.
    """

    fixed: Mapping[str, Any]
    axes: tuple[Axis, ...]
    derived: tuple[tuple[str, Expression], ...] = ()
    conditions: tuple[Expression, ...] = ()

    def __post_init__(self) -> None:
        refuse_twice(self.fields, "vary")
        for field in self.fields:
            if field.name in self.fixed:
                raise SpecError(f"{field.name}: stands in vary or derive too, expected it once")
        _ = self._asked

    def check_size(self, most: int = MOST) -> None:
        """Refuse more combinations than can be looked at.

        Raises
        ------
        SpecError
            with their number.
        """
        many = math.prod(len(axis.values) for axis in self.axes)
        if many > most:
            raise SpecError(f"vary: {many:,} combinations, expected {most:,} at most")

    def __len__(self) -> int:
        """Combinations, those that no condition allows too."""
        return math.prod(len(axis.values) for axis in self.axes)

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """What is varied or derived."""
        varied = [(name, f"vary.{name}") for axis in self.axes for name in axis.names]
        derived = [(name, f"derive.{name}") for name, _ in self.derived]
        return tuple(field_named(name, where) for name, where in (*varied, *derived))

    @cached_property
    def _asked(self) -> tuple[tuple[Field, str], ...]:
        """Fields that expressions read and that nothing varies or fixes."""
        known = {name for axis in self.axes for name in axis.names} | set(self.fixed)
        later = {name for name, _ in self.derived}
        asked: dict[str, tuple[Field, str]] = {}
        expressions = [(f"derive.{name}", one, name) for name, one in self.derived]
        expressions += [(self._said(at), one, "") for at, one in enumerate(self.conditions)]
        for where, expression, makes in expressions:
            for name in expression.fields:
                if name in known or name in asked:
                    continue
                if name in later:
                    raise SpecError(f"{where}: {name} is derived there or below, expected above")
                asked[name] = field_named(name, where), where
            known, later = known | {makes}, later - {makes}
        return tuple(asked.values())

    def _said(self, at: int) -> str:
        return "when" if len(self.conditions) == 1 else f"when[{at}]"

    def __iter__(self) -> Iterator[tuple[int, Values]]:
        """The points: the number of each combination, and its values."""
        for number in range(len(self)):
            values = self.at(number)
            if values is not None:
                yield number, values

    def at(self, number: int) -> Values | None:
        """The values of a combination; None if a condition forbids it."""
        values: Values = dict(self.fixed)
        for axis in reversed(self.axes):
            number, step = divmod(number, len(axis.values))
            values.update(zip(axis.names, axis.values[step], strict=True))
        if not (self.derived or self.conditions):
            return values
        known = dict(values)
        for field, where in self._asked:
            known[field.name] = self.value(field, where, values)
        for name, expression in self.derived:
            known[name] = values[name] = _whole(expression(known))
        return values if all(holds(known) for holds in self.conditions) else None

    def value(self, field: Field, where: str, values: Values) -> Any:
        """What a field is: where nothing varies it, as a run, or the machine's file, has it.

        Parameters
        ----------
        where
            Who asks, for messages.
        values
            Of a combination.
        """
        for own in (field, *self.fields):
            if own.name in values and own in (field, Field(own.name, field.path or own.name)):
                return values[own.name]
        if field.path:
            hardware = values.get("hardware", default("hardware"))
            return machine_value(hardware, field.path, where)
        return default(field.name)


def point_of(grid: Grid, values: Values) -> Point:
    """The point of a grid that has these values."""
    run = {name: value for name, value in values.items() if name in RUN}
    overrides = {field.path: values[field.name] for field in grid.fields if field.path}
    return Point(**run, overrides=overrides)


def _whole(value: Any) -> Any:
    """A derived number as an integer where it is one: fields of integers take no 128.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
