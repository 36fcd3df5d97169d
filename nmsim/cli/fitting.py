"""``nmsim calibrate`` and ``nmsim measure``: constants from measured times, and measured times."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from nmsim.cli.console import progress, show_facts, tell
from nmsim.machines import HARDWARE, Machine, load_hardware
from nmsim.machines.fit import FitError
from nmsim.measured.calibrate import MeasuredRoutine, calibrate, write_machine
from nmsim.measured.cuda import open_device
from nmsim.measured.predict import call_of, impossible
from nmsim.measured.routines import routines_of
from nmsim.measured.tables import read_measured
from nmsim.measured.timing import grid, measure
from nmsim.measured.weight_shapes import held_out

__all__ = ["calibrate_machine", "measure_gemms"]

Facts = list[tuple[str, str]]


def calibrate_machine(
    measured: Annotated[list[Path], typer.Argument(metavar="MEASURED.csv ...")],
    hardware: Annotated[
        str, typer.Option(metavar="H", help="The GPU whose fitted fields are to be set.")
    ],
    out: Annotated[Path, typer.Option(metavar="H2.yaml", help="The new machine file.")],
    holdouts: Annotated[
        int, typer.Option(min=2, help="Parts of the weight shapes, each held out once.")
    ] = 5,
    generations: Annotated[
        int, typer.Option(min=1, help="Of the search of each fit, at most.")
    ] = 150,
    seed: Annotated[int, typer.Option(min=0, help="Of the parts and of the search.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace H2.yaml.")] = False,
    all_shapes: Annotated[
        bool,
        typer.Option(
            "--all-shapes", help="Fit to the weight shapes, too, that validate calls held out."
        ),
    ] = False,
) -> None:
    """Fit a GPU's fields marked fitted to measured times, with a hold-out (extra `calibrate`)."""
    machine = load_hardware(hardware)
    routines_of(machine)
    rows = _measured(machine, measured, all_shapes=all_shapes)
    source = ", ".join(path.name for path in measured)
    source += "" if all_shapes else ", weight shapes of calibration"
    with progress("fitting", holdouts + 1) as step:
        fitted = calibrate(
            machine,
            rows,
            source=source,
            holdouts=holdouts,
            generations=generations,
            seed=seed,
            progress=lambda _: step(),
        )
    write_machine(HARDWARE.path(hardware), fitted, out, overwrite=overwrite)
    show_facts(_report(fitted))
    tell(f"wrote {out}")


def _measured(
    machine: Machine, paths: Sequence[Path], *, all_shapes: bool
) -> list[MeasuredRoutine]:
    """Rows to be fitted to; impossible ones are told and left out."""
    found = []
    for path in paths:
        rows = read_measured(path)
        fit = np.ones(len(rows), bool) if all_shapes else ~held_out(*rows.sizes[:, 1:3].T)
        for wrong in impossible(rows, machine):
            tell(f"nmsim: {rows.fault(wrong.row, wrong.why)}: left out")
            fit[wrong.row] = False
        for index, routine in enumerate(rows.routines):
            own = fit & (rows.routine_of == index)
            times = rows.time_us[own] - rows.host_us[own]
            call, _ = call_of(machine, routine)
            found.append(MeasuredRoutine(call, rows.sizes[own], times, routine.conditions))
    return [rows for rows in found if len(rows.times_us)]


def _report(machine: Machine) -> Facts:
    fit = machine.calibration
    if fit is None:
        return []
    facts = [("rows", f"{fit.rows:,} of {fit.measured}, {fit.weight_shapes} weight shapes")]
    facts += [
        (
            c.path,
            f"{c.start:g} -> {c.value:g} ({c.low:g} to {c.high:g} over {fit.holdouts} hold-outs)",
        )
        for c in fit.constants
    ]
    facts += [(path, "no row depends on it: unchanged") for path in fit.idle]
    return [*facts, *((error.time, _errors(error)) for error in fit.errors)]


def _errors(error: FitError) -> str:
    return (
        f"{error.rows:,} rows: MAPE {error.mape:.1%}, held out {error.held_out_mape:.1%}; "
        f"bias {error.bias:+.1%}, held out {error.held_out_bias:+.1%}"
    )


def measure_gemms(
    out: Annotated[Path, typer.Option(metavar="FILE", help="Resumed if it is there.")] = Path(
        "measured.csv"
    ),
    gpu: Annotated[int, typer.Option(help="Which GPU, by number.")] = 0,
    dtype: Annotated[list[str] | None, typer.Option(help="bf16 or fp16; may be repeated.")] = None,
    library: Annotated[
        list[str] | None,
        typer.Option(help="cublas, pytorch-cusparselt or pytorch-cutlass; may be repeated."),
    ] = None,
    source: Annotated[str, typer.Option(help="Who measured, for the table.")] = "nmsim measure",
) -> None:
    """Time dense and 2:4 GEMMs on the GPU of this machine (extra `torch`)."""
    cases = grid(
        dtypes=tuple(dtype or ("bf16",)),
        libraries=tuple(library or ("cublas", "pytorch-cusparselt", "pytorch-cutlass")),
    )
    device = open_device(gpu)
    with progress("timing", len(cases)) as step:
        for outcome in measure(device, out, cases, source=source):
            if outcome.problem:
                tell(f"nmsim: {outcome.problem}")
            step()
    tell(f"wrote {out}")
