"""What of a table is printed: which lines, in which order, and what there is room for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nmsim.registry import unknown_name

__all__ = ["Room", "Selection"]

Row = Mapping[str, Any]

_WIDEST = 100_000
"""Characters of a line that nothing bounds."""

_HEADED = {
    "time": "time_us",
    "speed-up": "speedup",
    "ideal": "speedup_ideal",
    "masks alone": "mask_speedup",
    "step": "step_speedup",
    "bound by": "bound",
    "stall": "stall_cycles",
    "util.": "utilization",
    "DRAM": "dram_gbps",
}
"""Columns by what tables head them with."""


@dataclass(frozen=True)
class Room:
    """What a table has room for.

    Parameters
    ----------
    width
        Characters in a line; None: nothing bounds it, as in a file.
    whole
        Names are never shortened, whatever the width: what reads them is no terminal.
    """

    width: int | None = None
    whole: bool = False

    @property
    def characters(self) -> int:
        """Characters in a line, a number in any case."""
        return _WIDEST if self.width is None else self.width


@dataclass(frozen=True)
class Selection:
    """Which rows of a table are shown, and in which order; all, as they ran, unless it says so.

    Parameters
    ----------
    totals
        None: the sums alone.
    top
        So many, the first by ``sort``; those that take longest, unless that is said.
    sort
        A column, by its name or its header: numbers from the largest, texts from A to Z; with a
        ``-`` before it the other way round.
    """

    totals: bool = False
    top: int | None = None
    sort: str = ""

    def check(self, known: Iterable[str]) -> None:
        """Refuse a column that rows do not have.

        Raises
        ------
        UnknownName
            with the names that are near.
        """
        names = set(known)
        if self.sort and self._column not in names:
            raise unknown_name("column", self.sort.removeprefix("-"), names)

    def of(self, rows: Sequence[Row], longest: str = "time_us") -> tuple[list[Row], list[Row]]:
        """The rows that are shown, and those of which one line tells.

        Parameters
        ----------
        longest
            The column that holds the time of a row.
        """
        if self.totals:
            return [], []
        if self.sort:
            ordered = _ordered(rows, self._column, backwards=self.sort.startswith("-"))
        else:
            ordered = list(rows) if self.top is None else _ordered(rows, longest)
        many = len(ordered) if self.top is None else self.top
        return ordered[:many], ordered[many:]

    @property
    def _column(self) -> str:
        name = self.sort.removeprefix("-")
        return _HEADED.get(name, name)


def _ordered(rows: Sequence[Row], name: str, *, backwards: bool = False) -> list[Row]:
    """Numbers from the largest, texts from A to Z, or backwards; what has none comes last."""
    having = [row for row in rows if row.get(name) is not None]
    texts = any(isinstance(row[name], str) for row in having)
    having.sort(key=lambda row: row[name], reverse=texts is backwards)
    return [*having, *(row for row in rows if row.get(name) is None)]
