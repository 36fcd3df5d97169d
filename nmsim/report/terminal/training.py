"""A training run for a terminal."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rich.table import Table
from rich.text import Text

from nmsim.report.notation import gain, percent, printable
from nmsim.report.terminal.layout import Shown, laid_out
from nmsim.report.terminal.selection import Room, Selection
from nmsim.report.training import SEGMENT_HEADS, run_sums, segment_cells, span

__all__ = ["COLUMNS", "render_training"]

Document = Mapping[str, Any]

_ALL = Selection()

COLUMNS = (
    *("stage", "masks", "formats", "first_step", "steps", "step_us", "gemms_us", "mask_us"),
    *("elementwise_us", "dense_step_us", "speedup", "beyond_share", "time_s", "time_share"),
    *("macs_dense", "macs_issued", "macs_useful", "flops", "dram_bytes"),
)
"""What segments may be sorted by: the columns of segments.csv."""

_EXPENDABLE = {"share": 1, "time": 2, "step": 3, "from step": 4, "DRAM": 6, "FLOPs": 5}
"""Columns that go where there is no room, the last first."""


def render_training(run: Document, room: Room, selection: Selection = _ALL) -> list[Table]:
    """A training run for a terminal: one line per segment, then the sums."""
    shown, rest = selection.of(run["segments"], "time_s")
    lines = [_cells(segment) for segment in shown]
    lines += [_folded(rest)] if rest else []
    sums = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for name, text in run_sums(run):
        sums.add_row(Text(name, style="bold"), Text(text))
    if selection.totals:
        return [sums]
    return [laid_out(_columns(), lines, [], room), Table(box=None, show_header=False), sums]


def _cells(segment: Document) -> dict[str, str]:
    cells = segment_cells(segment)
    told = {head.name: cell for head, cell in zip(SEGMENT_HEADS, cells, strict=True)}
    return {**told, "speed-up": gain(segment["speedup"])}


def _folded(rest: Sequence[Document]) -> dict[str, str]:
    """A line that stands for segments: how many they are, their time, and its share."""
    return {
        "stage": f"{len(rest):,} more",
        "time": span(sum(segment["time_s"] for segment in rest)),
        "share": percent(sum(segment["time_share"] for segment in rest)),
    }


def _columns() -> list[Shown]:
    return [
        Shown(
            head.name,
            head.unit,
            partial(_of, head.name),
            _EXPENDABLE.get(head.name, 0),
            right=head.number,
            shrinks_to=0 if head.number else 12,
        )
        for head in SEGMENT_HEADS
    ]


def _of(name: str, cells: Mapping[str, str]) -> str:
    return printable(cells.get(name, ""))
