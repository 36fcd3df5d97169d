"""The command ``nmsim simulate``: a model on a machine, a row a GEMM."""

from typing import Annotated, Any

import typer

from nmsim import report
from nmsim.cli.console import show_tables, steps, tell, width, write
from nmsim.cli.options import Out, Output, command_line, of_keywords, refuse_file
from nmsim.run.answer import answer, sums
from nmsim.run.manifest import manifest
from nmsim.run.point import Point, rows
from nmsim.run.rows.columns import typed_rows

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
    found = typed_rows(steps(rows(point), "simulating"))
    if out is not None:
        report.write_report(out, report.frame(found), about)
    _print_result(found, about, point.asked.learning.told, form)
    if out is not None:
        tell(f"wrote {out / 'index.html'}, results.csv and manifest.json")


def _print_result(
    rows: list[dict[str, Any]], about: dict[str, Any], step: str, form: Output
) -> None:
    totals = sums(rows, about)
    if form is Output.JSON:
        write(report.to_json(about, rows, totals, answer(rows, about)))
    elif form is Output.CSV:
        write(report.to_csv(rows))
    else:
        title = (
            f"recipe {about['recipe']}, pattern {about['pattern']}, batch {about['batch']}{step}, "
            f"{about['fidelity']} model, tensors {about['tensors']}"
        )
        write(report.headline(f"{answer(rows, about)}\n{title}", about))
        show_tables(
            [
                *report.render(rows, totals, width()),
                report.step_table(totals, report.step_name(about)),
            ]
        )
        for said in (report.policy_said(totals["all"]), report.evidence_said(rows)):
            if said:
                write(said)
        if totals["all"]["mask_us"] is not None:
            write(f"masks: {about['mask_basis']}")
