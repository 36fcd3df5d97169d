"""Options of a command that are keywords of a run."""

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeVar, get_args

import typer

from nmsim.cli.completion import COMPLETED, Completed, one_of
from nmsim.cli.options import overrides
from nmsim.cli.panels import BY_KEYWORD
from nmsim.cli.streams import tell
from nmsim.run.keyword import REQUIRED, Declared, keywords
from nmsim.run.point import Subject

__all__ = ["of_keywords"]

T = TypeVar("T", bound=Subject)


def of_keywords(
    kind: Callable[..., T], only: Iterable[str] = (), **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function whose first argument is a dataclass of keywords.

    The command has an option for every keyword, then those of the function's other arguments.

    Parameters
    ----------
    kind
        The dataclass.
    only
        The keywords that the command takes; none: all.
    **defaults
        Of keywords that this command begins with otherwise.
    """
    wanted = set(only)
    taken = [one for one in keywords(kind) if not wanted or one.name in wanted]

    def make(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def command(**given: Any) -> None:
            values = {one.name: _value(one, given.pop(one.name)) for one in taken}
            subject = kind(**values)
            for line in subject.told:
                tell(line)
            function(subject, **given)

        _, *own = inspect.signature(function).parameters.values()
        options = [_option(one, defaults.get(one.name, one.default)) for one in taken]
        signature = inspect.Signature(
            [*options, *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own)]
        )
        vars(command)["__signature__"] = signature
        command.__annotations__ = {
            name: one.annotation for name, one in signature.parameters.items()
        }
        return command

    return make


def _option(one: Declared, default: Any) -> inspect.Parameter:
    keyword = one.keyword
    text = f"{keyword.meaning} May be repeated." if _repeated(one) else keyword.meaning
    if default is REQUIRED:
        shown: Any = typer.Argument(
            metavar=keyword.metavar, help=text, autocompletion=_completed(one)
        )
    else:
        # A switch that is off has no opposite; a keyword of its own name needs none.
        named = [f"--{one.option}"] if keyword.option or default is False else []
        shown = typer.Option(
            *named,
            metavar=keyword.metavar,
            help=text,
            rich_help_panel=BY_KEYWORD.get(one.name),
            autocompletion=_completed(one),
        )
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=_default(one, default),
        annotation=Annotated[_typed(one), shown],
    )


def _completed(one: Declared) -> Completed | None:
    """What completes a value; what has choices in its type needs nothing."""
    if _repeated(one) and one.keyword.choices:
        return one_of(lambda: one.keyword.choices)
    return COMPLETED.get(one.name)


def _default(one: Declared, default: Any) -> Any:
    if default is REQUIRED:
        return inspect.Parameter.empty
    return None if _repeated(one) else default


def _repeated(one: Declared) -> bool:
    return isinstance(one.default, tuple | Mapping)


def _typed(one: Declared) -> Any:
    """The type of an option: of the types that a keyword has in Python, what can be typed."""
    if _repeated(one):
        return list[str] | None
    if one.keyword.choices:
        return operator.getitem(Literal, one.keyword.choices)
    kinds = get_args(one.type) or (one.type,)
    if NoneType in kinds:
        return Path | None if Path in kinds else one.type
    return str if str in kinds else one.type


def _value(one: Declared, given: Any) -> Any:
    """The value that Python's keyword takes for what was typed as an option."""
    if isinstance(one.default, Mapping):
        return overrides(given)
    return tuple(given or ()) if _repeated(one) else given
