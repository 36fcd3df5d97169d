"""Options that several commands take."""

import os
import shlex
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from nmsim.cli.panels import OUTPUT, PRUNING
from nmsim.errors import SpecError
from nmsim.report.terminal.selection import Selection
from nmsim.spec import parse_scalar

__all__ = [
    "Format",
    "Out",
    "Output",
    "Plugins",
    "Sort",
    "Top",
    "Totals",
    "command_line",
    "overrides",
    "refuse_file",
    "selection",
]


class Output(StrEnum):
    """The forms in which a result is printed: a table for people, CSV or JSON."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


Plugins = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PATH",
        help="Pruners of one's own: files, or folders of them. May be repeated.",
        rich_help_panel=PRUNING,
    ),
]

Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Write results.csv, manifest.json and index.html here.",
        rich_help_panel=OUTPUT,
    ),
]

Format = Annotated[Output, typer.Option("--format", help="How to print.", rich_help_panel=OUTPUT)]

Totals = Annotated[
    bool,
    typer.Option("--totals", help="Print the sums alone, no rows.", rich_help_panel=OUTPUT),
]

Top = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Print N rows, those that take longest or are first by --sort; one line tells what "
        "the others come to. --out has them all.",
        rich_help_panel=OUTPUT,
    ),
]

Sort = Annotated[
    str,
    typer.Option(
        metavar="COLUMN",
        help="Print rows in the order of a column of the CSV (time_us, speedup, dram_gbps, ...): "
        "numbers from the largest, texts from A to Z; -COLUMN the other way round.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
]


def selection(form: Output, known: Iterable[str], chosen: Selection) -> Selection:
    """What of a table is printed; told before anything runs if that cannot be.

    Parameters
    ----------
    known
        Columns of the table.

    Raises
    ------
    SpecError, UnknownName
        for a choice of rows where no table is printed, for two that are at odds, and for a column
        that there is not.
    """
    said = {"totals": chosen.totals, "top": chosen.top, "sort": chosen.sort}
    given = [name for name, value in said.items() if value]
    if given and form is not Output.TABLE:
        raise SpecError(f"--{given[0]}: chooses rows of a table, {form} has all of them")
    if chosen.totals and len(given) > 1:
        raise SpecError(f"--{given[1]}: --totals prints no rows, expected one of the two")
    chosen.check(known)
    return chosen


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
