"""Names of plug-ins: a package is scanned, each of its files registers what it offers."""

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Generic, TypeVar

from nmsim.errors import UnknownName

__all__ = ["Registry", "unknown_name"]

T = TypeVar("T")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a miss: says what exists and, when one name is close, which was meant."""
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return UnknownName(f"unknown {kind} {name!r}{hint} (known: {', '.join(names) or 'none'})")


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
