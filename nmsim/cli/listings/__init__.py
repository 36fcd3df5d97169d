"""What one can list and show, a module a sort of things; some kinds of machine offer more.

A module is loaded when its things are asked for: who lists networks needs no machine.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from nmsim.registry import Listing, unknown_name

__all__ = ["LISTINGS", "OWN", "module_of", "plural"]

_BEFORE = ("models", "hardware", "recipes", "pruners", "technologies", "engines")
_AFTER = ("measured", "measured-attention")

OWN = (*_BEFORE, *_AFTER)
"""What there is whatever kinds of machine there are."""


def module_of(name: str) -> ModuleType:
    """A module of this package, loaded now: of what one can list, or ``schemas``."""
    return import_module(f"{__name__}.{name.replace('-', '_')}")


class Listings(Mapping[str, Listing]):
    """Listings by plural name: those of this package, and those of kinds of machine."""

    def __getitem__(self, name: str) -> Listing:
        if name not in OWN:
            return _of_kinds()[name]
        found: Listing = module_of(name).LISTING
        return found

    def __iter__(self) -> Iterator[str]:
        return iter((*_BEFORE, *_of_kinds(), *_AFTER))

    def __len__(self) -> int:
        return len(OWN) + len(_of_kinds())

    def called(self, name: str) -> Listing:
        """A listing by its name, plural or singular.

        Raises
        ------
        UnknownName
            if there is none.
        """
        for known in (OWN, self):  # to look among all loads every kind of machine
            for one in (name, plural(name)):
                if one in known:
                    return self[one]
        raise unknown_name("kind", name, self)


def plural(name: str) -> str:
    """What several of a kind are called."""
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


@lru_cache(maxsize=1)
def _of_kinds() -> dict[str, Listing]:
    """What only some kinds of machine have: all of them are loaded to say so."""
    kinds: Any = import_module("nmsim.machines").KINDS
    return {plural: one for kind in kinds for plural, one in kinds[kind].listings.items()}


LISTINGS = Listings()
"""What one can list and show, by plural name."""
