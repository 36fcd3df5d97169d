"""A paper: what it prints, in a file of its own, and what nmsim computes beside it.

A paper is ``SLUG.yaml`` (the printed figures) and a module that lists its parts. Every verdict is
the answer of a function of both, so that a change in either changes it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from nmsim.report.pages.claims import Section, Verdict
from nmsim.spec import read_yaml

__all__ = ["Borrowed", "Figures", "Paper", "Part", "Printed"]

HERE = Path(__file__).resolve().parent

Figures = Mapping[str, Any]
Printed = Mapping[str, Any]
"""The tables of a paper by name, as its YAML file has them."""

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
        One verdict per row, from all printed tables and these figures.
    draw
        None: the table says it all.
    """

    name: str
    title: str
    where: str
    n_is: tuple[str, str]
    caption: str
    measure: Callable[[], dict[str, Any]]
    judge: Callable[[Printed, Figures], list[Verdict]]
    draw: Callable[[Figures], go.Figure] | None = None

    def section(self, cited: str, printed: Printed) -> Section:
        """Compute and judge."""
        # As a reader of the results has them: keys of JSON are text.
        figures = json.loads(json.dumps(self.measure(), allow_nan=False))
        verdicts = self.judge(printed, figures)
        return Section(
            self.name, self.title, f"{cited}, {self.where}", *self.n_is, figures, verdicts
        )


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
            f"Computed, drawn and tested by reports/{self.report}: python "
            f"reports/{self.report}/build.py writes ../{self.report}/index.html."
        )

    def section(self) -> Section:
        """Its verdicts as that report's ``results.json`` has them; figures stay there."""
        stored = json.loads((HERE.parent / self.report / "results.json").read_text("utf-8"))
        found = next(one for one in stored["sections"] if one["name"] == self.section_name)
        verdicts = [
            Verdict(*(v[name] for name in ("statement", "where", "printed", "computed", "because")))
            for v in found["verdicts"]
        ]
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
    def document(self) -> dict[str, Any]:
        """``SLUG.yaml``: title, authors, venue, tables."""
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
            part.section(self.cited, self.printed) if isinstance(part, Part) else part.section()
            for part in self.parts
        ]

    def drawings(self, sections: list[Section]) -> dict[str, go.Figure]:
        """The figures of the parts that have one."""
        figures = {section.name: section.figures for section in sections}
        return {
            part.name: part.draw(figures[part.name])
            for part in self.parts
            if isinstance(part, Part) and part.draw is not None
        }
