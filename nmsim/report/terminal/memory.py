"""The memory of a step for a terminal: its parts, dense and under a recipe."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from nmsim.report.notation import grouped, prefix, ratio

__all__ = ["render_memory"]


def render_memory(total: Mapping[str, Mapping[str, Any]]) -> Table:
    """The memory of a step as a table: its parts and their sum, one line each.

    Parameters
    ----------
    total
        ``dense`` and ``recipe``, bytes of every part and of all, and their ``ratio``.
    """
    divisor, letter = prefix(total["dense"]["all"], below=1e4)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(Text("part\n"), no_wrap=True)
    for name, unit in (("dense", f"{letter}B"), ("recipe", f"{letter}B"), ("ratio", "×")):
        table.add_column(Text(f"{name}\n{unit}"), justify="right", no_wrap=True, min_width=10)
    for part, dense in total["dense"].items():
        sizes = (dense, total["recipe"][part])
        if part != "all" and not any(sizes):
            continue
        written = (grouped(size / divisor, 2 if letter else 0) for size in sizes)
        cells = map(Text, (part, *written, ratio(total["ratio"][part])))
        table.add_row(*cells, style="bold" if part == "all" else None)
    return table
