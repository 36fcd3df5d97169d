"""Processing elements (PEs) in plain Python: what they hold and show, cycle by cycle, with values.

Words of a bus are lists; ``pack`` makes an integer of them, the first word lowest.
"""


def pack(words, bits):
    """Words as the bits of a bus."""
    return sum((word & ((1 << bits) - 1)) << i * bits for i, word in enumerate(words))


def wrapped(value, bits):
    """A sum as its register holds it, two's complement, as unsigned bits."""
    return value & ((1 << bits) - 1)


class Pe:
    """A PE that follows the mask of B or none: ws or os.

    ``group`` elements of A come for every ``share`` of its ``macs`` multipliers, each of which
    picks one; in order, that of slot s is its index behind s.
    """

    def __init__(self, dataflow, macs=1, share=1, group=1, ordered=False, slot=0):
        self.dataflow, self.macs, self.share, self.group = dataflow, macs, share, group
        self.ordered, self.slot = ordered, slot
        self.a = self.b = self.index = self.sum = self.a_valid = self.b_valid = None

    def step(self, a, b, index, sum_in, control, valid=(1, 1)):
        """One clock: ``control`` is load under ws and drain under os."""
        held = self.dataflow == "ws"
        used, chosen = (self.b, self.index) if held else (b, index)
        base = sum_in if held else self.sum
        total = None
        if used is not None and base is not None and not (not held and control):
            total = base + sum(
                self.picked(a, chosen, lane) * used[lane] for lane in range(self.macs)
            )
        self.sum = total if held else (sum_in if control else total)
        if not held or control:
            self.b, self.index = b, index
        self.a, self.a_valid, self.b_valid = a, *valid

    def picked(self, a, index, lane):
        """The element of A that a lane multiplies."""
        if self.group == 1:
            return a[lane]
        first = lane // self.share * self.group
        behind = (lane % self.share + self.slot) if self.ordered else 0
        return a[first + behind + index[lane]]


class Intersecting:
    """A PE that takes pairs of which both are kept, one a cycle, from a queue of groups."""

    def __init__(self, depth):
        self.depth = depth
        self.groups = []
        self.sum = 0

    @property
    def last(self):
        """Whether the first group is done with this cycle: at most one pair of it is left."""
        return bool(self.groups) and len(self.groups[0]) <= 1

    @property
    def ready(self):
        """Whether a group may come in this cycle."""
        return len(self.groups) < self.depth or self.last

    def step(self, group, sum_in, drain):
        """One clock: ``group`` is what comes in, as (a, a kept, b, b kept), or None."""
        worked = self.groups[0][0] if self.groups and self.groups[0] else None
        if self.last:
            self.groups.pop(0)
        elif worked is not None:
            self.groups[0].pop(0)
        if group is not None:
            a, a_kept, b, b_kept = group
            pairs = [(x, y) for x, p, y, q in zip(a, a_kept, b, b_kept, strict=True) if p and q]
            self.groups.append(pairs)
        if drain:
            self.sum = sum_in
        elif worked is not None:
            self.sum += worked[0] * worked[1]
