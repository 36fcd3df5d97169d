"""The page of the gate: which change of the models turns which verdict."""

from collections.abc import Mapping, Sequence

from nmsim import __version__
from nmsim.report.pages.document import document
from nmsim.report.pages.markup import Cell, Head, el, joined, sheet
from reports.claims import Verdict
from reports.papers.gate import Mutation

__all__ = ["matrix_page"]

TITLE = "Could the verdicts on models have come out otherwise?"
_LEAD = (
    "Each column is a change of one mechanism of the models by a factor of two at most, or its "
    "removal; a dot: the verdict of the row turns, so that it holds in other cases than before. A "
    "statement that nothing turns is one-sided and not counted: printed and computed figures are "
    "so far apart that no mechanism explains it alone, or it would be met whatever the model says. "
    "Changes that turn nothing have no column: no verdict rests on their mechanism."
)


def matrix_page(
    mutations: Sequence[Mutation], verdicts: Mapping[str, Verdict], turned: Mapping[str, list[str]]
) -> str:
    """Statements about models by changes of the models.

    Parameters
    ----------
    verdicts, turned
        By the names of claims: what was judged, and the changes that turn it.
    """
    heads = [Head("statement"), Head("verdict"), Head("turned by", number=True)]
    numbered = [(at, m) for at, m in enumerate(mutations, 1) if m.turns]
    heads += [Head(str(at), meaning=m.name) for at, m in numbered]
    rows = [
        [
            Cell(f"{verdict.statement} ({verdict.where})"),
            _outcome(verdict),
            Cell(str(len(turned.get(name, ())))),
            *(
                Cell("●" if m.name in turned.get(name, ()) else "", exact=m.name)
                for _, m in numbered
            ),
        ]
        for name, verdict in sorted(verdicts.items(), key=lambda one: one[0] not in turned)
    ]
    counted = sum(bool(turned.get(name)) for name in verdicts)
    changes = [
        [Cell(str(at)), Cell(m.name), Cell(m.mechanism), Cell(str(len(m.turns)))]
        for at, m in enumerate(mutations, 1)
    ]
    return document(
        TITLE,
        joined(
            [
                el("div", f"nmsim {__version__} · papers", class_="eyebrow"),
                el("h1", TITLE),
                el(
                    "p",
                    f"{counted} of {len(verdicts)} statements about models turn under a change, "
                    f"and are counted. {_LEAD}",
                    class_="lead",
                ),
                el("nav", el("a", "All papers", href="index.html")),
                el("h2", "Changes"),
                sheet(
                    [Head("#"), Head("change"), Head("mechanism"), Head("turns", number=True)],
                    changes,
                    "matrix",
                ),
                el("h2", "Verdicts by changes"),
                sheet(heads, rows, "matrix"),
            ]
        ),
        drawn=False,
    )


def _outcome(verdict: Verdict) -> Cell:
    if verdict.reproduced:
        return Cell("holds", style="reproduced")
    if verdict.partly:
        return Cell(f"holds for {len(verdict.met)} of {len(verdict.cases)}", style="partly")
    return Cell("differs", style="differs")
