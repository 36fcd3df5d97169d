"""What a terminal shows: text, tables, labelled facts, and progress on stderr."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from nmsim.cli.streams import tell, write

__all__ = ["progress", "show_facts", "show_tables", "steps", "tell", "width", "write"]


def show_tables(tables: list[Table]) -> None:
    """Print tables to stdout, one below the other."""
    # By way of a string: rich itself answers a closed pipe with status 1.
    console = Console(width=width(), highlight=False, markup=False)
    with console.capture() as shown:
        for table in tables:
            console.print(table)
    write(shown.get())


def width() -> int:
    """Characters in a line; 120 where there is no terminal."""
    return max(60, shutil.get_terminal_size((120, 24)).columns)


@contextmanager
def progress(what: str, total: int | None) -> Iterator[Any]:
    """A bar on stderr while it is a terminal; yields what to call for each step."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def steps(items: Iterator[Any], what: str) -> Iterator[Any]:
    """Yield items one by one, with a step of a progress bar for each."""
    with progress(what, None) as step:
        for item in items:
            yield item
            step()


def show_facts(facts: list[tuple[str, str]]) -> None:
    """Print labels and their texts, one below the other."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in facts:
        grid.add_row(label, text)
    show_tables([grid])
