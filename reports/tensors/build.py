"""How far are synthetic tensors from real ones? ``python -m reports.tensors.build``.

``index.html`` shows it, ``results.json`` has every figure and verdict. It reads
``recorded.json``, which ``python -m traces.tensors`` writes; a minute on one core.
"""

import json
import sys
from pathlib import Path
from typing import Any

from reports.builder import Built, Origin, build
from reports.claims import Section, reproduced
from reports.page import claims_json, claims_page
from reports.tensors.tensors_claims import (
    UNIT,
    far_of,
    judge_constants,
    judge_sensitivity,
)
from reports.tensors.tensors_drawings import constants_table, sensitivity_table
from reports.tensors.tensors_drawings import sensitivity as drawn_sensitivity
from reports.tensors.tensors_figures import KINDS, constants, moved, sensitivity

HERE = Path(__file__).resolve().parent
COMMAND = "python -m traces.tensors && python -m reports.tensors.build"
QUESTION = "Synthetic tensors: how far are they from real ones, and what does it change?"
ORIGIN = Origin(QUESTION, COMMAND, beside=("where", "synthetic, or allowed", "recorded"))
_KEPT = ("N = kept", "N is what is kept, here and in all of nmsim.")

CAPTIONS = {
    "constants": "Layers with a weight at the last recorded step. Zeros are left out of both σ of "
    "magnitudes; a normal tensor has 1.11. A channel's scale is the root mean square of an "
    "activation, behind its non-linearity. Correlation is of a channel with itself one pixel "
    "or token on, behind the non-linearity too: there a correlation of 0.7 before a ReLU is 0.62. "
    "Synthetic tokens are independent and synthetic gradients have no zeros. Attention's logits "
    "were recorded in the network of characters alone, where they spread as it learns: 0.10, "
    "1.70, 2.18 and 3.83 at steps 1, 50, 100 and 200.",
    "sensitivity": "Synthetic tensors of the same layers and batch, seed 0. Lines: all constants "
    "at the least and at the largest of any layer of the three networks. Read across: masks by "
    "magnitude along features, in groups of rows, as a weight pruned for forward is in backward. "
    "On 2:4 selectors: 4:8 and 8:16 masks. Survivors: recipe every-operand.yaml in traces. Masks "
    "by magnitude follow the order of values alone, so σ of independent gradients moves no misfit. "
    "Many of the CNN's gradients are zeros, behind its ReLUs, and a group with more zeros than are "
    "pruned keeps the first of them, so that two masks agree. "
    "Worst in the table is what no tensor exceeds: N/(N+1) of groups across, all on narrow "
    "selectors, N survivors; the least that survives is max(0, 2N − M).",
}
"""What to know when reading a section."""


def sections(recorded: dict[str, Any]) -> list[Section]:
    """Collect and judge everything."""
    assumed, masks = constants(recorded), sensitivity(recorded)
    paper = "nmsim's own constants"
    return [
        Section(
            "constants",
            "What synthetic tensors assume",
            paper,
            *_KEPT,
            assumed,
            judge_constants(assumed),
        ),
        Section(
            "sensitivity",
            "What it changes in masks",
            paper,
            *_KEPT,
            masks,
            judge_sensitivity(masks),
        ),
    ]


def lead(found: list[Section]) -> str:
    """What was compared, and how far off synthetic tensors may be."""
    masks = found[1].figures["networks"]
    told = []
    for kind, what in KINDS.items():
        far, where, of = moved(masks, kind, far_of(kind))
        told.append(
            f"{what} by {far:.1f} {UNIT[kind]} ({where}: {of['synthetic']:.2f} against "
            f"{of['recorded']:.2f})"
        )
    return (
        "Layers of a CNN and a ViT on 8×8 digits and of a transformer of 6.4 million parameters, "
        "200 steps on characters, recorded while they trained, against tensors drawn for the same "
        f"layers. Synthetic tensors may be off, at most: {'; '.join(told)}."
    )


def page(found: list[Section]) -> str:
    """The whole page."""
    of = {section.name: section.figures for section in found}
    tables = {
        "constants": constants_table(of["constants"]),
        "sensitivity": sensitivity_table(of["sensitivity"]),
    }
    drawn = {"sensitivity": drawn_sensitivity(of["sensitivity"])}
    return claims_page(ORIGIN, lead(found), found, drawn, CAPTIONS, tables=tables)


def make() -> Built:
    """Judge and draw what was recorded."""
    found = sections(json.loads((HERE / "recorded.json").read_text(encoding="utf-8")))
    told = ", ".join(f"{s.name} {reproduced(s.verdicts)}" for s in found)
    return Built({"results.json": claims_json(ORIGIN, found), "index.html": page(found)}, told)


def main(arguments: list[str]) -> None:
    """Write page and results into a folder, this one unless told otherwise."""
    build(arguments, QUESTION, HERE, make)


if __name__ == "__main__":
    main(sys.argv[1:])
