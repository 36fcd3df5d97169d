"""A training run for a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from nmsim.report.notation import printable
from nmsim.report.training import SEGMENT_HEADS, run_sums, segment_cells

__all__ = ["render_training"]

Document = Mapping[str, Any]


def render_training(run: Document) -> list[Table]:
    """A training run for a terminal: one line per segment, then the sums."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for head in SEGMENT_HEADS:
        heading = Text(f"{head.name}\n{head.unit}")
        table.add_column(heading, justify="right" if head.number else "left", no_wrap=True)
    for segment in run["segments"]:
        table.add_row(*(Text(printable(cell)) for cell in segment_cells(segment)))
    sums = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for name, text in run_sums(run):
        sums.add_row(Text(name, style="bold"), Text(text))
    return [table, Table(box=None, show_header=False), sums]
