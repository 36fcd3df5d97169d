"""Elements of a gathered operand that DRAM sends: which of them half of a buffer still holds.

A fold touches a rectangle of the operand's columns: windows p by reads q, a read being a tap and a
channel. Elements are replaced by age, fold by fold: **what a fold touches is in the buffer if half
of it holds everything that was touched from the fold that touched it last to this one**, both
included, each element once. Otherwise it is loaded again; within a fold it is loaded once. An
operand that is not gathered follows the same rule: a pass over it that does not fit finds nothing.

Folds come in one of four orders. The operand's lanes are cut into blocks and K into slices; slices
of a block follow each other, and a pass is repeated over all blocks (what streams under ws and is,
what lies along the columns under os) or block by block (what is held, what lies along the rows).
Under os, where one fold takes all of K, a slice is as many elements as the array has rows.

Elements that are always touched together, neighbouring channels of a pixel, are one class, counted
by its width. What would take long is counted in part (``_plan``), whatever the buffer holds.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled, compiled_uncounted

__all__ = ["BUDGET", "Walk", "loads", "loads_of_each"]

BUDGET = 60_000
"""Touches of a class that are counted one by one; what takes more is counted in part."""

BLOCKS, ROWS = 2, 4
"""Blocks of windows, and windows along the outermost axis, that are counted at least."""

MOST = 1 << 21
"""Touches beyond which a block is not counted whole."""

WHOLE = 4
"""Budgets that all of an operand may take, or blocks that together begin where an image does."""

IMAGES, CHANNELS, ALONG_ROWS, ELEMENTS = range(4)
"""The leading numbers of a geometry."""

SIZE, WINDOWS, TAPS = 4, 5, 6
"""The first of those of three axes, each of which has six: these, stride, step and first."""

Numbers = NDArray[np.int64]


@compiled_uncounted
def _product(geometry: Numbers, first: int) -> int:
    """Positions, windows or taps of all axes."""
    return int(geometry[first] * geometry[first + 6] * geometry[first + 12])


class Walk(NamedTuple):
    """In which order an operand is touched: lanes of a block, K of a slice, and passes.

    ``by_block`` repeats the slices of a block before the next one comes, otherwise all blocks are
    passed again. ``once``: there is one pass. ``room`` is what half of the buffer holds, elements.
    """

    block: int
    part: int
    room: int
    by_block: bool
    once: bool


class _Plan(NamedTuple):
    """What is counted of an operand.

    Parameters
    ----------
    images
        So many of them.
    counted
        Windows of those; fewer than there are where one image is counted in part.
    settled
        Windows after which each stands for those that are not counted.
    rest
        Windows of a last block, which has fewer than others and is counted as well.
    windows, reads
        Sides of the rectangle that a fold touches.
    step
        Reads from one rectangle to the next: more than ``reads`` where one class stands for all.
    behind
        Channels of a tap that folds before the present one, and behind it, touch on their own.
    whole
        Everything is counted.
    """

    images: int
    counted: int
    settled: int
    rest: int
    windows: int
    reads: int
    step: int
    behind: int
    whole: bool


class _Held(NamedTuple):
    """What the buffer holds: by which fold each element was touched last, class x position.

    ``counts`` are the elements that each fold touched last, ``moved`` those of them that the
    present fold takes over, if ``stamp`` says so. ``edges`` are the channels at which a class
    begins, ``classes`` the class of each such channel, ``now`` see below. ``alike`` are positions
    along each axis which the same taps touch: which taps, as bits, and how many positions; no bits
    where there are no more.
    """

    last: NDArray[np.int32]
    counts: Numbers
    moved: Numbers
    stamp: Numbers
    edges: Numbers
    classes: Numbers
    now: Numbers
    alike: Numbers


FOLD, OLDEST, TOTAL, LOADED, ROOM, BEHIND, ONE = range(7)
"""The present fold, the oldest whose elements are all held, how many they are, loads so far, what
half of the buffer holds, the plan's ``behind``, and windows of an image, if folds touch whole ones
and few positions of these differ; else more than there are."""

ALIKE = 64
"""Sorts of positions along an axis that are told apart."""


@compiled_uncounted
def _take(held: _Held, old: int, elements: int) -> None:
    """Some elements that fold ``old`` touched last are touched by the present one."""
    now = held.now
    if old == now[FOLD]:
        return
    held.counts[now[FOLD]] += elements
    if old < now[OLDEST]:
        now[LOADED] += elements
        now[TOTAL] += elements
        return
    held.counts[old] -= elements
    if held.stamp[old] != now[FOLD]:
        held.stamp[old], held.moved[old] = now[FOLD], 0
    held.moved[old] += elements


@compiled_uncounted
def _touch_run(held: _Held, part: int, first: int, stride: int, times: int) -> None:
    """Touch every stride-th position of a row in one class, runs of one age at once."""
    last, width = held.last[part], held.edges[part + 1] - held.edges[part]
    fold, done = held.now[FOLD], 0
    while done < times:
        at = first + done * stride
        old, run = last[at], 1
        last[at] = fold
        while done + run < times and last[at + run * stride] == old:
            last[at + run * stride] = fold
            run += 1
        _take(held, old, run * width)
        done += run


@compiled_uncounted
def _touch_tap(
    held: _Held, geometry: Numbers, tap: int, parts: tuple[int, int], span: tuple[int, int]
) -> None:
    """Touch what one tap of some windows reads, in some classes, row by row of windows.

    Windows are taken apart once, and counted on from row to row: a division takes as long as many
    touches.
    """
    g = geometry
    x_windows, x_stride = g[17], g[19]
    tap_z, rest = divmod(tap, g[12] * g[18])
    tap_y, tap_x = divmod(rest, g[18])
    p, stop = span
    row, left = divmod(p, x_windows)
    rest, y = divmod(row, g[11])
    image, z = divmod(rest, g[5])
    place, at_z = g[15] + y * g[13] + tap_y * g[14], g[9] + z * g[7] + tap_z * g[8]
    first, whole = _seen(g, tap_x, 0, x_windows)
    while p < stop:
        run = min(x_windows - left, stop - p)
        start, times = first, whole
        if run < x_windows:
            start, times = _seen(g, tap_x, left, run)
        if 0 <= at_z < g[4] and 0 <= place < g[10]:
            at = ((image * g[4] + at_z) * g[10] + place) * g[16] + start
            for part in range(parts[0], parts[1]):
                _touch_run(held, part, at, x_stride, times)
        p, left, y, place = p + run, 0, y + 1, place + g[13]
        if y == g[11]:
            y, place, z, at_z = 0, place - g[11] * g[13], z + 1, at_z + g[7]
            if z == g[5]:
                z, at_z, image = 0, at_z - g[5] * g[7], image + 1


@compiled_uncounted
def _seen(geometry: Numbers, tap: int, left: int, run: int) -> tuple[int, int]:
    """Of some windows along the innermost axis, where a tap of the first is that has a position.

    Returns
    -------
    Its position, and how many windows' taps have one.
    """
    size, stride = geometry[16], geometry[19]
    x = geometry[21] + left * stride + tap * geometry[20]
    skip = (stride - 1 - x) // stride if x < 0 else 0
    return x + skip * stride, min(run, (size - 1 - x) // stride + 1) - skip


@compiled_uncounted
def _touch_images(
    held: _Held, geometry: Numbers, tap: int, parts: tuple[int, int], span: tuple[int, int]
) -> None:
    """Touch what one tap of some windows reads, in some classes: of whole images as of one.

    An image all of whose windows are in one block is touched by the block's folds alone, each time
    by all windows. So its positions are as old as all others which the same taps touch, and as
    those of the block's other whole images, for which one stands.
    """
    one, (start, stop) = held.now[ONE], span
    first, last = (start + one - 1) // one, stop // one
    ragged = (first * one, last * one) if first < last else (stop, stop)
    for p, end in ((start, ragged[0]), (ragged[1], stop)):
        if p < end:
            _touch_tap(held, geometry, tap, parts, (p, end))
    if first < last:
        _touch_whole(held, geometry, tap, parts, (first, last - first))


@compiled_uncounted
def _touch_whole(
    held: _Held, geometry: Numbers, tap: int, parts: tuple[int, int], images: tuple[int, int]
) -> None:
    """Touch what one tap of all windows of an image reads, for as many images as it stands for."""
    g, alike, fold = geometry, held.alike, held.now[FOLD]
    tap_z, rest = divmod(tap, g[12] * g[18])
    tap_y, tap_x = divmod(rest, g[18])
    z, (image, many) = 0, images
    while alike[0, z, 0] > 0:
        y = 0
        while alike[1, y, 0] > 0 and (alike[0, z, 0] >> tap_z) & 1 > 0:
            x = 0
            while alike[2, x, 0] > 0 and (alike[1, y, 0] >> tap_y) & 1 > 0:
                if (alike[2, x, 0] >> tap_x) & 1 > 0:
                    at = ((image * g[4] + z) * g[10] + y) * g[16] + x
                    elements = many * alike[0, z, 1] * alike[1, y, 1] * alike[2, x, 1]
                    for part in range(parts[0], parts[1]):
                        old = held.last[part, at]
                        held.last[part, at] = fold
                        _take(held, old, elements * (held.edges[part + 1] - held.edges[part]))
                x += 1
            y += 1
        z += 1


@compiled_uncounted
def _sort(geometry: Numbers, axis: int, alike: Numbers) -> bool:
    """Sort the positions along an axis by the taps that touch them; not, if there are too many."""
    size, windows, taps, stride, step, first = (
        geometry[4 + 6 * axis],
        geometry[5 + 6 * axis],
        geometry[6 + 6 * axis],
        geometry[7 + 6 * axis],
        geometry[8 + 6 * axis],
        geometry[9 + 6 * axis],
    )
    if taps >= 63:
        return False
    found = 0
    for position in range(size):
        touched = 0
        for tap in range(taps):
            ahead = position - first - tap * step
            if ahead >= 0 and ahead % stride == 0 and ahead // stride < windows:
                touched |= 1 << tap
        if touched == 0:
            continue
        sort = 0
        while sort < found and alike[axis, sort, 0] != touched:
            sort += 1
        if sort == ALIKE:
            return False
        alike[axis, sort, 0], found = touched, max(found, sort + 1)
        alike[axis, sort, 1] += 1
    return True


@compiled_uncounted
def _touch(held: _Held, geometry: Numbers, p: tuple[int, int], q: tuple[int, int]) -> int:
    """One fold: windows p by reads q; then what half of the buffer does not hold is dropped.

    The oldest folds go until the rest fits. What the present one took over from a fold that goes
    was not held: it counts as loaded. Where a fold stands for all channels of its taps, those that
    others of its kind touch are, of what is new in it, not yet there.

    Returns
    -------
    Elements that it loads.
    """
    now, channels = held.now, geometry[CHANNELS]
    before, behind, room = now[LOADED], now[BEHIND], now[ROOM]
    held.counts[now[FOLD]] = 0
    for tap in range(q[0] // channels, (q[1] - 1) // channels + 1):
        start = max(q[0] - tap * channels, 0)
        end = min(q[1] - tap * channels, channels)
        _touch_images(held, geometry, tap, (held.classes[start], held.classes[end]), p)
    while now[OLDEST] < now[FOLD]:
        new = now[LOADED] - before
        if now[TOTAL] * channels - new * behind <= room * channels:
            break
        old = now[OLDEST]
        now[TOTAL] -= held.counts[old]
        if held.stamp[old] == now[FOLD]:
            now[LOADED] += held.moved[old]
        now[OLDEST] += 1
    now[FOLD] += 1
    return int(now[LOADED] - before)


@compiled
def _classes(channels: int, reads: int, step: int, most: int) -> tuple[Numbers, Numbers]:
    """Channels at which a rectangle may begin or end, and the class of each of them."""
    index = np.zeros(channels + 1, np.int64)
    index[channels], start = 1, 0
    while start < most:
        index[start % channels] = index[(start + reads) % channels] = 1
        start += step
        if start % channels == 0:
            break
    edges = np.empty(channels + 1, np.int64)
    found = 0
    for channel in range(channels + 1):
        begins = index[channel] > 0
        index[channel] = found
        if begins:
            edges[found] = channel
            found += 1
    return edges[:found], index


@compiled
def _sides(geometry: Numbers, walk: Walk, budget: int) -> tuple[int, int, int, int, int]:
    """Sides of the rectangles that are counted, steps between them, and classes.

    Where a fold has fewer reads than a pixel channels, other folds touch the others in the same
    way. If they are slices, one fold takes the place of all of a tap; if they are blocks, which
    find nothing of each other's, one block stands for all of its tap's. Longer ones are rounded
    down to whole taps.
    """
    one, taps, channels = _product(geometry, WINDOWS), _product(geometry, TAPS), geometry[CHANNELS]
    along = geometry[ALONG_ROWS] > 0
    windows, reads = (walk.block, walk.part) if along else (walk.part, walk.block)
    windows, reads = min(windows, one * geometry[IMAGES]), min(reads, taps * channels)
    parts, start = 1, reads % channels
    while start != 0 and parts * reads < taps * channels:
        parts, start = parts + 1, (start + reads) % channels
    parts = min(parts, channels)
    least = min(one * geometry[IMAGES], BLOCKS * windows)
    if parts == 1 or least * taps * parts <= WHOLE * budget:
        return windows, reads, reads, 0, parts
    if reads >= channels:
        reads = reads // channels * channels
        return windows, reads, reads, 0, 1
    if along:
        return windows, channels, channels, channels - reads, 1
    return windows, reads, channels, 0, 1


@compiled
def _blocks(one: int, windows: int, least: int, most: int) -> int:
    """Blocks of windows that stand for all: if not too many, as many as begin in all their ways.

    One image has ``one`` windows, so that blocks begin anew with an image after their least common
    multiple.
    """
    rest, divisor = one % windows, windows
    while rest > 0:
        rest, divisor = divisor % rest, rest
    period, blocks = one // divisor, (least + windows - 1) // windows
    periodic = (blocks + period - 1) // period * period
    return periodic if periodic * windows <= most else blocks


@compiled
def _plan(geometry: Numbers, walk: Walk, budget: int) -> _Plan:
    """What is counted of an operand: all of it, if that does not take long.

    Images share no pixel, so that some of them stand for all, in proportion; and of a large one the
    windows behind the first few rows for those that follow. Does not depend on the buffer, so that
    what is loaded never grows with it.
    """
    one, taps = _product(geometry, WINDOWS), _product(geometry, TAPS)
    windows, reads, step, behind, parts = _sides(geometry, walk, budget)
    every, most = one * geometry[IMAGES], WHOLE * budget // (taps * parts)
    images, counted, settled, rest = geometry[IMAGES], every, 0, 0
    if every > most:
        inner, outer = one, one
        for axis in range(2, -1, -1):
            if geometry[WINDOWS + 6 * axis] > 1:
                inner = one // outer
            outer //= geometry[WINDOWS + 6 * axis]
        least = min(BLOCKS * windows, max(1, MOST // (taps * parts)))
        enough = max(least, budget // (taps * parts), ROWS * inner)
        if 2 * enough < one:
            settled = (enough + 2 * windows - 1) // (2 * windows) * windows
            counted = settled + (enough - settled + windows - 1) // windows * windows
        elif geometry[ALONG_ROWS] and windows > one:
            blocks = min(_blocks(one, windows, enough, most), every // windows)
            counted, rest = blocks * windows, every % windows
        else:
            period = one if geometry[ALONG_ROWS] == 0 else _blocks(one, windows, 1, most) * windows
            period = one if period % one else period
            counted = min(every, (enough + period - 1) // period * period)
        images = (counted + rest + one - 1) // one
    whole = counted == every and step == reads
    return _Plan(images, counted, settled, rest, windows, reads, step, behind, whole)


@compiled
def _pass(held: _Held, geometry: Numbers, plan: _Plan, block: int, slices: int) -> tuple[int, int]:
    """All slices of a block: elements that they load, for themselves alone and for others, too.

    Of what is counted in part, a block of reads finds nothing of the one before.
    """
    early, later = 0, 0
    now, along = held.now, geometry[ALONG_ROWS] > 0
    reads = geometry[CHANNELS] * _product(geometry, TAPS)
    if not along and not plan.whole:
        now[OLDEST], now[TOTAL] = now[FOLD], 0
    for part in range(slices):
        p, q = (block, part) if along else (part, block)
        p, q = p * plan.windows, q * plan.step
        own = _touch(
            held,
            geometry,
            (p, min(p + plan.windows, plan.counted if p < plan.counted else p + plan.rest)),
            (q, min(q + plan.reads, reads)),
        )
        if p < plan.settled or p >= plan.counted:
            early += own
        else:
            later += own
    return early, later


@compiled
def _held(geometry: Numbers, plan: _Plan, room: int, folds: int) -> _Held:
    """A buffer that holds nothing."""
    channels = geometry[CHANNELS]
    most = channels * _product(geometry, TAPS)
    edges, index = _classes(channels, plan.reads, plan.step, most)
    now, alike = np.zeros(ONE + 1, np.int64), np.zeros((3, ALIKE + 1, 2), np.int64)
    one = _product(geometry, WINDOWS)
    now[ROOM], now[BEHIND], now[ONE] = room, plan.behind, one
    for axis in range(3):
        if plan.windows < one or not _sort(geometry, axis, alike):
            now[ONE] = plan.counted + plan.windows + 1
    return _Held(
        np.full((len(edges) - 1, plan.images * _product(geometry, SIZE)), -1, np.int32),
        np.zeros(folds, np.int64),
        np.zeros(folds, np.int64),
        np.full(folds, -1, np.int64),
        edges,
        index,
        now,
        alike,
    )


@compiled
def _scaled(geometry: Numbers, plan: _Plan, early: int, later: int) -> int:
    """What all of an operand loads, from what those windows and classes do that are counted."""
    images, one = geometry[IMAGES], _product(geometry, WINDOWS)
    settled = plan.settled
    if settled == 0:
        found = early + later * ((images * one - plan.rest) / plan.counted)
    else:
        found = images * (early + later * (one - settled) / (plan.counted - settled))
    if plan.step > plan.reads:
        found *= geometry[CHANNELS] / plan.reads
    return int(found)


@compiled
def _by_block(
    held: _Held, geometry: Numbers, plan: _Plan, blocks: int, slices: int, once: bool
) -> tuple[int, int]:
    """Passes repeated block by block: what the first one loads, and each later one."""
    now, along = held.now, geometry[ALONG_ROWS] > 0
    every = geometry[IMAGES] * _product(geometry, WINDOWS)
    early, later, early_again, later_again = 0, 0, 0, 0
    for block in range(blocks):
        opened = now[FOLD]
        near, far = _pass(held, geometry, plan, block, slices)
        early, later = early + near, later + far
        total = now[TOTAL]
        if not along:  # of all images
            total = total * every // plan.counted
        if once or (now[OLDEST] <= opened and total <= now[ROOM]):
            continue
        if along or plan.counted == every:
            near, far = _pass(held, geometry, plan, block, slices)
        early_again, later_again = early_again + near, later_again + far
    first = _scaled(geometry, plan, early, later)
    return first, _scaled(geometry, plan, early_again, later_again)


@compiled
def _all_blocks(
    held: _Held, geometry: Numbers, plan: _Plan, blocks: int, slices: int, once: bool
) -> tuple[int, int]:
    """Passes over all blocks: what the first one loads, and each later one.

    Once nothing is held any more of the pass before, a pass goes on as that did.
    """
    early, later, done = 0, 0, np.zeros(blocks + 1, np.int64)
    for block in range(blocks):
        near, far = _pass(held, geometry, plan, block, slices)
        early, later = early + near, later + far
        done[block + 1] = later
    first = _scaled(geometry, plan, early, later)
    if once or not plan.whole:
        return first, first
    again, opened = 0, held.now[FOLD]
    for block in range(blocks):
        again += _pass(held, geometry, plan, block, slices)[1]
        if held.now[OLDEST] >= opened:
            return first, again + later - done[block + 1]
    return first, again


@compiled
def _finds_all(geometry: Numbers, plan: _Plan, room: int) -> bool:
    """Whether a pass surely finds what it touched before, if it takes windows in order.

    Windows that read one element are no farther apart than they are along the axes, so that the
    folds between two that touch it belong to so many windows, and to two blocks (or slices) of
    them. It does find them where half of the buffer holds all images that these may belong to.
    """
    one, between = _product(geometry, WINDOWS), 2 * plan.windows
    inner = 1
    for axis in range(2, -1, -1):
        taps, stride = geometry[TAPS + 6 * axis], geometry[TAPS + 6 * axis + 1]
        step = geometry[TAPS + 6 * axis + 2]
        between += (taps - 1) * abs(step) // stride * inner
        inner *= geometry[WINDOWS + 6 * axis]
    images = min(geometry[IMAGES], (between - 1) // one + 2)
    return bool(images * _product(geometry, SIZE) * geometry[CHANNELS] <= room)


@compiled
def loads(geometry: Numbers, walk: Walk, budget: int) -> tuple[int, int]:
    """Elements that the first pass over an operand loads, and every later one: one copy.

    Parameters
    ----------
    geometry
        ``IMAGES``, ``CHANNELS``, ``ALONG_ROWS``, ``ELEMENTS``, and of three axes size, windows,
        taps, stride, step and first.
    walk
        The order of folds.
    budget
        Touches that are counted one by one, if there are as many.

    Notes
    -----
    Of what is counted in part, where taps and channels are the blocks, a block begins anew: what
    the one before leaves of all images is not held. A later pass over what does not fit as a whole
    loads what the first one did.
    """
    elements, room = geometry[ELEMENTS], walk.room
    if elements <= room:
        return int(elements), 0
    plan = _plan(geometry, walk, budget)
    p_count = (plan.counted + plan.windows - 1) // plan.windows + int(plan.rest > 0)
    q_count = (geometry[CHANNELS] * _product(geometry, TAPS) + plan.step - 1) // plan.step
    along = geometry[ALONG_ROWS] > 0
    blocks, slices = (p_count, q_count) if along else (q_count, p_count)
    in_order = walk.once or walk.by_block if along else walk.once and blocks == 1
    if in_order and plan.whole and _finds_all(geometry, plan, room):
        return int(elements), 0 if walk.by_block else int(elements)
    held = _held(geometry, plan, room, 2 * blocks * slices)
    if walk.by_block:
        first, again = _by_block(held, geometry, plan, blocks, slices, walk.once)
    else:
        first, again = _all_blocks(held, geometry, plan, blocks, slices, walk.once)
    return max(int(elements), first), again


@compiled
def loads_of_each(geometries: Numbers, walks: Numbers, budget: int) -> Numbers:
    """The loads of several operands, from rows of their geometries and of ``Walk``."""
    found = np.empty((len(walks), 2), np.int64)
    for i in range(len(walks)):
        block, part, room = walks[i, 0], walks[i, 1], walks[i, 2]
        walk = Walk(block, part, room, walks[i, 3] > 0, walks[i, 4] > 0)
        found[i, 0], found[i, 1] = loads(geometries[i], walk, budget)
    return found
