"""A page for each machine, recipe, network and pruner: what, from where, how near, what not for.

Written when the site is built, from the catalogs and from the figures that were measured last;
nothing of it is committed, so a new file of a catalog has its page at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from machine_page import machine_page
from network_page import network_page
from page_parts import mentions, plain
from pruner_page import pruner_page
from recipe_page import recipe_page

from nmsim.cli.listings import LISTINGS
from nmsim.registry import Listing

__all__ = ["SORTS", "write_catalog"]


class Sort(NamedTuple):
    """A catalog: its title, what ``nmsim list`` calls it, what stands above the list of it."""

    title: str
    listed: str
    about: str
    page: Callable[[str], list[str]]

    @property
    def listing(self) -> Listing:
        """All things of the sort."""
        return LISTINGS[self.listed]


SORTS = {
    "machines": Sort(
        "Machines",
        "hardware",
        """Every machine is one YAML file: fields with units, and where each figure comes from. Any
of them is a base for one of your own ([machines](../files.md#a-machine)).""",
        machine_page,
    ),
    "recipes": Sort(
        "Recipes",
        "recipes",
        """A recipe says which operand of which phase is pruned, by which algorithm and to which
pattern ([all recipes side by side](../recipes.md)).""",
        recipe_page,
    ),
    "networks": Sort(
        "Networks",
        "models",
        """A network is one YAML file: its layers that are matrix multiplications, in order
([a network](../files.md#a-network)).""",
        network_page,
    ),
    "pruners": Sort(
        "Pruners",
        "pruners",
        """A pruner turns values and a pattern into pruned values and a mask
([the algorithms side by side](../pruning.md)).""",
        pruner_page,
    ),
}
"""What the catalogs hold, by the folder that their pages stand in."""


def write_catalog(folder: Path) -> None:
    """Write the pages of all catalogs, and a list of each, to a folder."""
    for place, sort in SORTS.items():
        names = sorted(sort.listing.names())
        (folder / place).mkdir(parents=True, exist_ok=True)
        for name in names:
            text = _page(place, sort, name)
            (folder / place / f"{name}.md").write_text(text, encoding="utf-8")
        (folder / f"{place}.md").write_text(_list(place, sort, names), encoding="utf-8")


def _page(place: str, sort: Sort, name: str) -> str:
    """The page of one thing; it stands in no table of contents, its list links to it."""
    summary = plain(sort.listing.summary(name))
    head = [
        "---\norphan: true\n---",
        f"[{sort.title}](../{place}.md) / `{name}`",
        f"# {name}",
        f"{summary[0].upper()}{summary[1:]}.",
    ]
    return "\n\n".join([*head, *sort.page(name), *mentions(name)]) + "\n"


def _list(place: str, sort: Sort, names: list[str]) -> str:
    rows = [
        f"| [`{name}`]({place}/{name}.md) | {plain(sort.listing.summary(name))} |" for name in names
    ]
    head = [f"| {sort.title.lower()} | what it is |", "|---|---|"]
    return "\n\n".join([f"# {sort.title}", sort.about, "\n".join([*head, *rows])]) + "\n"
