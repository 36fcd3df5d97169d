"""Folders of kinds of machine: those of this package, and those in ``NMSIM_MACHINES``.

A folder with a file ``columns.yaml`` says there which columns of a result table are its kind's
alone, and keeps its machines in ``catalog/``: a list or a table needs no more of it. It is named as
its kind, and imported once that is asked for. Any other folder is imported at once.
"""

import os
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Protocol, TypeVar

from nmsim.errors import SpecError
from nmsim.registry import Registry
from nmsim.result import Column, optional_column
from nmsim.spec import read_yaml

__all__ = ["VARIABLE", "Kinds", "columns_in", "import_kinds"]

VARIABLE = "NMSIM_MACHINES"
"""The environment variable that names folders, separated as in ``PATH``."""

_COLUMNS = "columns.yaml"


class Described(Protocol):
    """What lists and tables need of a kind of machine."""

    @property
    def catalog(self) -> Path:
        """The folder of the machines that ship."""

    @property
    def own_columns(self) -> tuple[Column, ...]:
        """Columns of a result table that only this kind has."""


K = TypeVar("K", bound=Described)


class Kinds(Registry[K]):
    """Kinds of machine by name, of which a folder may say enough until one of it is run."""

    def __init__(self) -> None:
        super().__init__("kind of machine")
        self._folders: dict[str, Path] = {}

    def found_in(self, folder: Path, module: str) -> None:
        """Have the kind that is named as a folder imported when it is asked for."""
        self.later(folder.name, module)
        self._folders[folder.name] = folder

    @property
    def catalogs(self) -> Iterator[Path]:
        """The folders of the machines that ship, by the names of their kinds."""
        for name in self:
            folder = self._folders.get(name)
            yield self[name].catalog if folder is None else folder / "catalog"

    @property
    def own_columns(self) -> Iterator[Column]:
        """Columns of a result table that only some kind has, by the kinds' names."""
        for name in self:
            folder = self._folders.get(name)
            yield from self[name].own_columns if folder is None else columns_in(folder)


def columns_in(folder: Path, *groups: str) -> tuple[Column, ...]:
    """The columns that a kind declares in its folder, all of them optional.

    Parameters
    ----------
    groups
        Of them, by what they are about; none: all, in the file's order.
    """
    declared = read_yaml(folder / _COLUMNS)
    return tuple(optional_column(**one) for group in groups or declared for one in declared[group])


def import_kinds(package: ModuleType, kinds: Kinds[K]) -> None:
    """Find every kind of machine, in alphabetical order, as a submodule of a package.

    Raises
    ------
    SpecError
        for a folder that ``NMSIM_MACHINES`` names and that holds no kind of machine, or one of a
        name that is taken.
    """
    own = list(dict.fromkeys(filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))))
    taken = {module.name for module in iter_modules(package.__path__)}
    for folder in own:
        names = set(_packages(folder))
        if not names:
            raise SpecError(
                f"{VARIABLE}: {folder}: expected a folder that holds a package for each kind"
            )
        if names & taken:
            raise SpecError(
                f"{VARIABLE}: {folder}: {min(names & taken)!r} is taken, expected another name"
            )
        taken |= names
    package.__path__.extend(own)
    for place in _places(package.__path__):
        module = f"{package.__name__}.{place.name}"
        if (place / _COLUMNS).is_file():
            kinds.found_in(place, module)
        else:
            _import_kind(module, kinds)


def _import_kind(module: str, kinds: Kinds[K]) -> None:
    known = set(kinds)
    import_module(module)
    if not set(kinds) - known:
        raise SpecError(f"{module}: its folder registers no kind of machine in KINDS")


def _places(path: Iterable[str]) -> list[Path]:
    found = [Path(folder, name) for folder in path for name in _packages(folder)]
    return sorted(found, key=lambda place: place.name)


def _packages(folder: str) -> Iterator[str]:
    """Names of the packages in a folder; scripts beside them are none of our business."""
    return (module.name for module in iter_modules([folder]) if module.ispkg)
