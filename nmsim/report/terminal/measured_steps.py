"""Measured steps beside predicted ones, for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from nmsim.report.notation import grouped, percent, printable, ratio, shorten

__all__ = ["render_steps"]

Row = Mapping[str, Any]


def render_steps(summary: Row) -> list[Table]:
    """Errors of steps for a terminal: every step, then the groups, then what is not covered.

    Parameters
    ----------
    summary
        What `nmsim.measured.steps.predict.summarize_steps` says.
    """
    return [_steps(summary["steps"]), _groups(summary), _left(summary)]


def _table(title: str, *heads: tuple[str, str, bool]) -> Table:
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="bold",
        title=Text(title),
        title_justify="left",
    )
    for name, unit, right in heads:
        side: Any = "right" if right else "left"
        table.add_column(Text(f"{name}\n{unit}"), justify=side, no_wrap=True)
    return table


def _steps(rows: Sequence[Row]) -> Table:
    table = _table(
        "steps of networks, closed form",
        *(("network", "", False), ("machine", "", False), ("conditions", "", False)),
        *(("batch", "", True), ("measured", "ms", True), ("predicted", "ms", True)),
        *(("GEMMs", "ms", True), ("beside", "ms", True), ("ratio", "×", True)),
    )
    for row in rows:
        mark = "" if row["fit"] else " (indicative)"
        said = f"{row['scenario']} {row['dtype']} {row['stack']}{mark}"
        size = f"{row['batch']:,}" + (f"×{row['tokens']}" if row["tokens"] else "")
        times = (row["measured_ms"], row["predicted_ms"], row["gemms_ms"], row["beside_ms"])
        cells = [row["network"], row["hardware"], said, size]
        cells += [grouped(float(time), 1) for time in times]
        table.add_row(*(Text(printable(cell)) for cell in [*cells, ratio(row["ratio"])]))
    return table


def _groups(summary: Row) -> Table:
    table = _table(
        "steps that are fit to judge by, predicted / measured - 1",
        *(("rows of", "", False), ("rows", "", True), ("median", "%", True)),
        *(("mean", "%", True), ("bias", "%", True)),
    )
    for row in [*summary["groups"], {"group": "all", **summary}]:
        table.add_row(*(Text(cell) for cell in _errors(row)))
    return table


def _errors(row: Row) -> list[str]:
    shares = [percent(row[name]) for name in ("median_ape", "mape", "bias")]
    return [row["group"], f"{row['rows']:,}", *shares]


def _left(summary: Row) -> Table:
    table = _table("steps that are not covered", ("why", "", False), ("rows", "", True))
    for row in summary["not_covered"]:
        table.add_row(Text(shorten(printable(row["why"]), 80)), Text(f"{row['rows']:,}"))
    if summary["indicative"]:
        table.add_row(Text("indicative: in no median"), Text(f"{summary['indicative']:,}"))
    return table
