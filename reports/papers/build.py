"""What do the papers print of hardware, and what is it here? ``python -m reports.papers.build``.

Writes a page per paper, ``index.html`` that leads to them, and ``results.json`` with every figure
and verdict. Under a minute on one core. Times of kernels come from ``measurements.json``.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nmsim import __version__
from nmsim.report.pages.document import PLOTLY, document, plotly_js
from nmsim.report.pages.markup import Cell, Head, Safe, el, joined, sheet
from reports.builder import Built, Origin, build, results_json
from reports.claims import Section, Verdict, count, outcomes
from reports.page import claims_page, counts_table, headline
from reports.papers.bambhaniya_2024 import BAMBHANIYA
from reports.papers.chmiel_2023 import CHMIEL
from reports.papers.gate import mutations
from reports.papers.hubara_2021 import HUBARA
from reports.papers.matrix import matrix_page
from reports.papers.paper import Paper, turned
from reports.papers.systems import systems_page
from reports.papers.xu_2022 import XU

HERE = Path(__file__).resolve().parent
COMMAND = "python -m reports.papers.build"
MATRIX, SYSTEMS = "mutations.html", "systems.html"
QUESTION = "What do the papers print of hardware, and what does nmsim compute?"
PAPERS: tuple[Paper, ...] = (BAMBHANIYA, CHMIEL, HUBARA, XU)

_LEAD = (
    "A page per paper: every table and figure that is about hardware, beside what nmsim computes, "
    "with a verdict on each row that follows from the two. Accuracies of trained networks are not "
    "compared: they are not the hardware's. A statement is judged once; what a paper does not say "
    "is taken in several ways, and its verdict says in how many of them it holds. Tolerances go to "
    "both sides and stand in the papers' files, before anything is computed."
)

Sections = Mapping[str, list[Section]]
"""By the slug of a paper."""


def page(paper: Paper, sections: list[Section]) -> str:
    """The page of one paper."""
    return claims_page(
        Origin(paper.document["title"], COMMAND),
        f"{paper.document['authors']}; {paper.document['venue']}. {paper.lead}",
        sections,
        paper.drawings(sections),
        {part.name: part.caption for part in paper.parts},
        links={"All papers": "index.html"},
        shared=PLOTLY,
    )


def _rows(papers: Sequence[Paper], found: Sections) -> list[list[Cell]]:
    return [
        [
            Cell(paper.cited if first else ""),
            Cell(section.title),
            Cell(section.paper.removeprefix(f"{paper.cited}, ")),
            *(Cell(str(n)) for n in outcomes(section.verdicts)),
            Cell(
                "; ".join(v.statement for v in section.verdicts if not (v.reproduced or v.partly))
                or "nothing",
                style="" if all(v.reproduced or v.partly for v in section.verdicts) else "differs",
            ),
        ]
        for paper in papers
        for first, section in zip([True] + [False] * 99, found[paper.slug], strict=False)
    ]


def _tile(paper: Paper, sections: list[Section]) -> Safe:
    whole, partly, none = count(_every(sections))["model"]
    return el(
        "div",
        el("div", el("a", paper.document["title"], href=paper.page), class_="what"),
        el("div", f"{whole} + {partly} of {whole + partly + none}", class_="much"),
        el("div", f"verdicts on models hold, + in some cases · {paper.cited}", class_="more"),
        class_="tile",
    )


def _every(sections: Iterable[Section]) -> list[Verdict]:
    return [verdict for section in sections for verdict in section.verdicts]


def index(papers: Sequence[Paper], found: Sections) -> str:
    """The page that leads to the others."""
    heads = [
        Head("paper"),
        Head("section"),
        Head("in the paper"),
        *(Head(name, number=True) for name in ("hold", "in some cases", "differ")),
        Head("what differs"),
    ]
    return document(
        QUESTION,
        joined(
            [
                el(
                    "header",
                    el("div", f"nmsim {__version__} · papers", class_="eyebrow"),
                    el("h1", QUESTION),
                    el("p", _LEAD, class_="lead"),
                ),
                el(
                    "div",
                    *(_tile(paper, found[paper.slug]) for paper in papers),
                    class_="tiles",
                    style="grid-template-columns: repeat(auto-fit, minmax(280px, 1fr))",
                ),
                el("h2", "What verdicts rest on"),
                counts_table(_every(s for paper in papers for s in found[paper.slug])),
                el(
                    "p",
                    el("a", "Which change of the models turns which verdict", href=MATRIX),
                    " · ",
                    el("a", "Where each system is judged, or why it is not", href=SYSTEMS),
                    class_="lead",
                ),
                el("h2", "Section by section"),
                sheet(heads, _rows(papers, found), "verdicts"),
                el("h2", "How to get it again"),
                el("pre", el("code", COMMAND)),
                el("p", "Every figure is in ", el("a", "results.json", href="results.json"), "."),
            ]
        ),
        drawn=False,
    )


def _published() -> list[dict[str, Any]]:
    stored = json.loads((HERE.parent / "published" / "results.json").read_text("utf-8"))
    statements: list[dict[str, Any]] = stored["statements"]
    return statements


def models(found: Sections) -> dict[str, Verdict]:
    """Verdicts on models by the names of their claims, those of printed speed-ups too."""
    every = _every(s for paper in PAPERS for s in found[paper.slug])
    published = map(Verdict.of, _published())
    return {v.name: v for v in (*every, *published) if v.kind == "model"}


def results(papers: Sequence[Paper], found: Sections) -> str:
    """Every printed table, figure and verdict as strict JSON."""
    return results_json(
        Origin(QUESTION, COMMAND),
        papers=[
            {
                "slug": paper.slug,
                "printed": paper.document,
                "sections": [section.record() for section in found[paper.slug]],
            }
            for paper in papers
        ],
    )


def make() -> Built:
    """Compute, judge and draw everything."""
    found = {paper.slug: paper.sections() for paper in PAPERS}
    files = {
        **{paper.page: page(paper, found[paper.slug]) for paper in PAPERS},
        PLOTLY: plotly_js(),
        "index.html": index(PAPERS, found),
        MATRIX: matrix_page(mutations(), models(found), turned()),
        SYSTEMS: systems_page(found),
        "results.json": results(PAPERS, found),
    }
    return Built(files, headline(_every(s for paper in PAPERS for s in found[paper.slug])))


def main(arguments: list[str]) -> None:
    """Write page and results into a folder, this one unless told otherwise."""
    build(arguments, QUESTION, HERE, make)


if __name__ == "__main__":
    main(sys.argv[1:])
