"""A paper: what it prints, in a file of its own, and what nmsim computes beside it.

A paper is ``SLUG.yaml`` (the printed figures) and a module that lists its parts. Every verdict is
the answer of a function of both, so that a change in either changes it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from nmsim.spec import read_yaml
from reports.claims import Claim, Found, Kind, Section, Verdict, classed
from reports.claims import judge as judge_claim
from reports.papers.bench import AS_IS, Bench
from reports.papers.stated import claims_of

__all__ = ["Borrowed", "Figures", "Formula", "Paper", "Part", "Printed", "turned"]

HERE = Path(__file__).resolve().parent

Figures = Mapping[str, Any]
Printed = Mapping[str, Any]
"""The tables of a paper by name, as its YAML file has them."""

Formula = Callable[[Printed, Figures, tuple[str, ...]], Found]
"""Computes the figure of a claim, from the keys of its row."""

MUTATIONS = HERE / "mutations.yaml"
"""Changes of the models, and the verdicts that each turns."""

KEPT = ("N = kept", "N is what is kept, as in all of nmsim.")
HALF = (
    "N = kept",
    "N is what is kept; the paper counts what is pruned, which at half density is the same number.",
)


@dataclass(frozen=True)
class Part:
    """Some tables or figures of a paper, computed here.

    Parameters
    ----------
    where
        In the paper.
    n_is
        Which N heads the table, and the sentence that says so: ``KEPT`` or ``HALF``.
    measure
        Computes what the part needs; quick enough for a test to call it.
    judge
        Verdicts that are no comparison of two numbers, from all printed tables and these figures;
        None: all are claims of the paper's file.
    kind
        Class of what ``judge`` returns.
    formulas
        Of claims, by name. Where there are any, ``measure`` takes a ``bench``.
    runs_on
        Kinds of machine and of costs that the measure takes from a bench.
    draw
        None: the table says it all.
    """

    name: str
    title: str
    where: str
    n_is: tuple[str, str]
    caption: str
    measure: Callable[..., dict[str, Any]]
    judge: Callable[[Printed, Figures], list[Verdict]] | None = None
    kind: Kind = "definition"
    formulas: Mapping[str, Formula] = field(default_factory=dict)
    runs_on: tuple[str, ...] = ("gpu",)
    draw: Callable[[Figures], go.Figure] | None = None

    def figures(self, bench: Bench = AS_IS) -> dict[str, Any]:
        """Compute, on changed machines if there are any, as a reader of the results has it."""
        found = self.measure(bench=bench) if self.formulas else self.measure()
        # Keys of JSON are text.
        figures: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
        return figures

    def claims(self, paper: "Paper") -> list[Claim]:
        """What the paper's file states of this part."""
        return claims_of(paper.slug, paper.document, self.name)

    def stated(self, paper: "Paper", figures: Figures) -> dict[str, Verdict]:
        """Verdicts on claims, by their names."""
        return {
            claim.name: judge_claim(
                claim, self.formulas[claim.formula](paper.printed, figures, claim.keys)
            )
            for claim in self.claims(paper)
        }

    def verdicts(self, paper: "Paper", figures: Figures) -> list[Verdict]:
        """All verdicts; those of models that no change of the models turns are not counted."""
        judged = self.judge(paper.printed, figures) if self.judge else []
        stated = [
            replace(verdict, one_sided=verdict.kind == "model" and not turned().get(name))
            for name, verdict in self.stated(paper, figures).items()
        ]
        return [*classed(self.kind, judged), *stated]

    def section(self, paper: "Paper") -> Section:
        """Compute and judge."""
        figures = self.figures()
        where = f"{paper.cited}, {self.where}"
        verdicts = self.verdicts(paper, figures)
        return Section(self.name, self.title, where, *self.n_is, figures, verdicts)


@cache
def turned() -> Mapping[str, list[str]]:
    """The changes of the models that turn each verdict, by the names of claims."""
    found: dict[str, list[str]] = {}
    for mutation in read_yaml(MUTATIONS)["mutations"]:
        for claim in mutation.get("turns", ()):
            found.setdefault(claim, []).append(mutation["name"])
    return found


@dataclass(frozen=True)
class Borrowed:
    """A section of another report of this project, with that report's verdicts."""

    report: str
    section_name: str
    title: str

    @property
    def name(self) -> str:
        """Of the section on the page."""
        return f"{self.report}-{self.section_name}"

    @property
    def caption(self) -> str:
        """Where it comes from."""
        return (
            f"Computed, drawn and tested by reports/{self.report}: python -m "
            f"reports.{self.report}.build writes ../{self.report}/index.html."
        )

    def section(self) -> Section:
        """Its verdicts as that report's ``results.json`` has them; figures stay there."""
        stored = json.loads((HERE.parent / self.report / "results.json").read_text("utf-8"))
        found = next(one for one in stored["sections"] if one["name"] == self.section_name)
        verdicts = [Verdict.of(v) for v in found["verdicts"]]
        return Section(
            self.name,
            self.title,
            found["paper"],
            found["n_is"],
            found["meaning_of_n"],
            {"in": f"reports/{self.report}/results.json", "section": self.section_name},
            verdicts,
        )


@dataclass(frozen=True)
class Paper:
    """One paper.

    Parameters
    ----------
    slug
        Names its YAML file and its page.
    lead
        What is compared and what not, in two sentences.
    """

    slug: str
    lead: str
    parts: tuple[Part | Borrowed, ...]

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """``SLUG.yaml``: title, authors, venue, tables, claims."""
        return read_yaml(HERE / f"{self.slug}.yaml")

    @property
    def printed(self) -> Printed:
        """Its tables by name."""
        tables: Printed = self.document["tables"]
        return tables

    @property
    def cited(self) -> str:
        """First author and venue."""
        return f"{self.document['authors'].partition(',')[0]} et al., {self.document['venue']}"

    @property
    def page(self) -> str:
        """File name of its page."""
        return f"{self.slug}.html"

    def sections(self) -> list[Section]:
        """Compute and judge everything."""
        return [
            part.section(self) if isinstance(part, Part) else part.section() for part in self.parts
        ]

    def drawings(self, sections: list[Section]) -> dict[str, go.Figure]:
        """The figures of the parts that have one."""
        figures = {section.name: section.figures for section in sections}
        return {
            part.name: part.draw(figures[part.name])
            for part in self.parts
            if isinstance(part, Part) and part.draw is not None
        }
