"""What N:M costs in silicon: ``python -m reports.silicon_cost.build`` writes the page.

``index.html`` shows it, ``results.json`` has every figure and verdict. Minutes on one core.
"""

import json
import sys
from pathlib import Path
from typing import Any

from nmsim import __version__
from nmsim.report.pages.document import document
from nmsim.report.pages.markup import Cell, Head, Safe, drawings, el, joined, sheet
from reports.builder import Built, Origin, build, results_json
from reports.claims import Verdict, reproduced
from reports.page import verdict_table
from reports.silicon_cost.claims import answer, judge
from reports.silicon_cost.drawings import DRAWINGS
from reports.silicon_cost.figures import measure
from reports.silicon_cost.published import judge_published, measure_published

HERE = Path(__file__).resolve().parent
COMMAND = "python -m reports.silicon_cost.build"
QUESTION = "What does N:M cost in silicon, and does it pay?"
ORIGIN = Origin(QUESTION, COMMAND)
CAPTIONS = {
    "kept": "Area of a PE for each MAC that a dense array would need, if every slot is filled, "
    "over a dense PE with one multiplier. The share of the L1 norm is that of trained weights of a "
    "small network on digits, pruned by magnitude.",
    "diversity": "The same against the masks that a group has (Hubara et al., NeurIPS 2021, "
    "section 3), as bits for each element.",
}

_HOW = (
    "GEMMs of a step of 32 samples on 128 slots by as many columns as the area of a dense 128×128 "
    "array allows, buffers and memory as there, at the clock that PEs reach. With N multipliers "
    "a PE there are 128/N rows, which fill in fewer cycles, and share an adder, which a dense "
    "array could too: a part of what they gain. At equal "
    "power as many steps run as their energy allows. At equal bandwidth both arrays have 128 "
    "columns, and 128 words a cycle reach the PEs, as a dense array takes. Energy is by the 45 nm "
    "table."
)

_BOTH = (
    "A GEMM of 1024 cubed, both operands pruned by magnitude, over the dense array's time, bf16. "
    "An array that follows one mask is built for the pattern; one that intersects takes all of "
    "them, with queues of five groups of four."
)


def stored(
    figures: dict[str, Any], verdicts: list[Verdict], published: dict[str, Any], of: list[Verdict]
) -> str:
    """Every figure and verdict as strict JSON."""
    return results_json(
        ORIGIN,
        answer=answer(figures),
        figures=figures,
        statements=[verdict.record() for verdict in verdicts],
        published=published,
        verdicts=[verdict.record() for verdict in of],
    )


def page(figures: dict[str, Any], verdicts: list[Verdict], of: list[Verdict]) -> str:
    """The whole page."""
    drawn = drawings({name: draw(figures) for name, draw in DRAWINGS.items()})
    parts = [
        el(
            "header",
            el("div", f"nmsim {__version__} · silicon", class_="eyebrow"),
            el("h1", QUESTION),
            *(el("p", sentence, class_="lead") for sentence in answer(figures)),
        ),
        el("h2", "What the figures say"),
        verdict_table(verdicts, _heads("expected", "found"), "holds", "does not"),
    ]
    for name, drawing in drawn.items():
        parts += [drawing, el("p", CAPTIONS[name], class_="caption")]
    parts += [
        el("h2", "A training step at equal area"),
        el("p", _HOW),
        _steps(figures),
        el("h2", "One operand against two"),
        el("p", _BOTH),
        _two(figures),
        el("h2", f"What others printed: {reproduced(of)} are met"),
        el("p", "Verdicts are of the model: of its counts and of the tables that price them."),
        verdict_table(of, _heads("printed", "here"), "met", "differs"),
        el("h2", "How to get it again"),
        el("pre", el("code", COMMAND)),
        el("p", "Every figure is in ", el("a", "results.json", href="results.json"), "."),
    ]
    return document(QUESTION, joined(parts))


def _heads(printed: str, found: str) -> list[Head]:
    return [Head("statement"), Head("of"), Head(printed), Head(found)]


def _steps(figures: dict[str, Any]) -> Safe:
    names = (
        "columns",
        "speed-up at equal area",
        "at equal power",
        "at equal bandwidth",
        "of that, per area",
        "mJ",
        "dense mJ",
    )
    heads = [
        *map(Head, ("network", "width and table", "pattern", "multipliers of a group")),
        *(Head(name, number=True) for name in names),
    ]
    rows = [
        [
            Cell(network),
            Cell(run["variant"]),
            Cell(run["pattern"]),
            Cell(run["structure"]),
            Cell(str(run["columns"])),
            Cell(f"{run['at_equal_area']:.2f}"),
            Cell(f"{run['at_equal_power']:.2f}"),
            *(
                Cell("" if run[name] is None else f"{run[name]:.2f}")
                for name in ("at_equal_bandwidth", "per_area_at_equal_bandwidth")
            ),
            Cell(f"{run['energy_mj']:,.0f}"),
            Cell(f"{run['dense_energy_mj']:,.0f}"),
        ]
        for network, runs in figures["steps"].items()
        for run in runs
    ]
    return sheet(heads, rows, "rows")


def _two(figures: dict[str, Any]) -> Safe:
    """Gains at equal area of arrays that follow one mask, and of one that intersects two."""
    names = ("density", "two masks, intersected", "one mask")
    heads = [Head("pattern"), *(Head(name, number=True) for name in names), Head("its multipliers")]
    rows = [
        [
            Cell(run["pattern"]),
            Cell(f"{run['density']:.3g}"),
            Cell(f"{run['at_equal_area']:.2f}"),
            Cell(f"{run['one_operand']:.2f}"),
            Cell(run["structure"]),
        ]
        for run in figures["intersecting"]["runs"]
    ]
    return sheet(heads, rows, "rows")


def make() -> Built:
    """Compute, judge and draw everything."""
    figures = json.loads(json.dumps(measure()))
    published = measure_published()
    verdicts, of = judge(figures), judge_published(published)
    files = {
        "results.json": stored(figures, verdicts, published, of),
        "index.html": page(figures, verdicts, of),
    }
    return Built(files, f"{reproduced(verdicts)} statements hold")


def main(arguments: list[str]) -> None:
    """Write page and results into a folder, this one unless told otherwise."""
    build(arguments, QUESTION, HERE, make)


if __name__ == "__main__":
    main(sys.argv[1:])
