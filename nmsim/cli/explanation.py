"""``nmsim explain``: from the speed-up that masks promise to what is left of it, step by step."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from nmsim.cli.console import steps, write
from nmsim.cli.options import KernelName, of_keywords, with_kernel
from nmsim.report.explanation import explanation_text
from nmsim.run.explanation import explain
from nmsim.run.point import Point

__all__ = ["explain_gemms"]

_KEYWORDS = (
    *("model", "hardware", "recipe", "pattern", "batch", "scenario", "tokens", "context"),
    *("lowering", "phases", "layers", "overrides", "fidelity", "seed", "tensors"),
)
"""What a GEMM, its masks and its cycles depend on."""


class Form(StrEnum):
    """The forms in which an explanation is printed: text for people, or JSON."""

    TEXT = "text"
    JSON = "json"


@of_keywords(Point, only=_KEYWORDS)
def explain_gemms(
    point: Point,
    kernel: KernelName = None,
    form: Annotated[Form, typer.Option("--format", help="How to print.")] = Form.TEXT,
) -> None:
    """Explain the speed-up of GEMMs of MODEL: where the cycles go, and what would mend it.

    --layer and --phase choose GEMMs; without --layer it is the one that takes most time. Advice is
    run before it is given.
    """
    point = with_kernel(point, kernel)
    found = [one.document() for one in steps(explain(point), "explaining")]
    if form is Form.JSON:
        write(json.dumps({"gemms": found}, allow_nan=False, indent=1))
    else:
        write("\n\n".join(map(explanation_text, found)))
