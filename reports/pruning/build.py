"""Do the algorithms behave as the papers say? ``python -m reports.pruning.build`` writes the page.

``index.html`` shows it, ``results.json`` has every figure and verdict. Under a minute on two cores;
the weights come from ``traces/digits.safetensors``.
"""

import sys
from pathlib import Path

from safetensors.numpy import load_file

from reports.builder import Built, Origin, build
from reports.claims import Section, classed, reproduced
from reports.page import claims_json, claims_page
from reports.pruning.chmiel import judge_estimators, judge_scan, measure_estimators, measure_scan
from reports.pruning.drawings import DRAWINGS
from reports.pruning.hubara import (
    judge_diversity,
    judge_violations,
    measure_diversity,
    measure_violations,
)
from reports.pruning.hubara_masks import (
    judge_bounds,
    judge_retained,
    measure_bounds,
    measure_retained,
)

HERE = Path(__file__).resolve().parent
WEIGHTS = HERE.parents[1] / "traces" / "digits.safetensors"
COMMAND = "python -m reports.pruning.build"
QUESTION = "Do the algorithms behave as the papers say?"
ORIGIN = Origin(QUESTION, COMMAND)

_CHMIEL = "Chmiel et al., ICLR 2023"
_HUBARA = "Hubara et al., NeurIPS 2021"
_HALF = (
    "N = kept",
    (
        "N is what is kept, here and in all of nmsim. The paper mostly counts what is pruned; at "
        "half density, as in this section, both are the same number."
    ),
)
_PRUNED = (
    "N = pruned",
    (
        "N is what is pruned, in this section only, as in the paper's Eq. 4 and on the axis of its "
        "figure; nmsim's pattern, which counts what is kept, is (M − N):M."
    ),
)
_CAPTIONS = {
    "estimators": "Misdirected is the bias left after the one factor for all gradients that suits "
    "best, which a learning rate would mend: uniform is half of unbiased, and its mean points "
    "along the gradient. Magnitude is the paper's greedy. nmsim trains no network here: the "
    "accuracies are the paper's.",
    "approximation": "Variances are exact (Eq. 9), not sampled. The bound is a supremum: it is "
    "approached where one element dwarfs the others and never reached.",
    "bounds": "W(P)/W* can be below 1: the optimum of the lemma prunes exactly half of every row "
    "and column, and pruning more of some rows can cost less. Greedy is compared with the optimum "
    "of at most half per row and column.",
    "diversity": "Every count is an exact integer; the pointer shows all of its digits. The file "
    "of results also has the transposable masks with at most N per row and column.",
    "violations": "P is the probability that a block of M has at least N zeros. In nmsim this is "
    "1 − violation_probability of the pattern (M − N):M.",
    "retained": "Bars: all layers together; points: each layer. The last two bars are fast "
    "approximations of the 4:8 transposable mask. The paper's figure is of the last layer of "
    "ResNet-50, and prints no numbers.",
}
"""What to know when reading the drawing of a section."""

_LEAD = (
    "Each is compared with what nmsim's own pruners and statistics compute; verdicts follow from "
    "the figures. N:M means that N of every M consecutive elements are kept, unless a section says "
    "otherwise."
)


def sections() -> list[Section]:
    """Compute and judge everything."""
    estimators, scan, bounds = measure_estimators(), measure_scan(), measure_bounds()
    diversity, violations = measure_diversity(), measure_violations()
    retained = measure_retained(load_file(WEIGHTS))
    return [
        Section(
            "estimators",
            "Unbiased estimators of the gradients",
            f"{_CHMIEL}, Table 2 and section 4",
            *_HALF,
            estimators,
            classed("algorithm", judge_estimators(estimators)),
        ),
        Section(
            "approximation",
            "The approximate estimator is within a factor of two",
            f"{_CHMIEL}, Figure 2 and Eq. 16",
            *_HALF,
            scan,
            classed("algorithm", judge_scan(scan)),
        ),
        Section(
            "bounds",
            "Approximate transposable masks keep their bounds",
            f"{_HUBARA}, section 4",
            *_HALF,
            bounds,
            classed("algorithm", judge_bounds(bounds)),
        ),
        Section(
            "diversity",
            "Mask diversity",
            f"{_HUBARA}, Table 1 and Eq. 2",
            *_HALF,
            diversity,
            classed("definition", judge_diversity(diversity)),
        ),
        Section(
            "violations",
            "How often an unstructured mask fits",
            f"{_HUBARA}, Figure 5a and Eq. 4",
            *_PRUNED,
            violations,
            classed("definition", judge_violations(violations)),
        ),
        Section(
            "retained",
            "What structure costs in magnitude, on trained weights",
            f"{_HUBARA}, Figure 3b",
            *_HALF,
            retained,
            classed("algorithm", judge_retained(retained)),
        ),
    ]


def page(found: list[Section]) -> str:
    """The whole page."""
    drawn = {section.name: DRAWINGS[section.name](section.figures) for section in found}
    return claims_page(ORIGIN, _LEAD, found, drawn, _CAPTIONS)


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
