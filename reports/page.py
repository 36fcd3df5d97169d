"""The one look of all reports: a page of sections and verdicts, and tables of verdicts."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import plotly.graph_objects as go

from nmsim.report.pages.document import document
from nmsim.report.pages.markup import Cell, Head, Safe, drawings, el, joined, sheet
from reports.builder import Origin, results_json
from reports.claims import KINDS, Section, Verdict, count, outcomes, reproduced

__all__ = [
    "claims_json",
    "claims_page",
    "counts_table",
    "headline",
    "verdict_table",
]


def claims_json(origin: Origin, sections: Iterable[Section]) -> str:
    """Every figure and verdict as strict JSON."""
    return results_json(origin, sections=[section.record() for section in sections])


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
        el("p", f"{headline(every)} {lead}", class_="lead"),
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
            _verdicts(section.verdicts, section.n_is, origin.beside),
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


def headline(verdicts: Sequence[Verdict]) -> str:
    """How many verdicts of each class hold, those of models first; those without a class together.

    Examples
    --------
    >>> headline([Verdict("a", "b", "c", "d", kind="model")])
    'Verdicts on models: 1 of 1 holds in every case, 0 in some.'
    """
    told = []
    for kind, (whole, partly, none) in count(verdicts).items():
        if total := whole + partly + none:
            told.append(
                f"Verdicts on {kind}s: {whole} of {total} hold{'s' * (whole == 1)} in every case, "
                f"{partly} in some."
            )
    plain = [v for v in verdicts if not v.kind]
    if plain:
        told.append(f"{reproduced(plain)} statements are reproduced.")
    if aside := sum(v.one_sided for v in verdicts):
        told.append(f"{aside} statements are one-sided and not counted.")
    return " ".join(told)


def counts_table(verdicts: Sequence[Verdict]) -> Safe:
    """Outcomes by class, with what each class is."""
    heads = [
        Head("class"),
        Head("what it rests on"),
        *(Head(name, number=True) for name in ("hold", "hold in some cases", "differ", "in all")),
    ]
    rows = [
        [Cell(kind), Cell(KINDS[kind]), *(Cell(str(n)) for n in (*found, sum(found)))]
        for kind, found in count(verdicts).items()
    ]
    aside = [v for v in verdicts if v.one_sided]
    told = "models' statements that no change by a factor of two turns: one-sided, not counted"
    rows.append([Cell("none"), Cell(told), *(Cell(str(n)) for n in (*outcomes(aside), len(aside)))])
    return sheet(heads, rows, "verdicts")


def _verdicts(verdicts: Iterable[Verdict], n_is: str, beside: tuple[str, str, str]) -> Safe:
    where, expected, found = beside
    heads = (
        Head("statement", n_is),
        Head(where),
        Head(expected, n_is),
        Head(found, n_is),
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
    found = list(verdicts)
    rows = [
        [
            Cell(_lines(v.statement, f"not said: {v.unsaid}" if v.unsaid else "")),
            Cell(v.where),
            Cell(_lines(v.printed, v.within)),
            Cell(v.computed),
            *([Cell(v.kind)] if any(one.kind for one in found) else []),
            Cell(met, style="reproduced")
            if v.reproduced
            else Cell(_unmet(v, unmet), style="partly" if v.partly else "differs"),
        ]
        for v in found
    ]
    kinds = [Head("class")] if any(v.kind for v in found) else []
    return sheet([*heads, *kinds, Head("verdict")], rows, "verdicts")


def _unmet(verdict: Verdict, unmet: str) -> str:
    word = "" if verdict.partly else f"{unmet}: "
    return f"{'one-sided, not counted; ' * verdict.one_sided}{word}{verdict.because}"


def _lines(text: str, small: str) -> Safe:
    """A cell's text, and below it smaller what it is to be read with."""
    return joined((text, *([el("small", small)] if small else [])))


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
