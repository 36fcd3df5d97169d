"""What the warps of a multiprocessor did when, as a table or as a trace for Chrome."""

from typing import Any, NamedTuple

from nmsim.engine.sm import Feed, Sm, simulate
from nmsim.engine.sm_program import Kind, Tile
from nmsim.engine.sm_state import LOGGED

__all__ = ["Event", "chrome_trace", "timeline"]


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
        as ``run``.
    """
    _, state, program = simulate(sm, tile, feed, slices, ctas, skip=False, events=limit)
    log = state.log[: state.sm[LOGGED]].tolist()
    return [Event(at, done, warp, Kind(program.rows[row, 0])) for at, warp, row, done in log]


def chrome_trace(events: list[Event], *, sub_cores: int, clock_mhz: float) -> list[dict[str, Any]]:
    """Events in the Trace Event Format of Chrome, times in microseconds: a process per sub-core.

    Spans of one warp overlap (a warp does not wait for a copy to arrive), so a thread is what one
    warp has under way of one kind.
    """
    return [
        {
            "name": event.kind.name.lower(),
            "cat": "sm",
            "ph": "X",
            "ts": event.cycle / clock_mhz,
            "dur": (event.done - event.cycle) / clock_mhz,
            "pid": event.warp % sub_cores,
            "tid": f"warp {event.warp} {event.kind.name.lower()}",
        }
        for event in events
    ]
