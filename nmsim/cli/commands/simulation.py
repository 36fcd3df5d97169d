"""The command ``nmsim simulate``: a model on a machine, a row a GEMM."""

from typing import Annotated, Any

import typer

from nmsim import report
from nmsim.cli.console import show_facts, show_tables, steps, tell, width, write
from nmsim.cli.keywords import of_keywords
from nmsim.cli.options import Out, Output, command_line, refuse_file
from nmsim.errors import SpecError
from nmsim.run.answer import answer, sums
from nmsim.run.asked import counted
from nmsim.run.manifest import manifest
from nmsim.run.point import Point, rows
from nmsim.run.rows.columns import typed_rows
from nmsim.run.values import listed

__all__ = ["simulate"]


@of_keywords(Point)
def simulate(
    point: Point,
    out: Out = None,
    form: Annotated[Output, typer.Option("--format", help="How to print.")] = Output.TABLE,
    list_tensors: Annotated[
        bool,
        typer.Option(
            "--list-tensors",
            help="Only list which tensors of --tensors are whose, and those that nobody uses.",
        ),
    ] = False,
) -> None:
    """Simulate MODEL: one row per GEMM of forward, backward and update."""
    if list_tensors:
        _list_tensors(point)
        return
    refuse_file(out)
    about = manifest(point, command_line()).document()
    found = typed_rows(steps(rows(point), "simulating"))
    if out is not None:
        report.write_report(out, report.frame(found), about)
    _print_result(found, about, point.asked.learning.told, form)
    if out is not None:
        tell(f"wrote {out / 'index.html'}, results.csv and manifest.json")


def _list_tensors(point: Point) -> None:
    """Layers with their tensors in the file of the run, then the tensors that nobody uses."""
    if point.tensors is None:
        raise SpecError("--list-tensors: expected --tensors, whose names it lists")
    found, unused = listed(point.workload, point.setting, point.layers)
    show_facts([(one.layer, f"{one.state}: {', '.join(one.tensors) or '-'}") for one in found])
    write(f"{counted(len(unused), 'tensor')} that nobody uses" + (":" if unused else ""))
    for name in unused:
        write(f"  {name}")


def _print_result(
    rows: list[dict[str, Any]], about: dict[str, Any], step: str, form: Output
) -> None:
    totals = sums(rows, about)
    if form is Output.JSON:
        write(report.to_json(about, rows, totals, answer(rows, about)))
    elif form is Output.CSV:
        write(report.to_csv(rows))
    else:
        unused = about.get("tensors_unused")
        beside = f" ({unused:,} of its tensors unused)" if unused else ""
        title = (
            f"recipe {about['recipe']}, pattern {about['pattern']}, batch {about['batch']}{step}, "
            f"{about['fidelity']} model, tensors {about['tensors']}{beside}"
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
