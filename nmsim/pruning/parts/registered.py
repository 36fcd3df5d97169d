"""Pruners by name: those of this package, and those that users bring in files of their own."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from nmsim.errors import SpecError
from nmsim.pattern import Pattern
from nmsim.pruning.parts.context import CONTEXT
from nmsim.pruning.parts.contract import Fill, Pruner, Unit
from nmsim.registry import Registry

__all__ = ["PRUNERS", "pruner", "pruner_name", "pruner_of", "read_plugins"]

PRUNERS: Registry[Pruner] = Registry("pruner", "nmsim.pruners")


def read_plugins(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """Read pruners of one's own from files, and from all files of folders; gives their names.

    A file that was read before is run again if its content is another.

    Raises
    ------
    SpecError
        naming the file, which cannot be read or run, or defines no pruner, or one whose name is
        taken.
    """
    files = [file for path in paths for file in _files(Path(path))]
    return tuple(name for file in files for name in PRUNERS.read(file))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(path.glob("*.py"))
    if not found:
        raise SpecError(f"{path}: expected a folder that holds files of pruners, NAME.py")
    return found


def pruner_name(name: str) -> str:
    """The name of a pruner; of a file of one's own that defines one, what it is called there.

    Raises
    ------
    SpecError
        for a file that defines none or several.
    """
    if not name.endswith(".py"):
        return name
    only, *others = PRUNERS.read(Path(name))
    if others:
        found = ", ".join((only, *others))
        raise SpecError(f"{name}: defines {found}, expected one; name it beside --plugins {name}")
    return only


def pruner_of(name: str, pattern: Pattern) -> Pruner:
    """The pruner of a name for a pattern: for V:N:M, that which does the same there, if one does.

    Raises
    ------
    UnknownName, SpecError
        for a name that does not exist, or a file that defines no pruner.
    """
    chosen = PRUNERS[pruner_name(name)]
    return PRUNERS[chosen.for_vectors] if pattern.vector and chosen.for_vectors else chosen


def pruner(name: str, *, summary: str, source: str, **traits: object) -> Callable[[Fill], Fill]:
    """Register a ``Fill`` function as a pruner; ``traits`` are the other fields of ``Pruner``.

    Raises
    ------
    SpecError
        naming the pruner and what is wrong: a name that is taken, a trait that there is not, or
        that is missing, an option without a default.
    """

    def add(fill: Fill) -> Fill:
        PRUNERS.add(name, _made(name, summary, source, fill, traits), fill)
        return fill

    return add


def _made(name: str, summary: str, source: str, fill: Fill, traits: Mapping[str, Any]) -> Pruner:
    try:
        made = Pruner(name, summary, source, fill, **traits)
    except TypeError as error:
        raise SpecError(
            f"pruner {name!r}: {str(error).removeprefix('Pruner.__init__() ')}"
        ) from error
    units = ", ".join(get_args(Unit))
    if made.unit not in get_args(Unit):
        raise SpecError(f"pruner {name!r}: unit is {made.unit!r}, expected one of {units}")
    for option, default in made.options.items():
        if default is inspect.Parameter.empty:
            asked = ", ".join(CONTEXT)
            raise SpecError(
                f"pruner {name!r}, option {option!r}: expected a default, or one of {asked}"
            )
    return made
