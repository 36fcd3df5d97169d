"""The folds of a GEMM on arrays and the transfers of their channel, as a trace for a viewer."""

import math
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

from nmsim.gemm import Gemm
from nmsim.machines.kind import Facts, Timeline
from nmsim.machines.systolic import cycle
from nmsim.machines.systolic.engines import choice
from nmsim.machines.systolic.pipeline import events
from nmsim.machines.systolic.pipeline.capacity import halves
from nmsim.machines.systolic.pipeline.cutting import gathered
from nmsim.machines.systolic.pipeline.events import Span
from nmsim.machines.systolic.pipeline.folds import Cut
from nmsim.machines.systolic.pipeline.memory import TICKS, Pieces, Timing
from nmsim.machines.systolic.pipeline.program import pieces_of
from nmsim.machines.systolic.placement import Placement
from nmsim.machines.systolic.schema import SystolicArray
from nmsim.machines.systolic.several import cycle as several
from nmsim.machines.systolic.several.shares import as_row_says
from nmsim.mask import SparseGemm
from nmsim.result import Parts, Result

__all__ = ["chrome_trace", "program", "spans_of", "timeline"]

AHEAD = 2
"""Pieces beyond those that are told. An engine works so many ahead of what streams: where a program
is cut short, the first that it does otherwise comes when the last piece but one starts."""


def timeline(machine: SystolicArray, work: SparseGemm, limit: int) -> Timeline:
    """Folds that stream, loads and stores of one launch, in the placement that the array chooses.

    Parameters
    ----------
    limit
        Spans that are told, at most: those that begin first.
    """
    best = choice(machine, work).best
    placement = best.placement
    programs, pieces, told = (_alone if machine.arrays == 1 else _beside)(machine, placement)
    timing = cycle.array_of(machine, placement).timing
    found = spans_of(programs, timing, limit, pieces)
    trace = chrome_trace(found, machine.clock_mhz)
    facts = [*_facts(machine, best.result, placement), *told, *_spent(best.result, work.gemm)]
    return Timeline(trace, [*facts, ("spans", f"written {sum(map(len, found)):,}")])


Told = tuple[list[Iterator[Pieces]], list[int], Facts]
"""Folds of each array, how many pieces they have, and what is told of them."""


def _alone(machine: SystolicArray, placement: Placement) -> Told:
    """One array runs a placement."""
    sums = cycle.count(machine, placement)[0]
    cut = sums.cut
    pieces = [sums.folds * cut.pieces]
    return [program(machine, placement, cut)], pieces, [("cut", _cut(placement, cut))]


def _beside(machine: SystolicArray, placement: Placement) -> Told:
    """Several arrays run parts of it, or all of them one program, from buffers that they share."""
    _, way = several.chosen(machine, placement)
    at_work = sum(one.share.arrays for one in way.loops)
    by = as_row_says(way.split.by, placement)
    among = f"{at_work} of {machine.arrays} arrays, {machine.buffers} buffers"
    told = [
        ("shared out", f"{by or 'not at all'}, {among}"),
        ("cut", _cut(way.loops[0].share.placement, way.sums[0].cut)),
    ]
    return way.programs(), way.pieces, told


def program(machine: SystolicArray, placement: Placement, cut: Cut) -> Iterator[Pieces]:
    """The folds of a placement as the pipeline takes them, one by one."""
    array = cycle.array_of(machine, placement)
    buffers = cycle.buffers_of(machine, placement, halves(machine, placement))
    buffers = gathered(buffers, cycle.sight_of(machine, placement, buffers), cut.rows)
    slots, beats = cycle.slots_of(machine, placement)
    folds = cycle.intersected(machine, placement, None)
    spent = beats if folds is None else folds.folds
    work = cycle.work_of(machine, placement)
    for one, times in pieces_of(array, buffers, work, cut, slots, spent):
        yield from repeat(one, times)


def spans_of(
    programs: Sequence[Iterator[Pieces]], timing: Timing, limit: int, pieces: Sequence[int]
) -> list[list[Span]]:
    """What arrays that share a channel do, each with its own program: spans in order of start.

    Parameters
    ----------
    limit
        Spans of all of them that are told, at most.
    pieces
        Of each program, which decides whose turn on the channel is when.
    """
    ran = events.run([list(_first(one, limit + AHEAD)) for one in programs], timing, pieces)
    starts = sorted((span.start, i) for i, times in enumerate(ran) for span in times.spans)
    told = [i for _, i in starts[:limit]]
    return [times.spans[: told.count(i)] for i, times in enumerate(ran)]


def _first(folds: Iterator[Pieces], pieces: int) -> Iterator[Pieces]:
    """Folds from the first on, until they have so many pieces: each piece is a span at least."""
    there = 0
    for one in folds:
        if there >= pieces:
            return
        there += one.pieces
        yield one


def chrome_trace(found: Sequence[Sequence[Span]], clock_mhz: float) -> list[dict[str, Any]]:
    """Spans of arrays in the Trace Event Format of Chrome, times in microseconds.

    The channel is a process, with a thread for its loads and one for its stores; so is each array,
    with a thread for its folds and one for the pieces of them.
    """
    names = ["DRAM channel", *(f"array {number}" for number in range(len(found)))]
    threads = [("loads", "stores"), *[("folds", "pieces")] * len(found)]
    named = [_named("process_name", i, 0, name) for i, name in enumerate(names)]
    named += [
        _named("thread_name", i, thread, name)
        for i, both in enumerate(threads)
        for thread, name in enumerate(both)
    ]
    spans = []
    for number, own in enumerate(found):
        spans += [_span(one, _place(one, number), number, clock_mhz) for one in own]
        whole = _folds(own)
        spans += [_span(one, (1 + number, 0), number, clock_mhz) for one in whole]
    return [*named, *sorted(spans, key=lambda span: (span["ts"], -span["dur"]))]


def _place(span: Span, number: int) -> tuple[int, int]:
    """Process and thread of a span."""
    return {"load": (0, 0), "store": (0, 1), "stream": (1 + number, 1)}[span.what]


def _folds(spans: Sequence[Span]) -> list[Span]:
    """Folds from the start of their first piece to the end of their last."""
    ends: dict[int, tuple[int, int]] = {}
    for one in spans:
        if one.what == "stream":
            start, _ = ends.get(one.fold, (one.start, 0))
            ends[one.fold] = start, one.end
    return [Span("fold", fold, start, end) for fold, (start, end) in ends.items()]


def _span(span: Span, place: tuple[int, int], number: int, clock_mhz: float) -> dict[str, Any]:
    start, long = span.start / TICKS, (span.end - span.start) / TICKS
    return {
        "name": f"{span.what} {span.fold}",
        "cat": span.what,
        "ph": "X",
        "ts": start / clock_mhz,
        "dur": long / clock_mhz,
        "pid": place[0],
        "tid": place[1],
        "args": {"array": number, "fold": span.fold, "cycle": start, "cycles": long},
    }


def _named(what: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _facts(machine: SystolicArray, result: Result, placement: Placement) -> Facts:
    gemm = placement.work.gemm
    return [
        (
            "GEMM",
            f"{gemm.m}×{gemm.n}×{gemm.k}, {placement.work.a.pattern}/{placement.work.b.pattern}",
        ),
        ("machine", machine.name),
        ("runs", f"{result.kernel} of {machine.rows} x {machine.cols}"),
    ]


def _spent(result: Result, gemm: Gemm) -> Facts:
    told = [("cycles", f"{result.cycles // gemm.repeat:,} a launch, {gemm.repeat:,} launches")]
    parts = Parts.columns(result.parts)
    waits = ", ".join(f"{name} {cycles:,}" for name, cycles in parts.items() if cycles)
    return [*told, ("beside streaming", waits)] if waits else told


def _cut(placement: Placement, cut: Cut) -> str:
    pieces = f"{cut.pieces:,} pieces a fold"
    if not placement.dataflow.preloads:
        return pieces
    lanes = placement.rows_of(placement.y)
    return f"{math.ceil(lanes / cut.rows):,} chunks of {cut.rows:,} streamed rows, {pieces}"
