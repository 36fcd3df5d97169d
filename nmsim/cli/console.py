"""What a terminal shows: text, tables, labelled facts, and progress on stderr.

What draws them (`nmsim.cli.drawing`, and rich with it) is loaded when there is something to draw: a
command that is refused says one line.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from textwrap import fill
from typing import TYPE_CHECKING, Any

from nmsim.cli.streams import tell, write
from nmsim.report.terminal.selection import Room

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["progress", "room", "say", "show_facts", "show_tables", "steps", "tell", "write"]


def _drawing() -> Any:
    return import_module("nmsim.cli.drawing")


def show_tables(tables: "list[Table]") -> None:
    """Print tables to stdout, one below the other."""
    write(_drawing().text_of(tables, room()))


def say(text: str) -> None:
    """Print lines to stdout; where a terminal would break one anywhere, between words."""
    there = room()
    if there.whole:
        write(text)
    else:
        write("\n".join(_wrapped(line, there.characters) for line in text.splitlines()))


def _wrapped(line: str, width: int) -> str:
    return fill(line, width, break_long_words=False, break_on_hyphens=False)


def room() -> Room:
    """Characters in a line of the terminal; elsewhere as many as COLUMNS says, or any number.

    Where there is no terminal, names stay whole even so: what reads them looks for them.
    """
    if sys.stdout.isatty():
        return Room(max(60, shutil.get_terminal_size((80, 24)).columns))
    said = os.environ.get("COLUMNS", "")
    return Room(max(60, int(said)) if said.isdecimal() and int(said) else None, whole=True)


def progress(what: str, total: int | Callable[[], int] | None) -> AbstractContextManager[Any]:
    """A bar on stderr while it is a terminal; yields what to call for each step.

    Parameters
    ----------
    total
        Steps, or what says how many they are; None: nobody knows.
    """
    if not sys.stderr.isatty():
        return nullcontext(lambda: None)
    bar: AbstractContextManager[Any] = _drawing().progress(what, total)
    return bar


def steps(items: Iterator[Any], what: str, total: Callable[[], int] | None = None) -> Iterator[Any]:
    """Yield items one by one, with a step of a progress bar for each.

    Parameters
    ----------
    total
        Says how many there are; asked only where a bar is shown.
    """
    with progress(what, total) as step:
        for item in items:
            yield item
            step()


def show_facts(facts: list[tuple[str, str]]) -> None:
    """Print labels and their texts, one below the other."""
    show_tables([_drawing().facts_table(facts)])
