"""``nmsim simulate``."""

from typing import Annotated, Any

import pandas as pd
import typer

from nmsim.cli.console import show_tables, steps, tell, width, write
from nmsim.cli.options import (
    Batch,
    Fidelity,
    Format,
    Hardware,
    Layers,
    Model,
    Out,
    Pattern,
    Phases,
    Recipe,
    Seed,
    Settings,
    Tensors,
    command_line,
    overrides,
    refuse_file,
)
from nmsim.report import records, render, step_table, to_csv, to_json, write_report
from nmsim.result import totals
from nmsim.run.experiment import Point, manifest, rows
from nmsim.run.frame import frame

__all__ = ["simulate"]


def simulate(
    model: Model,
    hardware: Hardware = "systolic-128x128-2to4",
    recipe: Recipe = "dense",
    pattern: Pattern = "2:4",
    batch: Batch = 1,
    fidelity: Annotated[Fidelity, typer.Option(help="Which model runs.")] = Fidelity.CYCLE,
    phase: Phases = None,
    layer: Layers = "*",
    settings: Settings = None,
    seed: Seed = 0,
    tensors: Tensors = None,
    compare: Annotated[
        bool, typer.Option(help="Simulate each row's dense twin too, for the speed-up.")
    ] = True,
    sample: Annotated[
        int | None,
        typer.Option(
            metavar="FOLDS",
            help="On an intersecting array, run about so many folds of each GEMM instead of all, "
            "and say the confidence interval.",
        ),
    ] = None,
    elementwise: Annotated[
        bool,
        typer.Option(
            "--elementwise",
            help="Estimate normalisation, activations and the optimizer too, by their bytes.",
        ),
    ] = False,
    kernel: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="On a GPU, run this kernel wherever the library has it (`nmsim show kernels`).",
        ),
    ] = None,
    out: Out = None,
    form: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
) -> None:
    """Simulate MODEL: one row per GEMM of forward, backward and update."""
    refuse_file(out)
    point = Point(
        model=model,
        hardware=hardware,
        recipe=recipe,
        pattern=pattern,
        batch=batch,
        fidelity=fidelity.value,
        phases=tuple(phase or ()),
        layers=layer,
        seed=seed,
        tensors=tensors,
        overrides={**overrides(settings), **({"kernel": kernel} if kernel else {})},
        compare=compare,
        sample=sample,
        elementwise=elementwise,
    )
    about = manifest(point, command_line())
    table = frame(steps(rows(point), "simulating"))
    if out is not None:
        write_report(out, table, about)
    _print_result(table, about, form)
    if out is not None:
        tell(f"wrote {out / 'index.html'}, results.csv and manifest.json")


def _print_result(table: pd.DataFrame, about: dict[str, Any], form: Format) -> None:
    sums = totals(records(table))
    if form is Format.JSON:
        write(to_json(about, table, sums))
    elif form is Format.CSV:
        write(to_csv(table))
    else:
        write(
            f"{about['model']} on {about['hardware']}, recipe {about['recipe']}, "
            f"pattern {about['pattern']}, batch {about['batch']}, {about['fidelity']} model, "
            f"tensors {about['tensors']}"
        )
        show_tables([*render(table, sums, width()), step_table(sums)])
        if sums["all"]["mask_us"] is not None:
            write(f"masks: {about['mask_basis']}")
