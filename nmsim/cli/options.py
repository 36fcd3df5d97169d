"""Arguments and options that several commands take, and what is done with them first."""

import os
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nmsim.errors import SpecError
from nmsim.spec import parse_scalar

__all__ = [
    "Batch",
    "Fidelity",
    "Format",
    "Hardware",
    "Layers",
    "Model",
    "Out",
    "Pattern",
    "Phases",
    "Recipe",
    "Seed",
    "Settings",
    "Tensors",
    "command_line",
    "overrides",
    "refuse_file",
]


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class Fidelity(StrEnum):
    """Which of a machine's two models runs."""

    CYCLE = "cycle"
    ANALYTICAL = "analytical"


Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A network (`nmsim list models`), a YAML file, a trace (.safetensors), a CSV of GEMMs "
        "(layer,m,n,k[,count]) or gemm:MxNxK.",
    ),
]
Hardware = Annotated[
    str, typer.Option(metavar="H", help="A machine (`nmsim list hardware`) or a YAML file.")
]
Recipe = Annotated[
    str, typer.Option(metavar="R", help="A recipe (`nmsim list recipes`) or a YAML file.")
]
Pattern = Annotated[
    str, typer.Option(metavar="N:M", help="At most N kept of every M along K, or `dense`.")
]
Batch = Annotated[int, typer.Option(help="Samples in a training step.")]
Phases = Annotated[
    list[str] | None,
    typer.Option("--phase", metavar="PHASE", help="forward, backward or update; may be repeated."),
]
Layers = Annotated[str, typer.Option("--layer", metavar="GLOB", help="Layers by name.")]
Seed = Annotated[int, typer.Option(help="Of synthetic tensors and of pruners that draw.")]
Tensors = Annotated[
    Path | None,
    typer.Option(help="Read values from this safetensors or npz file: <layer>.weight and so on."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="A field of the machine; may be repeated."),
]
Out = Annotated[
    Path | None, typer.Option(help="Write results.csv, manifest.json and index.html here.")
]


def command_line() -> str:
    """What was typed, to be stored with a result."""
    return shlex.join(["nmsim", *sys.argv[1:]])


def overrides(settings: list[str] | None) -> dict[str, Any]:
    """Fields and values of `--set`."""
    fields = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise SpecError(f"--set {setting!r}: expected FIELD=VALUE, such as rows=32")
        try:
            fields[name] = parse_scalar(value)
        except SpecError as error:
            raise SpecError(f"--set {name}: {error}") from error
    return fields


def refuse_file(folder: Path | None) -> None:
    """What cannot be a folder to write to is told before hours of work, not after."""
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"--out {folder}: expected a folder, found a file")
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not os.access(there, os.W_OK):
        raise SpecError(f"--out {folder}: {there} cannot be written to")
