"""What a terminal shows: text, tables, labelled facts, and progress on stderr.

What draws them (`nmsim.cli.drawing`, and rich with it) is loaded when there is something to draw: a
command that is refused says one line.
"""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nmsim.cli.streams import tell, write

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["progress", "show_facts", "show_tables", "steps", "tell", "width", "write"]


def _drawing() -> Any:
    return import_module("nmsim.cli.drawing")


def show_tables(tables: "list[Table]") -> None:
    """Print tables to stdout, one below the other."""
    write(_drawing().text_of(tables, width()))


def width() -> int:
    """Characters in a line; 120 where there is no terminal."""
    return max(60, shutil.get_terminal_size((120, 24)).columns)


def progress(what: str, total: int | None) -> AbstractContextManager[Any]:
    """A bar on stderr while it is a terminal; yields what to call for each step."""
    bar: AbstractContextManager[Any] = _drawing().progress(what, total)
    return bar


def steps(items: Iterator[Any], what: str) -> Iterator[Any]:
    """Yield items one by one, with a step of a progress bar for each."""
    with progress(what, None) as step:
        for item in items:
            yield item
            step()


def show_facts(facts: list[tuple[str, str]]) -> None:
    """Print labels and their texts, one below the other."""
    show_tables([_drawing().facts_table(facts)])
