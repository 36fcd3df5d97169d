"""What an experiment looks for, where it searches its fields instead of running all of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from nmsim.errors import SpecError
from nmsim.result import totals
from nmsim.run.experiment.expression import Expression, parse
from nmsim.run.experiment.fields import Field as OfRun
from nmsim.run.experiment.fields import field_named
from nmsim.run.experiment.grid import Grid
from nmsim.spec import Spec

__all__ = ["Judge", "Search", "Verdict"]

TOTALS = frozenset(totals(())["all"])
"""Sums of a point that objectives and constraints may name; all other names are fields."""

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
        description="what is wanted: sums of a point (columns of the view `points`), or "
        "expressions over these and over fields, each maximize or minimize",
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
    """

    values: tuple[float, ...] = ()
    violated: tuple[bool, ...] = ()
    reason: str = ""


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
            if name not in TOTALS
        }

    def __call__(self, number: int, found: Mapping[str, Any]) -> Verdict:
        """Judge a point by the number of its combination, and its row of the view ``points``."""
        if found["status"] != "done":
            return Verdict(reason=str(found["reason"]))
        known = {name: found[name] for name in TOTALS if name in found}
        values = self.grid.at(number) or {}
        for name, field in self._fields.items():
            known[name] = self.grid.value(field, "search", values)
        results = [expression(known) for expression in self._expressions]
        wanted = len(self.search.objectives)
        for text, value in zip(self.search.objectives, results, strict=False):
            if isinstance(value, bool) or not isinstance(value, int | float):
                told = "null" if value is None else repr(value)[:40]
                return Verdict(reason=f"objective {text} is {told}, expected a number")
        return Verdict(
            tuple(map(float, results[:wanted])), tuple(not holds for holds in results[wanted:])
        )

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
