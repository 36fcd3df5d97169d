"""Folders of kinds of machine: those of this package, and those in ``NMSIM_MACHINES``."""

import os
from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from nmsim.errors import SpecError
from nmsim.machines.kind import KINDS

__all__ = ["VARIABLE", "import_kinds"]

VARIABLE = "NMSIM_MACHINES"
"""The environment variable that names folders, separated as in ``PATH``."""


def import_kinds(package: ModuleType) -> None:
    """Import every kind of machine, in alphabetical order, as a submodule of a package.

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
    for name in sorted(name for folder in package.__path__ for name in _packages(folder)):
        module = f"{package.__name__}.{name}"
        import_module(module)
        if not any(KINDS[kind].schema.__module__.startswith(f"{module}.") for kind in KINDS):
            raise SpecError(f"{module}: its folder registers no kind of machine in KINDS")


def _packages(folder: str) -> Iterator[str]:
    """Names of the packages in a folder; scripts beside them are none of our business."""
    return (module.name for module in iter_modules([folder]) if module.ispkg)
