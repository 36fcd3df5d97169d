"""What do masks of real tensors look like? ``python -m reports.digits.build`` writes the page.

``index.html`` shows it, ``results.json`` has every figure and verdict. It reads ``training.json``
and the traces in ``traces``, which ``python -m traces.train`` writes; half a minute on one core.
"""

import json
import sys
from pathlib import Path
from typing import Any

from reports.builder import Built, Origin, build
from reports.claims import Section, classed, reproduced
from reports.digits.digits_claims import (
    judge_estimators,
    judge_fits,
    judge_step,
    judge_survivors,
    judge_training,
)
from reports.digits.digits_drawings import DRAWINGS
from reports.digits.digits_figures import fits, simulated, survivors, training_curves, update_errors
from reports.digits.digits_tables import TABLES
from reports.page import claims_json, claims_page

HERE = Path(__file__).resolve().parent
TRACES = HERE.parents[1] / "traces"
COMMAND = "python -m traces.train && python -m reports.digits.build"
QUESTION = "Real tensors: what do masks keep, and does training survive them?"
ORIGIN = Origin(QUESTION, COMMAND)
_CHMIEL = "Chmiel et al., ICLR 2023"
_KEPT = ("N = kept", "N is what is kept, here and in all of nmsim.")

CAPTIONS = {
    "training": "Mean cross-entropy of an epoch's steps; bands reach from the least to the largest "
    "of the seeds. Every recipe prunes all layers with a weight, the first and the last too, which "
    "papers leave dense. asp trains dense for half of the epochs, prunes once and trains on. "
    "transposable+mvue makes its weight masks anew every 40 steps; fst adds SR-STE's decay of "
    "2e-4. Networks this small on a task this easy say little about large ones.",
    "estimators": "Gradients of the update GEMM alone are pruned, drawn by mvue or by magnitude "
    "(greedy.yaml in traces). Bars: root of the summed squared error of dYᵀX over its norm, all "
    "layers, at the last step of dense training; lines on them are 95% intervals over seeds.",
    "step": "The traces of one training step under transposable+mvue, 2:4, as committed in traces. "
    "Totals of a phase, layers with a weight; attention's products stay dense in every recipe. "
    "Dense GEMMs run on the same machine and fidelity.",
    "survivors": "Recipe every-operand.yaml in traces on the tensors of dense training: weights "
    "and activations by magnitude, gradients by sdgp in backward and by mvue in update. Groups of "
    "all pairs of rows of layers whose K is whole groups. Expected are independent uniform "
    "positions, given how many elements each row keeps: under a window's padding fewer than N. "
    "Pale: products that have no zero as a factor. Groups with more zeros than are pruned keep "
    "some of them, lowest index first, so that two masks of many zeros agree more often than "
    "chance has it; diamonds: the same tensors with zeros replaced by random values below all "
    "others.",
    "fits": "Masks by magnitude along features, on the tensors of dense training: weights along "
    "inputs, activations along channels of a pixel or token, gradients along outputs. Across: the "
    "same masks in groups of rows, where neighbouring pixels and tokens are alike. Zeros after a "
    "ReLU tie, and ties keep the lowest index, so that first halves fill up. Lines are 95% "
    "intervals over seeds.",
}
"""What to know when reading the drawing of a section."""


def sections(training: dict[str, Any]) -> list[Section]:
    """Collect and judge everything."""
    curves, step = training_curves(training), simulated(TRACES)
    errors = {**curves, **update_errors(training)}
    both, fit = survivors(training), fits(training)
    return [
        Section(
            "training",
            "Training with masks in every phase",
            "Mishra et al., 2021; Chmiel et al., ICLR 2023; Xu et al., AAAI 2022",
            *_KEPT,
            curves,
            judge_training(curves),
        ),
        Section(
            "estimators",
            "Unbiased or greedy gradients in update",
            _CHMIEL,
            *_KEPT,
            errors,
            classed("measurement", judge_estimators(errors)),
        ),
        Section(
            "step",
            "A real training step on both engines",
            _CHMIEL,
            *_KEPT,
            step,
            judge_step(step),
        ),
        Section(
            "survivors",
            "Products that survive two masks",
            f"{_CHMIEL}, section 5",
            *_KEPT,
            both,
            classed("algorithm", judge_survivors(both)),
        ),
        Section(
            "fits",
            "Groups that fit by chance",
            "Every mask equally likely",
            *_KEPT,
            fit,
            judge_fits(fit),
        ),
    ]


def lead(training: dict[str, Any]) -> str:
    """What was trained, in a few sentences."""
    about, runs = training["conditions"], training["runs"]
    checked = sum("gemms" in run for run in runs)
    return (
        f"A four-layer CNN and a two-block ViT (d = 64) trained on scikit-learn's 8×8 digits, "
        f"{len(runs)} runs of {about['seeds']} seeds, every mask made by nmsim's pruners. After "
        f"{checked} of them a step was recorded as a trace from its tensors, and its masks are "
        "those that the step multiplied with. ± is a 95% interval over seeds. A gain is called "
        "reproduced if the interval lies above zero on both networks, no loss if it does not lie "
        "below, and chance if the interval holds it or the mean is within 2% of it."
    )


def page(found: list[Section], training: dict[str, Any]) -> str:
    """The whole page."""
    drawn = {section.name: DRAWINGS[section.name](section.figures) for section in found}
    tables = {s.name: TABLES[s.name](s.figures) for s in found if s.name in TABLES}
    return claims_page(ORIGIN, lead(training), found, drawn, CAPTIONS, tables=tables)


def make() -> Built:
    """Judge and draw what was trained."""
    training = json.loads((HERE / "training.json").read_text(encoding="utf-8"))
    found = sections(training)
    told = ", ".join(f"{s.name} {reproduced(s.verdicts)}" for s in found)
    files = {"results.json": claims_json(ORIGIN, found), "index.html": page(found, training)}
    return Built(files, told)


def main(arguments: list[str]) -> None:
    """Write page and results into a folder, this one unless told otherwise."""
    build(arguments, QUESTION, HERE, make)


if __name__ == "__main__":
    main(sys.argv[1:])
