"""What a machine takes in hardware, for a terminal: components of a PE and of the whole."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from nmsim.report.notation import grouped

__all__ = ["cost_said", "render_cost"]


def render_cost(part: Mapping[str, Any], title: str) -> Table:
    """Components of ``pe`` or ``array`` of a cost document, each with its share of the area."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(Text(f"{title}\n"))
    for name, unit in (("count", ""), ("area", "GE"), ("area", "um2"), ("share", "%")):
        table.add_column(Text(f"{name}\n{unit}"), justify="right", no_wrap=True)
    whole = part["area_ge"] or 1.0
    for one in part["components"]:
        table.add_row(
            Text(f"{one['name']} ({one['unit']})"),
            grouped(one["count"]),
            grouped(round(one["area_ge"])),
            "" if one["area_um2"] is None else grouped(one["area_um2"], 1),
            f"{100 * one['area_ge'] / whole:.1f}",
        )
    um2 = part["area_um2"]
    sums = [grouped(round(whole)), "" if um2 is None else grouped(um2, 1), "100.0"]
    table.add_row(Text("all"), "", *sums, style="bold")
    return table


def cost_said(cost: Mapping[str, Any]) -> str:
    """Ratios of a cost document, in sentences: growth, area for a dense MAC's work, clock."""
    pe, band = cost["pe"], cost["band"]
    lines = [
        (
            f"A PE takes {pe['growth']:.2f} times the area of its dense twin ({band['low']:.2f} to "
            f"{band['high']:.2f} by what a flow makes of the MAC)."
        )
    ]
    if pe["per_dense_mac"] is not None:
        lines.append(
            f"For each MAC that a dense array would need it takes {pe['per_dense_mac']:.2f} times "
            "what a dense one does: below 1 it pays, if every slot is filled."
        )
    lines.append(
        f"Its longest path has {pe['delay_levels']} cells, that of the dense PE "
        f"{pe['dense_delay_levels']}: {100 * pe['clock_share']:.0f}% of the clock more."
    )
    return "\n".join(lines)
