"""Tables of a terminal: columns with their cells, fitted to a line; what does not fit is said."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from nmsim.report.notation import LOSS, printable, shorten
from nmsim.report.terminal.selection import Room

__all__ = ["LOSS_MEANS", "Shown", "laid_out", "loss_marked"]

Row = Mapping[str, Any]

LOSS_MEANS = f"{LOSS} slower than the dense run"
"""The caption of a table in which something is marked so."""


@dataclass(frozen=True)
class Shown:
    """A column of a table.

    Parameters
    ----------
    header, unit
        The two lines above it.
    cell
        What it says of a row.
    expendable
        How early it goes where there is no room; 0: never.
    shrinks_to
        Characters to which its texts, names, may be shortened; 0: none is.
    """

    header: str
    unit: str
    cell: Callable[[Row], str]
    expendable: int = 0
    right: bool = True
    shrinks_to: int = 0


def laid_out(
    columns: Sequence[Shown], rows: Sequence[Row], lines: Sequence[Row], room: Room
) -> Table:
    """Rows, a blank line, and lines that sum them up, the last of which is bold.

    Columns that do not fit are left out, least telling first, and the caption says which; those
    that have nothing to say are not there. A number is never wrapped or cut, and where names are
    whole, they are all that makes a line wider than the room.
    """
    width = room.characters
    every = {column: [printable(column.cell(row)) for row in (*rows, *lines)] for column in columns}
    cells = {column: said for column, said in every.items() if any(said) or not said}
    natural = {column: _width(column, said) for column, said in cells.items()}
    kept = _fitting(natural, width)
    gap = 2 if _least(kept, natural, 2) <= width else 1
    spare = _WHOLE if room.whole else width - _least(kept, natural, gap)
    sizes = _sizes(kept, natural, spare)
    left_out = [column.header for column in cells if column not in kept]
    lost = any(cell.startswith(LOSS) for column in kept for cell in cells[column])
    said = [LOSS_MEANS] * lost
    said += [f"no room for: {', '.join(left_out)}"] * bool(left_out)
    table = Table(
        box=None,
        padding=(0, gap, 0, 0),
        pad_edge=False,
        header_style="bold",
        caption=Text("\n".join(said)) if said else None,
        caption_justify="left",
    )
    for column, size in sizes.items():
        heading = Text(f"{column.header}\n{column.unit}")
        side: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(heading, justify=side, no_wrap=True, min_width=size)
    shown = [[shorten(cell, size) for cell in cells[column]] for column, size in sizes.items()]
    _fill(table, list(zip(*shown, strict=True)), len(rows))
    return table


def _fill(table: Table, lines: list[tuple[str, ...]], rows: int) -> None:
    for number, line in enumerate(lines):
        if number == rows > 0:
            table.add_row()
        last = number == len(lines) - 1 and number >= rows
        table.add_row(*map(loss_marked, line), style="bold" if last else None)


def loss_marked(cell: str) -> Text:
    """A cell, in red where it is a loss."""
    return Text(cell, style="red" if cell.startswith(LOSS) else "")


def _width(column: Shown, cells: Sequence[str]) -> int:
    return max(len(text) for text in (column.header, column.unit, *cells))


def _shortest(column: Shown, natural: Mapping[Shown, int]) -> int:
    return min(natural[column], column.shrinks_to or natural[column])


def _least(columns: Iterable[Shown], natural: Mapping[Shown, int], gap: int) -> int:
    """Characters of a line whose names are as short as they may be."""
    sizes = [_shortest(column, natural) for column in columns]
    return sum(sizes) + gap * (len(sizes) - 1)


def _fitting(natural: Mapping[Shown, int], width: int) -> list[Shown]:
    """The columns that there is room for, one blank between them."""
    kept = list(natural)
    while any(column.expendable for column in kept):
        last = max(kept, key=lambda column: column.expendable)
        if _needed(kept, natural, _NAME if last.expendable >= _LESSER else 0) <= width:
            break
        kept.remove(last)
    return kept


def _needed(columns: Sequence[Shown], natural: Mapping[Shown, int], name: int) -> int:
    """Characters of a line in which names have so many, or as few as they may."""
    names = (min(natural[one], name) - _shortest(one, natural) for one in columns)
    return _least(columns, natural, 1) + sum(more for more in names if more > 0)


_WHOLE = 1 << 30
"""Characters that are there for names which nothing may shorten."""

_LESSER = 6
"""How expendable a column is that names are not shortened for."""

_NAME = 24
"""Characters of a name that tell it from others, mostly."""


def _sizes(columns: Iterable[Shown], natural: Mapping[Shown, int], spare: int) -> dict[Shown, int]:
    """Characters of each column: those that had to shrink share what is left, first come."""
    sizes = {}
    for column in columns:
        least = _shortest(column, natural)
        sizes[column] = min(natural[column], least + max(spare, 0))
        spare -= sizes[column] - least
    return sizes
