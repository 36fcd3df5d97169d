"""Systolic arrays whose folds follow one another without a pause, PE by PE and cycle by cycle.

The array of ``oracle``, with one register more in a PE, so that one fold can prepare or leave while
another streams:

- ``shadow`` (ws, is): a weight on its way down, or one that waits for its fold to come;
- ``second`` (os): a finished sum that waits, or that is on its way down and out.

Nothing here knows a formula for time, nor a schedule: whatever waits looks at a register and sets
out when that is free. A schedule can be forced on the array (``plan``), ready or not, which shows
that no shorter one gives the product: it trips over an assertion or over a wrong sum.

Weights (ws, is). Every cycle a shadow's weight moves down if the shadow below is empty or empties
in this cycle; so those of a fold, the bottom row's first, pile up from the bottom. Ahead of the
words of a fold goes a *mark*, one bit, to the right as they do and a cycle later in every row. A PE
that it reaches takes its shadow's weight; behind the mark the shadow is free, and the first weight
of the next fold may follow it down, a row a cycle. Column c does all of this c cycles after column
0. What the PE does with the mark is one of two:

- ``copied``: it copies shadow to ``held``, and multiplies by ``held`` alone. The mark runs one
  cycle before the first word;
- ``turned``: the two registers change roles, and a multiplexer before the multiplier chooses. The
  mark comes with the first word.

Sums (os). With the last words of a fold goes a mark. A PE that it reaches moves its sum, this
cycle's product included, to ``second`` and starts again from zero. When the bottom PE of a column
has done so, a wire along the column lets all sums that wait in it set out, together; then one
leaves in every cycle, the bottom row's first, while the top PEs may already be given sums of the
next fold, which wait.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from oracle import (
    EMPTY,
    Group,
    Operand,
    Plane,
    Slot,
    add,
    along_rows,
    bubbles,
    bundled,
    encode,
    from_above,
    from_left,
    met,
    multiplexer,
    multiply,
    multiply_bundles,
    operands,
    transposed,
)

Place = tuple[int, int]
Starts = list[tuple[int, int]]


@dataclass(frozen=True)
class Run:
    """Results of each fold, the cycle in which its first word entered, and cycles in all."""

    results: list[Plane]
    starts: list[int]
    cycles: int


@dataclass(frozen=True, eq=False)
class Whole:
    """What a GEMM came to: ``c``, M x N, and of all folds together what ``Run`` says."""

    c: np.ndarray
    starts: list[int]
    cycles: int


def ago(history: list, cycles: int) -> object:
    """What was decided so many cycles ago (0: in this one), or a bubble if nothing was."""
    return history[-1 - cycles] if cycles < len(history) else None


def timetable(starts: list[int], lengths: list[int]) -> dict[int, Place]:
    """By cycle: fold and number of what enters then, one a cycle from the start of its fold on."""
    table = {}
    for fold, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        for number in range(length):
            assert start + number not in table, "two words enter at once"
            table[start + number] = fold, number
    return table


# Weights: ws, is.


def vacant(shadow: Plane, mark: Plane) -> Plane:
    """Which shadows are empty at the end of the cycle, before a weight moves in from above."""
    rows, cols = len(shadow), len(shadow[0])
    free = [[False] * cols for _ in range(rows)]
    for r, c in product(reversed(range(rows)), range(cols)):
        below = r + 1 < rows and free[r + 1][c]
        free[r][c] = shadow[r][c] is None or mark[r][c] is not None or below
    return free


def sink(entering: list, shadow: Plane, mark: Plane, free: Plane, valid: bool) -> Plane:
    """Shadows at the end of the cycle: weights that no mark took move down where there is room."""
    rows, cols = len(shadow), len(shadow[0])
    after = bubbles(rows, cols)
    for r, c in product(range(rows), range(cols)):
        if shadow[r][c] is not None and mark[r][c] is None:
            after[r + 1 if free[r][c] else r][c] = shadow[r][c]
    for c, weight in enumerate(entering):
        if weight is not None:
            assert free[0][c] or not valid, "a weight enters a register that is not empty"
            after[0][c] = weight
    return after


def taken(held: Plane, shadow: Plane, mark: Plane, valid: bool) -> Plane:
    """Weights to multiply by: where the mark is, the shadow's."""
    after = [list(row) for row in held]
    for r, c in product(range(len(held)), range(len(held[0]))):
        if mark[r][c] is not None:
            assert shadow[r][c] is not None or not valid, "no weight where the mark is"
            after[r][c] = held[r][c] if shadow[r][c] is None else shadow[r][c]
    return after


class Weights:
    """The edges of an array that holds weights: what enters column 0 and row 0 in each cycle.

    A weight enters when there is room. A fold's stream begins when all its weights have entered and
    all words of the fold before; ``waits``: and the last result of the fold before has left.
    """

    def __init__(self, rows: int, times: list[int], turned: bool, waits: bool):
        self.weights = [(f, r) for f in range(len(times)) for r in reversed(range(rows))]
        self.entered = 0
        self.rows, self.times, self.turned, self.waits = rows, times, turned, waits
        self.begun, self.words = 0, []

    def begin(self, left: int) -> bool:
        """Let the next fold begin, if it may; ``left``: results that have left a column."""
        if self.words or self.begun == len(self.times):
            return False
        if self.entered < self.rows * (self.begun + 1):
            return False
        if self.waits and left < sum(self.times[: self.begun]):
            return False
        self.words = [(self.begun, t) for t in range(self.times[self.begun])]
        self.begun += 1
        return True

    def stream(self, now: int, left: int) -> tuple[bool, Place | None]:
        """Mark, and fold and time of the word, that enter row 0."""
        mark = self.turned and self.begin(left)
        word = self.words.pop(0) if self.words else None
        return mark or (not self.turned and self.begin(left)), word

    def weight(self, now: int, room: bool) -> Place | None:
        """Fold and row of the weight that enters column 0."""
        if not room or self.entered == len(self.weights):
            return None
        self.entered += 1
        return self.weights[self.entered - 1]


class PlannedWeights:
    """The same edges, ready or not: the cycles of every fold's first weight and first word."""

    def __init__(self, plan: Starts, rows: int, times: list[int], turned: bool):
        self.rows = rows
        self.weights = timetable([first for first, _ in plan], [rows] * len(plan))
        self.words = timetable([first for _, first in plan], times)
        self.marks = {first - (not turned) for _, first in plan}

    def stream(self, now: int, left: int) -> tuple[bool, Place | None]:
        return now in self.marks, self.words.get(now)

    def weight(self, now: int, room: bool) -> Place | None:
        fold, number = self.weights.get(now, (None, 0))
        return None if fold is None else (fold, self.rows - 1 - number)


def hold_weights(
    folds: list[tuple[Plane, Plane]],
    *,
    turned: bool = False,
    together: bool = False,
    waits: bool = False,
    plan: Starts | None = None,
    valid: bool = True,
    times: Callable = multiply,
    watch: Callable = lambda *planes: None,
) -> Run:
    """Run folds of R x C weights and R x T words that stream past them; results are T x C.

    Parameters
    ----------
    turned
        Shadow and ``held`` change roles, else the one is copied to the other.
    together
        The weights of a row enter all columns in one cycle, when all have room; else column by
        column, each a cycle after the one to its left.
    waits
        A fold begins only when the one before has left the array; its weights do not wait.
    plan
        Forced cycles of each fold's first weight (column 0) and first word (row 0).
    valid
        An assertion fails where a weight is not there for its mark, or enters a shadow that is not
        empty. False: a PE keeps its old weight then, and what enters takes the other's place.
    times
        What a PE makes of a weight and a word.
    watch
        Shown the planes shadow, held and east at the end of each cycle.
    """
    rows, cols = len(folds[0][0]), len(folds[0][0][0])
    lengths = [len(moving[0]) for _, moving in folds]
    edges = Weights(rows, lengths, turned, waits)
    if plan is not None:
        edges = PlannedWeights(plan, rows, lengths, turned)
    shadow, held, east, south, mark = (bubbles(rows, cols) for _ in range(5))
    out: Plane = [[] for _ in range(cols)]
    weights, words, marks, starts = [], [], [], []
    cycles = 0
    while any(len(column) < sum(lengths) for column in out):
        first, word = edges.stream(cycles, len(out[-1]))
        marks.append(True if first else None)
        words.append(word)
        if word is not None and word[1] == 0:
            starts.append(cycles)
        entering = [ago(words, r) for r in range(rows)]
        east = from_left([w and folds[w[0]][1][r][w[1]] for r, w in enumerate(entering)], east)
        mark = from_left([ago(marks, r) for r in range(rows)], mark)
        south = from_above([None if ago(words, c) is None else 0 for c in range(cols)], south)
        free = vacant(shadow, mark)
        weights.append(edges.weight(cycles, all(free[0]) if together else free[0][0]))
        entering = [ago(weights, 0 if together else c) for c in range(cols)]
        entering = [w and folds[w[0]][0][w[1]][c] for c, w in enumerate(entering)]
        after = taken(held, shadow, mark, valid)
        by = after if turned else held
        for r, c in product(range(rows), range(cols)):
            if met(east[r][c], south[r][c]):
                assert by[r][c] is not None, "nothing to multiply by"
                south[r][c] += times(by[r][c], east[r][c])
        held, shadow = after, sink(entering, shadow, mark, free, valid)
        for column, result in zip(out, south[-1], strict=True):
            if result is not None:
                column.append(result)
        watch(shadow, held, east)
        cycles += 1
    results = transposed(out)
    return Run([[results.pop(0) for _ in range(time)] for time in lengths], starts, cycles)


# Sums: os.


@dataclass
class Sum:
    """A finished sum: what it is, and whether it is on its way down."""

    value: float
    leaving: bool = False


def hand_down(second: Plane, out: Plane) -> Plane:
    """A cycle of the finished sums: the register ``second`` after it; what has left is in ``out``.

    Where the bottom PE's own sum waits, all that wait in its column set out.
    """
    rows, cols = len(second), len(second[0])
    after = bubbles(rows, cols)
    for c in range(cols):
        bottom = second[-1][c]
        if bottom is not None and not bottom.leaving:
            for row in second:
                assert row[c] is not None, "a column sets out before all its sums are there"
                row[c].leaving = True
        for r in reversed(range(rows)):
            one = second[r][c]
            if one is None:
                continue
            if not one.leaving:
                after[r][c] = one
            elif r + 1 < rows:
                assert after[r + 1][c] is None, "a sum moves to a register that is not empty"
                after[r + 1][c] = one
            else:
                out[c].append(one.value)
    return after


class Sums:
    """The edges of an array that holds sums: what enters row 0 and column 0 in each cycle.

    The last words of a fold wait until the first PE can put its sum away; all others enter at once.
    ``waits``: a fold begins only when all PEs have finished their sums of the one before.
    """

    def __init__(self, times: list[int], waits: bool):
        self.words = [(f, t) for f, time in enumerate(times) for t in range(time)]
        self.times, self.waits = times, waits

    def word(self, now: int, room: bool, finished: int) -> Place | None:
        if not self.words:
            return None
        fold, time = self.words[0]
        if time + 1 == self.times[fold] and not room:
            return None
        if self.waits and finished < fold:
            return None
        return self.words.pop(0)


class PlannedSums:
    """The same edges, ready or not: the cycle in which every fold's first words enter."""

    def __init__(self, plan: list[int], times: list[int]):
        self.words = timetable(plan, times)

    def word(self, now: int, room: bool, finished: int) -> Place | None:
        return self.words.get(now)


def hold_sums(
    folds: list[tuple[Plane, Plane]],
    *,
    waits: bool = False,
    plan: list[int] | None = None,
    watch: Callable = lambda *planes: None,
) -> Run:
    """Run folds of R x T words of A and C x T words of B; results are R x C sums.

    Parameters
    ----------
    waits
        A fold begins only when the one before has made its last product.
    plan
        Forced cycles in which the first words of each fold enter.
    watch
        Shown the planes second, held and east at the end of each cycle.
    """
    rows, cols = len(folds[0][0]), len(folds[0][1])
    lengths = [len(a[0]) for a, _ in folds]
    edges = Sums(lengths, waits) if plan is None else PlannedSums(plan, lengths)
    east, south, mark, second = (bubbles(rows, cols) for _ in range(4))
    held, finished = [[0] * cols for _ in range(rows)], [[0] * cols for _ in range(rows)]
    out: Plane = [[] for _ in range(cols)]
    words, marks, starts = [], [], []
    cycles = 0
    while any(len(column) < rows * len(folds) for column in out):
        second = hand_down(second, out)
        word = edges.word(cycles, second[0][0] is None, min(map(min, finished)))
        words.append(word)
        marks.append(True if word and word[1] + 1 == lengths[word[0]] else None)
        if word is not None and word[1] == 0:
            starts.append(cycles)
        entering = [ago(words, r) for r in range(rows)]
        east = from_left([w and folds[w[0]][0][r][w[1]] for r, w in enumerate(entering)], east)
        entering = [ago(words, c) for c in range(cols)]
        south = from_above([w and folds[w[0]][1][c][w[1]] for c, w in enumerate(entering)], south)
        mark = from_left([ago(marks, r) for r in range(rows)], mark)
        for r, c in product(range(rows), range(cols)):
            if met(east[r][c], south[r][c]):
                held[r][c] += multiply(east[r][c], south[r][c])
            if mark[r][c] is not None:
                assert second[r][c] is None, "a sum is put where another still is"
                second[r][c], held[r][c] = Sum(held[r][c]), 0
                finished[r][c] += 1
        watch(second, held, east)
        cycles += 1
    return Run(as_left(out, rows), starts, cycles)


def as_left(out: Plane, rows: int) -> list[Plane]:
    """R x C sums of every fold: of each column they left one after the other, last row first."""
    left = transposed(out)
    return [left[i : i + rows][::-1] for i in range(0, len(left), rows)]


def hold_sums_along_buses(folds: list[tuple[Plane, Plane]], dot: int) -> Run:
    """The same, where buses bring ``dot`` words of every lane to all PEs of the lane at once.

    All PEs finish in one cycle; the last words wait until all can put their sums away.
    """
    rows, cols = len(folds[0][0]), len(folds[0][1])
    steps = [
        (f, t) for f, (a, _) in enumerate(folds) for t in range(0, len(a[0]), dot)
    ]  # fold, and the first of the words that a step brings
    held, second = [[0] * cols for _ in range(rows)], bubbles(rows, cols)
    out: Plane = [[] for _ in range(cols)]
    starts, cycles = [], 0
    while any(len(column) < rows * len(folds) for column in out):
        second = hand_down(second, out)
        cycles += 1
        if not steps:
            continue
        fold, time = steps[0]
        a, b = folds[fold]
        last = time + dot >= len(a[0])
        if last and any(one is not None for row in second for one in row):
            continue
        steps.pop(0)
        if time == 0:
            starts.append(cycles - 1)
        for r, c in product(range(rows), range(cols)):
            pairs = zip(a[r][time : time + dot], b[c][time : time + dot], strict=True)
            held[r][c] += sum(multiply(*pair) for pair in pairs)
        if last:
            second = [[Sum(value) for value in row] for row in held]
            held = [[0] * cols for _ in range(rows)]
    return Run(as_left(out, rows), starts, cycles)


# GEMMs.


def weight_folds(
    rows: int,
    cols: int,
    still: Operand,
    moving: Operand,
    native: tuple[int, int],
    chunk: int | None = None,
    dot: int = 1,
    share: int = 1,
) -> Iterator[tuple[Place, Plane, Plane]]:
    """First lanes (moving, held), weights and words of each fold, as ``oracle`` lays out.

    ``chunk``: so many moving lanes at most pass before the next ones do; the last may be fewer.
    """
    lanes = len(moving.values)
    for left in range(0, len(still.values), cols):
        laid = encode(still.lanes(left, cols), moving, native, share)
        held, words = (bundled(one, dot, share) for one in laid)
        for first in range(0, lanes, chunk or lanes):
            for top in range(0, len(held[0]), rows):
                past = along_rows(words, top, rows)
                past = [row[first : first + (chunk or lanes)] for row in past]
                yield (first, left), along_rows(held, top, rows), past


def simulate(
    dataflow: str,
    rows: int,
    cols: int,
    a: np.ndarray,
    b: np.ndarray,
    *,
    selected: str | None = None,
    mask: np.ndarray | None = None,
    native: tuple[int, int] | None = None,
    chunk: int | None = None,
    dot: int | None = None,
    share: int = 1,
    **how: bool,
) -> Whole:
    """Run ``C = A . B^T`` on an array of rows x cols PEs, fold behind fold.

    Parameters
    ----------
    dataflow, rows, cols, a, b, selected, mask, native, dot, share
        As ``oracle.simulate`` has them.
    chunk
        Lanes of the moving operand that pass a tile of the held one before the next do (ws, is).
    how
        What ``hold_weights`` (ws, is) or ``hold_sums`` (os) may be told.
    """
    one, other, native = operands(a, b, selected, mask, native, share)
    c = [[0] * len(b) for _ in a]
    if dataflow == "os":
        places = list(product(range(0, len(a), rows), range(0, len(b), cols)))
        folds = [
            encode(one.lanes(top, rows), other.lanes(left, cols), native) for top, left in places
        ]
        run = hold_sums_along_buses(folds, dot) if dot else hold_sums(folds, **how)
    else:
        still, moving = (other, one) if dataflow == "ws" else (one, other)
        laid = list(weight_folds(rows, cols, still, moving, native, chunk, dot or 1, share))
        places = [place for place, *_ in laid]
        run = hold_weights([fold for _, *fold in laid], times=multiply_bundles, **how)
        c = c if dataflow == "ws" else transposed(c)
    for (top, left), results in zip(places, run.results, strict=True):
        add(c, results, top, left)
    return Whole(np.array(transposed(c) if dataflow == "is" else c), run.starts, run.cycles)


# A stream that shrinks: K stays, a word takes fewer cycles.

Groups = tuple[Group, ...]
"""The groups of a lane that a PE is given together."""

Kept = tuple[tuple[Slot, ...], ...]
"""What a beat has of each of those groups: a slot for every multiplier."""


@dataclass(frozen=True)
class Beat:
    """A word in one of its cycles at a PE: groups, or what the beat has of them."""

    word: Groups | Kept
    beat: int


def multiply_in_beats(held: Groups | tuple[Kept, ...], moving: Beat) -> float:
    """What a PE with as many multipliers as a beat has slots adds up: the beat's products."""
    kept, groups = moving.word, held
    if not isinstance(kept[0][0], Slot):
        kept, groups = held[moving.beat], moving.word
    pairs = zip(kept, groups, strict=True)
    return sum(slot.value * multiplexer(group, slot.index) for own, group in pairs for slot in own)


def simulate_in_beats(
    rows: int,
    cols: int,
    a: np.ndarray,
    b: np.ndarray,
    mask: np.ndarray,
    *,
    multipliers: int = 2,
    group: int = 4,
    groups: int = 1,
    moves: bool = False,
    **how: bool,
) -> Whole:
    """Run ``C = A . (B . mask)^T`` (ws) on PEs that are given whole groups of A in a word.

    A PE holds what is kept of its groups of B along K, at most all of them, so that a fold is as
    deep with a mask as without. It has fewer multipliers: a word stays for as many beats, one a
    cycle, as the fullest group of the fold needs, at least one. Every beat has a sum of its own on
    the way down; those of a word are added below the array, as are those of folds along K.

    Parameters
    ----------
    a, b, mask
        M x K, N x K, and which elements of B are kept.
    multipliers
        Of a PE for each group; as many products of each are summed in a beat.
    group
        Elements of K that a group has.
    groups
        That a PE holds.
    moves
        The mask is of A: PEs hold groups of B, and what is kept of those of A passes in beats.
    how
        What ``hold_weights`` may be told.
    """
    c = [[0] * len(b) for _ in a]
    deep, wide = rows * groups * group, -len(b) % cols
    beyond = (0, -a.shape[1] % deep)
    lanes, stored = np.pad(a, ((0, 0), beyond)).tolist(), np.pad(b, ((0, wide), beyond)).tolist()
    kept = np.pad(mask, ((0, 0 if moves else wide), beyond)).tolist()
    folds, places = [], []
    for left, top in product(range(0, len(stored), cols), range(0, len(stored[0]), deep)):
        starts = range(top, top + deep, groups * group)
        chosen_from, other = (lanes, stored) if moves else (stored, lanes)
        tile = range(left, left + cols)
        own = [(chosen_from[i], kept[i]) for i in (range(len(lanes)) if moves else tile)]
        slots = [
            [
                [
                    [Slot(lane[g + e], e) for e in range(group) if bits[g + e]]
                    for g in range(start, start + groups * group, group)
                ]
                for lane, bits in own
            ]
            for start in starts
        ]
        beats = max(1, *(-(-len(one) // multipliers) for row in slots for pe in row for one in pe))
        chosen = [[in_beats(pe, beats, multipliers) for pe in row] for row in slots]
        other = [other[i] for i in tile] if moves else other
        whole = [
            [
                tuple(tuple(lane[g : g + group]) for g in range(i, i + groups * group, group))
                for lane in other
            ]
            for i in starts
        ]
        still, words = (whole, chosen) if moves else (chosen, whole)
        past = [
            [Beat(word[i] if moves else word, i) for word in row for i in range(beats)]
            for row in words
        ]
        folds.append((still, past))
        places.append((beats, left))
    run = hold_weights(folds, times=multiply_in_beats, **how)
    for (beats, left), results in zip(places, run.results, strict=True):
        for i in range(beats):
            add(c, results[i::beats], 0, left)
    return Whole(np.array(c), run.starts, run.cycles)


def in_beats(groups: list[list[Slot]], beats: int, multipliers: int) -> tuple[Kept, ...]:
    """What a PE has of its groups by the beat that uses it."""
    full = [slots + [EMPTY] * (beats * multipliers - len(slots)) for slots in groups]
    parts = range(0, beats * multipliers, multipliers)
    return tuple(tuple(tuple(slots[i : i + multipliers]) for slots in full) for i in parts)
