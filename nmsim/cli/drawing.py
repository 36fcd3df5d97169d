"""What rich draws on a terminal: tables and a bar of progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from nmsim.report.terminal.selection import Room

__all__ = ["facts_table", "progress", "text_of"]


def text_of(tables: list[Table], room: Room) -> str:
    """Tables as text, one below the other; wider than the room where names are kept whole."""
    # By way of a string: rich itself answers a closed pipe with status 1.
    console = Console(width=Room().characters, highlight=False, markup=False)
    with console.capture() as shown:
        for table in tables:
            least = console.measure(table).minimum
            console.print(table, width=max(room.characters, least if room.whole else 0))
    return "".join(f"{line.rstrip()}\n" for line in shown.get().splitlines())


def facts_table(facts: list[tuple[str, str]]) -> Table:
    """Labels and their texts, one below the other."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in facts:
        grid.add_row(label, text)
    return grid


@contextmanager
def progress(what: str, total: int | Callable[[], int] | None) -> Iterator[Any]:
    """A bar on stderr, if rich draws on it; yields what to call for each step."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=total() if callable(total) else total)
        yield lambda: bar.advance(task)
