"""The file of an experiment: lists of a run's keywords, and what else it varies."""

import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import BeforeValidator, Field, create_model, field_validator, model_validator

from nmsim.errors import NmsimError, SpecError
from nmsim.pattern import Pattern, PatternField
from nmsim.run.experiment.axes import Axis, axes
from nmsim.run.experiment.expression import Expression, parse
from nmsim.run.experiment.fields import RUN, default
from nmsim.run.experiment.grid import MOST, MOST_SEARCHED, Grid, point_of
from nmsim.run.experiment.search import Judge, Search
from nmsim.run.keyword import REQUIRED, Declared, keywords
from nmsim.run.point import Point
from nmsim.spec import Spec, read_yaml, validate

__all__ = ["Experiment", "Keep", "read_experiment", "with_keywords"]

S = TypeVar("S", bound=Spec)

Keep = Literal["rows", "layers", "totals"]

SWEPT = tuple(one for one in keywords(Point) if not one.keyword.apart)
"""The keywords that an experiment sets: a list of each, or one value for all points."""

LISTED = {one.name: one.keyword.lists for one in SWEPT if one.keyword.lists}
"""What an experiment calls its lists of these keywords."""

_PATHS = frozenset(
    name for name, one in RUN.items() if any(Path in (k, *get_args(k)) for k in get_args(one.type))
)
"""Keywords whose values may be paths, which start at the experiment's folder."""


def with_keywords(cls: type[S]) -> type[S]:
    """A schema with a field for every keyword that an experiment sets, and one for its list."""
    made: dict[str, Any] = {}
    for one in SWEPT:
        if one.keyword.lists:
            made[one.keyword.lists] = _list_field(one)
        if one.keyword.lists != one.name:
            made[one.name] = _field(one)
    return create_model(
        cls.__name__, __base__=cls, __doc__=cls.__doc__, __module__=cls.__module__, **made
    )


def _list_field(one: Declared) -> tuple[Any, Any]:
    kind: Any = tuple[_entry(one), ...]  # type: ignore[misc]
    if one.keyword.lists == one.name:  # hardware: one, or several
        kind = Annotated[kind, BeforeValidator(_several)]
    listed = one.keyword.listed or None
    return kind, Field(listed, min_length=1, description=one.keyword.meaning)


def _field(one: Declared) -> tuple[Any, Any]:
    several = isinstance(one.default, tuple)
    kind: Any = tuple[_entry(one), ...] if several else _entry(one)  # type: ignore[misc]
    if one.keyword.lists:  # one value, where the list has several
        kind = Annotated[kind, BeforeValidator(_one_of(one.keyword.lists))]
    least = 1 if several else None
    return kind, Field(_default(one), min_length=least, description=one.keyword.meaning)


def _default(one: Declared) -> Any:
    return None if one.default is REQUIRED else one.default


def _several(said: Any) -> Any:
    """A list of what may also stand alone."""
    return (said,) if isinstance(said, str) else said


def _one_of(lists: str) -> Callable[[Any], Any]:
    def check(said: Any) -> Any:
        if isinstance(said, list | tuple):
            raise ValueError(f"expected one value; did you mean {lists!r}?")  # noqa: TRY004
        return said

    return check


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
    """A sweep: every combination of its lists, and of what it varies."""

    title: str = Field(description="headline of the report")
    question: str = Field("", description="what the sweep is to answer")
    vary: Mapping[str, Any] = Field(
        default_factory=dict,
        description="fields and their values, all combined: keywords of a run, or fields of its "
        "machine by dotted path (hardware.FIELD where a run owns the name too); a list, a range "
        "{from, to, step} or {from, to, points, scale: linear|log}, its text `64..256 step 64`; "
        "zip: a list of fields and values that change together",
    )
    derive: Mapping[str, Any] = Field(
        default_factory=dict, description="fields that follow from others: expressions by field"
    )
    when: Annotated[tuple[str, ...], BeforeValidator(_several)] = Field(
        (), description="conditions that hold for every point: comparisons over fields"
    )
    keep: Keep = Field(
        "rows", description="what is stored of a point: a row a GEMM, a layer, or a phase"
    )
    search: Search | None = Field(
        None,
        description="in place of all combinations: trials, objectives, constraints, sampler, seed",
    )

    @field_validator("*")
    @classmethod
    def _no_repeats(cls, values: Any) -> Any:
        if isinstance(values, tuple) and len(set(values)) < len(values):
            raise ValueError("expected each entry once")
        return values

    @model_validator(mode="after")
    def _is_a_grid(self) -> "Experiment":
        grid = self.grid
        grid.check_size(MOST_SEARCHED if self.search else MOST)
        if self.search:
            Judge(self.search, grid)
        return self

    @property
    def grid(self) -> Grid:
        """What it varies, as axes: first its lists, then what stands in ``vary``."""
        varied = axes(self.vary)
        derived = tuple((name, parse(str(e), f"derive.{name}")) for name, e in self.derive.items())
        named = {name for axis in varied for name in axis.names} | {name for name, _ in derived}
        fixed = self._fixed(named)
        lists = self._lists(named | set(fixed))
        fixed |= {name: values[0] for name, values in lists.items() if len(values) == 1}
        several = [
            Axis((name,), tuple((value,) for value in values))
            for name, values in lists.items()
            if len(values) > 1
        ]
        return Grid(fixed, (*several, *varied), derived, self._conditions())

    def _conditions(self) -> tuple[Expression, ...]:
        alone = len(self.when) == 1
        where = ["when" if alone else f"when[{at}]" for at in range(len(self.when))]
        return tuple(parse(text, said) for text, said in zip(self.when, where, strict=True))

    @property
    def _says_one(self) -> bool:
        """Whether it says keywords as a run does, so that what it leaves out is as in a run."""
        return bool(self.vary) or any(
            name in self.model_fields_set for name, lists in LISTED.items() if name != lists
        )

    def _fixed(self, named: set[str]) -> dict[str, Any]:
        """Keywords with one value for all points, that of lists too."""
        shared = [one.name for one in SWEPT if one.name not in LISTED]
        twice = named & self.model_fields_set
        fixed = {one: getattr(self, one) for one in shared if one not in named or one in twice}
        for name, lists in LISTED.items():
            if name != lists and name in self.model_fields_set:
                if lists in self.model_fields_set:
                    raise SpecError(f"{name}: {lists} is said too, expected one of them")
                fixed[name] = getattr(self, name)
        return fixed

    def _lists(self, said: set[str]) -> dict[str, tuple[Any, ...]]:
        """Values of the keywords that have lists, in the order of a run's keywords.

        Parameters
        ----------
        said
            Keywords whose values stand elsewhere, unless they are listed too.
        """
        found: dict[str, tuple[Any, ...]] = {}
        for name, lists in LISTED.items():
            if lists in self.model_fields_set:
                found[name] = getattr(self, lists)
            elif name not in said:
                found[name] = self._unsaid(name)
        missing = [name if self._says_one else LISTED[name] for name in found if not found[name]]
        if missing:
            *most, last = missing
            raise SpecError(
                f"{', '.join(most)} and {last} are missing" if most else f"{last} is missing"
            )
        return found

    def _unsaid(self, name: str) -> tuple[Any, ...]:
        """What a keyword that has a list is where the file names none; empty: it must."""
        if not self._says_one:
            return tuple(getattr(self, LISTED[name]) or ())
        return () if name == "model" else (default(name),)


def read_experiment(path: Path) -> Experiment:
    """Read a sweep; paths in it are relative to its file.

    Raises
    ------
    SpecError, UnknownName
        for a file that does not describe a sweep, or an entry that does not exist.
    """
    experiment = validate(Experiment, read_yaml(path), str(path))

    def beside(said: Any, there: Callable[[Path], bool] = Path.is_file) -> Any:
        if isinstance(said, tuple | list):
            return type(said)(beside(one, there) for one in said)
        if not isinstance(said, str):
            return said
        try:
            return str(path.parent / said) if there(path.parent / said) else said
        except OSError:  # too long for a file's name, or in a folder that may not be read
            return said

    names = {
        field: beside(getattr(experiment, field))
        for name in _PATHS
        for field in {name, LISTED.get(name, name)} & set(Experiment.model_fields)
    }
    names["plugins"] = beside(experiment.plugins, Path.exists)  # type: ignore[attr-defined]
    names["vary"] = {name: _varied(name, said, beside) for name, said in experiment.vary.items()}
    said = experiment.model_fields_set
    found = experiment.model_copy(update={n: value for n, value in names.items() if n in said})
    try:
        _check_first(found.grid)
    except NmsimError as error:
        raise SpecError(f"{path}: {error}") from error
    return found


def _check_first(grid: Grid) -> None:
    """Refuse what no point can be; each point is checked when all are planned."""
    for _, values in grid:
        point_of(grid, values)
        return
    raise SpecError(f"when: none of {len(grid)} combinations is a point")


def _varied(name: str, said: Any, beside: Callable[[Any], Any]) -> Any:
    """Values of ``vary`` with their paths from the experiment's folder."""
    if name in _PATHS:
        return beside(said)
    if name != "zip":
        return said
    if isinstance(said, Mapping):
        return {field: _varied(field, one, beside) for field, one in said.items()}
    return [{field: _varied(field, one, beside) for field, one in entry.items()} for entry in said]
