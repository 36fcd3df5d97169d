"""A sweep: every combination of an experiment's lists, run as points.

How points are executed is an executor that is passed in, in the manner of ``concurrent.futures``.
"""

import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import Field, create_model, field_validator

from nmsim.errors import NmsimError, SpecError
from nmsim.pattern import Pattern, PatternField
from nmsim.run.keyword import Declared, keywords
from nmsim.run.point import Point, point_rows
from nmsim.spec import Spec, read_yaml, validate

__all__ = ["Experiment", "read_experiment", "run", "with_keywords"]

Row = dict[str, Any]
S = TypeVar("S", bound=Spec)

SWEPT = tuple(one for one in keywords(Point) if not one.keyword.apart)
"""The keywords that an experiment sets: a list of each, or one value for all points."""

_FILES = [
    one.keyword.lists or one.name
    for one in SWEPT
    if any(Path in (kind, *get_args(kind)) for kind in get_args(one.type))
]
"""Lists of an experiment whose entries may be paths."""


def with_keywords(cls: type[S]) -> type[S]:
    """A schema with a field for every keyword that an experiment sets."""
    made: dict[str, Any] = {one.keyword.lists or one.name: _field(one) for one in SWEPT}
    return create_model(
        cls.__name__, __base__=cls, __doc__=cls.__doc__, __module__=cls.__module__, **made
    )


def _field(one: Declared) -> tuple[Any, Any]:
    keyword, default = one.keyword, one.default
    if keyword.lists:
        default = keyword.listed or ...
    several = keyword.lists or isinstance(default, tuple)
    kind = tuple[_entry(one), ...] if several else _entry(one)  # type: ignore[misc]
    least = 1 if several else None
    return kind, Field(default, min_length=least, description=keyword.meaning)


def _entry(one: Declared) -> Any:
    """What YAML may hold for one value of a keyword."""
    kinds = get_args(one.type) or (one.type,)
    if one.keyword.choices:
        return operator.getitem(Literal, one.keyword.choices)
    if one.keyword.least is not None:
        number = Annotated[int, Field(ge=one.keyword.least)]
        return number if one.keyword.lists else number | None
    if Pattern in kinds:
        return PatternField
    if str in kinds or str in get_args(kinds[0]):
        return str | None if NoneType in kinds else str
    return one.type


@with_keywords
class Experiment(Spec):
    """A sweep: every combination of the lists."""

    title: str = Field(description="headline of the report")
    question: str = Field("", description="what the sweep is to answer")

    @field_validator("*")
    @classmethod
    def _no_repeats(cls, values: Any) -> Any:
        if isinstance(values, tuple) and len(set(values)) < len(values):
            raise ValueError("expected each entry once")
        return values

    def points(self) -> list[Point]:
        """The combinations, in the order of the lists."""
        shared = {one.name: getattr(self, one.name) for one in SWEPT if not one.keyword.lists}
        lists = {one.name: getattr(self, one.keyword.lists) for one in SWEPT if one.keyword.lists}
        return [
            Point(**dict(zip(lists, values, strict=True)), **shared)
            for values in itertools.product(*lists.values())
        ]


def read_experiment(path: Path) -> Experiment:
    """Read a sweep; paths in it are relative to its file.

    Raises
    ------
    SpecError, UnknownName
        for a file that does not describe a sweep, or an entry that does not exist.
    """
    experiment = validate(Experiment, read_yaml(path), str(path))

    def beside(name: str, there: Callable[[Path], bool] = Path.is_file) -> str:
        try:
            return str(path.parent / name) if there(path.parent / name) else name
        except OSError:  # too long for a file's name, or in a folder that may not be read
            return name

    names = {name: tuple(map(beside, getattr(experiment, name))) for name in _FILES}
    names["plugins"] = tuple(beside(one, Path.exists) for one in names["plugins"])  # folders too
    found = experiment.model_copy(update=names)
    try:
        found.points()
    except NmsimError as error:
        raise SpecError(f"{path}: {error}") from error
    return found


def run(points: Sequence[Point], executor: Executor) -> Iterator[tuple[Point, list[Row]]]:
    """Simulate points: all are submitted at once, each comes with its rows as it finishes.

    Rows name the point that they belong to: model, recipe, pattern, batch, fidelity and seed.
    """
    return _finished({executor.submit(point_rows, point): point for point in points})


def _finished(futures: Mapping[Future[list[Row]], Point]) -> Iterator[tuple[Point, list[Row]]]:
    for future in as_completed(futures):
        yield futures[future], future.result()
