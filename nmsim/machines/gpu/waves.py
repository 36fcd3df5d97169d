"""The waves of a launch: how many tiles run at once, what feeds them, how long they take.

A wave is what runs at once. Of it the fullest multiprocessor (SM) is run cycle by cycle, fed
through its own port: what all SMs share, L2 and device memory, serves the launch as a whole
(``served``), so that how tiles come to waves makes it neither slower nor faster.

Loads take longer the busier device memory is (``settled``). It delivers what the launch reads:
every operand once, and again what later tiles need and L2 no longer holds (``l2.bound``).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.machines.gpu.chip import (
    CAST_ACROSS,
    CAST_DOWN,
    CTAS,
    TM,
    TN,
    Chip,
    Form,
    Size,
    held_share,
    read_by_lines,
)
from nmsim.machines.gpu.l2.bound import most_read
from nmsim.machines.gpu.sm.multiprocessor import Feed, Sm, TileTime
from nmsim.machines.gpu.sm.program import (
    ACCUMULATOR_BITS,
    Tile,
    fragments,
    kept_bytes,
    stage_bytes,
)
from nmsim.machines.gpu.tile import tile_time

__all__ = [
    "Grid",
    "Sizes",
    "TileRun",
    "Wave",
    "drained",
    "grid_of",
    "held_of",
    "idle_latency",
    "least_latency",
    "leaving_of",
    "served",
    "settled",
    "unstored",
    "waves_of",
]

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
    """Waves of one kind: how many, threadblocks in each, and their time on the fullest SM.

    Parameters
    ----------
    held
        Clocks for which a threadblock holds its slot. Results still leave while the slot has the
        next one, but no faster than they can.
    left
        Clocks after those until they have.
    turns
        Tiles that a threadblock that stays on its SM takes one after another, all in that time.
    """

    rounds: int
    running: float
    """On average, where threadblocks stay and some have a tile less."""
    tile: TileTime
    ran: TileRun
    held: int
    left: int
    turns: int = 1


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
    persistent: bool = False
    """Threadblocks, one on an SM, stay there and take one tile after another."""
    dealt: int = 0
    """Threadblocks, for each tile, that all slices are dealt out to (stream-K); 0: whole tiles."""

    @property
    def tiles(self) -> int:
        """Threadblocks of all copies, one for each tile of C and part of K."""
        return self.down * self.across * self.copies * self.split

    @property
    def missed(self) -> float:
        """Share of what tiles load that comes from device memory."""
        return min(1.0, max(1.0, self.read) / (self.tiles * self.fed))

    @property
    def blocks(self) -> int:
        """Threadblocks: one for each tile, or those that slices are dealt out to."""
        return min(self.slots, self.dealt * self.tiles) if self.dealt else self.tiles


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
    along_a, along_b = min(row[CAST_ACROSS], across), min(row[CAST_DOWN], down)
    grid = Grid(
        down=down,
        across=across,
        copies=copies,
        split=split,
        slices=slices,
        slots=slots,
        sms=int(chip.sms),
        read=0.0,
        written=m * n * form.out * copies * (1 - _kept(chip, form, sizes)),
        fed=k
        * (m * form.a * across / along_a + n * form.b * down / along_b)
        / (down * across * split),
        padded=float(slices * sum(stage_bytes(tile))),
        stored=min(rows, m) * min(cols, n) / (rows * cols),
    )
    read = max(_read(grid, chip, form, sizes), _by_lines(chip, form, row, sizes))
    return grid._replace(read=copies * read)


def _by_lines(chip: Chip, form: Form, row: NDArray[np.float64], sizes: Sizes) -> float:
    return float(read_by_lines(chip, form, row, Size(*map(float, sizes))))


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
    held = sum(own * held_share(chip, copies * by) for own, by in passing)
    return held / (a + b)


def _kept(chip: Chip, form: Form, sizes: Sizes) -> float:
    """Share of C that stays in L2 until the next launch of a series writes it again."""
    if not form.in_turn or not chip.l2_kept:
        return 0.0
    m, n, k, copies = sizes
    a, b, c = m * k * form.a * form.a_once, n * k * form.b * form.b_once, m * n * form.out
    return held_share(chip, copies * (a + b + c))


def _read(
    grid: Grid,
    chip: Chip,
    form: Form,
    sizes: Sizes,
) -> float:
    """Bytes of one copy from device memory, a part of K after another.

    Every operand once, but for what L2 holds from before, and again what it does not hold till
    other tiles need it.
    """
    m, n, k, _ = sizes
    a, b = m * form.a * form.a_once * k, n * form.b * form.b_once * k
    tiles = float(grid.down), float(grid.across), float(grid.slots)
    part = most_read(a / grid.split, b / grid.split, *tiles, chip.l2_bytes)
    return float(grid.split * part - (a + b) * held_of(chip, form, sizes))


def served(chip: Chip, grid: Grid) -> dict[str, float]:
    """Clocks in which L2 and device memory serve what all tiles load."""
    return {
        "l2 bandwidth": grid.tiles * grid.fed / chip.l2,
        "dram bandwidth": grid.read / chip.dram,
    }


def drained(chip: Chip, grid: Grid) -> float:
    """Clocks for which tiles wait while device memory takes results.

    None for those that L2 absorbs and for sums of parts, and of others the share that ``waiting``
    says.
    """
    if grid.split > 1:
        return 0.0
    return chip.waiting * max(0.0, grid.written - chip.absorbed) / chip.write


def unstored(wave: Wave) -> float:
    """Clocks of a wave's tiles but those in which results leave.

    At the end sums pass through shared memory, in and out: a row of accumulators after another,
    each behind the results of the one before it.
    """
    core, tile, ctas = wave.ran.core, wave.ran.tile, wave.ran.ctas * wave.turns
    sums = 2 * ctas * tile.warps * fragments(tile).b * kept_bytes(tile)
    return wave.tile.prologue + wave.tile.main + sums / core.shared_bytes


def leaving_of(tile: Tile, chip: Chip, grid: Grid) -> float:
    """Clocks in which the results of one tile leave a multiprocessor."""
    return tile.m * tile.n * tile.output_bits / 8 * grid.stored / chip.store


def _digits(rate: float) -> float:
    """A rate to three digits, so that feeds that hardly differ are one class of tiles."""
    return float(f"{rate:.3g}")


class _Kind(NamedTuple):
    """Waves of one kind: how many, threadblocks in each; slices and tiles of each of these."""

    rounds: int
    running: float
    slices: int
    turns: int = 1


def _between(core: Sm, tile: Tile, chip: Chip, grid: Grid) -> float:
    """Clocks from a tile's last product to the next one's first on a threadblock that stays.

    Its results pass through shared memory, in and out, and those that the next one's room there
    does not hold have left.
    """
    results = tile.m * tile.n * tile.output_bits / 8
    passing = 2 * results / core.shared_bytes + core.barrier_latency * fragments(tile).a
    return max(passing, max(0.0, results * grid.stored - core.store_queue) / chip.store)


def _mending(tile: Tile, chip: Chip, grid: Grid) -> float:
    """Clocks for which the last threadblock of a tile waits for the sums of the others.

    It is told of them by way of L2, and they come through its port.
    """
    if not grid.dealt:
        return 0.0
    sums = tile.m * tile.n * grid.stored * ACCUMULATOR_BITS / 8
    return 2 * chip.near + grid.dealt * sums / chip.port


def _wave(core: Sm, tile: Tile, chip: Chip, grid: Grid, latency: int, kind: _Kind) -> Wave:
    padding = grid.padded / grid.fed
    # Rows beyond C are not loaded: of a stage as it is in shared memory, more arrives at a time.
    own = core._replace(in_flight=int(core.in_flight * padding))
    feed = Feed(latency, _digits(chip.port * padding), _digits(chip.store / grid.stored))
    ran = TileRun(own, tile, feed, kind.slices, math.ceil(kind.running / grid.sms))
    time = tile_time(*ran)
    more = (kind.turns - 1) * _between(core, tile, chip, grid)
    whole = int(chip.start) + time.cycles
    whole += math.ceil(more + _mending(tile, chip, grid))
    leaving = kind.turns * ran.ctas * leaving_of(tile, chip, grid)
    held = max(whole - time.drain, math.floor(leaving))
    left = max(0, whole - held)
    return Wave(kind.rounds, kind.running, time, ran, held, left, kind.turns)


def _kinds(grid: Grid) -> list[_Kind]:
    """What a launch is cut into: full waves as one kind, then the last if it is not full.

    A threadblock that stays on its SM runs its tiles as one main loop, because its loads go on from
    tile to tile: all waves are one. Dealt slices make one wave, too.
    """
    if grid.dealt:
        slices = math.ceil(grid.tiles * grid.slices / grid.blocks)
        return [_Kind(1, grid.blocks, slices, math.ceil(grid.tiles / grid.blocks))]
    if grid.persistent:
        turns = math.ceil(grid.tiles / grid.slots)
        return [_Kind(1, grid.tiles / turns, turns * grid.slices, turns)]
    full, rest = divmod(grid.tiles, grid.slots)
    kinds = [_Kind(full, grid.slots, grid.slices)] * (full > 0)
    return kinds + [_Kind(1, rest, grid.slices)] * (rest > 0)


def waves_of(core: Sm, tile: Tile, chip: Chip, grid: Grid, latency: int) -> tuple[Wave, ...]:
    """The waves of a launch, by kind."""
    return tuple(_wave(core, tile, chip, grid, latency, kind) for kind in _kinds(grid))


def idle_latency(chip: Chip, grid: Grid) -> float:
    """Clocks of a load on average; what a tile has loaded, or an earlier launch, comes from L2."""
    return chip.near + (max(chip.latency, chip.near) - chip.near) * grid.missed


def least_latency(chip: Chip, grid: Grid) -> int:
    """The latency of loads that find memory idle, as a class of tiles has it."""
    return math.ceil(idle_latency(chip, grid) / LATENCY_STEP) * LATENCY_STEP


def settled(chip: Chip, grid: Grid, clocks: Callable[[int], float]) -> tuple[int, float]:
    """The latency that goes with how busy device memory is, and the clocks that go with it.

    A load waits for ``queue`` clocks more if memory is always busy, and memory is busy for its
    share of ``clocks``, which the latency makes longer: of all latencies the one with the least
    time, that being its tiles' or what memory needs if it is to be no busier than that. As neither
    is longer on a machine with more, neither is the least.
    """
    idle, reading = idle_latency(chip, grid), grid.read / chip.dram
    lowest = least_latency(chip, grid) // LATENCY_STEP
    highest = max(lowest, math.ceil((idle + chip.queue) / LATENCY_STEP))

    def free(step: int) -> float:
        """Clocks in which memory is no busier than the latency says."""
        over = step * LATENCY_STEP - idle
        if over >= chip.queue:
            return 0.0
        return reading * chip.queue / over if over > 0 else math.inf

    first, last = lowest, highest
    while first < last:
        middle = (first + last) // 2
        if free(middle) <= clocks(middle * LATENCY_STEP):
            last = middle
        else:
            first = middle + 1
    tried = range(max(lowest, first - 1), first + 1)
    least, step = min((max(free(one), clocks(one * LATENCY_STEP)), one) for one in tried)
    return step * LATENCY_STEP, least
