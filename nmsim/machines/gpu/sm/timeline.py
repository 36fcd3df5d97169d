"""What the warps of a multiprocessor did when, as a table or as a trace for Chrome."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from nmsim.machines.gpu.sm.multiprocessor import Feed, Sm, TileTime, last_state
from nmsim.machines.gpu.sm.program import Kind, Tile, stream
from nmsim.machines.gpu.sm.state import LOGGED

__all__ = ["Event", "chrome_trace", "timeline"]

LAUNCH = "threadblocks"
"""The process of a trace that shows the parts of the whole run; those of sub-cores follow it."""


class Event(NamedTuple):
    """An instruction as it ran: issued at ``cycle``, its result there at ``done``."""

    cycle: int
    done: int
    warp: int
    kind: Kind


def timeline(
    sm: Sm, tile: Tile, feed: Feed, slices: int, *, ctas: int = 1, limit: int = 100_000
) -> list[Event]:
    """Every instruction of a run, at most the first ``limit``, in order of issue.

    Raises
    ------
    ShapeError
        as ``time_tile``.
    """
    program = stream(tile)
    issued = tile.warps * (program.epilogue - program.body)  # in a slice of one threadblock
    # Beyond these slices nothing is written down, and the last ``stages`` of a run copy nothing.
    wanted = math.ceil(limit / issued) + tile.stages + 2
    _, state = last_state(sm, tile, feed, min(slices, wanted), ctas, skip=False, events=limit)
    log = state.log[: state.sm[LOGGED]].tolist()
    return [Event(at, done, warp, Kind(program.rows[row, 0])) for at, warp, row, done in log]


def chrome_trace(
    time: TileTime, events: Sequence[Event], *, sub_cores: int, clock_mhz: float
) -> list[dict[str, Any]]:
    """A run in the Trace Event Format of Chrome, times in microseconds.

    A process holds prologue, main loop and epilogue within the whole tile; one more per sub-core
    holds its warps' instructions. A warp does not wait for a copy to arrive, so spans of one kind
    that overlap lie in threads of their own: within a thread, spans nest or are apart.
    """
    parts = [("tile", 0, time.cycles), ("prologue", 0, time.prologue)]
    parts += [("main loop", time.prologue, time.main)]
    parts += [("epilogue", time.prologue + time.main, time.epilogue)]
    spans = [_span(name, at, long, (0, 0), clock_mhz) for name, at, long in parts]
    threads: dict[tuple[int, Kind, int], int] = {}
    free: dict[tuple[int, Kind], list[int]] = {}
    for event in events:
        ends = free.setdefault((event.warp, event.kind), [])
        lane = next((i for i, end in enumerate(ends) if end <= event.cycle), len(ends))
        ends[lane : lane + 1] = [event.done]
        thread = threads.setdefault((event.warp, event.kind, lane), len(threads))
        place = (1 + event.warp % sub_cores, thread)
        name = event.kind.name.lower()
        spans.append(_span(name, event.cycle, event.done - event.cycle, place, clock_mhz))
    return [*_names(threads, sub_cores), *spans]


def _span(
    name: str, start: int, cycles: int, place: tuple[int, int], clock_mhz: float
) -> dict[str, Any]:
    process, thread = place
    return {
        "name": name,
        "cat": "sm",
        "ph": "X",
        "ts": start / clock_mhz,
        "dur": cycles / clock_mhz,
        "pid": process,
        "tid": thread,
        "args": {"cycle": start, "cycles": cycles},
    }


def _names(threads: dict[tuple[int, Kind, int], int], sub_cores: int) -> list[dict[str, Any]]:
    """What a viewer calls processes and threads."""
    processes = [LAUNCH, *(f"sub-core {place}" for place in range(sub_cores))]
    named = [
        {"name": "process_name", "ph": "M", "pid": number, "tid": 0, "args": {"name": name}}
        for number, name in enumerate(processes)
    ]
    for (warp, kind, lane), thread in threads.items():
        name = f"warp {warp} {kind.name.lower()}" + (f" ({lane + 1})" if lane else "")
        place = {"pid": 1 + warp % sub_cores, "tid": thread}
        named.append({"name": "thread_name", "ph": "M", **place, "args": {"name": name}})
    return named
