"""What rich draws on a terminal: tables and a bar of progress."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

__all__ = ["facts_table", "progress", "text_of"]


def text_of(tables: list[Table], width: int) -> str:
    """Tables as text, one below the other."""
    # By way of a string: rich itself answers a closed pipe with status 1.
    console = Console(width=width, highlight=False, markup=False)
    with console.capture() as shown:
        for table in tables:
            console.print(table)
    return shown.get()


def facts_table(facts: list[tuple[str, str]]) -> Table:
    """Labels and their texts, one below the other."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in facts:
        grid.add_row(label, text)
    return grid


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
