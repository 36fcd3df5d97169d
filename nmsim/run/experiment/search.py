"""What an experiment looks for, where it searches its fields instead of running all of them."""

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from nmsim.errors import NmsimError, SpecError
from nmsim.result import ENERGY_COLUMNS, totals
from nmsim.run.experiment.expression import Expression, parse
from nmsim.run.experiment.fields import Field as OfRun
from nmsim.run.experiment.fields import field_named
from nmsim.run.experiment.figures import FIGURES
from nmsim.run.experiment.grid import Grid, point_of
from nmsim.spec import Spec

__all__ = ["Judge", "Search", "Verdict"]

TOTALS = frozenset(totals(())["all"])
"""Sums of a point that objectives and constraints may name, beside `FIGURES`; other names are
fields."""

_PRICED = frozenset(column.name for column in ENERGY_COLUMNS)
"""Sums that there are where `cost` is asked for."""

Direction = Literal["maximize", "minimize"]


def _several(said: Any) -> Any:
    """A list of what may also stand alone."""
    return (said,) if isinstance(said, str) else said


class Search(Spec):
    """How many points of an experiment are tried, chosen by whom, and what makes one better."""

    sampler: Literal["nsga2", "tpe"] = Field("nsga2", description="who chooses the next points")
    trials: int = Field(ge=1, le=1_000_000, description="points that are tried, no one twice")
    seed: int = Field(0, ge=0, description="of the sampler: equal seeds try equal points")
    objectives: Mapping[str, Direction] = Field(
        min_length=1,
        description="what is wanted: sums of a point (columns of the view `points`), its "
        f"{', '.join(FIGURES)}, or expressions over these and over fields, each maximize or "
        "minimize",
    )
    constraints: Annotated[tuple[str, ...], BeforeValidator(_several)] = Field(
        (), description="conditions over the same that a point of the front must hold"
    )

    @model_validator(mode="after")
    def _can_be_read(self) -> "Search":
        for _ in self.expressions:
            pass
        return self

    @property
    def expressions(self) -> Iterator[tuple[str, Expression]]:
        """All of its expressions, objectives first, and where each is said."""
        for text in self.objectives:
            yield f"search.objectives.{text}", parse(text, f"search.objectives.{text}")
        for at, text in enumerate(self.constraints):
            where = f"search.constraints[{at}]"
            yield where, parse(text, where)


class Verdict(NamedTuple):
    """What a search makes of a point.

    Parameters
    ----------
    values
        Of the objectives, in order; none: the point has not all of them.
    violated
        Whether each constraint is.
    reason
        Why there are no values.
    lost
        Whether that is not the point's own doing: it is to be run again.
    """

    values: tuple[float, ...] = ()
    violated: tuple[bool, ...] = ()
    reason: str = ""
    lost: bool = False


@dataclass(frozen=True)
class Judge:
    """Objectives and constraints of a search over a grid.

    Raises
    ------
    SpecError
        for a name that is neither a sum nor a field, naming where it stands.
    """

    search: Search
    grid: Grid

    def __post_init__(self) -> None:
        _ = self._fields
        if self.grid.fixed.get("cost") is False:
            for where, expression in self.search.expressions:
                for name in _PRICED & set(expression.fields):
                    raise SpecError(f"{where}: {name} is told where cost is true, which is false")

    @cached_property
    def _expressions(self) -> tuple[Expression, ...]:
        return tuple(expression for _, expression in self.search.expressions)

    @cached_property
    def _fields(self) -> dict[str, OfRun]:
        """Fields that its expressions name."""
        return {
            name: field_named(name, where)
            for where, expression in self.search.expressions
            for name in expression.fields
            if name not in TOTALS and name not in FIGURES
        }

    @cached_property
    def _figures(self) -> frozenset[str]:
        """Figures that they name."""
        named = {name for one in self._expressions for name in one.fields}
        return frozenset(named & set(FIGURES))

    def __call__(self, number: int, found: Mapping[str, Any]) -> Verdict:
        """Judge a point by the number of its combination, and its row of the view ``points``."""
        if found["status"] != "done":
            return Verdict(reason=str(found["reason"]), lost=found["status"] == "lost")
        try:
            known = self._known(number, found)
            results = [expression(known) for expression in self._expressions]
            wanted = len(self.search.objectives)
            values = tuple(map(_number, self.search.objectives, results[:wanted]))
        except NmsimError as error:  # of this point: the search goes on without it
            return Verdict(reason=str(error))
        return Verdict(values, tuple(not holds for holds in results[wanted:]))

    def _known(self, number: int, found: Mapping[str, Any]) -> dict[str, Any]:
        """What its expressions may name, of a point."""
        known = {name: found.get(name) for name in TOTALS}
        values = self.grid.at(number) or {}
        for name, field in self._fields.items():
            known[name] = self.grid.value(field, "search", values)
        if self._figures:
            point = point_of(self.grid, values)
            known |= {name: FIGURES[name](point) for name in self._figures}
        return known

    def check_first(self, verdicts: list[Verdict]) -> None:
        """Refuse objectives of which no point has one: nothing can be found.

        Raises
        ------
        SpecError
            with the first reason.
        """
        if verdicts and not any(one.values for one in verdicts):
            raise SpecError(
                f"search: none of {len(verdicts)} points has its objectives, the first: "
                f"{verdicts[0].reason}"
            )


def _number(objective: str, value: Any) -> float:
    """The value of an objective as a sampler takes it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):  # of an integer beyond all floats
            if math.isfinite(value):
                return float(value)
    told = "null" if value is None else repr(value)[:40]
    raise SpecError(f"objective {objective} is {told}, expected a number")
