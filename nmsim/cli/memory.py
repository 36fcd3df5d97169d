"""The command ``nmsim memory``: what a training step keeps."""

import json
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from nmsim.cli.console import show_tables, write
from nmsim.cli.options import command_line, of_keywords
from nmsim.report import render_memory
from nmsim.run.manifest import Weighed, origin
from nmsim.run.memory import Keeping, footprint_of
from nmsim.step.memory import ASSUMPTIONS

__all__ = ["memory"]


class _Format(StrEnum):
    TABLE = "table"
    JSON = "json"


@of_keywords(Keeping)
def memory(
    step: Keeping,
    form: Annotated[_Format, typer.Option("--format", help="How to print.")] = _Format.TABLE,
) -> None:
    """What a training step of MODEL keeps in memory, against the dense step."""
    machine = step.machine
    found = footprint_of(step)
    about = Weighed(
        **origin("memory", command_line()),
        model=str(step.model),
        recipe=str(step.recipe),
        pattern=str(step.pattern),
        batch=step.samples,
        optimizer=step.optimizer,
        hardware=machine.name,
        machine=machine.model_dump(mode="json"),
        assumptions=list(ASSUMPTIONS),
    ).document()
    if form is _Format.JSON:
        layers = [asdict(layer) for layer in found.layers]
        write(json.dumps({"manifest": about, "rows": layers, "total": found.total()}, indent=2))
        return
    write(
        f"{step.model} on {machine.name}, recipe {step.recipe}, pattern {step.pattern}, "
        f"batch {step.samples}, optimizer {step.optimizer}"
    )
    show_tables([render_memory(found.total())])
    write("\n".join(ASSUMPTIONS))
