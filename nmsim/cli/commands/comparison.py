"""The command ``nmsim compare``: a profiler's export beside the prediction, kernel by kernel."""

import csv
import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from nmsim import report
from nmsim.cli.console import steps, tell, write
from nmsim.cli.keywords import of_keywords
from nmsim.cli.options import Format, Output
from nmsim.cli.panels import OUTPUT
from nmsim.errors import SpecError
from nmsim.files import write_file
from nmsim.measured.profiles.exports import read_export
from nmsim.measured.profiles.matching import compare
from nmsim.report.terminal.comparison import COLUMNS, comparison_document, comparison_text
from nmsim.run.extent import how_many
from nmsim.run.point import Point, rows

__all__ = ["compare_kernels"]

_KEYWORDS = (
    *("model", "hardware", "recipe", "pattern", "batch", "scenario", "tokens", "context"),
    *("lowering", "phases", "layers", "overrides", "stack", "library", "kernel", "fidelity"),
    *("residual", "seed", "tensors", "tensor_names", "plugins"),
)
"""What a predicted time depends on."""

_BEGINS: dict[str, Any] = {"hardware": "a100-sxm4-80gb", "fidelity": "analytical"}


@of_keywords(Point, only=_KEYWORDS, **_BEGINS)
def compare_kernels(
    point: Point,
    export: Annotated[Path, typer.Argument(metavar="EXPORT", help="Of a profiler.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write all rows, CSV.", rich_help_panel=OUTPUT),
    ] = None,
    form: Format = Output.TABLE,
) -> None:
    """Lay a profiler's EXPORT beside the prediction of MODEL, kernel by kernel.

    MODEL may be a folder of results (--out of simulate). EXPORT is what `nsys stats --report
    cuda_gpu_trace` or `cuda_gpu_kern_sum` writes with `--format csv`, `ncu --csv --page raw`, or a
    trace of torch.profiler. What has no other side is listed, and why.
    """
    found = read_export(export)
    document = comparison_document(compare(found, _predicted(point)))
    if out is not None:
        text = _csv(document)
        write_file(out, lambda aside: _fill(aside, text))
    if form is Output.JSON:
        write(json.dumps(document, allow_nan=False, indent=1))
    else:
        write(_csv(document) if form is Output.CSV else comparison_text(document))
    if out is not None:
        tell(f"wrote {out}")


def _predicted(point: Point) -> list[dict[str, Any]]:
    folder = Path(str(point.model))
    if not (folder / "results.csv").is_file():
        alone = replace(point, compare=False)
        return list(steps(rows(alone), "predicting", partial(how_many, alone)))
    if point != Point(model=point.model, **_BEGINS):
        raise SpecError(f"{folder} holds results: expected no option that another run would take")
    table, _ = report.read_results(folder)
    if "model" in table and table["model"].nunique() > 1:
        raise SpecError(f"{folder} holds several runs, expected the results of one")
    return report.records(table)


def _fill(aside: Path, text: str) -> None:
    aside.write_text(text, "utf-8")


def _csv(document: dict[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(document["rows"])
    return text.getvalue()
