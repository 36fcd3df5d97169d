"""The command ``nmsim validate``: predicted against measured times."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nmsim.cli.console import show_tables, tell, write
from nmsim.cli.options import Out, command_line, refuse_file
from nmsim.files import write_file
from nmsim.machines import Fidelity
from nmsim.measured.accuracy import speedup_rows, summarize
from nmsim.measured.predict import Predicted, predict, shipped
from nmsim.measured.tables import (
    MEASURED,
    MeasuredTable,
    read_measured,
    refuse_predictions,
    with_predictions,
)
from nmsim.report import render_validation, write_report
from nmsim.run.manifest import Validated, origin

__all__ = ["validate"]


class Form(StrEnum):
    """The forms in which errors are printed: a table for people, or JSON."""

    TABLE = "table"
    JSON = "json"


def validate(
    measured: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[MEASURED.csv ...]",
            help="Measured times; without a file, those that ship with nmsim.",
        ),
    ] = None,
    hardware: Annotated[
        str | None,
        typer.Option(
            metavar="H", help="Predict on this machine instead of the one that each row names."
        ),
    ] = None,
    fidelity: Annotated[Fidelity, typer.Option(help="Which model predicts.")] = "analytical",
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Group by this column alone.")
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write every row unchanged, and predicted_us."),
    ] = None,
    out: Out = None,
    form: Annotated[Form, typer.Option("--format", help="How to print.")] = Form.TABLE,
) -> None:
    """Hold predicted against measured times of GEMMs: errors overall and by group."""
    refuse_file(out)
    notes: list[str] = []
    if measured:
        files = [read_measured(path) for path in measured]
    else:
        files, notes = shipped(hardware)
    if predictions is not None:
        refuse_predictions(predictions, files)
    found = predict(files, hardware, fidelity, lenient=not measured)
    found.notes[:0] = notes
    summary = summarize(found, by)
    if predictions is not None:
        text = with_predictions(files, found.times)
        write_file(predictions, lambda aside: _write_text(aside, text))
    if out is not None:
        write_report(out, found.table, _manifest(found, summary, files).document())
    for note in found.notes:
        tell(f"nmsim: {note}")
    if form is Form.JSON:
        write(json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        for table in render_validation(summary):
            show_tables([table])
            write("")
        _tell_floor(summary)
    for path in (predictions, out and out / "index.html"):
        if path is not None:
            tell(f"wrote {path}")


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8"))


def _manifest(
    found: Predicted, summary: dict[str, Any], files: Sequence[MeasuredTable]
) -> Validated:
    names = [Path(rows.file).stem for rows in files if rows.file.endswith(".csv")]
    own = [n for n in names if n in set(MEASURED) and f"{n}.csv" in summary["files"]]
    return Validated(
        **origin("validate", command_line()),
        **summary,
        speedup_rows=speedup_rows(found),
        sources={f"{name}.csv": MEASURED.load(name).model_dump() for name in own},
    )


def _tell_floor(summary: dict[str, Any]) -> None:
    floor = summary["timing_floor"]
    if floor:
        write(
            f"{floor['rows']:,} rows note a floor of their timer, {floor['rows_within_floor']:,} "
            f"are no longer than it: {floor['treatment']}"
        )
