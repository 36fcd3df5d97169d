"""What DRAM sends of a gathered operand, element by element: sets of addresses, and nothing else.

An operand is a matrix of addresses, rows x K, None in the padding. An element that a fold touches
is in the buffer if half of it holds all that folds touched from the one that touched it last on.
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
            for channel in range(windows.channels):
                row.append((window[0], *at, channel) if inside else None)
        rows.append(row)
    return rows if windows.along == "rows" else [list(row) for row in zip(*rows, strict=True)]


def folds(matrix, block, part):
    """Sets of addresses that folds touch: for every block of rows, slices of K one by one."""
    k = len(matrix[0])
    return [
        [
            {one for row in matrix[r : r + block] for one in row[c : c + part]} - {None}
            for c in range(0, k, part)
        ]
        for r in range(0, len(matrix), block)
    ]


def passes(blocks, times, by_block):
    """Folds in order, each with the number of the pass that it is part of."""
    if by_block:
        return [(i, fold) for block in blocks for i in range(times) for fold in block]
    return [(i, fold) for i in range(times) for block in blocks for fold in block]


def loaded(sequence, room):
    """Elements that each pass loads."""
    last, count = {}, {}
    for now, (index, fold) in enumerate(sequence):
        held, oldest = set(fold), now
        while oldest > 0 and len(held | sequence[oldest - 1][1]) <= room:
            oldest -= 1
            held |= sequence[oldest][1]
        if len(fold) > room:
            oldest = now
        missing = [one for one in fold if last.get(one, -1) < oldest]
        count[index] = count.get(index, 0) + len(missing)
        last |= dict.fromkeys(fold, now)
    return count
