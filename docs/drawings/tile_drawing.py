"""One tile of a GEMM on a multiprocessor: what its warps do over its cycles, as simulated.

Every instruction is one of the cycle model's (``nmsim timeline`` writes the same ones for a viewer
of traces). The upper part joins instructions that follow each other closely, the lower does not.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from drawn import (
    COLOURS,
    GRID,
    INK,
    MARGIN,
    MUTED,
    SMALL,
    WIDTH,
    Bar,
    axes,
    bars,
    canvas,
    styled,
    svg,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from nmsim import Gemm, load_hardware
from nmsim.machines.gpu.cycle import run_work
from nmsim.machines.gpu.sm.multiprocessor import TileTime
from nmsim.machines.gpu.sm.program import Kind
from nmsim.machines.gpu.sm.timeline import Event, timeline
from nmsim.mask import SparseGemm

__all__ = ["Ran", "joined", "ran", "tile_svg"]

GEMM = Gemm(512, 512, 320)
HARDWARE, KERNEL = "a100-sxm4-80gb", "64x64x64_3"
TITLE = "One tile on a multiprocessor (SM)"
HEIGHT = 606
LEFT, BROAD = 92, WIDTH - 92 - 30
CLOSE = 24
"""Cycles apart that still look joined in the upper part, a point and a half."""

COPIES, LOADS, PRODUCTS, RESULTS = (
    (Kind.COPY,),
    (Kind.LOAD,),
    (Kind.MMA,),
    (Kind.KEEP, Kind.STORE),
)
LANES = {
    "copies on their way": (COPIES, COLOURS["sky"]),
    "loads of fragments": (LOADS, COLOURS["indigo"]),
    "products": (PRODUCTS, COLOURS["teal"]),
    "results": (RESULTS, COLOURS["rose"]),
}


class Ran(NamedTuple):
    """A tile as it ran: its size, its parts, every instruction, slices of K, warps and stages."""

    tile: str
    time: TileTime
    events: list[Event]
    slices: int
    warps: int
    stages: int


@lru_cache(maxsize=1)
def ran() -> Ran:
    """The fullest multiprocessor in the first wave of the GEMM."""
    machine = load_hardware(HARDWARE, kernel=KERNEL)
    _, outcome = run_work(machine, SparseGemm.dense(GEMM))
    wave = outcome.waves[0]
    core, tile, feed, slices, ctas = wave.ran
    events = timeline(core, tile, feed, slices, ctas=ctas)
    return Ran(f"{tile.m}×{tile.n}", wave.tile, events, slices, tile.warps * ctas, tile.stages)


def joined(events: Sequence[Event], kinds: Sequence[Kind], warp: int, close: int = 0) -> list[Bar]:
    """Spans in which a warp has instructions of some kinds under way."""
    found: list[list[int]] = []
    for event in sorted(e for e in events if e.warp == warp and e.kind in kinds):
        if found and event.cycle <= found[-1][1] + close:
            found[-1][1] = max(found[-1][1], event.done)
        else:
            found.append([event.cycle, event.done])
    return [(start, stop - start) for start, stop in found]


def _whole(drawn: Axes, one: Ran) -> None:
    for warp in range(one.warps):
        for lane, (kinds, colour) in enumerate(LANES.values()):
            at = warp + 0.2 * (1.5 - lane)
            bars(drawn, joined(one.events, kinds, warp, CLOSE), at, 0.19, colour, linewidth=0)
    time = one.time
    edges = (0, time.prologue, time.prologue + time.main, time.cycles)
    for name, start, stop in zip(
        ("prologue", "main loop", "epilogue"), edges[:-1], edges[1:], strict=True
    ):
        drawn.axvline(stop, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=0)
        drawn.text((start + stop) / 2, -0.78, f"{name}\n{stop - start:,}", ha="center", va="center")
    drawn.set(xlim=(0, time.cycles), ylim=(one.warps - 0.45, -1.15))
    drawn.set_yticks(range(one.warps), [f"warp {warp}" for warp in range(one.warps)])
    for warp in range(1, one.warps):
        drawn.axhline(warp - 0.5, color=GRID, linewidth=1, zorder=0)


def _slice(one: Ran) -> tuple[int, int]:
    """A slice of the main loop: from the second barrier of the first warp to the third."""
    barriers = [e.cycle for e in one.events if e.warp == 0 and e.kind is Kind.BARRIER]
    return barriers[1], barriers[2]


def _lanes(events: Sequence[Event]) -> list[int]:
    """A lane for each event, so that none overlaps another of its lane."""
    ends: list[int] = []
    found = []
    for event in events:
        lane = next((i for i, end in enumerate(ends) if end <= event.cycle), len(ends))
        ends[lane : lane + 1] = [event.done]
        found.append(lane)
    return found


def _closer(drawn: Axes, one: Ran, start: int, stop: int) -> None:
    own = [e for e in one.events if e.warp == 0 and e.cycle < stop and e.done > start]
    rows = {"copies": (COPIES, COLOURS["sky"]), "fragments": (LOADS, COLOURS["indigo"]),
            "products": (PRODUCTS, COLOURS["teal"])}  # fmt: skip
    for row, (kinds, colour) in enumerate(rows.values()):
        issued = [e for e in own if e.kind in kinds]
        lanes = _lanes(issued)
        pitch = 0.8 / (max(lanes) + 1)
        for lane, event in zip(lanes, issued, strict=True):
            begun = max(event.cycle, start)
            span = (begun, min(event.done, stop) - begun)
            bars(drawn, [span], row - 0.4 + pitch * (lane + 0.5), 0.75 * pitch, colour, linewidth=0)
    ended = max(e.done for e in own if e.kind in LOADS and e.cycle <= start)
    begun = min(e.cycle for e in own if e.kind in LOADS and e.cycle > start)
    drawn.text((ended + begun) / 2, 1, "barrier", ha="center", va="center", color=MUTED)
    drawn.set(xlim=(start, stop), ylim=(2.5, -0.5))
    drawn.set_yticks(range(len(rows)), list(rows))
    for row in (1, 2):
        drawn.axhline(row - 0.5, color=GRID, linewidth=1, zorder=0)


def _between(figure: Figure, from_: float, to: float) -> None:
    """A line from the upper part's axis to a corner of the lower part, points from the left."""
    heights = (1 - 370 / HEIGHT, 1 - 420 / HEIGHT)
    line = Line2D(
        (from_ / WIDTH, to / WIDTH), heights, color=MUTED, linewidth=1, linestyle=(0, (3, 3))
    )
    figure.add_artist(line)


def tile_svg() -> str:
    """The whole drawing."""
    one = ran()
    start, stop = _slice(one)
    with styled():
        figure = canvas(
            HEIGHT,
            TITLE,
            [
                (
                    f"{one.tile} of C of a {GEMM.m}×{GEMM.n}×{GEMM.k} GEMM, fp16, A100: "
                    f"{one.warps} warps, {one.slices} slices of K,"
                ),
                f"{one.stages} stages of shared memory. Bars: instructions, from issue to result.",
            ],
        )
        figure.legend(
            [Patch(color=colour) for _, colour in LANES.values()], list(LANES), ncols=4,
            loc="upper left", bbox_to_anchor=(MARGIN / WIDTH, 1 - 84 / HEIGHT), frameon=False,
            borderpad=0, borderaxespad=0, columnspacing=1.2, handletextpad=0.4, handlelength=1.0,
        )  # fmt: skip
        above = axes(figure, LEFT, 108, BROAD, 236)
        _whole(above, one)
        below = axes(figure, LEFT, 420, BROAD, 132)
        _closer(below, one, start, stop)
        below.set_xlabel("cycles")
        above.axvspan(start, stop, color=GRID, alpha=0.6, zorder=-1, linewidth=0)
        for at, corner in ((start, LEFT), (stop, LEFT + BROAD)):
            _between(figure, LEFT + BROAD * at / one.time.cycles, corner)
        figure.text(0.31, 1 - 400 / HEIGHT, "warp 0, barrier to barrier", color=INK,
                    fontsize=SMALL, fontweight="bold")  # fmt: skip
        return svg(figure, TITLE)
