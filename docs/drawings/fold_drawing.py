"""One fold of a systolic array through the memory pipeline, to scale.

A small weight-stationary GEMM whose folds are alike. The times are those of the recurrence that the
cycle model runs (``nmsim.machines.systolic.memory``); a test holds the whole against what the model
says of the same GEMM.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from drawn import COLOURS, GRID, INK, MARGIN, MUTED, SMALL, WIDTH, axes, bars, canvas, styled, svg
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from nmsim import Gemm, load_hardware
from nmsim.machines.systolic.memory import TICKS, fold, last_store

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
FREE, STARTED, ENDED = 0, 1, 2
"""Of the recurrence's state."""


class Fold(NamedTuple):
    """When a fold's parts happen, in cycles: spans of two times."""

    load: tuple[float, float]
    arrived: float
    work: tuple[float, float]
    stream: tuple[float, float]
    store: tuple[float, float]


class Amounts(NamedTuple):
    """Channel time of what a fold moves and its compute time, ticks."""

    load: int
    stream: int
    store: int
    compute: int
    latency: int


def amounts() -> Amounts:
    """What each fold moves: a tile of weights, all activations again, a tile of results."""
    rows, cols = MACHINE.rows, MACHINE.cols
    half = MACHINE.sram.a_kib * 4096 / MACHINE.operand_bits
    weights, activations = rows * cols, GEMM.m * GEMM.k
    ahead = weights + min(activations, half)
    per_bit = TICKS * MACHINE.clock_mhz / (MACHINE.dram.gbps * 8e3)
    element, result = MACHINE.operand_bits * per_bit, MACHINE.output_bits * per_bit
    return Amounts(
        math.ceil(ahead * element),
        math.ceil((weights + activations - ahead) * element),
        math.ceil(GEMM.m * cols * result),
        TICKS * (rows + GEMM.m + rows + cols - 2),
        math.ceil(MACHINE.dram.latency_ns * MACHINE.clock_mhz * 1e-3 * TICKS),
    )


def folds() -> list[Fold]:
    """All folds of the GEMM, in cycles.

    The recurrence tells when a fold starts and ends; when the channel carries what follows from the
    order of requests: load, results of the fold before, the rest of the load.
    """
    own, state, found = amounts(), np.zeros(5, np.int64), []
    stores: list[tuple[float, float]] = []
    for number in range(GEMM.n // MACHINE.cols):
        free, started, ended = (int(state[at]) for at in (FREE, STARTED, ENDED))
        fold(state, own.compute, own.load, own.stream, own.store, own.latency)
        load = max(free, started)
        free = load + own.load
        if number:
            stores.append((max(free, ended), max(free, ended) + own.store))
            free = stores[-1][1]
        start, end = int(state[STARTED]), int(state[ENDED])
        stream = max(free, start)
        found.append(((load, load + own.load), load + own.load + own.latency, (start, end),
                      (stream, stream + own.stream)))  # fmt: skip
    end = int(last_store(state))
    stores.append((end - own.store, end))
    return [
        Fold(*(_cycles(span) for span in (*parts, store)))
        for parts, store in zip(found, stores, strict=True)
    ]


def _cycles(ticks: Any) -> Any:
    return tuple(t / TICKS for t in ticks) if isinstance(ticks, tuple) else ticks / TICKS


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
    rows = MACHINE.rows
    start, end = one.work
    stream = (start + rows, start + rows + GEMM.m)
    half, text = number % 2, str(number)
    _span(drawn, one.load, CHANNEL, "load", number, text)
    _span(drawn, one.stream, CHANNEL, "load", number, text)
    _span(drawn, one.store, CHANNEL, "store", number, text)
    _span(drawn, (one.load[0], one.arrived), HALVES[half], "load", number, text)
    _span(drawn, (start, start + rows), HALVES[half], "preload", number, "")
    _span(drawn, (start + rows, stream[1]), HALVES[half], "stream", number, text)
    _span(drawn, (start, start + rows), ARRAY, "preload", number, "")
    _span(drawn, stream, ARRAY, "stream", number, text)
    _span(drawn, (stream[1], end), ARRAY, "drain", number, text)
    _span(drawn, (start + 2 * rows, stream[1]), SUMS[half], "stream", number, text)
    _span(drawn, (stream[1], end), SUMS[half], "drain", number, "")
    _span(drawn, one.store, SUMS[half], "store", number, text)


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
    end = max(one.store[1] for one in found)
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
