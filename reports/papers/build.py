"""What do the papers print of hardware, and what is it here? ``python reports/papers/build.py``.

Writes a page per paper, ``index.html`` that leads to them, and ``results.json`` with every figure
and verdict. Under a minute on one core. Times of kernels come from ``measurements.json``.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nmsim import __version__
from nmsim.files import write_folder
from nmsim.report.pages.claims import Origin, Section, claims_page, reproduced
from nmsim.report.pages.document import PLOTLY, document, plotly_js
from nmsim.report.pages.markup import Cell, Head, Safe, el, joined, sheet
from reports.papers.bambhaniya_2024 import BAMBHANIYA
from reports.papers.chmiel_2023 import CHMIEL
from reports.papers.hubara_2021 import HUBARA
from reports.papers.paper import Paper
from reports.papers.xu_2022 import XU

HERE = Path(__file__).resolve().parent
COMMAND = "python reports/papers/build.py"
QUESTION = "What do the papers print of hardware, and what does nmsim compute?"
PAPERS: tuple[Paper, ...] = (BAMBHANIYA, CHMIEL, HUBARA, XU)

_LEAD = (
    "A page per paper: every table and figure that is about hardware, beside what nmsim computes, "
    "with a verdict on each row that follows from the two. Accuracies of trained networks are not "
    "compared: they are not the hardware's."
)

Sections = Mapping[str, list[Section]]
"""By the slug of a paper."""


def page(paper: Paper, sections: list[Section]) -> str:
    """The page of one paper."""
    return claims_page(
        Origin(paper.document["title"], COMMAND, __version__),
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
            Cell(reproduced(section.verdicts)),
            Cell(
                "; ".join(v.statement for v in section.verdicts if not v.reproduced) or "nothing",
                style="differs" if not all(v.reproduced for v in section.verdicts) else "",
            ),
        ]
        for paper in papers
        for first, section in zip([True] + [False] * 99, found[paper.slug], strict=False)
    ]


def _tile(paper: Paper, sections: list[Section]) -> Safe:
    every = [verdict for section in sections for verdict in section.verdicts]
    return el(
        "div",
        el("div", el("a", paper.document["title"], href=paper.page), class_="what"),
        el("div", reproduced(every), class_="much"),
        el("div", f"reproduced · {paper.cited}", class_="more"),
        class_="tile",
    )


def index(papers: Sequence[Paper], found: Sections) -> str:
    """The page that leads to the others."""
    heads = [
        Head("paper"),
        Head("section"),
        Head("in the paper"),
        Head("reproduced"),
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
                el("h2", "Section by section"),
                sheet(heads, _rows(papers, found), "verdicts"),
                el("h2", "How to get it again"),
                el("pre", el("code", COMMAND)),
                el("p", "Every figure is in ", el("a", "results.json", href="results.json"), "."),
            ]
        ),
        drawn=False,
    )


def results(papers: Sequence[Paper], found: Sections) -> str:
    """Every printed table, figure and verdict as strict JSON."""
    content: dict[str, Any] = {
        "question": QUESTION,
        "command": COMMAND,
        "nmsim": __version__,
        "papers": [
            {
                "slug": paper.slug,
                "printed": paper.document,
                "sections": [section.record() for section in found[paper.slug]],
            }
            for paper in papers
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def main(arguments: list[str]) -> None:
    """Write pages and results into a folder, this one unless told otherwise."""
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write into")
    folder = parser.parse_args(arguments).out
    found = {paper.slug: paper.sections() for paper in PAPERS}
    pages = {paper.page: page(paper, found[paper.slug]) for paper in PAPERS}
    write_folder(
        folder,
        {
            **pages,
            PLOTLY: plotly_js(),
            "index.html": index(PAPERS, found),
            "results.json": results(PAPERS, found),
        },
    )
    for paper in PAPERS:
        told = ", ".join(f"{s.name} {reproduced(s.verdicts)}" for s in found[paper.slug])
        print(f"{folder / paper.page}: {told}")


if __name__ == "__main__":
    main(sys.argv[1:])
