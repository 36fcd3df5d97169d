"""The waves of a launch: how many tiles run at once, what feeds them, how long they take.

A wave is what runs at once. Of it the fullest multiprocessor (SM) is run cycle by cycle, with a
feed that is its share of the slowest of its port, the L2 cache and device memory: first at the
latency of idle memory, which tells how busy memory is, then at the latency that goes with it.

Device memory delivers to each tile its part of what the launch reads: every operand once, and again
what later waves need and L2 no longer holds, by the working set of a wave (stripes of both
operands, and results) against its capacity. Results leave an SM at its own rate or at its share of
device memory's, but for those that L2 holds until the kernel has ended.

Where memory is the slowest and some SMs have a threadblock more than others, those are served no
faster for it; what they lag behind they catch up when the others have ended.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.gpu.chip import CTAS, TM, TN, Chip, Form
from nmsim.machines.gpu.sm.multiprocessor import Feed, Sm, TileTime
from nmsim.machines.gpu.sm.program import Tile, stage_bytes
from nmsim.machines.gpu.tile import tile_time

__all__ = ["Grid", "Sizes", "TileRun", "Wave", "grid_of", "held_of", "waves_of"]

Sizes = tuple[int, int, int, int]
"""M, N, K and copies in one launch."""

LATENCY_STEP = 16
"""Clocks: latencies nearer than that are one class of tiles."""


class TileRun(NamedTuple):
    """What a multiprocessor is run with: itself, tile, feed, slices of K, threadblocks."""

    core: Sm
    tile: Tile
    feed: Feed
    slices: int
    ctas: int


class Wave(NamedTuple):
    """Waves of one kind: how many, threadblocks in each, and their time on the fullest SM."""

    rounds: int
    running: int
    tile: TileTime
    pace: str
    """What feeds an SM slowest: one of ``BOUNDS``."""
    ran: TileRun


class Grid(NamedTuple):
    """A launch in tiles; bytes are those of all copies unless it says of a tile."""

    down: int
    across: int
    copies: int
    split: int
    slices: int
    """Slices of K in one part of a split."""
    slots: int
    sms: int
    read: float
    written: float
    fed: float
    """Loaded by a tile on average, rows and columns beyond C left out."""
    padded: float
    """What a tile's stages would hold."""
    stored: float
    """Share of a tile that is in C."""

    @property
    def tiles(self) -> int:
        """Threadblocks of all copies, one for each tile of C and part of K."""
        return self.down * self.across * self.copies * self.split

    @property
    def missed(self) -> float:
        """Share of what tiles load that comes from device memory."""
        return min(1.0, max(1.0, self.read) / (self.tiles * self.fed))


def grid_of(
    chip: Chip,
    form: Form,
    row: NDArray[np.float64],
    tile: Tile,
    split: int,
    sizes: Sizes,
) -> Grid:
    """Cut C, and K in ``split`` parts, into tiles of a row of the kernel table."""
    m, n, k, copies = sizes
    rows, cols = row[TM], row[TN]
    down, across = math.ceil(m / rows), math.ceil(n / cols)
    slots = int(chip.sms) * int(row[CTAS])
    slices = math.ceil(math.ceil(k / tile.k) / split)
    grid = Grid(
        down=down,
        across=across,
        copies=copies,
        split=split,
        slices=slices,
        slots=slots,
        sms=int(chip.sms),
        read=0.0,
        written=m * n * form.out * copies,
        fed=k * (m * form.a * across + n * form.b * down) / (down * across * split),
        padded=float(slices * sum(stage_bytes(tile))),
        stored=min(rows, m) * min(cols, n) / (rows * cols),
    )
    return grid._replace(read=copies * _read(grid, chip, form, row, sizes))


def held_of(chip: Chip, form: Form, sizes: Sizes) -> float:
    """Share of the operands' bytes that L2 still holds from earlier launches of a series.

    It falls in proportion to what passes between two uses: of A one launch, of B all B of the
    series, and A and C once.
    """
    m, n, k, copies = sizes
    a, b, c = m * k * form.a * form.a_once, n * k * form.b * form.b_once, m * n * form.out
    if not form.in_turn:
        return 0.0
    passing = ((a, a + b + c), (b, a + form.in_turn * b + c))
    held = sum(own * max(0.0, 1 - copies * by / chip.l2_bytes) for own, by in passing)
    return held / (a + b)


def _read(
    grid: Grid,
    chip: Chip,
    form: Form,
    row: NDArray[np.float64],
    sizes: Sizes,
) -> float:
    """Bytes of one copy from device memory, waves being as square as they can be.

    Every operand once, but for what L2 holds from before, and again what later waves need.
    """
    m, n, k, _ = sizes
    a, b = form.a * form.a_once, form.b * form.b_once
    once = (m * a + n * b) * k
    at_once = min(grid.down * grid.across, grid.slots)
    tall = min(grid.down, max(1.0, math.sqrt(at_once * row[TN] / row[TM])))
    wide = min(grid.across, at_once / tall)
    tall = min(grid.down, at_once / wide)
    stripes = (tall * row[TM] * a + wide * row[TN] * b) * k
    working_set = stripes + at_once * row[TM] * row[TN] * form.out
    rounds = grid.down * grid.across / at_once
    again = max(0.0, rounds * stripes - once)
    first = once * (1 - held_of(chip, form, sizes))
    return float(first + again * (1 - min(1.0, chip.l2_bytes / once)))


def _feeds(chip: Chip, grid: Grid) -> tuple[dict[str, float], float]:
    """Bytes per clock of the fullest SM's share, by what bounds it, and of its results.

    L2 and device memory serve an SM by what it has to load: that is all loaded when they have
    served everybody, however the threadblocks come to waves.
    """
    share = math.ceil(grid.tiles / grid.sms) / grid.tiles
    reads = {
        "sm port": chip.port,
        "l2 bandwidth": chip.l2 * share,
        "dram bandwidth": chip.dram * share / grid.missed,
    }
    store = chip.store
    if grid.split == 1 and grid.written > chip.absorbed:
        drained = chip.write * grid.written / (grid.written - chip.absorbed)
        store = min(store, drained * share)
    return reads, store / grid.stored


def _digits(rate: float) -> float:
    """A rate to three digits, so that feeds that hardly differ are one class of tiles."""
    return float(f"{rate:.3g}")


def _stepped(latency: float) -> int:
    """A latency in steps, so that those that hardly differ are one class of tiles."""
    return LATENCY_STEP * round(latency / LATENCY_STEP)


def _wave(core: Sm, tile: Tile, chip: Chip, grid: Grid, rounds: int, running: int) -> Wave:
    """The fullest SM of a wave, first with idle memory and then with memory as busy as that."""
    reads, store = _feeds(chip, grid)
    pace = min(reads, key=lambda cause: reads[cause])
    padding = grid.padded / grid.fed
    deepest = math.ceil(running / grid.sms)
    # What another tile has loaded, or an earlier launch, comes from L2.
    far = max(chip.latency, chip.near)
    idle = _stepped(chip.near + (far - chip.near) * grid.missed)
    # Rows beyond C are not loaded: of a stage as it is in shared memory, more arrives at a time.
    own = core._replace(in_flight=int(core.in_flight * padding))
    feed = Feed(idle, _digits(reads[pace] * padding), _digits(store))
    ran = TileRun(own, tile, feed, grid.slices, deepest)
    time = tile_time(*ran)
    if chip.queue:
        moved = running * grid.read / grid.tiles
        busy = min(1.0, moved / chip.dram / time.cycles)
        latency = idle + _stepped(chip.queue * busy)
        ran = ran._replace(feed=feed._replace(latency=latency))
        time = tile_time(*ran)
    return Wave(rounds, running, time, pace, ran)


def waves_of(core: Sm, tile: Tile, chip: Chip, grid: Grid) -> tuple[Wave, ...]:
    """The waves of a launch: the full ones as one kind, then the last if it is not full."""
    full, rest = divmod(grid.tiles, grid.slots)
    kinds = [(full, grid.slots)] * (full > 0) + [(1, rest)] * (rest > 0)
    return tuple(_wave(core, tile, chip, grid, *kind) for kind in kinds)
