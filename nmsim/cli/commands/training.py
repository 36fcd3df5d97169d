"""The command ``nmsim train``: a recipe's schedule over all steps."""

import json
from pathlib import Path
from typing import Annotated

import typer

from nmsim.cli.console import show_tables, tell, write
from nmsim.cli.keywords import of_keywords
from nmsim.cli.options import Output, command_line, refuse_file
from nmsim.errors import SpecError
from nmsim.report import headline, on, render_training, segments_csv, write_training
from nmsim.run.point import Job
from nmsim.run.training import run_training, training_document

__all__ = ["train"]


@of_keywords(Job)
def train(
    job: Job,
    steps: Annotated[int | None, typer.Option(help="Training steps of one batch each.")] = None,
    epochs: Annotated[
        float | None, typer.Option(help="In place of --steps, with --samples: passes over them.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Samples of an epoch, such as 1281167 for ImageNet.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write segments.csv, training.json and index.html here.")
    ] = None,
    form: Annotated[Output, typer.Option("--format", help="How to print.")] = Output.TABLE,
) -> None:
    """Simulate a training run of MODEL: the recipe's schedule over all steps, against dense."""
    refuse_file(out)
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
        write(headline(title, about))
        show_tables(render_training(run))
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
