"""Files of other tools: ``nmsim import`` makes YAML of them, ``nmsim export`` writes results so."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from nmsim import report
from nmsim.cli.completion import one_of
from nmsim.cli.console import tell
from nmsim.cli.options import refuse_file
from nmsim.cli.panels import OUTPUT, WORKLOAD
from nmsim.errors import SpecError
from nmsim.exporters import EXPORTERS
from nmsim.files import write_file, write_folder
from nmsim.importing import as_yaml, import_document
from nmsim.machines import load_hardware
from nmsim.network.catalog import Network
from nmsim.spec import validate

__all__ = ["export_results", "import_file"]


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of another tool.")],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The YAML file to make.", rich_help_panel=OUTPUT),
    ],
    form: Annotated[
        str,
        typer.Option(
            "--as",
            metavar="FORMAT",
            help="csv, onnx, scale-sim, ...; none: by its content.",
            rich_help_panel=WORKLOAD,
        ),
    ] = "",
    bind: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SIZE",
            help="Size of an axis that has a name instead. May be repeated.",
            rich_help_panel=WORKLOAD,
        ),
    ] = None,
) -> None:
    """Write FILE of another tool as YAML: ONNX, topologies of SCALE-Sim, tables of GEMMs.

    Configurations of SCALE-Sim too, as a machine. What would be refused is not written.
    """
    if out.exists():
        raise SpecError(f"--out {out}: is there already, expected the name of a file to make")
    gives, found = import_document(file, form, _sizes(bind or []))
    if gives == "machine":
        load_hardware(file.absolute())
    else:
        _check(found.content, str(file))
    text = as_yaml(found.content, found.told).encode("utf-8", "backslashreplace")
    write_file(out, partial(_fill, text))
    for line in (*found.told, f"wrote {out}"):
        tell(line)


def export_results(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Results: --out of simulate or sweep.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="The file to write; of other tools, a folder.",
            rich_help_panel=OUTPUT,
        ),
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="csv, parquet, scale-sim, timeline.",
            rich_help_panel=OUTPUT,
            autocompletion=one_of(lambda: EXPORTERS),
        ),
    ],
) -> None:
    """Write the results that are stored in DIR as files of another tool.

    csv, parquet: every row, streamed into one file. scale-sim: its reports, of a systolic array.
    timeline: a step in the Trace Event Format.
    """
    exporter = EXPORTERS[form]
    if exporter.file is not None:
        if out.is_dir():
            raise SpecError(f"--out {out}: is a folder, expected the name of a file")
        write_file(out, partial(exporter.file, folder))
        tell(f"wrote {out}")
    if exporter.texts is not None:
        refuse_file(out)
        texts = exporter.texts(*report.read_results(folder))
        write_folder(out, texts)
        tell(f"wrote {', '.join(str(out / name) for name in texts)}")


def _check(document: Mapping[str, Any], where: str) -> None:
    """Refuse fields that are no network's; layers that name no other one are checked in parts."""
    layers = document["layers"]
    alone = not any("weight_of" in layer for layer in layers)
    most = _AT_ONCE if alone else len(layers)
    try:
        for start in range(0, len(layers), most):
            validate(Network, {**document, "layers": layers[start : start + most]}, where)
    except SpecError:
        validate(Network, document, where)  # which layer it is, counted from the first
        raise


_AT_ONCE = 1024
"""Layers of a long table that stand in memory as they would be run."""


def _fill(text: bytes, aside: Path) -> None:
    aside.write_bytes(text)


def _sizes(settings: list[str]) -> dict[str, int]:
    found = {}
    for setting in settings:
        name, _, size = setting.rpartition("=")
        if not (name and size.isascii() and size.isdecimal() and 1 <= int(size[:11]) <= 1 << 31):
            raise SpecError(f"--bind {setting!r}: expected NAME=SIZE, such as batch=1")
        found[name] = int(size)
    return found
