"""The commands that look into one GEMM: where its cycles go, and what a machine does when."""

import json
from enum import StrEnum
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from nmsim.cli.console import show_facts, steps, tell, write
from nmsim.cli.keywords import of_keywords
from nmsim.cli.options import command_line
from nmsim.cli.panels import OUTPUT
from nmsim.errors import SpecError
from nmsim.files import write_file
from nmsim.machines import kind_of
from nmsim.mask import SparseGemm
from nmsim.report.terminal.explanation import explanation_text
from nmsim.run.explanation import explain
from nmsim.run.point import Point

__all__ = ["explain_gemms", "tile_timeline"]

_KEYWORDS = (
    *("model", "hardware", "recipe", "pattern", "batch", "scenario", "tokens", "context", "tp"),
    *("lowering", "phases", "layers", "overrides", "stack", "library", "kernel", "fidelity"),
    *("seed", "tensors", "tensor_names", "plugins"),
)
"""What a GEMM, its masks and its cycles depend on."""


class Form(StrEnum):
    """The forms in which an explanation is printed: text for people, or JSON."""

    TEXT = "text"
    JSON = "json"


@of_keywords(Point, only=_KEYWORDS)
def explain_gemms(
    point: Point,
    form: Annotated[
        Form, typer.Option("--format", help="How to print.", rich_help_panel=OUTPUT)
    ] = Form.TEXT,
) -> None:
    """Explain the speed-up of GEMMs of MODEL: where the cycles go, and what would mend it.

    --layer and --phase choose GEMMs; without --layer it is the one that takes most time. Advice is
    run before it is given.
    """
    found = [one.document() for one in steps(explain(point), "explaining")]
    if form is Form.JSON:
        write(json.dumps({"gemms": found}, allow_nan=False, indent=1))
    else:
        write("\n\n".join(map(explanation_text, found)))


MOST_EVENTS = 10_000_000
"""Spans that a trace may be asked for: about 2 GB."""

_OF_ONE = (
    *("model", "scenario", "tokens", "context", "hardware", "recipe", "pattern", "batch", "phases"),
    *("layers", "overrides", "stack", "library", "kernel", "seed", "plugins"),
)
"""What one GEMM and its masks depend on; a timeline holds no values."""


@of_keywords(Point, only=_OF_ONE, hardware="a100-sxm4-80gb")
def tile_timeline(
    point: Point,
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Trace Event Format, JSON.", rich_help_panel=OUTPUT),
    ],
    limit: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_EVENTS,
            metavar="N",
            help="Spans that are written, at most.",
            rich_help_panel=OUTPUT,
        ),
    ] = 100_000,
) -> None:
    """Write what a machine does for one GEMM, and when.

    Of a GPU the instructions of the fullest multiprocessor for one tile; of an array its folds,
    and the loads and stores of its channel. The file opens in chrome://tracing and in Perfetto.
    MODEL, --layer and --phase name one GEMM.
    """
    machine = point.machine
    draw = kind_of(machine).timeline
    if draw is None:
        raise SpecError(f"hardware {machine.name}: machines of its kind have no timeline")
    drawn = draw(machine, _only(point), limit)
    document = {
        "traceEvents": drawn.events,
        "displayTimeUnit": "ns",
        "otherData": {"nmsim": version("nmsim"), "command": command_line(), **dict(drawn.facts)},
    }
    _write_trace(out, document)
    show_facts(drawn.facts)
    tell(f"wrote {out}")


def _write_trace(out: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"))

    def fill(aside: Path) -> None:
        aside.write_bytes(text.encode("utf-8", "backslashreplace"))

    write_file(out, fill)


def _only(point: Point) -> SparseGemm:
    """The one GEMM of a point; of a whole network, no mask is made but that of the first."""
    found = list(islice(point.sparse_gemms(), 2))
    if len(found) != 1:
        many = "more than one" if found else "none"
        raise SpecError(f"expected one GEMM, found {many}: choose it by --layer and --phase")
    return found[0]
