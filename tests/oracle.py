"""A systolic array PE by PE, cycle by cycle: slow, plain, and the truth for the fast models.

It computes ``C[M,N] = A[M,K] . B[N,K]^T`` out of words that move between registers, and counts
cycles by watching the array until the last result has left. It knows no formula for time.

A PE has three registers, written at the end of a cycle. A *plane* is one register of all PEs, R
rows x C columns; None is a bubble, nothing under way.

- ``east``: the word that came from the left; the PE to the right sees it in the next cycle;
- ``south``: what goes to the PE below. That of the bottom row is the array's output: a result has
  left at the end of the cycle that writes it there;
- ``held``: what stays, a word of the stationary operand (ws, is) or a running sum (os).

Operands may also reach a whole row or column of PEs in one cycle, along buses, and a PE may sum
several products of a dot product in a cycle; so built, it may skip products with a zero, and then
PEs run ahead of each other as far as their queues reach.

N:M: one operand, the selected one, is stored as slots, each a value and the index that tells which
element of its group it is. The other is delivered by whole groups, one group for every slot, and
a multiplexer in the PE picks the element that the index names. Dense is native 1:1.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np

Number = int | float
Group = tuple[Number, ...]


@dataclass(frozen=True)
class Slot:
    """A stored element of the selected operand: its value, and its index within its group."""

    value: Number
    index: int


EMPTY = Slot(0, 0)
Word = Slot | Group


@dataclass(frozen=True)
class Bundle:
    """What a PE of several multipliers is given of a lane: slots, or a group for every ``share``.

    ``share`` multipliers have one group in common.
    """

    words: tuple[Word, ...]
    share: int = 1


Plane = list[list]
Groups = list[tuple[range, int]]


@dataclass(frozen=True)
class Fold:
    """Cycles of one load of the array, by what it does: shift in, compute, shift out."""

    preload: int
    stream: int
    drain: int


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a GEMM came to: ``c``, M x N, the cycles of each fold in order, and of all of them."""

    c: np.ndarray
    folds: tuple[Fold, ...]
    preload: int
    stream: int
    drain: int

    def cycles(self, preload: str = "exposed", drain: str = "exposed") -> int:
        """Cycles in all, if preloads and drains are exposed, overlapped or uncounted.

        An overlapped preload runs while the fold before it streams, an overlapped drain while the
        fold after it does; what is longer than that stream, or has no such fold, is seen.
        """
        streams = [fold.stream for fold in self.folds]
        preloads = [fold.preload for fold in self.folds]
        drains = [fold.drain for fold in self.folds]
        before, after = [0, *streams[:-1]], [*streams[1:], 0]
        return seen(preloads, before, preload) + self.stream + seen(drains, after, drain)


def seen(costs: list[int], covers: list[int], exposure: str) -> int:
    """Cycles seen of every fold's cost, if it may hide behind its cover or is left out."""
    hidden = [min(cost, cover) for cost, cover in zip(costs, covers, strict=True)]
    return {
        "exposed": sum(costs),
        "overlapped": sum(costs) - sum(hidden),
        "uncounted": 0,
    }[exposure]


# The array.


def multiplexer(inputs: Group, select: int) -> Number:
    """The one input that the select lines name."""
    (output,) = (value for position, value in enumerate(inputs) if position == select)
    return output


def multiply(one: Word, other: Word) -> Number:
    """The product in a PE: one word is a slot, the other the group that it selects from."""
    slot, group = (one, other) if isinstance(one, Slot) else (other, one)
    return slot.value * multiplexer(group, slot.index)


def multiply_bundles(one: Bundle, other: Bundle) -> Number:
    """The products of a PE's multipliers, added up: each picks from the group that it shares."""
    if not isinstance(one.words[0], Slot):
        one, other = other, one
    return sum(multiply(slot, other.words[i // other.share]) for i, slot in enumerate(one.words))


def bubbles(rows: int, cols: int) -> Plane:
    """A register of every PE, rows x cols, with nothing in it."""
    return [[None] * cols for _ in range(rows)]


def from_left(entering: list, east: Plane) -> Plane:
    """What reaches every PE from its left neighbour's register, or from the array's left edge."""
    return [[word, *row[:-1]] for word, row in zip(entering, east, strict=True)]


def from_above(entering: list, south: Plane) -> Plane:
    """What reaches every PE from the register above it, or from the array's top edge."""
    return [entering, *south[:-1]]


def skewed(lanes: Plane) -> list[deque]:
    """Queues at an edge of the array: lane i waits i cycles, then its words enter one a cycle."""
    return [deque([None] * i + list(lane)) for i, lane in enumerate(lanes)]


def enter(queues: list[deque]) -> list:
    """What enters this cycle: a word or a bubble for every lane."""
    return [queue.popleft() if queue else None for queue in queues]


def met(one: object, other: object) -> bool:
    """Whether two words meet in a PE; one alone would mean that the skew is wrong."""
    assert (one is None) == (other is None)
    return one is not None


def shift_in(words: Plane) -> tuple[Plane, int]:
    """Preload: R x C words shift down, the last row first, until every PE holds its own.

    Returns the plane ``held`` and the cycles.
    """
    held, waiting, cycles = bubbles(len(words), len(words[0])), list(words), 0
    while any(None in row for row in held):
        held = from_above(waiting.pop(), held)
        cycles += 1
    return held, cycles


def stream_past(held: Plane, moving: Plane, times: Callable = multiply) -> tuple[Plane, int]:
    """Stream (ws, is): R x T words run right past R x C held ones, partial sums run down.

    A sum enters each column from above as a zero, and has gathered a product in every row when it
    leaves at the bottom. ``times``: what a PE makes of two words. Returns T x C sums, and the
    cycles until the last one has left.
    """
    rows, cols, time = len(held), len(held[0]), len(moving[0])
    words, zeros = skewed(moving), skewed([[0] * time] * cols)
    east, south = bubbles(rows, cols), bubbles(rows, cols)
    out: Plane = [[] for _ in range(cols)]
    cycles = 0
    while any(len(column) < time for column in out):
        east = from_left(enter(words), east)
        south = from_above(enter(zeros), south)
        for r, c in product(range(rows), range(cols)):
            if met(east[r][c], south[r][c]):
                south[r][c] += times(held[r][c], east[r][c])
        for column, result in zip(out, south[-1], strict=True):
            if result is not None:
                column.append(result)
        cycles += 1
    return transposed(out), cycles


def stream_through(a: Plane, b: Plane) -> tuple[Plane, int]:
    """Stream (os): R x T words of A run right, C x T of B run down, every PE adds up its own sum.

    Returns the plane ``held`` of sums, and the cycles until every PE has made its T MACs.
    """
    rows, cols, time = len(a), len(b), len(a[0])
    a_words, b_words = skewed(a), skewed(b)
    east, south = bubbles(rows, cols), bubbles(rows, cols)
    held, macs = [[0] * cols for _ in range(rows)], [[0] * cols for _ in range(rows)]
    cycles = 0
    while any(count < time for row in macs for count in row):
        east = from_left(enter(a_words), east)
        south = from_above(enter(b_words), south)
        for r, c in product(range(rows), range(cols)):
            if met(east[r][c], south[r][c]):
                held[r][c] += multiply(east[r][c], south[r][c])
                macs[r][c] += 1
        cycles += 1
    return held, cycles


def stream_along_buses(a: Plane, b: Plane, dot: int) -> tuple[Plane, int]:
    """Broadcast (os): each cycle brings ``dot`` words of every lane to all PEs of the lane.

    Returns the plane of R x C sums, and the cycles until the last words have been multiplied.
    """
    held = [[0] * len(b) for _ in a]
    a_waiting, b_waiting = [deque(lane) for lane in a], [deque(lane) for lane in b]
    cycles = 0
    while any(a_waiting):
        a_bus, b_bus = (
            [[lane.popleft() for _ in range(min(dot, len(lane)))] for lane in lanes]
            for lanes in (a_waiting, b_waiting)
        )
        for (r, one), (c, other) in product(enumerate(a_bus), enumerate(b_bus)):
            held[r][c] += sum(multiply(*pair) for pair in zip(one, other, strict=True))
        cycles += 1
    return held, cycles


def intersect(a: list[list[dict]], b: list[list[dict]], lookahead: int | None) -> tuple[Plane, int]:
    """Broadcast (os) to PEs that multiply only where both operands kept an element.

    A lane is a list of groups, a group the kept elements by their position. Every PE has a queue of
    ``lookahead`` + 1 groups (None: endless), in which only the pairs stand that both operands
    kept. Groups come along the buses to all PEs at once, as soon as all of them have room, as many
    in a cycle as that lets in; a queue whose foremost group has no pairs left drops it at once.
    Returns the plane of R x C sums, and the cycles until all queues are empty.
    """
    rows, cols, groups = len(a), len(b), len(a[0])
    pes = list(product(range(rows), range(cols)))
    queues = {pe: deque() for pe in pes}
    held, arrived, cycles = [[0] * cols for _ in range(rows)], 0, 0
    while True:
        moving = True
        while moving:
            moving = False
            for queue in queues.values():
                while queue and not queue[0]:
                    queue.popleft()
                    moving = True
            room = lookahead is None or all(len(q) <= lookahead for q in queues.values())
            if arrived < groups and room:
                for r, c in pes:
                    one, other = a[r][arrived], b[c][arrived]
                    queues[r, c].append(deque((one[i], other[i]) for i in one if i in other))
                arrived, moving = arrived + 1, True
        if not any(queues.values()):
            return held, cycles
        for (r, c), queue in queues.items():
            if queue:
                one, other = queue[0].popleft()
                held[r][c] += one * other
        cycles += 1


def carried(bits: list[int], per_cycle: float) -> int:
    """Cycles in which a path that carries ``per_cycle`` bits brings steps of so many bits each.

    What has come waits in front of the array; a step is taken when all its bits are there, one step
    a cycle at most.
    """
    waiting, cycles = deque(bits), 0
    there = 0.0
    while waiting:
        there += per_cycle
        if there >= waiting[0] - 1e-9:
            there -= waiting.popleft()
        cycles += 1
    return cycles


def shift_out(held: Plane) -> tuple[Plane, int]:
    """Drain (os): every PE hands down its own sum, then the ones from above.

    Returns R x C sums as they left, put back in the order of the rows, and the cycles.
    """
    rows, cols = len(held), len(held[0])
    south, out, cycles = bubbles(rows, cols), [], 0
    while len(out) < rows:
        south = held if cycles == 0 else from_above([None] * cols, south)
        out.append(south[-1])
        cycles += 1
    return out[::-1], cycles


# What is stored of an operand, and which word of it goes where.


@dataclass(frozen=True)
class Operand:
    """Values, lanes x K; of the selected operand also which are kept, lanes x K."""

    values: Plane
    kept: Plane | None

    def lanes(self, start: int, count: int) -> "Operand":
        """``count`` lanes from ``start`` on; rows or columns beyond the last lane get zeros."""
        beyond, k = max(0, start + count - len(self.values)), len(self.values[0])
        values = self.values[start : start + count] + [[0] * k] * beyond
        if self.kept is None:
            return Operand(values, None)
        return Operand(values, self.kept[start : start + count] + [[False] * k] * beyond)


def layout(kept: Plane, native: tuple[int, int], share: int = 1) -> Groups:
    """The native groups along K, and how many slots each takes in all lanes of ``kept`` alike.

    Slots come in units of the native keep, as many as the fullest lane needs and at least one, but
    a group takes no more slots than it has elements. Where ``share`` multipliers have one group,
    those that a group leaves over stay empty.
    """
    keep, group = native
    k = len(kept[0])
    groups = []
    for start in range(0, k, group):
        elements = range(start, min(start + group, k))
        units = max(ceil(sum(lane[e] for e in elements) / keep) for lane in kept)
        slots = min(max(units, 1) * keep, len(elements))
        groups.append((elements, ceil(slots / share) * share))
    return groups


def stored(values: list[Number], kept: list[bool], groups: Groups) -> list[Slot]:
    """A lane of the selected operand: per group the kept elements, then empty slots."""
    lane = []
    for elements, slots in groups:
        full = [Slot(values[e], e - elements.start) for e in elements if kept[e]]
        lane += full + [EMPTY] * (slots - len(full))
    return lane


def delivered(values: list[Number], groups: Groups) -> list[Group]:
    """A lane of the other operand: for every slot, all elements of the slot's group."""
    return [tuple(values[e] for e in elements) for elements, slots in groups for _ in range(slots)]


def encode(
    one: Operand, other: Operand, native: tuple[int, int], share: int = 1
) -> tuple[Plane, Plane]:
    """Words of both operands, each lanes x slots, laid out as the selected one needs."""
    groups = layout(one.kept or other.kept, native, share)
    words = [
        [stored(*lane, groups) for lane in zip(operand.values, operand.kept, strict=True)]
        if operand.kept
        else [delivered(values, groups) for values in operand.values]
        for operand in (one, other)
    ]
    return words[0], words[1]


def bundled(words: Plane, dot: int, share: int) -> Plane:
    """Lanes x slots of words become lanes x PEs of ``dot`` multipliers; those beyond are empty.

    Of the groups of ``share`` multipliers only one is kept, which is that of all of them.
    """
    zero = zero_of(words[0][0])
    bundles = []
    for lane in words:
        whole = lane + [zero] * (-len(lane) % dot)
        sets = [tuple(whole[i : i + dot]) for i in range(0, len(whole), dot)]
        if not isinstance(zero, Slot):
            for one in sets:
                assert all(one[i] == one[i - i % share] for i in range(dot)), "groups differ"
            sets = [one[::share] for one in sets]
        bundles.append([Bundle(one, share) for one in sets])
    return bundles


def zero_of(word: object) -> object:
    """A word as another one, with nothing in it."""
    if isinstance(word, Bundle):
        return Bundle(tuple(map(zero_of, word.words)), word.share)
    return EMPTY if isinstance(word, Slot) else (0,)


def transposed(plane: Plane) -> Plane:
    """Rows x cols become cols x rows."""
    return [list(row) for row in zip(*plane, strict=True)]


def along_rows(words: Plane, top: int, rows: int) -> Plane:
    """Slots ``top`` .. ``top + rows`` of lanes x slots words: one slot a row, zeros beyond."""
    zero = zero_of(words[0][0])
    chunk = transposed(words)[top : top + rows]
    return chunk + [[zero] * len(words)] * (rows - len(chunk))


# GEMMs: fold after fold, and the sums of their results.


def add(c: Plane, results: Plane, top: int, left: int) -> None:
    """Add a fold's results to C, outside the array; those of unused PEs fall off its edges."""
    for i, row in enumerate(results[: len(c) - top], top):
        for j, value in enumerate(row[: len(c[0]) - left], left):
            c[i][j] += value


def output_stationary(
    rows: int, cols: int, a: Operand, b: Operand, native: tuple[int, int], dot: int | None = None
) -> tuple[Plane, list[Fold]]:
    """C, M x N, and folds: A's lanes along rows, B's along columns, slots of K in time.

    ``dot``: along buses, so many products a cycle.
    """
    c, folds = [[0] * len(b.values) for _ in a.values], []
    for top, left in product(range(0, len(c), rows), range(0, len(c[0]), cols)):
        words = encode(a.lanes(top, rows), b.lanes(left, cols), native)
        held, stream = stream_along_buses(*words, dot) if dot else stream_through(*words)
        results, drain = shift_out(held)
        add(c, results, top, left)
        folds.append(Fold(0, stream, drain))
    return c, folds


def operand_stationary(
    rows: int,
    cols: int,
    still: Operand,
    moving: Operand,
    native: tuple[int, int],
    dot: int = 1,
    share: int = 1,
) -> tuple[Plane, list[Fold]]:
    """Products, moving x still lanes, and folds: slots of K along rows, still lanes along columns.

    A tile of columns takes as many folds as its slots fill; a fold may end within a group. A PE has
    ``dot`` slots and multipliers, of which ``share`` have one group.
    """
    c, folds = [[0] * len(still.values) for _ in moving.values], []
    for left in range(0, len(c[0]), cols):
        words = encode(still.lanes(left, cols), moving, native, share)
        still_words, moving_words = (bundled(one, dot, share) for one in words)
        for top in range(0, len(still_words[0]), rows):
            held, preload = shift_in(along_rows(still_words, top, rows))
            past = along_rows(moving_words, top, rows)
            results, stream = stream_past(held, past, multiply_bundles)
            add(c, results, 0, left)
            folds.append(Fold(preload, stream, 0))
    return c, folds


def kept_groups(values: list, kept: list, group: int) -> list[dict]:
    """A lane's groups along K: the kept elements of each by their position."""
    lane = list(zip(values, kept, strict=True))
    return [
        {i: value for i, (value, keep) in enumerate(lane[start : start + group]) if keep}
        for start in range(0, len(lane), group)
    ]


def simulate_intersecting(
    rows: int,
    cols: int,
    a: np.ndarray,
    b: np.ndarray,
    masks: tuple[np.ndarray, np.ndarray],
    group: int,
    lookahead: int | None,
) -> Outcome:
    """Run ``C = (A . mask) . (B . mask)^T`` on an array of PEs that skip products with a zero.

    Parameters
    ----------
    a, b
        M x K and N x K.
    masks
        bool, of the operands' shapes.
    group
        Elements of K that reach a PE together.
    lookahead
        Groups that a PE may be ahead of the slowest; None without limit.
    """
    lanes = [
        [kept_groups(*lane, group) for lane in zip(values.tolist(), kept.tolist(), strict=True)]
        for values, kept in zip((a, b), masks, strict=True)
    ]
    c, folds = [[0] * len(b) for _ in a], []
    for top, left in product(range(0, len(a), rows), range(0, len(b), cols)):
        held, stream = intersect(
            lanes[0][top : top + rows], lanes[1][left : left + cols], lookahead
        )
        unused = [[0] * len(held[0])] * (rows - len(held))
        results, drain = shift_out(held + unused)
        add(c, results, top, left)
        folds.append(Fold(0, stream, drain))
    return outcome(c, folds)


def outcome(c: Plane, folds: list[Fold]) -> Outcome:
    """What a GEMM came to."""
    return Outcome(
        np.array(c),
        tuple(folds),
        preload=sum(fold.preload for fold in folds),
        stream=sum(fold.stream for fold in folds),
        drain=sum(fold.drain for fold in folds),
    )


def operands(
    a: np.ndarray,
    b: np.ndarray,
    selected: str | None,
    mask: np.ndarray | None,
    native: tuple[int, int] | None,
    share: int = 1,
) -> tuple[Operand, Operand, tuple[int, int]]:
    """A, B and the native pattern; if neither is selected, B is stored densely as native 1:1.

    Multipliers that ``share`` a group are then given as many elements that follow each other.
    """
    if selected is None:
        selected, mask, native = "b", np.ones(b.shape, bool), (share, share)
    assert mask.shape == {"a": a, "b": b}[selected].shape
    one = Operand(a.tolist(), mask.tolist() if selected == "a" else None)
    other = Operand(b.tolist(), mask.tolist() if selected == "b" else None)
    return one, other, native


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
    dot: int | None = None,
    share: int = 1,
) -> Outcome:
    """Run ``C = A . B^T`` on an array of rows x cols PEs.

    Parameters
    ----------
    dataflow
        "os" (M along rows, N along columns), "ws" (K, N) or "is" (K, M).
    a, b
        M x K and N x K.
    selected
        The operand that is stored N:M, "a" or "b"; None: both are dense.
    mask
        bool, of the selected operand's shape: which elements are kept. It need not fit ``native``.
    native
        (keep, group) that the multiplexers are built for.
    dot
        Words along K that buses bring to every PE in a cycle ("os"), None: words shift; multipliers
        of a PE, whose products it sums ("ws", "is").
    share
        Multipliers of a PE that have one group in common ("ws", "is").
    """
    one, other, native = operands(a, b, selected, mask, native, share)
    if dataflow == "os":
        c, folds = output_stationary(rows, cols, one, other, native, dot)
    elif dataflow == "ws":
        c, folds = operand_stationary(rows, cols, other, one, native, dot or 1, share)
    else:
        assert dataflow == "is"
        c, folds = operand_stationary(rows, cols, one, other, native, dot or 1, share)
        c = transposed(c)
    return outcome(c, folds)
