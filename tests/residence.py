"""What DRAM sends of a gathered operand, element by element: sets of addresses, and nothing else.

An operand is a matrix of addresses, rows x K, None in the padding. An element that a fold touches
is in the buffer if half of it holds all that folds touched from the one that touched it last on.
A set of addresses is a number, a bit for each of them.
"""

from itertools import product


def addresses(windows):
    """Address of the tensor's element behind each of an operand's, rows x K."""
    axes = windows.axes
    rows = []
    for window in product(range(windows.images), *(range(axis.windows) for axis in axes)):
        row = []
        for tap in product(*(range(axis.taps) for axis in axes)):
            at = [
                axis.first + w * axis.stride + t * axis.step
                for axis, w, t in zip(axes, window[1:], tap, strict=True)
            ]
            inside = all(0 <= x < axis.size for x, axis in zip(at, axes, strict=True))
            pixel = window[0]
            for x, axis in zip(at, axes, strict=True):
                pixel = pixel * axis.size + x
            first = pixel * windows.channels
            row += [first + c if inside else None for c in range(windows.channels)]
        rows.append(row)
    return rows if windows.along == "rows" else [list(row) for row in zip(*rows, strict=True)]


def folds(matrix, block, part):
    """Sets of addresses that folds touch: for every block of rows, slices of K one by one."""
    return [
        [touched(row[c : c + part] for row in matrix[r : r + block])
         for c in range(0, len(matrix[0]), part)]
        for r in range(0, len(matrix), block)
    ]  # fmt: skip


def touched(rows):
    """The set of all addresses in some rows."""
    found = 0
    for one in {one for row in rows for one in row} - {None}:
        found |= 1 << one
    return found


def passes(blocks, times, by_block):
    """Folds in order, each with the number of the pass that it is part of."""
    if by_block:
        return [(i, fold) for block in blocks for i in range(times) for fold in block]
    return [(i, fold) for i in range(times) for block in blocks for fold in block]


def loaded(sequence, room):
    """Elements that each pass loads."""
    count = {}
    for now, (index, fold) in enumerate(sequence):
        held, before = fold, now - 1
        seen = 0
        while before >= 0 and (held | sequence[before][1]).bit_count() <= room:
            held |= sequence[before][1]
            seen |= sequence[before][1]
            before -= 1
        count[index] = count.get(index, 0) + (fold & ~seen).bit_count()
    return count
