"""One fold of a systolic array through the memory pipeline, to scale.

A small weight-stationary GEMM whose folds are alike. The times are those of the pipeline as events
(``nmsim.machines.systolic.pipeline.events``), which are those of the recurrence that the cycle
model runs; a test holds the whole against what the model says of the same GEMM.
"""

from typing import Any, NamedTuple

from drawn import COLOURS, GRID, INK, MARGIN, MUTED, SMALL, WIDTH, axes, bars, canvas, styled, svg
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from nmsim import Gemm, load_hardware
from nmsim.machines.systolic import cycle
from nmsim.machines.systolic.pipeline.capacity import halves
from nmsim.machines.systolic.pipeline.events import Span, run
from nmsim.machines.systolic.pipeline.folds import Fold as LoadedFold
from nmsim.machines.systolic.pipeline.folds import in_pieces
from nmsim.machines.systolic.pipeline.memory import TICKS
from nmsim.machines.systolic.placement import without_masks

__all__ = ["Fold", "fold_svg", "folds"]

GEMM = Gemm(64, 80, 16)
FIELDS: dict[str, Any] = {
    "dataflow": "ws",
    "order": "fixed",
    "clock_mhz": 1000,
    "sram.a_kib": 1,
    "dram.gbps": 18,
    "dram.latency_ns": 12,
}
MACHINE = load_hardware("systolic-16x16", **FIELDS)
SHOWN = 3
"""The fold in full colour, from 1."""

TITLE = "One fold through the memory pipeline"

Times = tuple[float, float]


class Fold(NamedTuple):
    """When a fold's parts happen, in cycles: spans of two times.

    ``loads`` and ``streams`` are those of its pieces; it has ``work`` from its preload until its
    last sum has left the array.
    """

    loads: list[Times]
    streams: list[Times]
    work: Times
    stores: list[Times]


def folds() -> list[Fold]:
    """All folds of the GEMM, in cycles."""
    (placement,) = without_masks(MACHINE, GEMM)
    cut = cycle.count(MACHINE, placement)[0].cut
    array = cycle.array_of(MACHINE, placement)
    buffers = cycle.buffers_of(MACHINE, placement, halves(MACHINE, placement))
    x, y, sums = MACHINE.cols * GEMM.k, GEMM.m * GEMM.k, GEMM.m * MACHINE.cols
    rows, pieces = cut
    each = LoadedFold(rows, rows, x, y, x, y, 0, 0, sums, pieces, pieces, opens=True)
    program = [in_pieces(array, buffers, each)] * (GEMM.n // MACHINE.cols)
    (times,) = run([program], array.timing)
    rows, fill = MACHINE.rows, MACHINE.fill_cycles
    found = []
    for number in range(len(program)):
        own = {
            what: [_cycles(one) for one in times.spans if (one.what, one.fold) == (what, number)]
            for what in ("load", "stream", "store")
        }
        streams = own["stream"]
        work = streams[0][0] - rows, streams[-1][1] + fill
        found.append(Fold(own["load"], streams, work, _joined(own["store"])))
    return found


def _cycles(span: Span) -> Times:
    return span.start / TICKS, span.end / TICKS


def _joined(spans: list[Times]) -> list[Times]:
    """Spans, those as one that follow each other without a gap."""
    joined: list[Times] = []
    for start, end in spans:
        if joined and joined[-1][1] == start:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
    return joined


HEIGHT = 444
WAIT: dict[str, Any] = {
    "facecolor": "none",
    "edgecolor": MUTED,
    "linestyle": (0, (2, 2)),
    "linewidth": 1,
}
CHANNEL, HALVES, ARRAY, SUMS = 6.0, (4.75, 3.95), 2.7, (1.45, 0.65)
HIGH, LOW = 0.72, 0.62
KINDS = {
    "load": COLOURS["sky"],
    "preload": COLOURS["indigo"],
    "stream": COLOURS["teal"],
    "drain": COLOURS["sand"],
    "store": COLOURS["rose"],
}


def _span(
    drawn: Axes, span: tuple[float, float], at: float, kind: str, number: int, text: str
) -> None:
    own = number == SHOWN
    height = HIGH if at in (CHANNEL, ARRAY) else LOW
    start, end = span
    bars(drawn, [(start, end - start)], at, height, KINDS[kind], alpha=1.0 if own else 0.28)
    dark = own and kind in ("preload", "stream", "store")
    if text:
        drawn.text((start + end) / 2, at - 0.02, text, ha="center", va="center",
                   color="#FFFFFF" if dark else INK, fontsize=SMALL)  # fmt: skip


def _draw_fold(drawn: Axes, number: int, one: Fold) -> None:
    rows, latency = MACHINE.rows, MACHINE.dram.latency_ns
    start, end = one.work
    whole = one.streams[0][0], one.streams[-1][1]
    text = str(number)
    for load, stream, half in zip(one.loads, one.streams, (0, 1), strict=True):
        _span(drawn, load, CHANNEL, "load", number, text)
        _span(drawn, (load[0], load[1] + latency), HALVES[half], "load", number, text)
        _span(drawn, stream, HALVES[half], "stream", number, text)
    sums = SUMS[number % 2]
    _span(drawn, (start, start + rows), ARRAY, "preload", number, "")
    _span(drawn, whole, ARRAY, "stream", number, text)
    _span(drawn, (whole[1], end), ARRAY, "drain", number, text)
    _span(drawn, (whole[0] + rows, whole[1]), sums, "stream", number, text)
    _span(drawn, (whole[1], end), sums, "drain", number, "")
    for store in one.stores:
        _span(drawn, store, CHANNEL, "store", number, text)
        _span(drawn, store, sums, "store", number, text)


def _waits(drawn: Axes, found: list[Fold]) -> None:
    """Where the array stands still, between folds and before the first."""
    ended = 0.0
    for one in found:
        if one.work[0] > ended:
            drawn.add_patch(Rectangle((ended, ARRAY - 0.3), one.work[0] - ended, 0.6, **WAIT))
        ended = one.work[1]


def fold_svg() -> str:
    """The whole drawing."""
    found = folds()
    with styled():
        figure = canvas(
            HEIGHT,
            TITLE,
            [
                (
                    f"{GEMM.m}×{GEMM.n}×{GEMM.k} on a {MACHINE.rows}×{MACHINE.cols} "
                    f"weight-stationary array, {len(found)} folds; fold {SHOWN} in full colour."
                ),
                f"One DRAM channel, {MACHINE.dram.gbps:g} bytes a cycle, serves requests in order.",
            ],
        )
        drawn = axes(figure, 118, 118, WIDTH - 118 - 22, 268)
        for number, one in enumerate(found, 1):
            _draw_fold(drawn, number, one)
        _waits(drawn, found)
        _frame(drawn, found)
        names = {"load": "operands in", "preload": f"preload, {MACHINE.rows}", "stream":
                 f"stream, {GEMM.m}", "drain": f"drain, {MACHINE.rows + MACHINE.cols - 2}",
                 "store": "results out"}  # fmt: skip
        shown = [Patch(color=KINDS[kind]) for kind in names]
        figure.legend(
            [*shown, Patch(**WAIT)], [*names.values(), "waits"], ncols=6,
            loc="upper left", bbox_to_anchor=(MARGIN / WIDTH, 1 - 84 / HEIGHT), frameon=False,
            borderpad=0, borderaxespad=0, columnspacing=1.0, handletextpad=0.4, handlelength=1.0,
            fontsize=SMALL,
        )  # fmt: skip
        return svg(figure, TITLE)


def _frame(drawn: Axes, found: list[Fold]) -> None:
    end = max(one.stores[-1][1] for one in found)
    rows = {CHANNEL: "DRAM\nchannel", sum(HALVES) / 2: "A and B\nbuffers,\ntwo halves",
            ARRAY: "array", sum(SUMS) / 2: "C buffer,\ntwo halves"}  # fmt: skip
    drawn.set(xlim=(0, end), ylim=(0.2, 6.5))
    drawn.set_yticks(list(rows), list(rows.values()))
    for between in (5.38, 3.35, 2.1):
        drawn.axhline(between, color=GRID, linewidth=1, zorder=0)
    start, stop = found[SHOWN - 1].work
    for at in (start, stop):
        drawn.axvline(at, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
    drawn.set_xlabel("cycles")
