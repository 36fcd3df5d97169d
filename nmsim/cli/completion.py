"""What a shell completes: names of the catalogs, of kinds and of phases; nothing is run for it."""

from collections.abc import Callable, Iterable
from typing import Any

from nmsim.cli.listings import LISTINGS, OWN, module_of
from nmsim.errors import NmsimError

__all__ = ["COMPLETED", "Completed", "kind", "kind_or_schema", "name", "one_of"]

Completed = Callable[[str], list[str]]

_PATTERNS = ("dense", "1:2", "2:4", "4:8", "8:16", "1:4", "2:8", "4:16", "1:8", "1:16")


def one_of(names: Callable[[], Iterable[str]]) -> Completed:
    """What completes to one of some names, which are asked for when it is."""

    def completed(incomplete: str) -> list[str]:
        return [one for one in names() if one.startswith(incomplete)]

    return completed


def _listed(kind: str) -> Completed:
    def names() -> Iterable[str]:
        return LISTINGS[kind].names()  # its module is loaded for this

    return one_of(names)


COMPLETED: dict[str, Completed] = {
    "model": _listed("models"),
    "recipe": _listed("recipes"),
    "hardware": _listed("hardware"),
    "machine": _listed("hardware"),
    "stack": _listed("stacks"),
    "technology": _listed("technologies"),
    "pattern": one_of(lambda: _PATTERNS),
}
"""What completes the value of a keyword, by its name."""


def kind(incomplete: str) -> list[str]:
    """Kinds of things; those that only some machines have where no other begins so."""
    return one_of(lambda: OWN)(incomplete) or one_of(lambda: LISTINGS)(incomplete)


def kind_or_schema(incomplete: str) -> list[str]:
    """Kinds of things, and schemas."""
    return [*kind(incomplete), *one_of(lambda: ("schema",))(incomplete)]


def name(ctx: Any, incomplete: str) -> list[str]:
    """Names of the kind that stands before it; of no kind, none."""
    found = str(ctx.params.get("kind") or "")
    if found == "schema":
        return one_of(lambda: (*module_of("schemas").SCHEMAS, "hardware"))(incomplete)
    try:
        return one_of(LISTINGS.called(found).names)(incomplete)
    except NmsimError:
        return []
