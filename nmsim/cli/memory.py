"""``nmsim memory``."""

import json
from dataclasses import asdict
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated

import typer

from nmsim.cli.console import show_tables, write
from nmsim.cli.options import (
    Batch,
    Hardware,
    Model,
    Pattern,
    Recipe,
    Settings,
    command_line,
    overrides,
)
from nmsim.machines import load_hardware
from nmsim.report import render_footprint
from nmsim.run.memory import memory_footprint
from nmsim.step.memory import ASSUMPTIONS, OPTIMIZERS

__all__ = ["memory"]


class _Format(StrEnum):
    TABLE = "table"
    JSON = "json"


def memory(
    model: Model,
    recipe: Recipe = "dense",
    pattern: Pattern = "2:4",
    batch: Batch = 1,
    optimizer: Annotated[
        str, typer.Option(metavar="NAME", help=", ".join(OPTIMIZERS))
    ] = "momentum",
    hardware: Hardware = "systolic-128x128-2to4",
    settings: Settings = None,
    form: Annotated[_Format, typer.Option("--format", help="How to print.")] = _Format.TABLE,
) -> None:
    """What a training step of MODEL keeps in memory, against the dense step."""
    machine = load_hardware(hardware, **overrides(settings))
    found = memory_footprint(
        model, recipe=recipe, pattern=pattern, batch=batch, optimizer=optimizer, hardware=machine
    )
    about = {
        "kind": "memory",
        "nmsim": version("nmsim"),
        "command": command_line(),
        "model": model,
        "recipe": recipe,
        "pattern": pattern,
        "batch": batch,
        "optimizer": optimizer,
        "hardware": machine.name,
        "machine": machine.model_dump(mode="json"),
        "assumptions": list(ASSUMPTIONS),
    }
    if form is _Format.JSON:
        layers = [asdict(layer) for layer in found.layers]
        write(json.dumps({"manifest": about, "rows": layers, "total": found.total()}, indent=2))
        return
    write(
        f"{model} on {machine.name}, recipe {recipe}, pattern {pattern}, batch {batch}, "
        f"optimizer {optimizer}"
    )
    show_tables([render_footprint(found.total())])
    write("\n".join(ASSUMPTIONS))
