"""One pruned operand or both? ``python -m reports.bandwidth.build`` writes the page.

``index.html`` shows it, ``results.json`` has every figure and verdict. Under a minute on one core.
"""

import sys
from pathlib import Path

from reports.bandwidth.arrays import measure_delivery, measure_products, measure_words
from reports.bandwidth.bandwidth_claims import (
    judge_delivery,
    judge_products,
    judge_selectors,
    judge_words,
)
from reports.bandwidth.bandwidth_drawings import DRAWINGS
from reports.bandwidth.selecting import measure_selectors
from reports.builder import Built, Origin, build
from reports.claims import Section, classed, reproduced
from reports.page import claims_json, claims_page

HERE = Path(__file__).resolve().parent
COMMAND = "python -m reports.bandwidth.build"
QUESTION = "One pruned operand or both: what must the buffers deliver?"
ORIGIN = Origin(QUESTION, COMMAND)

_LEAD = (
    "A block of M elements along K brings N kept elements of a pruned operand to the array, and "
    "all M of one that is not. Everything is simulated; verdicts follow from the figures. N:M "
    "means that N of every M consecutive elements are kept."
)
_CHMIEL = "Chmiel et al., ICLR 2023"
_HUBARA = "Hubara et al., NeurIPS 2021"
_KEPT = ("N = kept", "N is what is kept, as in section 5 of the paper and in all of nmsim.")
_HALF = (
    "N = kept",
    "N is what is kept; the paper counts what is pruned, which at half density is the same number.",
)

CAPTIONS = {
    "words": "Machine: systolic-128x128-flexible under output stationary, where both operands "
    "stream: every cycle each of 128 rows and 128 columns takes one slot. Recipes: asp (weights by "
    "magnitude, Mishra et al., arXiv:2104.08378) and both.yaml in this folder (weights and "
    "activations). Source: columns a_bits_per_cycle and b_bits_per_cycle over 16 bits. Pale: "
    "metadata, ceil(log2 M) bits with every kept element. Above the bars, activations : weights, "
    "bold in words, below it with metadata.",
    "delivery": "Machine: systolic-128x128-flexible with a path (field delivery) as wide as the "
    "dense GEMM needs, shared by both operands and their metadata. Left: output stationary, fed by "
    "buses, with the drain behind the next fold, so that folds only stream. Right: the catalog's "
    "weight-stationary array, whose weights come before the activations stream; at 1:16 its "
    "last tile of K is half empty. Recipes as above; "
    "source: compute cycles, which the analytical model equals. Diamonds are not simulated but "
    "follow from need over supply of each operand: had each a path of its own, a dense operand "
    "that must come M/N times faster would undo all of the gain.",
    "products": "Machine: systolic-128x128-intersecting, which skips every product with a zero, "
    "with blocks of the pattern's own M, in lock-step and with PEs that run up to four blocks "
    "ahead. Recipes as above, masks by magnitude, so positions are as good as random. Source: "
    "columns survivors and compute_cycles, from the bits of both masks. Right: one pruned operand "
    "takes K·N/M cycles a fold; the bars are what pruning the other one too adds.",
    "selectors": "Machine: systolic-128x128-flexible with the one pattern native and 8-bit "
    "operands; no recipe, a cost does not depend on masks. Source: nmsim.cost; 12 transistors per "
    "one-bit two-input multiplexer (Yosys, synth -noabc; stat -tech cmos). A PE has one "
    "multiplexer; a core that sums a group has N of them. Wires are not in it.",
}
"""What to know when reading the drawing of a section."""


def sections() -> list[Section]:
    """Compute and judge everything."""
    asked, gained = measure_words(), measure_delivery()
    left, cost = measure_products(), measure_selectors()
    paper = f"{_CHMIEL}, section 5"
    return [
        Section(
            "words",
            "Words per cycle of each operand",
            paper,
            *_KEPT,
            asked,
            classed("definition", judge_words(asked)),
        ),
        Section(
            "delivery",
            "Speed-up on the path of the dense array",
            paper,
            *_KEPT,
            gained,
            classed("definition", judge_delivery(gained)),
        ),
        Section(
            "products",
            "MACs of two masked operands",
            paper,
            *_KEPT,
            left,
            classed("definition", judge_products(left)),
        ),
        Section(
            "selectors",
            "What a larger group costs",
            f"{_HUBARA}, section 3 and Appendix A.5",
            *_HALF,
            cost,
            classed("definition", judge_selectors(cost)),
        ),
    ]


def page(found: list[Section]) -> str:
    """The whole page."""
    drawn = {section.name: DRAWINGS[section.name](section.figures) for section in found}
    return claims_page(ORIGIN, _LEAD, found, drawn, CAPTIONS)


def make() -> Built:
    """Compute, judge and draw everything."""
    found = sections()
    told = ", ".join(f"{s.name} {reproduced(s.verdicts)}" for s in found)
    return Built({"results.json": claims_json(ORIGIN, found), "index.html": page(found)}, told)


def main(arguments: list[str]) -> None:
    """Write page and results into a folder, this one unless told otherwise."""
    build(arguments, QUESTION, HERE, make)


if __name__ == "__main__":
    main(sys.argv[1:])
