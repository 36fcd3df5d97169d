"""``nmsim timeline``: what a machine does for one GEMM and when, for a viewer of traces."""

import json
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from nmsim.cli.console import show_facts, tell
from nmsim.cli.options import command_line, of_keywords
from nmsim.errors import SpecError
from nmsim.files import write_file
from nmsim.machines import kind_of
from nmsim.mask import SparseGemm
from nmsim.run.point import Point

__all__ = ["tile_timeline"]

MOST_EVENTS = 10_000_000
"""Spans that a trace may be asked for: about 2 GB."""

_KEYWORDS = (
    *("model", "scenario", "tokens", "context", "hardware", "recipe", "pattern", "batch", "phases"),
    *("layers", "overrides", "stack", "library", "kernel", "seed"),
)
"""What one GEMM and its masks depend on; a timeline holds no values."""


@of_keywords(Point, only=_KEYWORDS, hardware="a100-sxm4-80gb")
def tile_timeline(
    point: Point,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Trace Event Format, JSON.")],
    limit: Annotated[
        int, typer.Option(min=1, max=MOST_EVENTS, help="Spans that are written, at most.")
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
    _write(out, document)
    show_facts(drawn.facts)
    tell(f"wrote {out}")


def _write(out: Path, document: dict[str, Any]) -> None:
    text = json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"))

    def write(aside: Path) -> None:
        aside.write_bytes(text.encode("utf-8", "backslashreplace"))

    write_file(out, write)


def _only(point: Point) -> SparseGemm:
    """The one GEMM of a point; of a whole network, no mask is made but that of the first."""
    found = list(islice(point.sparse_gemms(), 2))
    if len(found) != 1:
        many = "more than one" if found else "none"
        raise SpecError(f"expected one GEMM, found {many}: choose it by --layer and --phase")
    return found[0]
