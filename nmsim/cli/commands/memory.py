"""The command ``nmsim memory``: what a step of training or inference keeps."""

import json
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from nmsim.cli.console import say, show_tables, write
from nmsim.cli.keywords import of_keywords
from nmsim.cli.options import command_line
from nmsim.cli.panels import OUTPUT
from nmsim.report import headline, render_memory
from nmsim.run.manifest import Weighed, origin
from nmsim.run.memory import Keeping, footprint_of
from nmsim.step.memory import ASSUMPTIONS, INFERENCE

__all__ = ["memory"]


class _Format(StrEnum):
    TABLE = "table"
    JSON = "json"


def _machines(number: int) -> str:
    """Of how many machines the memory is that of each; nothing of one alone."""
    return f"each of {number} x " if number > 1 else ""


@of_keywords(Keeping)
def memory(
    step: Keeping,
    form: Annotated[
        _Format, typer.Option("--format", help="How to print.", rich_help_panel=OUTPUT)
    ] = _Format.TABLE,
) -> None:
    """What a step of MODEL keeps in memory, against the dense step and what the machine has."""
    machine = step.machine
    found = footprint_of(step)
    total, trains = found.total(), step.asked.trains
    against = {
        "memory_bytes": total["recipe"]["all"],
        "capacity_bytes": machine.capacity_bytes,
    }
    assumptions = ASSUMPTIONS if trains else INFERENCE
    about = (
        Weighed(
            **origin("memory", command_line()),
            model=str(step.model),
            recipe=str(step.recipe),
            pattern=str(step.pattern),
            batch=step.samples,
            scenario=step.scenario,
            tp=int(step.tp),
            optimizer=step.optimizer if trains else None,
            hardware=machine.name,
            unfitted=machine.unfitted,
            machine=machine.model_dump(mode="json"),
            assumptions=list(assumptions),
        ).document()
        | step.asked.learning.said
    )
    if form is _Format.JSON:
        layers = [asdict(layer) for layer in found.layers]
        write(json.dumps({"manifest": about, "rows": layers, "total": total | against}, indent=2))
        return
    told = step.asked.learning.told
    title = (
        f"{step.model} on {_machines(step.tp)}{machine.name}, recipe {step.recipe}, "
        f"pattern {step.pattern}, batch {step.samples}{told}, "
        f"{f'optimizer {step.optimizer}' if trains else step.scenario}"
    )
    say(headline(title, about | against))
    show_tables([render_memory(total)])
    say("\n".join(assumptions))
