"""The command ``nmsim simulate``: a model on a machine, a row a GEMM."""

from functools import partial
from typing import Annotated, Any

import typer

from nmsim import report
from nmsim.cli.console import room, say, show_facts, show_tables, steps, tell, write
from nmsim.cli.images import Images, check_images, draw_images
from nmsim.cli.keywords import of_keywords
from nmsim.cli.options import (
    Format,
    Out,
    Output,
    Sort,
    Top,
    Totals,
    command_line,
    refuse_file,
    selection,
)
from nmsim.cli.panels import PRUNING
from nmsim.errors import SpecError
from nmsim.machines import COLUMNS
from nmsim.run.answer import answer, sums
from nmsim.run.asked import counted
from nmsim.run.extent import how_many
from nmsim.run.manifest import manifest
from nmsim.run.point import Point, rows
from nmsim.run.rows.columns import typed_rows
from nmsim.run.values import listed

__all__ = ["simulate"]


@of_keywords(Point)
def simulate(
    point: Point,
    totals: Totals = False,
    top: Top = None,
    sort: Sort = "",
    out: Out = None,
    images: Images = None,
    form: Format = Output.TABLE,
    list_tensors: Annotated[
        bool,
        typer.Option(
            "--list-tensors",
            help="Only list which tensors of --tensors are whose, and those that nobody uses.",
            rich_help_panel=PRUNING,
        ),
    ] = False,
) -> None:
    """Simulate MODEL: one row per GEMM of forward, backward and update."""
    if list_tensors:
        _list_tensors(point)
        return
    refuse_file(out)
    check_images(images, out)
    chosen = selection(form, _COLUMNS, report.Selection(totals, top, sort))
    about = manifest(point, command_line()).document()
    found = typed_rows(steps(rows(point), "simulating", partial(how_many, point)))
    if out is not None:
        table = report.frame(found)
        report.write_report(out, table, about)
        draw_images(out, table, about, images)
    if form is Output.TABLE:
        _print_table(found, about, point.asked.learning.told, chosen)
    else:
        _print_rows(found, about, form)
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


_COLUMNS = [*(column.name for column in COLUMNS), "speedup_ideal", "mask_speedup"]
"""What rows may be sorted by: columns of the CSV, and two that tables have beside them."""


def _print_rows(rows: list[dict[str, Any]], about: dict[str, Any], form: Output) -> None:
    """Print rows for programs: all of them, with every column."""
    if form is Output.JSON:
        write(report.to_json(about, rows, sums(rows, about), answer(rows, about)))
    else:
        write(report.to_csv(rows))


def _print_table(
    rows: list[dict[str, Any]], about: dict[str, Any], step: str, chosen: report.Selection
) -> None:
    totals = sums(rows, about)
    unused = about.get("tensors_unused")
    beside = f" ({unused:,} of its tensors unused)" if unused else ""
    title = (
        f"recipe {about['recipe']}, pattern {about['pattern']}, batch {about['batch']}{step}, "
        f"{about['fidelity']} model, tensors {about['tensors']}{beside}"
    )
    say(report.headline(f"{answer(rows, about)}\n{title}", about))
    show_tables(
        [
            *report.render(rows, totals, room(), chosen),
            report.step_table(totals, report.step_name(about)),
        ]
    )
    for said in (report.policy_said(totals["all"]), report.evidence_said(rows)):
        if said:
            say(said)
    if totals["all"]["mask_us"] is not None:
        say(f"masks: {about['mask_basis']}")
