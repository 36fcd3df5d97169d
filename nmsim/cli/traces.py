"""``nmsim trace record``, ``info`` and ``check``."""

from pathlib import Path
from typing import Annotated

import typer

from nmsim.cli.console import show_facts, steps, tell, write
from nmsim.cli.options import (
    Batch,
    Layers,
    Model,
    Pattern,
    Phases,
    Recipe,
    Seed,
    Tensors,
    command_line,
)
from nmsim.errors import SpecError
from nmsim.run import trace as traces
from nmsim.run.experiment import Point, manifest

__all__ = ["check", "info", "record"]


def record(
    model: Model,
    out: Annotated[Path, typer.Option(metavar="F.safetensors", help="Where to write.")],
    recipe: Recipe = "asp",
    pattern: Pattern = "2:4",
    batch: Batch = 1,
    seed: Seed = 0,
    phase: Phases = None,
    layer: Layers = "*",
    tensors: Tensors = None,
) -> None:
    """Record MODEL's GEMMs and masks."""
    if out.suffix != ".safetensors":
        raise SpecError(f"--out {str(out)!r}: expected a name that ends in .safetensors")
    point = Point(
        model=model,
        recipe=recipe,
        pattern=pattern,
        batch=batch,
        phases=tuple(phase or ()),
        layers=layer,
        seed=seed,
        tensors=tensors,
    )
    about = manifest(point, command_line())
    dropped = ("kind", "schema", "hardware", "machine", "fidelity")
    provenance = {name: value for name, value in about.items() if name not in dropped}
    count = traces.record(out, steps(point.sparse_gemms(), "recording"), provenance)
    tell(f"wrote {out}: {count} GEMMs")


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


def check(
    file: Annotated[Path, typer.Argument(metavar="F.safetensors")],
) -> None:
    """Read all of a trace: every digest, shape and group."""
    trace = traces.check(file)
    write(f"{file}: {len(trace.gemms)} GEMMs, digests, shapes and patterns hold")
