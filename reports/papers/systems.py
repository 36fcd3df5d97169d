"""Every recipe of the catalog and every system of the papers: where it is judged, or why not."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from nmsim import __version__
from nmsim.recipes.recipe import load_recipe
from nmsim.report.pages.document import document
from nmsim.report.pages.markup import Cell, Head, Safe, el, joined, sheet
from nmsim.spec import Spec, read_yaml, validate
from reports.claims import Section, Verdict

__all__ = ["SYSTEMS", "System", "Systems", "systems", "systems_page"]

SYSTEMS = Path(__file__).resolve().parent / "systems.yaml"
TITLE = "Where is each system of the papers judged?"
_LEAD = (
    "Every recipe that nmsim list recipes names, then systems of the papers that are no recipe: "
    "the statements about it and whether they hold, or why nothing printed can be held against it."
)


class System(Spec):
    """Where one system is judged, or why it is not comparable."""

    judged: dict[str, str] = Field(
        {}, description="how statements begin, by SLUG/SECTION; empty: all of the section"
    )
    because: str = Field("", description="why it is not comparable, where it is not judged")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.judged) == bool(self.because):
            raise ValueError("expected one of judged and because")
        return self

    def verdicts(self, found: Mapping[str, list[Section]]) -> Iterator[tuple[str, Verdict]]:
        """The verdicts on it, with the address of the section that has each."""
        for where, begins in self.judged.items():
            slug, _, name = where.partition("/")
            for section in found[slug]:
                for verdict in section.verdicts if section.name == name else ():
                    if verdict.statement.startswith(begins):
                        yield f"{slug}.html#{name}", verdict


class Systems(Spec):
    """The file of all."""

    recipes: dict[str, System]
    others: dict[str, System]


def systems() -> Systems:
    """What ``systems.yaml`` says."""
    return validate(Systems, read_yaml(SYSTEMS), SYSTEMS.name)


def systems_page(found: Mapping[str, list[Section]]) -> str:
    """A row for every verdict on a system, and for every system that has none."""
    held = systems()
    every = [(name, load_recipe(name).summary, one) for name, one in held.recipes.items()]
    every += [(name, "no recipe", one) for name, one in held.others.items()]
    heads = ["system", "what it is", "statement", "printed", "here", "verdict"]
    return document(
        TITLE,
        joined(
            [
                el("div", f"nmsim {__version__} · papers", class_="eyebrow"),
                el("h1", TITLE),
                el("p", _LEAD, class_="lead"),
                el("nav", el("a", "All papers", href="index.html")),
                sheet(
                    [Head(head) for head in heads],
                    [row for one in every for row in _rows(*one, found)],
                    "verdicts",
                ),
            ]
        ),
        drawn=False,
    )


def _rows(
    name: str, summary: str, system: System, found: Mapping[str, list[Section]]
) -> Iterator[list[Cell]]:
    if system.because:
        yield [Cell(name), Cell(summary), *(Cell("") for _ in range(3)), _not(system.because)]
    for first, (at, verdict) in enumerate(system.verdicts(found)):
        yield [
            Cell("" if first else name),
            Cell("" if first else summary),
            Cell(_link(verdict, at)),
            Cell(verdict.printed),
            Cell(verdict.computed),
            _outcome(verdict),
        ]


def _link(verdict: Verdict, at: str) -> Safe:
    return el("a", verdict.statement, href=at)


def _not(because: str) -> Cell:
    return Cell(f"not comparable because: {because}")


def _outcome(verdict: Verdict) -> Cell:
    told = "holds" if verdict.reproduced else verdict.because
    if verdict.one_sided:
        told += " (one-sided, not counted)"
    style = "reproduced" if verdict.reproduced else "partly" if verdict.partly else "differs"
    return Cell(told, style=style)
