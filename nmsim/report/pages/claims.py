"""What a paper says, what nmsim finds, and whether the two agree: a page of sections and verdicts.

Everything on such a page comes from the figures of its sections, so that a verdict changes when a
figure does.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import plotly.graph_objects as go

from nmsim.report.pages.document import document
from nmsim.report.pages.markup import Cell, Head, Safe, drawings, el, joined, sheet

__all__ = [
    "Origin",
    "Section",
    "Verdict",
    "claims_json",
    "claims_page",
    "judged",
    "reproduced",
    "verdict_table",
]


@dataclass(frozen=True)
class Verdict:
    """One statement of a paper; ``because`` says why it is not met, and is empty where it is."""

    statement: str
    where: str
    printed: str
    computed: str
    because: str = ""

    @property
    def reproduced(self) -> bool:
        """Whether nmsim finds what the paper says."""
        return not self.because


@dataclass(frozen=True)
class Section:
    """One claim: which paper, which N it means in its table and prose, every figure and verdict."""

    name: str
    title: str
    paper: str
    n_is: str
    meaning_of_n: str
    figures: dict[str, Any]
    verdicts: list[Verdict]

    def record(self) -> dict[str, Any]:
        """The section as it stands in JSON, each verdict with whether it is reproduced."""
        stated = [{**asdict(v), "reproduced": v.reproduced} for v in self.verdicts]
        return {**asdict(self), "verdicts": stated}


@dataclass(frozen=True)
class Origin:
    """What a page asks, the command that makes it again, and the version of nmsim that did."""

    question: str
    command: str
    version: str


def judged(
    statement: str, where: str, printed: str, computed: str, failures: Iterable[str]
) -> Verdict:
    """Judge a statement by what contradicts it: nothing, if it is reproduced."""
    return Verdict(statement, where, printed, computed, "; ".join(failures))


def reproduced(verdicts: Sequence[Verdict]) -> str:
    """How many of the statements nmsim reproduces.

    Examples
    --------
    >>> reproduced([judged("a", "b", "c", "d", []), judged("a", "b", "c", "d", ["why"])])
    '1 of 2'
    """
    return f"{sum(v.reproduced for v in verdicts)} of {len(verdicts)}"


def claims_json(origin: Origin, sections: Iterable[Section]) -> str:
    """Every figure and verdict as strict JSON."""
    content = {
        "question": origin.question,
        "command": origin.command,
        "nmsim": origin.version,
        "sections": [section.record() for section in sections],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def claims_page(
    origin: Origin,
    lead: str,
    sections: Sequence[Section],
    figures: Mapping[str, go.Figure],
    captions: Mapping[str, str],
    *,
    links: Mapping[str, str] = MappingProxyType({}),
    tables: Mapping[str, Safe] = MappingProxyType({}),
    shared: str = "",
) -> str:
    """The whole page: sections with the figures and captions that there are, by section.

    Parameters
    ----------
    lead
        Follows the count of statements that are reproduced.
    links
        Addresses of other pages by what they are called.
    tables
        Stand below the captions of their sections.
    shared
        Where plotly.js stands beside pages of one folder; "": in the page.
    """
    every = [verdict for section in sections for verdict in section.verdicts]
    header = el(
        "header",
        el("div", f"nmsim {origin.version} · papers", class_="eyebrow"),
        el("h1", origin.question),
        el("p", f"{reproduced(every)} statements are reproduced. {lead}", class_="lead"),
        *([el("nav", *(el("a", text, href=to) for text, to in links.items()))] if links else []),
    )
    drawn = drawings(figures)
    parts = [
        header,
        el("div", *map(_tile, sections), class_="tiles", style=_columns(len(sections))),
    ]
    for section in sections:
        parts += [
            el("h2", section.title, id=section.name),
            el("p", f"{section.paper}. {section.meaning_of_n}", class_="lead"),
            _verdicts(section.verdicts, section.n_is),
            drawn.get(section.name, Safe("")),
            el("p", captions.get(section.name, ""), class_="caption"),
            tables.get(section.name, Safe("")),
        ]
    parts += [
        el("h2", "How to get it again"),
        el("pre", el("code", origin.command)),
        el("p", "Every figure is in ", el("a", "results.json", href="results.json"), "."),
    ]
    return document(origin.question, joined(parts), shared=shared)


def _verdicts(verdicts: Iterable[Verdict], n_is: str) -> Safe:
    heads = (
        Head("statement", n_is),
        Head("in the paper"),
        Head("the paper prints", n_is),
        Head("nmsim computes", n_is),
    )
    return verdict_table(verdicts, heads, "reproduced", "differs")


def verdict_table(verdicts: Iterable[Verdict], heads: Sequence[Head], met: str, unmet: str) -> Safe:
    """Statements as a table, the verdict last: a word where nothing contradicts, else what does.

    Parameters
    ----------
    heads
        Of statement, place, what is printed or expected, and what is computed.
    met, unmet
        What a verdict begins with.
    """
    rows = [
        [
            Cell(v.statement),
            Cell(v.where),
            Cell(v.printed),
            Cell(v.computed),
            Cell(met, style="reproduced")
            if v.reproduced
            else Cell(f"{unmet}: {v.because}", style="differs"),
        ]
        for v in verdicts
    ]
    return sheet([*heads, Head("verdict")], rows, "verdicts")


def _columns(tiles: int) -> str:
    """Four tiles a row where that fills the rows, else three."""
    return f"grid-template-columns: repeat(auto-fit, minmax({340 if tiles % 4 else 280}px, 1fr))"


def _tile(section: Section) -> Safe:
    return el(
        "div",
        el("div", el("a", section.title, href=f"#{section.name}"), class_="what"),
        el("div", reproduced(section.verdicts), class_="much"),
        el("div", f"reproduced · {section.paper}", class_="more"),
        class_="tile",
    )
