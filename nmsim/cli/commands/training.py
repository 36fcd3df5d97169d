"""The command ``nmsim train``: a recipe's schedule over all steps."""

import json
from pathlib import Path
from typing import Annotated

import typer

from nmsim.cli.console import room, say, show_tables, tell, write
from nmsim.cli.keywords import of_keywords
from nmsim.cli.options import (
    Format,
    Output,
    Sort,
    Top,
    Totals,
    command_line,
    refuse_file,
    selection,
)
from nmsim.cli.panels import OUTPUT, WORKLOAD
from nmsim.errors import SpecError
from nmsim.report import Selection, headline, on, render_training, segments_csv, write_training
from nmsim.report.terminal.training import COLUMNS
from nmsim.run.point import Job
from nmsim.run.training import run_training, training_document

__all__ = ["train"]


@of_keywords(Job)
def train(
    job: Job,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Training steps of one batch each.", rich_help_panel=WORKLOAD
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            metavar="E",
            help="In place of --steps, with --samples: passes over them.",
            rich_help_panel=WORKLOAD,
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Samples of an epoch, such as 1281167 for ImageNet.",
            rich_help_panel=WORKLOAD,
        ),
    ] = None,
    totals: Totals = False,
    top: Top = None,
    sort: Sort = "",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write segments.csv, training.json and index.html here.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    form: Format = Output.TABLE,
) -> None:
    """Simulate a training run of MODEL: the recipe's schedule over all steps, against dense."""
    refuse_file(out)
    chosen = selection(form, COLUMNS, Selection(totals, top, sort))
    wanted = _steps(steps, epochs, samples, job.samples)
    run = training_document(run_training(job, wanted, command_line()))
    if out is not None:
        write_training(out, run)
    if form is Output.JSON:
        write(json.dumps(run, indent=2, allow_nan=False))
    elif form is Output.CSV:
        write(segments_csv(run))
    else:
        about = run["manifest"]
        title = (
            f"{about['model']} on {on(about)}, recipe {about['recipe']}, "
            f"pattern {about['pattern']}, batch {job.samples}{job.asked.learning.told}, "
            f"{wanted:,} steps, "
            f"{about['fidelity']} model, tensors {about['tensors']}"
        )
        say(headline(title, about))
        show_tables(render_training(run, room(), chosen))
    if out is not None:
        tell(f"wrote {out / 'index.html'}, segments.csv and training.json")


def _steps(steps: int | None, epochs: float | None, samples: int | None, batch: int) -> int:
    """Steps of the run; an epoch's last batch may be short, and is a step."""
    if (steps is None) == (epochs is None):
        raise SpecError("expected one of --steps and --epochs")
    if steps is not None:
        if samples is not None:
            raise SpecError("--samples: expected with --epochs alone")
        return steps
    if samples is None or samples < 1:
        raise SpecError("--epochs: expected --samples too, 1 or more")
    if epochs is None or not 0 < epochs < 1e9:
        raise SpecError(f"--epochs {epochs}: expected a number above 0")
    return max(1, round(epochs * -(-samples // batch)))
