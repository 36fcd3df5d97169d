"""The command ``nmsim validate``: predicted against measured times."""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nmsim.cli.completion import COMPLETED
from nmsim.cli.console import show_tables, tell, write
from nmsim.cli.options import Out, command_line, refuse_file
from nmsim.cli.panels import HARDWARE, OUTPUT, RUN
from nmsim.errors import SpecError
from nmsim.files import write_file, write_folder
from nmsim.machines import Fidelity
from nmsim.measured.accuracy import speedup_rows, summarize
from nmsim.measured.attention.predict import (
    judge_shipped,
    predict_attention,
    summarize_attention,
)
from nmsim.measured.attention.tables import is_attention, read_attention, shipped_attention
from nmsim.measured.evidence.earned import earned, earned_attention
from nmsim.measured.predict import Predicted, predict, shipped
from nmsim.measured.steps.predict import predict_steps, summarize_steps
from nmsim.measured.steps.tables import STEP_TABLES, is_steps, read_steps, shipped_steps
from nmsim.measured.tables import (
    MEASURED,
    MeasuredTable,
    raise_first,
    read_measured,
    refuse_predictions,
    shipped_path,
    with_predictions,
)
from nmsim.report import (
    render_attention,
    render_steps,
    render_validation,
    steps_page,
    write_report,
)
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
            metavar="MEASURED.csv",
            help="Measured times; without a file, those that ship with nmsim.",
        ),
    ] = None,
    hardware: Annotated[
        str | None,
        typer.Option(
            metavar="H",
            help="Predict on this machine instead of the one that each row names.",
            rich_help_panel=HARDWARE,
            autocompletion=COMPLETED["hardware"],
        ),
    ] = None,
    fidelity: Annotated[
        Fidelity, typer.Option(help="Which model predicts.", rich_help_panel=RUN)
    ] = "analytical",
    by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Group by this column alone.", rich_help_panel=OUTPUT),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write every row unchanged, and predicted_us.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    out: Out = None,
    form: Annotated[
        Form, typer.Option("--format", help="How to print.", rich_help_panel=OUTPUT)
    ] = Form.TABLE,
    residual: Annotated[
        bool,
        typer.Option(
            "--residual",
            help="Predict by the closed form as a learned residual corrects it, where one does. "
            "Errors with and without it are told in any case.",
            rich_help_panel=RUN,
        ),
    ] = False,
    evidence: Annotated[
        bool,
        typer.Option(
            "--evidence",
            help="Leave tables, or weight shapes, out in turn, and tell errors of what is near, "
            "within and beyond the rest.",
            rich_help_panel=RUN,
        ),
    ] = False,
    steps: Annotated[
        bool,
        typer.Option(
            "--steps",
            help="Hold whole steps of networks, GEMMs and all beside them: those that ship.",
            rich_help_panel=RUN,
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail if any row is unusable, unknown or impossible.",
            rich_help_panel=RUN,
        ),
    ] = False,
) -> None:
    """Hold predicted against measured times of GEMMs, of fused attention, of whole steps."""
    refuse_file(out)
    if steps or any(is_steps(path) for path in measured or ()):
        given = (by, predictions, residual, strict, fidelity != "analytical")
        _steps(measured or [], hardware, form, out, refused=any(given), shipped=steps)
        return
    if any(is_attention(path) for path in measured or ()):
        _of_gemms_alone(strict=strict, evidence=evidence, out=out)
        _attention(measured or [], hardware, by, predictions, form, residual=residual)
        return
    files, notes = _tables(measured, hardware)
    if predictions is not None:
        refuse_predictions(predictions, files)
    found = predict(files, hardware, fidelity, residual=residual)
    if strict:
        raise_first([*found.refused, *found.impossible])
    found.notes[:0] = notes
    summary = summarize(found, by)
    if evidence:
        summary["left_out"] = _left_out(found, files, shipped_too=not measured)
    _store(found, summary, files, predictions, out)
    for note in found.notes:
        tell(f"nmsim: {note}")
    judged = None if measured or by else judge_shipped(hardware)
    _show(summary, None if judged is None else summarize_attention(judged), form)
    for path in (predictions, out and out / "index.html"):
        if path is not None:
            tell(f"wrote {path}")


def _store(
    found: Predicted,
    summary: dict[str, Any],
    files: Sequence[MeasuredTable],
    predictions: Path | None,
    out: Path | None,
) -> None:
    """Write the rows with what was predicted, and the page, where they are asked for."""
    if predictions is not None:
        text = with_predictions(files, found.times)
        write_file(predictions, lambda aside: _write_text(aside, text))
    if out is not None:
        write_report(out, found.table, _manifest(found, summary, files).document())


def _left_out(
    found: Predicted, files: Sequence[MeasuredTable], *, shipped_too: bool
) -> list[dict[str, Any]]:
    """Errors of what is left out, by where it stands: of GEMMs, and of attention that ships."""
    machines = found.machines
    rows = [row for machine in machines.values() for row in earned(machine, files)]
    if shipped_too:
        rows += earned_attention(predict_attention(shipped_attention()).table, machines)
    return rows


def _steps(
    paths: Sequence[Path],
    hardware: str | None,
    form: Form,
    out: Path | None,
    *,
    refused: bool,
    shipped: bool,
) -> None:
    """Hold tables of steps, among which no other table may be; the closed form predicts."""
    if refused:
        raise SpecError("steps of networks: expected --hardware, --out and --format alone")
    if shipped and paths:
        raise SpecError("--steps: holds the steps that ship with nmsim, expected no file")
    tables = [(str(path), read_steps(path)) for path in paths] or [("steps.csv", shipped_steps())]
    found = [one for file, own in tables for one in predict_steps(own, hardware, file)]
    summary = summarize_steps([step for _, own in tables for step in own], found)
    if out is not None:
        _write_steps(out, summary, own=bool(paths))
    if form is Form.JSON:
        _write_json(summary)
        return
    for table in render_steps(summary):
        show_tables([table])
        write("")


def _write_steps(out: Path, summary: dict[str, Any], *, own: bool) -> None:
    """The page of steps, and all that it says as JSON; sources are those of shipped tables."""
    tables = () if own else tuple(STEP_TABLES)
    sources = {name: STEP_TABLES.load(name).model_dump() for name in tables}
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_folder(out, {"steps.json": text, "index.html": steps_page(summary, sources)})
    tell(f"wrote {out / 'index.html'}")


def _of_gemms_alone(*, strict: bool, evidence: bool, out: Path | None) -> None:
    """Refuse what means nothing to tables of attention."""
    if evidence:
        raise SpecError("--evidence: stands for GEMMs, expected no table of attention")
    if out is not None:
        raise SpecError("--out: pages show GEMMs, expected no table of attention")
    if strict:
        raise SpecError("--strict: rows of GEMMs are refused, expected no table of attention")


def _tables(
    measured: Sequence[Path] | None, hardware: str | None
) -> tuple[list[MeasuredTable], list[str]]:
    """The tables of GEMMs to be held, and what is left out of those that ship."""
    if measured:
        return [read_measured(path, strict=False) for path in measured], []
    return shipped(hardware)


def _show(summary: dict[str, Any], attention: dict[str, Any] | None, form: Form) -> None:
    """Print errors of GEMMs, and of attention where tables of it were held too."""
    own = {} if attention is None else {"attention": attention}
    if form is Form.JSON:
        _write_json({**summary, **own})
        return
    shown = [] if attention is None else render_attention(attention)
    for table in [*render_validation(summary), *shown]:
        show_tables([table])
        write("")
    _tell_floor(summary)
    _tell_impossible(summary)


def _attention(
    paths: Sequence[Path],
    hardware: str | None,
    by: str | None,
    predictions: Path | None,
    form: Form,
    *,
    residual: bool,
) -> None:
    """Hold tables of attention, among which no table of GEMMs may be."""
    tables = [read_attention(path) for path in paths]
    found = predict_attention(tables, hardware, residual=residual)
    summary = summarize_attention(found, by)
    if predictions is not None:
        text = found.text(tables)
        write_file(predictions, lambda aside: _write_text(aside, text))
        tell(f"wrote {predictions}")
    for note in found.notes:
        tell(f"nmsim: {note}")
    if form is Form.JSON:
        _write_json(summary)
    else:
        show_tables(render_attention(summary, groups=by is not None))


def _write_json(summary: dict[str, Any]) -> None:
    write(json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False))


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode("utf-8"))


def _manifest(
    found: Predicted, summary: dict[str, Any], files: Sequence[MeasuredTable]
) -> Validated:
    own = {shipped_path(name).name: name for name in MEASURED}
    return Validated(
        **origin("validate", command_line()),
        **summary,
        speedup_rows=speedup_rows(found),
        sources={
            rows.file: MEASURED.load(own[rows.file]).model_dump()
            for rows in files
            if rows.file in own and rows.file in summary["files"]
        },
    )


def _tell_floor(summary: dict[str, Any]) -> None:
    floor = summary["timing_floor"]
    if floor:
        write(
            f"{floor['rows']:,} rows note a floor of their timer, {floor['rows_within_floor']:,} "
            f"are no longer than it: {floor['treatment']}"
        )


def _tell_impossible(summary: dict[str, Any]) -> None:
    found = summary["impossible"]
    if found:
        rest = found["without_them"]
        without = f"; without them MAPE is {rest['mape']:.1%}" if rest else ""
        write(f"{found['rows']:,} rows have times that cannot be: {found['treatment']}{without}")
