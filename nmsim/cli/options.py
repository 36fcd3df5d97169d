"""Options that several commands take."""

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
    "Out",
    "Output",
    "Plugins",
    "command_line",
    "overrides",
    "refuse_file",
]


class Output(StrEnum):
    """The forms in which a result is printed: a table for people, CSV or JSON."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


Plugins = Annotated[
    list[Path] | None,
    typer.Option(metavar="PATH", help="Pruners of one's own: files, or folders of them."),
]

Out = Annotated[
    Path | None, typer.Option(help="Write results.csv, manifest.json and index.html here.")
]


def command_line() -> str:
    """The command line as it was typed, quoted for a shell: stored with a result."""
    return shlex.join(["nmsim", *sys.argv[1:]])


def overrides(settings: list[str] | None) -> dict[str, Any]:
    """Fields of a machine to replace and their values, from texts ``FIELD=VALUE`` of `--set`."""
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


def refuse_file(folder: Path | None, option: str = "--out") -> None:
    """What cannot be a folder to write to is told before hours of work, not after.

    Parameters
    ----------
    option
        That named it.
    """
    if folder is None:
        return
    if folder.exists() and not folder.is_dir():
        raise SpecError(f"{option} {folder}: expected a folder, found a file")
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not os.access(there, os.W_OK):
        raise SpecError(f"{option} {folder}: {there} cannot be written to")
