"""A step on a time line: Trace Event Format, which chrome://tracing and Perfetto open.

GEMMs one after the other as they are listed, each repeat of a row within its span; behind each row
what is done for its masks, what runs beside it, and what is exchanged, on tracks of their own; at
the end what the step waits for its host. What overlaps on a machine is not told by results, and so
stands one behind the other here.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from nmsim.errors import SpecError
from nmsim.exporters import EXPORTERS, Exporter
from nmsim.report import records
from nmsim.result import totals

__all__ = ["events"]

_TRACKS = ("GEMMs", "masks", "beside GEMMs", "communication", "host")

_BEHIND = (
    ("mask_us", "masks", 1),
    ("scatter_us", "images put together", 2),
    ("elementwise_us", "beside", 2),
    ("communication_us", "communication", 3),
)
"""Times of a row behind its GEMM: the column, what it is called, and its track."""

_TOLD = (
    *("layer", "phase", "m", "n", "k", "count", "repeat", "a_pattern", "b_pattern", "kernel"),
    *("bound", "speedup", "evidence"),
)


def events(table: pd.DataFrame, manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The events of a run, microseconds.

    Raises
    ------
    SpecError
        for results that are no step, such as those of a sweep.
    """
    if manifest["kind"] != "simulate":
        raise SpecError(f"timeline: results of {manifest['kind']}, expected those of simulate")
    named = [("process_name", 0, str(manifest["model"]))]
    named += [("thread_name", track, what) for track, what in enumerate(_TRACKS)]
    return [*(_named(*one) for one in named), *_spans(records(table))]


def _texts(table: pd.DataFrame, manifest: Mapping[str, Any]) -> dict[str, str]:
    document = {"traceEvents": events(table, manifest), "displayTimeUnit": "ms"}
    return {"timeline.json": json.dumps(document, allow_nan=False)}


EXPORTERS.add("timeline", Exporter("a step on a time line, Trace Event Format (Perfetto)", _texts))


def _spans(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    now = 0.0
    for row in rows:
        told = {name: row[name] for name in _TOLD if name in row}
        yield _span(f"{row['layer']} {row['phase']}", 0, (now, row["time_us"]), told)
        now += row["time_us"]
        for column, what, track in _BEHIND:
            if us := row.get(column):
                yield _span(f"{what}, {row['layer']}", track, (now, us), {})
                now += us
    if waits := totals(rows)["all"].get("host_wait_us"):
        yield _span("waiting for the host", len(_TRACKS) - 1, (now, waits), {})


def _span(
    name: str, track: int, when: tuple[float, float], told: Mapping[str, Any]
) -> dict[str, Any]:
    """A span that begins and lasts so many microseconds."""
    start, long = when
    place = {"ph": "X", "pid": 0, "tid": track}
    return {"name": name, **place, "ts": start, "dur": long, "args": dict(told)}


def _named(what: str, track: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": 0, "tid": track, "args": {"name": name}}
