"""Names of plug-ins: a package is scanned, each of its files registers what it offers."""

import difflib
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Generic, TypeVar

from nmsim.errors import UnknownName

__all__ = ["Registry", "unknown_name"]

T = TypeVar("T")


_FEW = 12
"""So many names are told whole; of more, those that are near."""

_LISTED = {
    "hardware": "nmsim list hardware",
    "model": "nmsim list models",
    "pruner": "nmsim list pruners",
    "recipe": "nmsim list recipes",
}
"""Commands that list what there is of a kind."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a miss: what was meant where one name is close, and what exists.

    Of more than a dozen names those of the same family are told, and how to list them all.

    Examples
    --------
    >>> str(unknown_name("fidelity", "cylce", ["analytical", "cycle"]))
    "unknown fidelity 'cylce'; did you mean 'cycle'? (known: analytical, cycle)"
    """
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return UnknownName(f"unknown {kind} {name[:80]!r}{hint} ({_told(kind, name, names, close)})")


def _told(kind: str, name: str, names: list[str], close: list[str]) -> str:
    """Names that there are: all if they are few, else those of the family of the missed one."""
    if len(names) <= _FEW:
        return f"known: {', '.join(names) or 'none'}"
    family = re.split(r"[-_.:@ ]", name.lower(), maxsplit=1)[0]
    akin = [one for one in names if family and family in one.lower() and one not in close]
    if not akin and not close:
        akin = difflib.get_close_matches(name.lower(), names, n=4, cutoff=0.4)
    told = [one for one in akin if one not in close][:6]
    among = f"among them {', '.join(told)}" if told else ""
    where = f"see {_LISTED[kind]}" if kind in _LISTED else ""
    return ", ".join(filter(None, (f"{len(names)} are known", among, where)))


class Registry(Generic[T]):
    """Things of one kind by name, filled while their package is imported.

    Parameters
    ----------
    kind
        What the things are called in messages, singular: "pruner".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._things: dict[str, T] = {}

    def add(self, name: str, thing: T) -> T:
        """Register a thing; a second one of the same name is a programming error."""
        if name in self._things:
            raise RuntimeError(f"two {self.kind}s are named {name!r}")
        self._things[name] = thing
        return thing

    def register(self, name: str) -> Callable[[T], T]:
        """Register what is decorated, as ``add`` does."""
        return lambda thing: self.add(name, thing)

    def scan(self, package: ModuleType) -> None:
        """Import every module of a package, in alphabetical order, so that each registers."""
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
            importlib.import_module(f"{package.__name__}.{module.name}")

    def __getitem__(self, name: str) -> T:
        try:
            return self._things[name]
        except KeyError:
            raise unknown_name(self.kind, name, self._things) from None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._things))

    def __len__(self) -> int:
        return len(self._things)
