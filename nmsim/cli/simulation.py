"""The command ``nmsim simulate``: a model on a machine, a row a GEMM."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nmsim import report
from nmsim.cli.console import show_tables, steps, tell, width, write
from nmsim.cli.options import Out, Output, command_line, of_keywords, refuse_file
from nmsim.result import totals
from nmsim.run.manifest import manifest
from nmsim.run.point import Point, rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["simulate"]


@of_keywords(Point)
def simulate(
    point: Point,
    out: Out = None,
    form: Annotated[Output, typer.Option("--format", help="How to print.")] = Output.TABLE,
) -> None:
    """Simulate MODEL: one row per GEMM of forward, backward and update."""
    refuse_file(out)
    about = manifest(point, command_line()).document()
    table = report.frame(steps(rows(point), "simulating"))
    if out is not None:
        report.write_report(out, table, about)
    _print_result(table, about, form)
    if out is not None:
        tell(f"wrote {out / 'index.html'}, results.csv and manifest.json")


def _print_result(table: "pd.DataFrame", about: dict[str, Any], form: Output) -> None:
    sums = totals(report.records(table))
    sums["all"] |= {name: about[name] for name in ("memory_bytes", "capacity_bytes")}
    if form is Output.JSON:
        write(report.to_json(about, table, sums))
    elif form is Output.CSV:
        write(report.to_csv(table))
    else:
        title = (
            f"{about['model']} on {report.on(about)}, recipe {about['recipe']}, "
            f"pattern {about['pattern']}, batch {about['batch']}{_asked(about)}, "
            f"{about['fidelity']} model, "
            f"tensors {about['tensors']}"
        )
        write(report.headline(title, about))
        show_tables(
            [*report.render(table, sums, width()), report.step_table(sums, report.step_name(about))]
        )
        rows = report.records(table)
        for said in (report.policy_said(sums["all"]), report.evidence_said(rows)):
            if said:
                write(said)
        if sums["all"]["mask_us"] is not None:
            write(f"masks: {about['mask_basis']}")


def _asked(about: dict[str, Any]) -> str:
    """The scenario of a run that does not train, and the tokens that were asked for."""
    said = [] if about["scenario"] == "train" else [about["scenario"]]
    said += [f"{name} {about[name]}" for name in ("tokens", "context") if about[name] is not None]
    return "".join(f", {one}" for one in said)
