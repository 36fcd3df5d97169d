"""The commands ``nmsim trace record``, ``info`` and ``check``: masks kept in a file."""

from pathlib import Path
from typing import Annotated

import typer

from nmsim.cli.console import show_facts, steps, tell, write
from nmsim.cli.keywords import of_keywords
from nmsim.cli.options import command_line
from nmsim.cli.panels import OUTPUT
from nmsim.cli.usage import Grouped
from nmsim.errors import SpecError
from nmsim.run import trace as traces
from nmsim.run.manifest import manifest, provenance
from nmsim.run.point import Point

__all__ = ["app", "check", "info", "record"]

app = typer.Typer(
    help="Record, describe and check traces.", add_completion=False, rich_markup_mode=None
)

_KEYWORDS = (
    "model",
    "recipe",
    "plugins",
    "pattern",
    "batch",
    "seed",
    "phases",
    "layers",
    "tensors",
    "tensor_names",
    "lowering",
)
"""What masks depend on: no machine is asked."""


@app.command(cls=Grouped)
@of_keywords(Point, only=_KEYWORDS, recipe="asp")
def record(
    point: Point,
    out: Annotated[
        Path,
        typer.Option(metavar="F.safetensors", help="Where to write.", rich_help_panel=OUTPUT),
    ],
) -> None:
    """Record the GEMMs of MODEL and their masks in a file that runs in place of MODEL."""
    if out.suffix != ".safetensors":
        raise SpecError(f"--out {str(out)!r}: expected a name that ends in .safetensors")
    about = provenance(manifest(point, command_line()))
    count = traces.record(out, steps(point.sparse_gemms(), "recording"), about)
    tell(f"wrote {out}: {count} GEMMs")


@app.command(cls=Grouped)
def info(
    file: Annotated[Path, typer.Argument(metavar="F.safetensors")],
) -> None:
    """Say what a trace holds and where it comes from; masks are not read."""
    trace = traces.load(file)
    masked = [m for work in trace.gemms for m in (work.a, work.b) if not m.is_dense]
    bits = sum(mask.rows * mask.k for mask in masked)
    facts = [(str(name), str(value)) for name, value in trace.provenance.items()]
    facts += [
        ("GEMMs", str(len(trace.gemms))),
        ("masked operands", f"{len(masked)}, {bits:,} bits"),
    ]
    show_facts(facts)


@app.command(cls=Grouped)
def check(
    file: Annotated[Path, typer.Argument(metavar="F.safetensors")],
) -> None:
    """Read all of a trace: every digest, shape and group."""
    trace = traces.check(file)
    write(f"{file}: {len(trace.gemms)} GEMMs, digests, shapes and patterns hold")
