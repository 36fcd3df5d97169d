"""``nmsim timeline``: what the warps of one multiprocessor do, for a viewer of traces."""

import json
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from nmsim.cli.options import (
    Batch,
    Hardware,
    Layers,
    Model,
    Pattern,
    Phases,
    Recipe,
    Seed,
    Settings,
    command_line,
    overrides,
)
from nmsim.console import show_facts, tell
from nmsim.engine.gpu_waves import Wave
from nmsim.engine.gpu_work import Launch
from nmsim.engine.sm_timeline import chrome_trace, timeline
from nmsim.engine.tensor_core import run_work
from nmsim.errors import SpecError
from nmsim.experiment import Point
from nmsim.hardware import Gpu
from nmsim.mask import SparseGemm
from nmsim.storage import write_file

__all__ = ["tile_timeline"]

MOST_EVENTS = 10_000_000
"""Instructions that a trace may be asked for: about 2 GB."""


def tile_timeline(
    model: Model,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Trace Event Format, JSON.")],
    hardware: Hardware = "a100-sxm4-80gb",
    recipe: Recipe = "dense",
    pattern: Pattern = "2:4",
    batch: Batch = 1,
    phase: Phases = None,
    layer: Layers = "*",
    settings: Settings = None,
    seed: Seed = 0,
    kernel: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Run this kernel instead of the library's choice."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=MOST_EVENTS, help="Instructions that are written, at most.")
    ] = 100_000,
) -> None:
    """Write what the fullest multiprocessor of a GPU does for one tile of a GEMM, cycle by cycle.

    The file opens in chrome://tracing and in Perfetto. MODEL, --layer and --phase name one GEMM.
    """
    point = Point(
        model=model,
        hardware=hardware,
        recipe=recipe,
        pattern=pattern,
        batch=batch,
        phases=tuple(phase or ()),
        layers=layer,
        seed=seed,
        overrides={**overrides(settings), **({"kernel": kernel} if kernel else {})},
    )
    machine = point.machine
    if not isinstance(machine, Gpu):
        raise SpecError(f"hardware {machine.name}: expected a GPU, as only these have tiles")
    work = _only(point)
    launch, outcome = run_work(machine, work)
    if not outcome.waves:
        raise SpecError(f"{launch.kernel} has no tiles, name a kernel that has: --kernel")
    wave = outcome.waves[0]
    core, tile, feed, slices, ctas = wave.ran
    events = timeline(core, tile, feed, slices, ctas=ctas, limit=limit)
    spans = chrome_trace(
        wave.tile, events, sub_cores=machine.sm.sub_cores, clock_mhz=machine.clock_mhz
    )
    facts = _facts(machine, launch, wave, len(events))
    document = {
        "traceEvents": spans,
        "displayTimeUnit": "ns",
        "otherData": {"nmsim": version("nmsim"), "command": command_line(), **dict(facts)},
    }
    _write(out, document)
    show_facts(facts)
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


def _facts(machine: Gpu, launch: Launch, wave: Wave, written: int) -> list[tuple[str, str]]:
    gemm, time, ran = launch.work.gemm, wave.tile, wave.ran
    held = f"{ran.ctas} threadblock" + "s" * (ran.ctas > 1)
    parts = f"prologue {time.prologue:,}, main loop {time.main:,}, epilogue {time.epilogue:,}"
    waits = {
        name: sum(
            getattr(part, name)
            for part in (time.prologue_waits, time.main_waits, time.epilogue_waits)
        )
        for name in time.main_waits._fields
    }
    every = ", ".join(f"{name} {cycles:,}" for name, cycles in waits.items() if cycles)
    facts = [
        ("GEMM", f"{gemm.m}×{gemm.n}×{gemm.k}, {launch.work.a.pattern}/{launch.work.b.pattern}"),
        ("machine", machine.name),
        ("kernel", launch.kernel),
        (
            "fullest SM",
            f"{held}, {ran.slices:,} slices of K, of {wave.running:,} threadblocks at once",
        ),
        (
            "memory",
            f"{ran.feed.bytes_per_cycle:g} bytes a cycle after {ran.feed.latency}, by {wave.pace}",
        ),
        ("cycles", f"{time.cycles:,}: {parts}"),
        ("tensor cores busy", f"{time.utilization:.1%}"),
        ("warps waited for", f"{every} (cycles of all warps)"),
        ("instructions", f"{time.instructions:,}, written {written:,}"),
    ]
    return [*facts, ("note", launch.note)] if launch.note else facts
