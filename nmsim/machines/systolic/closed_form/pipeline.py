"""The memory pipeline in closed form: how long the parts of a GEMM take, cycles.

A part takes the longest of computing, of its transfers, and of waiting: piece q + 2 is asked for
when piece q starts, so that two starts are a row's transfer and the latency apart at least, and
three a whole piece's. What nothing hides is the first load and the last results.
"""

from typing import NamedTuple

from nmsim.jit import formula
from nmsim.machines.systolic.closed_form.counts import Folds, Part, Tiles, plus, times
from nmsim.machines.systolic.closed_form.given import Demand, Resources
from nmsim.machines.systolic.pipeline.memory import BACK_TO_BACK, EXPOSED, UNCOUNTED
from nmsim.machines.systolic.traffic.gathering import Reach

__all__ = ["Cutting", "Sent", "Times", "overheads", "run"]


class Times(NamedTuple):
    """Cycles of a GEMM whose folds are cut in one way: all, those without memory, and of what.

    Of the cycles without memory ``streamed``, those that skew (``fill``) and ``shifts`` take, and
    those ``waited`` for the path; of the others what is waited for. ``first`` and ``last`` are the
    transfers that nothing hides: of the first operands, and of the last results, ``out`` all of
    these that leave while they are made.
    """

    cycles: float
    compute: float
    streamed: float
    waited: float
    fill: float
    shifts: float
    bandwidth: float
    latency: float
    write_back: float
    first: float
    last: float
    out: float


class Sent(NamedTuple):
    """What DRAM sends of both operands.

    ``least`` are bits of y, a copy, if each element comes once; below 0 where that is what comes,
    however y is cut.
    """

    x: Reach
    y: Reach
    least: float


class Cutting(NamedTuple):
    """A way to cut the folds of a GEMM, and what DRAM sends then.

    Parameters
    ----------
    rows, pieces
        That stream in a fold, 0 with K in time; and of its time.
    tile
        The first one.
    """

    rows: int
    pieces: int
    tile: Tiles
    sent: Sent


@formula
def overheads(resources: Resources, folds: int, shown: float) -> tuple[float, float]:
    """Cycles that skew takes, and shifting in or out, where memory never makes the array wait.

    Parameters
    ----------
    shown
        What shifts behind other folds show.
    """
    period, r = resources.period, resources.rows
    if period == BACK_TO_BACK:
        return float(resources.fill), shown + r + (1 if resources.preloads else 0)
    shifts = r
    if period == EXPOSED:
        shifts = folds * r
    elif period == UNCOUNTED:
        shifts = 0
    return float(folds * resources.fill), shifts + shown


@formula
def run(
    resources: Resources, demand: Demand, cutting: Cutting, folds: Folds
) -> tuple[Times, float]:
    """All copies of a GEMM, and what no other number of chunks, if larger, is below."""
    first, others, edge = folds
    copies = demand.copies
    whole = plus(first, others)
    counted = times(whole, copies)
    shown = max(0.0, counted.shown - edge)
    fill, shifts = overheads(resources, counted.folds, shown)
    compute = counted.streamed + counted.waited + fill + shifts
    moved = copies * (_loads(resources, cutting, whole) + _stores(resources, whole))
    head, tail, out, behind = _edges(resources, demand, cutting)
    last = resources.latency + resources.fill
    if resources.preloads:
        last -= out  # results leave while the last of them are made
    busy = copies * max(_own(resources, first), _loads(resources, cutting, first))
    later = _loads(resources, cutting, others) + _stores(resources, others) - out + behind
    busy += copies * max(_own(resources, others), later)
    least = max(head + compute, moved, busy)
    first_late, others_late = _late(resources, cutting, first), _late(resources, cutting, others)
    late = copies * (first_late + others_late)
    late -= _early(cutting.pieces, first, first_late, others, others_late)
    cycles = max(least, head + compute + max(tail, late), moved + last)
    if cutting.sent.least >= 0:  # of smaller chunks, more may be held
        once = copies * cutting.sent.least * resources.per_bit
        least = max(head + compute, moved - copies * _y(resources, cutting, whole) + once)
    # Latency of the first request and of all that are not asked for early enough; results that
    # nothing hides; the rest of what is waited is for transfers.
    waits = cycles - compute
    latency = min(waits, resources.latency + max(0.0, late))
    write_back = min(waits - latency, tail)
    found = Times(
        cycles,
        compute,
        float(counted.streamed),
        counted.waited,
        fill,
        shifts,
        waits - latency - write_back,
        latency,
        write_back,
        head - resources.latency,
        tail,
        out if resources.preloads else 0.0,
    )
    return found, least


@formula
def _loads(resources: Resources, cutting: Cutting, part: Part) -> float:
    """Channel time of what a part loads."""
    sums = part.sums * resources.accumulator_bits * resources.per_bit
    return _x(resources, cutting, part) + _y(resources, cutting, part) + sums


@formula
def _x(resources: Resources, cutting: Cutting, part: Part) -> float:
    """Channel time of what a part loads of x."""
    x = cutting.sent.x
    bits = (part.x_loaded - part.x_again) * x.first + part.x_again * x.again
    return bits * resources.per_bit


@formula
def _y(resources: Resources, cutting: Cutting, part: Part) -> float:
    """Channel time of what a part loads of y."""
    y = cutting.sent.y
    bits = (part.y_loaded - part.y_again) * y.first + part.y_again * y.again
    return bits * resources.per_bit


@formula
def _stores(resources: Resources, part: Part) -> float:
    """Channel time of what a part writes."""
    sums = part.sums * resources.accumulator_bits
    return (sums + part.outputs * resources.output_bits) * resources.per_bit


@formula
def _own(resources: Resources, part: Part) -> float:
    """What a part computes."""
    period = resources.fill
    if resources.period == EXPOSED:
        period = resources.fill + resources.rows
    elif resources.period == BACK_TO_BACK:
        period = 0
    return part.streamed + part.waited + part.shown + part.folds * period


@formula
def _early(pieces: int, first: Part, first_late: float, others: Part, others_late: float) -> float:
    """What the first two pieces do not wait: their loads are asked for at once."""
    early, waits = 2, 0.0
    for part, late in ((first, first_late), (others, others_late)):
        loading = pieces * part.whole
        if loading == 0:
            loading = part.held
        if loading > 0:
            waits += min(early, loading) * late / loading
            early -= min(early, loading)
    return waits


@formula
def _late(resources: Resources, cutting: Cutting, part: Part) -> float:
    """What a part waits for requests to be answered, beside what it computes."""
    if part.whole + part.held == 0 or resources.latency == 0:
        return 0.0
    n, one, tile = cutting.pieces, _own(resources, part) / part.folds, cutting.tile
    fresh = max(part.held, part.fresh) if resources.preloads else 0
    x = _x(resources, cutting, part) / fresh if fresh > 0 else 0.0
    y, plain = 0.0, 0.0
    if part.whole > 0:
        y = (_loads(resources, cutting, part) - fresh * x) / part.whole
    row = y / max(1.0, part.streamed / part.folds / max(tile.beats, tile.last))
    lead = resources.rows if resources.period != UNCOUNTED else 0
    piece = resources.latency + row if part.whole > 0 else 2 * one / n
    if part.whole > 0:
        plain = max(n * piece / 2, (y + n * resources.latency) / 3)
    filled = resources.latency + max(x / resources.rows + lead, x + row)
    filled = max(plain, (filled + (n - 1) * piece) / 2)
    streaming = max(0, part.whole - fresh)
    return fresh * max(0.0, filled - one) + streaming * max(0.0, plain - one)


@formula
def _edges(
    resources: Resources, demand: Demand, cutting: Cutting
) -> tuple[float, float, float, float]:
    """What the first fold waits for its operands, the last results for the channel, and take.

    And what the last results of the first tile of columns take, which leave behind the next.
    """
    tile, r, period = cutting.tile, resources.rows, resources.period
    x_bits, y_bits = (
        cutting.sent.x.first * resources.per_bit,
        cutting.sent.y.row * resources.per_bit,
    )
    x_lanes, y_lanes = demand.x_lanes, demand.y_lanes
    cols, high = min(resources.cols, x_lanes), min(r, y_lanes)
    last_cols = (x_lanes - 1) % resources.cols + 1
    out = resources.output_bits * resources.per_bit * last_cols
    if not resources.preloads:
        steps = max(1, -(-tile.slots // resources.dot_width))
        row = (cols * tile.x_k * x_bits + high * tile.y_k * y_bits) / steps
        out *= (y_lanes - 1) % r + 1
        leaving = 0 if period == UNCOUNTED else r
        return resources.latency + row, max(0.0, out - leaving), out, 0.0
    depth, along = resources.depth, tile.along
    x = cols * (depth * tile.x_k // along if along > depth else tile.x_k) * x_bits
    row = (depth * tile.y_k // along if along > depth else tile.y_k) * y_bits
    rest = (y_lanes - 1) % cutting.rows + 1
    out *= rest
    first = x + row
    if period != UNCOUNTED:
        lead = r + 1 if period == BACK_TO_BACK else r
        first = max(x / r, x - r, x + row - lead)
    behind = out / last_cols * cols if x_lanes > cols else 0.0
    return resources.latency + first, max(0.0, out + r - rest - resources.fill), out, behind
