"""What did 2:4 gain where others measured it? ``python -m reports.published.build``.

``index.html`` shows it, ``results.json`` has every figure and verdict. A minute on one core.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nmsim import __version__
from nmsim.report.pages.document import document
from nmsim.report.pages.markup import Cell, Head, Safe, el, joined, sheet
from reports.builder import Built, Origin, build, results_json
from reports.claims import Claim, Found, Verdict, judged, reproduced
from reports.claims import judge as judge_claim
from reports.papers.bench import Bench
from reports.papers.paper import turned
from reports.published.published_figures import HERE, WITHIN, measure, measure_known

COMMAND = "python -m reports.published.build"
QUESTION = "What did 2:4 gain where others measured it?"
ORIGIN = Origin(QUESTION, COMMAND)
_LEAD = (
    "Speed-ups that others printed beside those that nmsim computes, "
    f"each to hold {WITHIN.told('')}, too high or too low. No constant was fitted to any of "
    "them. Where conditions are not all known, a row that holds is no proof, and one that does "
    "not says what would have to be so."
)
Figures = Mapping[str, Any]


def judge(rows: Iterable[Figures]) -> list[Verdict]:
    """A verdict for every printed speed-up, and one on the order of the two of SAM."""
    found = list(rows)
    return [*map(_within, found), _order(found)]


def claim(row: Figures) -> Claim:
    """What a printed pair of times says: a speed-up, to be met by the network's."""
    return Claim(
        "/".join(("published", row["what"], _size(row))),
        row["what"],
        _size(row),
        row["printed"],
        "×",
        "speedup",
        (),
        WITHIN,
        "model",
    )


def _within(row: Figures) -> Verdict:
    found = Found({"": row["computed"]}, f"{row['ratio'] - 1:+.1%}. {row['otherwise']}")
    verdict = judge_claim(claim(row), found)
    if row["known"] != "yes":  # no proof of the model, whichever way it comes out
        return replace(verdict, kind="", unsaid="not all of the conditions")
    return replace(verdict, one_sided=not turned().get(verdict.name))


def judged_on(bench: Bench) -> dict[str, Verdict]:
    """Verdicts on some machines, of rows whose conditions are known, by the names of claims."""
    return {verdict.name: verdict for verdict in map(_within, measure_known(bench))}


def _size(row: Figures) -> str:
    tokens = f"{row['tokens']} tokens" if row["tokens"] else ""
    return ", ".join(filter(None, (f"batch {row['batch']}", tokens)))


def _order(rows: Sequence[Figures]) -> Verdict:
    mlps, all_linear = (row for row in rows if row["network"] == "sam-vit-h")
    wrong = [all_linear["otherwise"]] if all_linear["computed"] >= mlps["computed"] else []
    return judged(
        "SAM ViT-H: with attention sparse too, the network is slower than with its MLPs alone",
        "batch 32",
        f"{mlps['printed']:.2f} to {all_linear['printed']:.2f}",
        f"{mlps['computed']:.2f} to {all_linear['computed']:.2f}",
        wrong,
    )


def page(rows: Sequence[Figures], verdicts: Sequence[Verdict]) -> str:
    """The whole page: verdicts by row, then times and conditions."""
    known = [v for v, row in zip(verdicts, rows, strict=False) if row["known"] == "yes"]
    parts = [
        el(
            "header",
            el("div", f"nmsim {__version__} · published", class_="eyebrow"),
            el("h1", QUESTION),
            el(
                "p",
                f"{reproduced(verdicts)} hold; of those whose conditions are known "
                f"{reproduced(known)}.",
                class_="answer",
            ),
            el("p", _LEAD, class_="lead"),
        ),
        _verdicts(rows, verdicts),
        el("h2", "What would have to hold"),
        *_would_hold(rows),
        el("p", el("strong", verdicts[-1].statement), f": {verdicts[-1].because or 'it is'}."),
        el("h2", "Times and conditions"),
        el(
            "p",
            "Milliseconds of a step, dense and 2:4. Of SAM they are the image encoder's here and "
            "the whole pipeline's in print.",
            class_="lead",
        ),
        _times(rows),
        el("h2", "How to get it again"),
        el("pre", el("code", COMMAND)),
        el("p", "Every figure is in ", el("a", "results.json", href="results.json"), "."),
    ]
    return document(QUESTION, joined(parts))


def _verdicts(rows: Sequence[Figures], verdicts: Sequence[Verdict]) -> Safe:
    heads = [
        Head("figure"),
        Head("printed", number=True),
        Head("computed", number=True),
        Head("verdict"),
        Head("conditions"),
    ]
    known = [*(row["known"] for row in rows), "yes"]
    cells = [
        [
            Cell(f"{v.statement} ({v.where})"),
            Cell(v.printed),
            Cell(v.computed),
            Cell("holds", style="reproduced")
            if v.reproduced
            else Cell(f"does not hold{off}", style="differs"),
            Cell("known" if told == "yes" else "not all known"),
        ]
        for v, told, off in zip(verdicts, known, [*map(_off, rows), ""], strict=True)
    ]
    return sheet(heads, cells, "verdicts")


def _off(row: Figures) -> str:
    return f": {row['ratio'] - 1:+.0%}"


def _would_hold(rows: Iterable[Figures]) -> Iterable[Safe]:
    """Each reason once, with the figures that do not hold for it."""
    of: dict[str, list[str]] = {}
    for row in rows:
        if not WITHIN.met(row["printed"], row["computed"]):
            of.setdefault(row["otherwise"], []).append(f"{row['what']} ({_size(row)})")
    for why, figures in of.items():
        yield el("p", el("strong", "; ".join(figures)), f": {why}.")


def _times(rows: Iterable[Figures]) -> Safe:
    numbers = ("printed_dense_ms", "printed_sparse_ms", "dense_ms", "sparse_ms")
    heads = [Head("figure"), Head("of")]
    heads += [
        Head(name, number=True)
        for name in ("dense printed", "2:4 printed", "dense computed", "2:4 computed")
    ]
    heads += [Head("conditions"), Head("source")]
    cells = [
        [
            Cell(row["what"]),
            Cell(_size(row)),
            *(Cell(f"{row[name]:,.2f}", key=row[name]) for name in numbers),
            Cell(row["conditions"], style="why"),
            Cell(row["source"], style="why"),
        ]
        for row in rows
    ]
    return sheet(heads, cells, "sortable")


def make() -> Built:
    """Compute, judge and draw everything."""
    rows = measure()
    verdicts = judge(rows)
    stored = results_json(
        ORIGIN, figures=rows, statements=[verdict.record() for verdict in verdicts]
    )
    files = {"results.json": stored, "index.html": page(rows, verdicts)}
    return Built(files, f"{reproduced(verdicts)} hold")


def main(arguments: list[str]) -> None:
    """Write page and results into a folder, this one unless told otherwise."""
    build(arguments, QUESTION, HERE, make)


if __name__ == "__main__":
    main(sys.argv[1:])
