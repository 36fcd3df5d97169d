"""Several arrays on one memory channel: ``python -m reports.scaling.build`` writes the page.

``index.html`` shows it, ``results.json`` has every figure and verdict. Seconds on one core.
"""

import sys
from pathlib import Path
from typing import Any

from nmsim import __version__
from nmsim.report.pages.document import document
from nmsim.report.pages.markup import Cell, Head, Safe, drawings, el, joined, sheet
from reports.builder import Built, Origin, build, results_json
from reports.claims import Verdict, reproduced
from reports.page import verdict_table
from reports.scaling.scaling_claims import gain, judge
from reports.scaling.scaling_drawings import DRAWINGS
from reports.scaling.scaling_figures import measure

HERE = Path(__file__).resolve().parent
COMMAND = "python -m reports.scaling.build"
QUESTION = "Several arrays on one memory channel: what do they gain?"
ORIGIN = Origin(QUESTION, COMMAND)
CAPTIONS = {
    "speedup": "Dense runs over one dense array, 2:4 runs over one 2:4 array. Dashed: one array's "
    "cycles over those that the channel takes for every operand and result once. With private "
    "buffers each array loads what it needs, so that all of them move more. Shared ones have the "
    "size of one array's: what arrays have in common comes once, and each has its part of the C "
    "buffer, so that it takes shorter chunks and more folds. How the GEMM is shared out (under the "
    "pointer), and how many arrays have a part, is chosen by time.",
    "waits": "Each array moves in its turn; until then it waits for the channel. Idle: the array "
    "is done before the last one, or has no part. Waits for results include adding up the sums of "
    "parts of K.",
}
_LEAD = (
    "A convolution of 32 images, which computes, and a layer with 128 tokens, which loads its "
    "weights; 128×128 arrays with 2:4 selectors share 450 GB/s. "
)


def page(figures: dict[str, Any], verdicts: list[Verdict]) -> str:
    """The whole page."""
    drawn = drawings({name: draw(figures) for name, draw in DRAWINGS.items()})
    parts = [
        el(
            "header",
            el("div", f"nmsim {__version__} · arrays", class_="eyebrow"),
            el("h1", QUESTION),
            el("p", f"{_LEAD}{reproduced(verdicts)} statements hold.", class_="lead"),
        ),
        _statements(verdicts),
    ]
    for name, drawing in drawn.items():
        parts += [drawing, el("p", CAPTIONS[name], class_="caption")]
    parts += [
        el("h2", "Every run"),
        _runs(figures),
        el("h2", "How to get it again"),
        el("pre", el("code", COMMAND)),
        el("p", "Every figure is in ", el("a", "results.json", href="results.json"), "."),
    ]
    return document(QUESTION, joined(parts))


def _statements(verdicts: list[Verdict]) -> Safe:
    heads = [Head("statement"), Head("of"), Head("expected"), Head("found")]
    return verdict_table(verdicts, heads, "holds", "does not")


def _runs(figures: dict[str, Any]) -> Safe:
    names = ("arrays", "cycles", "speed-up [×]", "analytical / cycle", "MB")
    heads = [
        *map(Head, ("layer", "weights", "buffers", "shared out by")),
        *(Head(name, number=True) for name in names),
    ]
    rows = [
        [
            Cell(layer),
            Cell(pattern),
            Cell(buffers),
            Cell(run["partition"] or "–"),
            Cell(str(run["arrays"])),
            Cell(f"{run['cycles']:,}"),
            Cell(f"{gain(both[buffers], place):.2f}"),
            Cell(f"{run['analytical_cycles'] / run['cycles']:.3f}"),
            Cell(f"{run['bytes'] / 1e6:.1f}"),
        ]
        for layer, of in figures["layers"].items()
        for pattern, both in of["runs"].items()
        for buffers in ("private", "shared")
        for place, run in enumerate(both[buffers])
    ]
    return sheet(heads, rows, "rows")


def make() -> Built:
    """Compute, judge and draw everything."""
    figures = measure()
    verdicts = judge(figures)
    stored = results_json(
        ORIGIN, figures=figures, statements=[verdict.record() for verdict in verdicts]
    )
    files = {"results.json": stored, "index.html": page(figures, verdicts)}
    return Built(files, f"{reproduced(verdicts)} statements hold")


def main(arguments: list[str]) -> None:
    """Write page and results into a folder, this one unless told otherwise."""
    build(arguments, QUESTION, HERE, make)


if __name__ == "__main__":
    main(sys.argv[1:])
