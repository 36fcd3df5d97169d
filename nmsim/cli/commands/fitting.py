"""``nmsim calibrate`` and ``nmsim measure``: constants from measured times, and measured times."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from nmsim.cli import panels
from nmsim.cli.completion import COMPLETED
from nmsim.cli.console import progress, show_facts, tell
from nmsim.errors import SpecError
from nmsim.evidence import file as evidence_file
from nmsim.machines import HARDWARE, Machine, kind_of, load_hardware, residual_path
from nmsim.machines.fit import FitError
from nmsim.measured.attention.residual import fit_attention_residual
from nmsim.measured.attention.tables import shipped_attention
from nmsim.measured.calibrate import MeasuredRoutine, calibrate, write_machine
from nmsim.measured.cuda import open_device
from nmsim.measured.evidence.gather import gather
from nmsim.measured.predict import call_of, impossible, shipped
from nmsim.measured.residual import fit_residual
from nmsim.measured.routines import routines_of
from nmsim.measured.tables import read_measured
from nmsim.measured.timing import grid, measure
from nmsim.measured.weight_shapes import held_out
from nmsim.residual.file import Residual, beside, of_attention, write_residual

__all__ = ["calibrate_machine", "measure_gemms"]

Facts = list[tuple[str, str]]


def calibrate_machine(
    hardware: Annotated[
        str,
        typer.Option(
            metavar="H",
            help="The GPU whose fitted fields are to be set.",
            rich_help_panel=panels.HARDWARE,
            autocompletion=COMPLETED["hardware"],
        ),
    ],
    measured: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MEASURED.csv",
            help="Measured times; with --residual, without a file: those that ship with nmsim.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="H2.yaml",
            help="The new machine file. With --residual it may be left out: the constants stand.",
            rich_help_panel=panels.OUTPUT,
        ),
    ] = None,
    holdouts: Annotated[
        int,
        typer.Option(
            min=2,
            metavar="N",
            help="Parts of the weight shapes, each held out once.",
            rich_help_panel=panels.RUN,
        ),
    ] = 5,
    generations: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Of the search of each fit, at most.",
            rich_help_panel=panels.RUN,
        ),
    ] = 150,
    seed: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Of the parts and of the search.",
            rich_help_panel=panels.PRUNING,
        ),
    ] = 0,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace H2.yaml, or the residual beside H.",
            rich_help_panel=panels.OUTPUT,
        ),
    ] = False,
    all_shapes: Annotated[
        bool,
        typer.Option(
            "--all-shapes",
            help="Fit to the weight shapes, too, that validate calls held out.",
            rich_help_panel=panels.RUN,
        ),
    ] = False,
    evidence: Annotated[
        bool,
        typer.Option(
            "--evidence",
            help="Gather where the GEMMs of the tables stand, and write it beside H as "
            "NAME.evidence.npz; nothing is fitted.",
            rich_help_panel=panels.RUN,
        ),
    ] = False,
    residual: Annotated[
        bool,
        typer.Option(
            "--residual",
            help="Learn what the closed form lacks of dense GEMMs, and write it beside H2.yaml, or "
            "beside H itself, as NAME.residual.npz; without a file also of fused attention.",
            rich_help_panel=panels.RUN,
        ),
    ] = False,
) -> None:
    """Fit a GPU's fields marked fitted to measured times, with a hold-out (extra `calibrate`)."""
    machine = load_hardware(hardware)
    routines_of(machine)
    if evidence:
        _alone(out=out, residual=residual)
        _gather(machine, hardware, measured or (), overwrite=overwrite)
        return
    if out is None and not residual:
        raise SpecError("calibrate: expected --out H2.yaml, --residual or --evidence")
    if not measured and not residual:
        raise SpecError("calibrate: expected a file of measured times")
    beside_it = residual_path(hardware) if out is None else beside(out)
    if residual and beside_it.exists() and not overwrite:
        raise SpecError(f"{beside_it}: is there, expected --overwrite to replace it")
    if out is not None:
        source = ", ".join(path.name for path in measured or ())
        source += "" if all_shapes else ", weight shapes of calibration"
        rows = _measured(machine, measured or (), all_shapes=all_shapes)
        with progress("fitting", holdouts + 1) as step:
            machine = calibrate(
                machine,
                rows,
                source=source,
                holdouts=holdouts,
                generations=generations,
                seed=seed,
                progress=lambda _: step(),
            )
        write_machine(HARDWARE.path(hardware), machine, out, overwrite=overwrite)
        show_facts(_report(machine))
        tell(f"wrote {out}")
    if residual:
        tables = [read_measured(path) for path in measured or ()] or shipped(hardware)[0]
        found = fit_residual(machine, tables, all_shapes=all_shapes, seed=seed)
        write_residual(beside_it, found)
        show_facts(_residual_report(found))
        tell(f"wrote {beside_it}")
        if not measured and kind_of(machine).attention:
            _attention_residual(machine, of_attention(beside_it), all_shapes=all_shapes, seed=seed)


def _attention_residual(machine: Machine, path: Path, *, all_shapes: bool, seed: int) -> None:
    """Learn one of fused attention, too, where tables that ship have enough of the machine's."""
    found = fit_attention_residual(machine, shipped_attention(), all_shapes=all_shapes, seed=seed)
    if found is not None:
        write_residual(path, found)
        show_facts(_residual_report(found))
        tell(f"wrote {path}")


def _alone(*, out: Path | None, residual: bool) -> None:
    """Refuse a fit where evidence is gathered."""
    if out is not None or residual:
        raise SpecError("--evidence: fits nothing, expected neither --out nor --residual")


def _gather(machine: Machine, hardware: str, measured: Sequence[Path], *, overwrite: bool) -> None:
    path = evidence_file.beside(HARDWARE.path(hardware))
    if path.exists() and not overwrite:
        raise SpecError(f"{path}: is there, expected --overwrite to replace it")
    if measured:
        found = gather(machine, [read_measured(one) for one in measured])
    else:
        found = gather(machine, shipped(hardware)[0], shipped_attention())
    evidence_file.write_evidence(path, found)
    show_facts(
        [
            (one.key, f"{one.rows:,} times of {len(one.sizes):,} GEMMs, {', '.join(one.sources)}")
            for one in found.records
        ]
    )
    tell(f"wrote {path}")


def _residual_report(found: Residual) -> Facts:
    return [
        (
            f"{dtype}, {Path(one['file']).name}",
            f"{one['rows']:,} rows, {one['shapes']}: MAPE {one['physics_mape']:.1%} -> "
            f"{one['residual_mape']:.1%}" + ", of another run" * bool(one["run"]),
        )
        for dtype, errors in found.report["errors"].items()
        for one in errors
    ]


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
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Resumed if it is there.", rich_help_panel=panels.OUTPUT),
    ] = Path("measured.csv"),
    gpu: Annotated[
        int, typer.Option(help="Which GPU, by number.", rich_help_panel=panels.HARDWARE)
    ] = 0,
    dtype: Annotated[
        list[str] | None,
        typer.Option(help="bf16 or fp16. May be repeated.", rich_help_panel=panels.WORKLOAD),
    ] = None,
    library: Annotated[
        list[str] | None,
        typer.Option(
            help="cublas, pytorch-cusparselt or pytorch-cutlass. May be repeated.",
            rich_help_panel=panels.HARDWARE,
        ),
    ] = None,
    source: Annotated[
        str, typer.Option(help="Who measured, for the table.", rich_help_panel=panels.OUTPUT)
    ] = "nmsim measure",
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
