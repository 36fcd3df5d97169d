"""Served requests for a terminal: prefill, decode and the whole, as they run and dense."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from nmsim.report.notation import MISSING, ratio, significant

__all__ = ["render_serving"]

_STAGES = (
    ("prefill: the first token", "prefill"),
    ("decode: all further tokens", "decode"),
    ("the first of these", "first"),
    ("the last of these", "last"),
    ("the mean of these", "per_token"),
    ("whole requests", "request"),
)


def render_serving(found: Mapping[str, Any]) -> Table:
    """What `nmsim.run.serving.Served.document` says, as a table: a line a stage.

    Stages that have no step, as requests generate one token alone, are left out.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(Text("stage\n"), no_wrap=True)
    for name, unit in (("dense", "ms"), ("as it runs", "ms"), ("speed-up", "×")):
        table.add_column(Text(f"{name}\n{unit}"), justify="right", no_wrap=True, min_width=10)
    for name, key in _STAGES:
        stage = found[key]
        if stage["us"]:
            table.add_row(name, *_times(stage), style="bold" if key == "request" else None)
    table.add_row()
    rates = (significant(found[f"{one}tokens_per_s"]) for one in ("dense_", ""))
    table.add_row("tokens generated, 1/s", *rates, ratio(found["request"]["speedup"]))
    if found["once_us"]:
        table.add_row("once: weights pruned and packed", "", significant(found["once_us"] / 1e3))
    return table


def _times(stage: Mapping[str, Any]) -> tuple[str, str, str]:
    dense, us = (significant(stage[one] / 1e3) for one in ("dense_us", "us"))
    return dense, us, MISSING if stage["speedup"] is None else ratio(stage["speedup"])
