"""Keywords of a run: declared once, as annotated fields of a dataclass, and met in many places.

``hardware: Annotated[str | Path, Keyword("A machine.")] = "ideal"`` is all that is written of one.
Python's functions (`taking`), the command line and the file of an experiment read it from there.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import lru_cache, wraps
from numbers import Integral
from textwrap import indent, wrap
from typing import Annotated, Any, NamedTuple, ParamSpec, TypeVar, get_args, get_origin
from typing import get_type_hints as hints_of

from nmsim.errors import SpecError
from nmsim.registry import unknown_name

__all__ = ["REQUIRED", "Declared", "Keyword", "check", "keywords", "taking"]

REQUIRED = MISSING
"""The default of a keyword that must be given."""

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class Keyword:
    """What is said of a keyword wherever it is met.

    Parameters
    ----------
    meaning
        For Python's docstrings, ``--help`` and the schema of an experiment alike.
    also
        What Python takes beside what can be typed: "or a Recipe".
    option, metavar
        On the command line, where they are not the keyword's own name and its type's.
    choices
        Names that there are; empty: any.
    least, expected
        The smallest integer that it may be, and how that is said where it has a unit.
    lists
        What an experiment calls its list of values; empty: it has one for all points.
    listed
        The list of an experiment that gives none, of which None is what the keyword says it is;
        empty: it must give one.
    apart
        Why no experiment sets it; empty: one does.
    """

    meaning: str
    also: str = ""
    option: str = ""
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    least: int | None = None
    expected: str = ""
    lists: str = ""
    listed: tuple[Any, ...] = ()
    apart: str = ""


class Declared(NamedTuple):
    """A keyword as its dataclass declares it: its name, its type and its default."""

    name: str
    keyword: Keyword
    type: Any
    default: Any

    @property
    def option(self) -> str:
        """What the command line calls it, and a message one of its values: "phase" of phases."""
        return self.keyword.option or self.name.replace("_", "-")


@lru_cache
def keywords(kind: Any) -> tuple[Declared, ...]:
    """The keywords that a dataclass declares, in its order.

    Raises
    ------
    TypeError
        for a field without a ``Keyword``.
    """
    hints = hints_of(kind, include_extras=True)
    return tuple(_declared(one, hints[one.name]) for one in fields(kind))


def _declared(field: Field[Any], hint: Any) -> Declared:
    if get_origin(hint) is Annotated:
        plain, *said = get_args(hint)
        for keyword in said:
            if isinstance(keyword, Keyword):
                return Declared(field.name, keyword, plain, _default(field))
    raise TypeError(f"field {field.name!r} has no Keyword")


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def check(run: Any) -> None:
    """Hold the values of a dataclass to what its keywords allow.

    Raises
    ------
    SpecError, UnknownName
        naming the keyword, its value and what was expected.
    """
    for one in keywords(run.__class__):
        value = getattr(run, one.name)
        if one.keyword.least is not None and not (value is None and one.default is None):
            _check_integer(one, value, one.keyword.least)
        if one.keyword.choices:
            several = isinstance(one.default, tuple) and not isinstance(value, str)
            for name in value if several else (value,):
                if name not in one.keyword.choices:
                    raise unknown_name(one.option, str(name), one.keyword.choices)


def _check_integer(one: Declared, value: Any, least: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        expected = one.keyword.expected or f"an integer of {least} or more"
        raise SpecError(f"{one.name} is {value!r}, expected {expected}")


def taking(made: Callable[P, T]) -> Callable[[Callable[[T], R]], Callable[P, R]]:
    """Turn a function of one value into a function of the keywords that the value is made of.

    Parameters
    ----------
    made
        A dataclass of keywords. The function gets its signature, and its keywords' meanings as a
        section of the docstring.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Room:
    ...     width: Annotated[int, Keyword("In metres.")] = 4
    >>> @taking(Room)
    ... def area(room: Room) -> int:
    ...     "Square metres."
    ...     return room.width**2
    >>> area(width=3), inspect.signature(area)
    (9, <Signature (width: int = 4) -> int>)
    >>> area.__doc__.splitlines()[-2:]
    ['width : int, default 4', '    In metres.']
    """

    def turn(function: Callable[[T], R]) -> Callable[P, R]:
        signature = _signature(made)

        @wraps(function)
        def call(*args: P.args, **given: P.kwargs) -> R:
            _check_given(function.__name__, signature, args, given)
            return function(made(*args, **given))

        returned = inspect.signature(function).return_annotation
        vars(call)["__signature__"] = signature.replace(return_annotation=returned)
        call.__doc__ = _documented(inspect.getdoc(function) or "", made)
        return call

    return turn


def _check_given(
    name: str, signature: inspect.Signature, args: Sequence[Any], given: Mapping[str, Any]
) -> None:
    """Refuse keywords that there are not, and values without a keyword, in one line."""
    for keyword in given:
        if keyword not in signature.parameters:
            raise SpecError(f"{name}: {unknown_name('keyword', keyword, signature.parameters)}")
    try:
        signature.bind(*args, **given)
    except TypeError as error:
        raise SpecError(f"{name}: {error}") from None


def _signature(made: Any) -> inspect.Signature:
    known = {one.name: one for one in keywords(made)}
    signature = inspect.signature(made)
    return signature.replace(
        parameters=[
            parameter.replace(
                annotation=known[name].type,
                default=parameter.empty if known[name].default is REQUIRED else known[name].default,
            )
            for name, parameter in signature.parameters.items()
        ]
    )


def _documented(text: str, made: Any) -> str:
    """A docstring with the section of parameters, before its first section."""
    head, *rest = re.split(r"\n(?=\w+\n---)", text, maxsplit=1)
    section = ["Parameters", "----------"]
    for one in keywords(made):
        default = "" if one.default is REQUIRED else f", default {one.default!r}"
        said = f"{one.keyword.meaning.rstrip('.')}; {one.keyword.also}." if one.keyword.also else ""
        meaning = wrap(said or one.keyword.meaning, 96, break_on_hyphens=False)
        section += [f"{one.name} : {_spelt(one.type)}{default}", indent("\n".join(meaning), "    ")]
    return "\n\n".join([head.rstrip(), "\n".join(section), *rest])


def _spelt(annotation: Any) -> str:
    """A type without its modules: ``str | Path | None``."""
    return re.sub(r"\b\w+\.", "", inspect.formatannotation(annotation))
