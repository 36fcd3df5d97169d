"""A streaming multiprocessor warp by warp, cycle by cycle: slow, plain, the fast one's truth.

It computes C out of fragments that really move: from A and B through copies into stages, through
loads into registers, through multiplications into accumulators and through shared memory into C. A
stage that is read too early, overwritten too early or named wrongly gives a wrong C. It knows no
formula for time: every cycle it asks every warp whether it can go on.

Nothing of ``nmsim.machines.engine`` is used but the description of the tile and the machine.
"""

from collections import Counter, defaultdict, deque
from fractions import Fraction
from math import ceil

import numpy as np

TICK = Fraction(1, 16)


def ticks_up(cycles):
    """A time rounded up to whole sixteenths of a cycle."""
    return ceil(cycles / TICK) * TICK


class Pipe:
    """Shared memory: one access at a time, in order; an access does its work when it is over."""

    def __init__(self):
        self.waiting = deque()
        self.left = 0
        self.action = None
        self.busy = 0

    def enter(self, cycles, action):
        self.waiting.append((cycles, action))

    def backlog(self):
        return self.left + sum(cycles for cycles, _ in self.waiting)

    def tick(self, now):
        if not self.left and self.waiting:
            self.left, self.action = self.waiting.popleft()
        if self.left:
            self.left -= 1
            self.busy += 1
            if not self.left:
                self.action(now + 1)


class Channel:
    """To or from memory: one transfer at a time, in order, at a rate of bytes per cycle."""

    def __init__(self, rate):
        self.rate = rate
        self.free = Fraction(0)
        self.busy = Fraction(0)

    def transfer(self, now, size):
        time = ticks_up(Fraction(size) / self.rate)
        self.free = max(self.free, Fraction(now)) + time
        self.busy += time
        return self.free


class Threadblock:
    """Its stages, its warps, and its barrier."""

    def __init__(self, tile, a, b, meta):
        self.tile = tile
        self.source = {"a": a, "b": b, "e": meta}
        self.stages = [
            {name: np.full_like(part[0], np.nan, float) for name, part in self.source.items()}
            for _ in range(tile.stages)
        ]
        self.warps = []
        self.meeting = []
        self.c = np.full((tile.m, tile.n), np.nan)
        self.exchange = {}


class Write:
    """A copy's bytes, which are in a stage once they have arrived and shared memory has time."""

    def __init__(self, cta, k, name, begin, end):
        self.cta, self.k, self.name, self.part = cta, k, name, (begin, end)
        self.missing = 2

    def turn(self):
        self.missing -= 1
        if not self.missing:
            stage = self.cta.stages[self.k % self.cta.tile.stages][self.name]
            source = self.cta.source[self.name][self.k]
            first, last = (int(share * source.size) for share in self.part)
            stage.reshape(-1)[first:last] = source.reshape(-1)[first:last]


class Warp:
    SERVED = ("copy", "load", "wgmma", "keep", "fetch", "store")
    BEYOND = ("copy", "load", "wait", "barrier", "mma", "wgmma", "other")

    def __init__(self, core, cta, index, number):
        self.core, self.cta, self.index, self.number = core, cta, index, number
        tile, shape = cta.tile, cta.tile.instruction
        self.row, self.col = divmod(index, tile.warps_n)
        self.mi = tile.m // tile.warps_m // shape.m
        self.ni = tile.n // tile.warps_n // shape.n
        self.registers = {}
        self.pending = Counter()
        self.copies = Counter()
        self.acc = {}
        self.acc_ready = {}
        self.unread = set()
        self.sleeping_until = 0
        self.at_barrier = False
        self.blocked = "issue"
        self.rows = list(self.instructions())
        self.segments = self.parts()
        self.at = 0

    @property
    def next(self):
        return self.rows[self.at] if self.at < len(self.rows) else None

    def parts(self):
        """Of every row, in which part of the program it is: they begin where warps stand still."""
        found, part, before = [], 0, None
        for kind, *_ in self.rows:
            part += kind == "wait" or (kind == "barrier" and before != "wait")
            found.append(part)
            before = kind
        return found

    def outstanding(self):
        """Where in the order of all warps the next row stands that memory serves; None: no more.

        Threadblocks that leave sub-cores free go side by side.
        """
        together = max(1, self.core.sm.sub_cores // self.cta.tile.warps)
        for at in range(self.at, len(self.rows)):
            if self.rows[at][0] in Warp.SERVED:
                team = self.core.ctas.index(self.cta) // together
                return self.segments[at], team, at, self.number
        return None

    # The instruction stream: each yields (kind, arguments, phase).

    def instructions(self):
        core, tile = self.core, self.cta.tile
        blocks = tile.k // tile.instruction.k
        for k in range(tile.stages - 1):
            for copy in self.copy_list():
                yield "copy", (k, *copy), "prologue"
        yield "wait", (0,), "prologue"
        yield "barrier", (0,), "prologue"
        for load in self.load_list():
            yield "load", (0, 0, load), "prologue"
        for k in range(core.slices):
            for block in range(blocks):
                yield from self.block(k, block, blocks)
        for i in range(self.mi):
            if i:
                yield "barrier", (0,), "epilogue"
            for j in range(self.ni):
                yield "keep", (i, j), "epilogue"
            yield "barrier", (0,), "epilogue"
            for j in range(self.ni):
                yield "fetch", (i, j), "epilogue"
            for j in range(self.ni):
                yield "store", (i, j), "epilogue"

    def block(self, k, block, blocks):
        tile = self.cta.tile
        copies = self.copy_list()
        spans = max(blocks - 1, 1)
        mine = [c for i, c in enumerate(copies) if i * spans // len(copies) == block]
        mine = [("copy", (k + tile.stages - 1, *c), "slices") for c in mine]
        last = block + 1 == blocks
        target = (k + 1, 0) if last else (k, block + 1)
        direct = tile.instruction.sharers > 0
        beside = [("load", (*target, load), "slices") for load in self.load_list()]
        if last and not direct:
            yield from mine
            yield "wait", (k + 1,), "slices"
            yield "barrier", (k + 1,), "slices"
        else:
            beside += mine
        beside += [("other", (k,), "slices")] * tile.others
        total = self.mi * self.ni
        slots = [[] for _ in range(total)]
        for s, row in enumerate(beside):
            slots[s * total // len(beside)].append(row)
        for position, rows in enumerate(slots):
            yield from rows
            kind = "wgmma" if direct else "mma"
            yield kind, (k, block, *divmod(position, self.ni)), "slices"
        if last and direct:
            yield "wait", (k + 1,), "slices"
            yield "barrier", (k + 1,), "slices"

    def copy_list(self):
        """Every copy of this warp: operand, from where to where (shares of it), bytes."""
        tile, shape = self.cta.tile, self.cta.tile.instruction
        a_size, b_size = self.fragment_sizes()
        blocks = tile.k // shape.k
        sizes = {
            "a": Fraction(tile.m // shape.m * blocks * a_size),
            "b": Fraction(tile.n // shape.n * blocks * b_size),
            "e": Fraction(tile.m // shape.m * (tile.k // shape.k) * shape.metadata_bytes),
        }
        found = []
        for name, size in sizes.items():
            share = ceil(size / tile.warps)
            count = ceil(Fraction(share, 2048 if shape.sharers else 512))
            for i in range(count):
                begin = Fraction(self.index * count + i, tile.warps * count)
                end = Fraction(self.index * count + i + 1, tile.warps * count)
                found.append((name, begin, end, ceil(Fraction(share, count))))
        return found

    def fragment_sizes(self):
        """Bytes of a fragment of A and of B in memory, where packed weights are fewer."""
        shape = self.cta.tile.instruction
        a_size = shape.m * shape.k * shape.keep * shape.bits // shape.group // 8
        b_size = shape.n * shape.k * shape.bits // 8
        return ceil(a_size * Fraction(shape.a_packed)), ceil(b_size * Fraction(shape.b_packed))

    def load_list(self):
        """Every load of a block: list of fragments (operand, which), and bytes."""
        tile, shape = self.cta.tile, self.cta.tile.instruction
        if shape.sharers:
            return []
        a_size, b_size = self.fragment_sizes()
        found = []
        kinds = [("a", self.mi, a_size, tile.load_bytes), ("b", self.ni, b_size, tile.load_bytes)]
        if shape.metadata_bytes:
            kinds.append(("e", self.mi, shape.metadata_bytes, 128))
        for name, count, size, width in kinds:
            todo = [(name, i) for i in range(count)]
            if width >= size:
                while todo:
                    now, todo = todo[: width // size], todo[width // size :]
                    found.append((now, size * len(now)))
            else:
                for one in todo:
                    left = size
                    while left > 0:
                        found.append(([one], min(width, left)))
                        left -= width
        return found

    # What stops an instruction.

    def obstacle(self, now):
        core, sm, (kind, args, _) = self.core, self.core.sm, self.next
        if kind in Warp.BEYOND and args[0] >= core.slices:
            return None
        if kind == "wait":
            return "memory" if self.copies[args[0]] else None
        if any(self.pending[register] for register in self.reads()):
            return "shared"
        if kind in ("mma", "wgmma", "keep"):
            sums = args if kind == "keep" else args[2:]
            if sums in self.unread or self.acc_ready.get(sums, 0) > now:
                return "dependence"
        if kind in ("mma", "wgmma"):
            place = self.number % sm.sub_cores
            if core.tensor_reads[place] or core.tensor_free[place] >= now + 1:
                return "tensor"
        if kind in ("load", "keep", "fetch") and core.shared.backlog() >= sm.shared_queue:
            return "shared"
        if kind == "copy" and core.flying and core.flying + args[4] > sm.in_flight:
            return "memory"
        if kind == "store":
            room = max(TICK, ticks_up(Fraction(sm.store_queue) / core.stores.rate))
            if core.stores.free - now >= room:
                return "store"
        return None

    def reads(self):
        kind, args, _ = self.next
        if kind == "mma":
            k, block, i, j = args
            names = [("a", i), ("b", j)]
            names += [("e", i)] if self.cta.tile.instruction.metadata_bytes else []
            return [(k, block, *name) for name in names]
        return [("out", *args)] if kind == "store" else []

    # What an instruction does.

    def issue(self, now):
        kind, args, _ = self.next
        core = self.core
        idle = kind in Warp.BEYOND and args[0] >= core.slices
        if not idle:
            getattr(self, "do_" + kind)(now, *args)
        self.at += 1

    def do_other(self, now, k):
        pass

    def do_wait(self, now, k):
        pass

    def do_copy(self, now, k, name, begin, end, size):
        core = self.core
        arrives = ceil(core.loads.transfer(now, size)) + core.feed.latency
        self.copies[k] += 1
        core.flying += size
        core.arriving.append((arrives, size))
        write = Write(self.cta, k, name, begin, end)
        core.landing[arrives + core.access(size)].append((self, k, write))
        # Shared memory has the time of the write set aside here, whenever the bytes arrive: behind
        # the loads that were asked for before it, which still read what it overwrites.
        core.shared.enter(core.access(size), lambda _now: write.turn())

    def land(self, k, write):
        """The bytes have arrived."""
        write.turn()
        self.copies[k] -= 1

    def do_load(self, now, k, block, load):
        held, size = load
        for name, i in held:
            self.pending[k, block, name, i] += 1

        def read(then):
            for name, i in held:
                value = self.fragment(k, block, name, i)
                self.core.later(
                    then + self.core.sm.shared_latency, self, (k, block, name, i), value
                )

        self.core.shared.enter(self.core.access(size), read)

    def fragment(self, k, block, name, i):
        tile, shape = self.cta.tile, self.cta.tile.instruction
        stage = self.cta.stages[k % tile.stages][name]
        height, number, part = (
            (shape.n, self.ni, self.col) if name == "b" else (shape.m, self.mi, self.row)
        )
        width = shape.k if name == "b" else shape.k * shape.keep // shape.group
        top = (part * number + i) * height
        return stage[top : top + height, block * width : (block + 1) * width].copy()

    def do_mma(self, now, k, block, i, j):
        core, shape = self.core, self.cta.tile.instruction
        place = self.number % core.sm.sub_cores
        start = max(Fraction(now), core.tensor_free[place])
        core.tensor_free[place] = start + core.pace
        core.tensor_busy += core.pace
        self.acc_ready[i, j] = ceil(start) + shape.latency
        a, b = self.registers[k, block, "a", i], self.registers[k, block, "b", j]
        if shape.keep < shape.group:
            metadata = self.registers[k, block, "e", i]
            a = expand(a, metadata, shape.keep, shape.group)
        before = self.acc.get((i, j), np.zeros((shape.m, shape.n)))
        self.acc[i, j] = before + a @ b.T
        core.first_mma = min(core.first_mma, now)

    def do_wgmma(self, now, k, block, i, j):
        """It holds its tensor core and its sums until it has read its operands where they lie."""
        core, shape = self.core, self.cta.tile.instruction
        place = self.number % core.sm.sub_cores
        start = max(Fraction(now), core.tensor_free[place])
        core.tensor_free[place] = start + core.pace
        core.tensor_busy += core.pace
        core.tensor_reads[place] = True
        self.acc_ready[i, j] = ceil(start) + shape.latency
        self.unread.add((i, j))
        core.first_mma = min(core.first_mma, now)

        def read(then):
            core.tensor_reads[place] = False
            core.tensor_free[place] = max(core.tensor_free[place], Fraction(then))
            self.unread.remove((i, j))
            a, b = self.fragment(k, block, "a", i), self.fragment(k, block, "b", j)
            if shape.keep < shape.group:
                a = expand(a, self.fragment(k, block, "e", i), shape.keep, shape.group)
            before = self.acc.get((i, j), np.zeros((shape.m, shape.n)))
            self.acc[i, j] = before + a @ b.T

        a_size = Fraction(shape.m * shape.k * shape.keep * shape.bits, 8 * shape.group)
        b_size = ceil(Fraction(shape.n * shape.k * shape.bits, 8 * shape.sharers))
        core.shared.enter(core.access(a_size + shape.metadata_bytes + b_size), read)

    def do_barrier(self, now, k):
        meeting = self.cta.meeting
        meeting.append(self)
        self.at_barrier = True
        if len(meeting) == len(self.cta.warps):
            for warp in meeting:
                warp.sleeping_until = now + self.core.sm.barrier_latency
            meeting.clear()

    def exchanged(self):
        """Bytes of a fragment in shared memory: sums; for a bulk copy results as they are written.

        A bulk copy cannot convert, so that sums are converted before.
        """
        tile, shape = self.cta.tile, self.cta.tile.instruction
        bits = tile.output_bits if shape.sharers else 32
        return ceil(Fraction(shape.m * shape.n * bits, 8))

    def do_keep(self, now, i, j):
        def write(_now):
            self.cta.exchange[self.index, i, j] = self.acc[i, j]

        self.core.shared.enter(self.core.access(self.exchanged()), write)

    def do_fetch(self, now, i, j):
        self.pending["out", i, j] += 1

        def read(then):
            value = self.cta.exchange[self.index, i, j]
            self.core.later(then + self.core.sm.shared_latency, self, ("out", i, j), value)

        self.core.shared.enter(self.core.access(self.exchanged()), read)

    def do_store(self, now, i, j):
        tile, shape = self.cta.tile, self.cta.tile.instruction
        size = ceil(Fraction(shape.m * shape.n * tile.output_bits, 8))
        self.core.stores.transfer(now, size)
        top = (self.row * self.mi + i) * shape.m
        left = (self.col * self.ni + j) * shape.n
        value = self.registers["out", i, j]
        self.cta.c[top : top + shape.m, left : left + shape.n] = value


def expand(stored, indices, keep, group):
    """Dense rows out of kept elements and where in its group each of them belongs."""
    rows, width = stored.shape
    dense = np.zeros((rows, width // keep * group))
    for row in range(rows):
        for slot in range(width):
            dense[row, slot // keep * group + int(indices[row, slot])] += stored[row, slot]
    return dense


class Core:
    def __init__(self, sm, tile, feed, slices, ctas, operands):
        self.sm, self.feed, self.slices = sm, feed, slices
        self.shared = Pipe()
        self.loads = Channel(Fraction(feed.bytes_per_cycle))
        self.stores = Channel(Fraction(feed.store_bytes_per_cycle))
        self.arriving = deque()
        self.landing = defaultdict(list)
        self.flying = 0
        self.writebacks = defaultdict(list)
        self.tensor_free = [Fraction(0)] * sm.sub_cores
        self.tensor_reads = [False] * sm.sub_cores
        self.tensor_busy = Fraction(0)
        self.first_mma = 10**9
        self.issued = 0
        shape = tile.instruction
        registers = [
            ceil(shape.m * shape.k * shape.keep * shape.bits / shape.group / 1024),
            ceil(shape.n * shape.k * shape.bits / 1024),
            ceil(shape.m * shape.n / 32),
            int(shape.metadata_bytes > 0),
        ]
        fetch = Fraction(sum(registers), sm.register_reads)
        if shape.keep < shape.group:
            fetch += Fraction(sm.selection_cycles)
        if shape.sharers:
            fetch = Fraction(0)
        self.pace = ticks_up(max(Fraction(shape.cycles), fetch))
        self.ctas = [Threadblock(tile, *operands[i]) for i in range(ctas)]
        self.warps = []
        for cta in self.ctas:
            for index in range(tile.warps):
                cta.warps.append(Warp(self, cta, index, len(self.warps)))
                self.warps.append(cta.warps[-1])
        self.turn = [next(iter(self.warps[i :: sm.sub_cores]), None) for i in range(sm.sub_cores)]
        self.waits = {phase: Counter() for phase in ("prologue", "slices", "epilogue")}
        self.begun, self.ended = None, None

    def access(self, size):
        return max(self.sm.shared_interval, ceil(Fraction(size, self.sm.shared_bytes)))

    def later(self, when, warp, register, value):
        self.writebacks[when].append((warp, register, value))

    def run(self):
        now = 0
        while any(warp.next for warp in self.warps):
            self.cycle(now)
            now += 1
        self.drain(now)
        return max(now, ceil(self.stores.free))

    def drain(self, now):
        while self.shared.backlog():
            self.shared.tick(now)
            now += 1

    def cycle(self, now):
        while self.arriving and self.arriving[0][0] == now:
            self.flying -= self.arriving.popleft()[1]
        for warp, *copy in self.landing.pop(now, ()):
            warp.land(*copy)
        for warp, register, value in self.writebacks.pop(now, ()):
            warp.registers[register] = value
            warp.pending[register] -= 1
        for place in range(self.sm.sub_cores):
            self.sub_core(now, place)
        self.shared.tick(now)

    def sub_core(self, now, place):
        own = [warp for warp in self.warps[place :: self.sm.sub_cores] if warp.next]
        heirs = [self.turn[place]]
        for warp in own:
            phase = warp.next[2]
            if warp is not self.turn[place]:
                self.waits[phase]["barrier" if warp.at_barrier else "issue"] += 1
                continue
            if warp.at_barrier and (warp in warp.cta.meeting or warp.sleeping_until > now):
                self.waits[phase]["barrier"] += 1
                continue
            warp.at_barrier = False
            obstacle = warp.obstacle(now)
            if not obstacle and warp.next[0] in Warp.SERVED:
                orders = [one.outstanding() for one in self.warps]
                first = min(order for order in orders if order)
                obstacle = None if first == warp.outstanding() else "issue"
            if obstacle:
                self.waits[phase][obstacle] += 1
                continue
            warp.issue(now)
            self.issued += 1
            after = warp.next[2] if warp.next else "end"
            if self.begun is None and phase == "prologue" and after == "slices":
                self.begun = now + 1
            if phase == "slices" and after == "epilogue":
                self.ended = now + 1
            heirs.append(self.heir(warp, place))
        self.turn[place] = heirs[-1]

    def heir(self, warp, place):
        """Who is to issue after a warp has: a warp of its threadblock, or where that would wait
        for a stage or meet at a barrier, the first one of the next threadblock."""
        own = self.warps[place :: self.sm.sub_cores]
        team = [one for one in own if one.cta is warp.cta]
        if warp is not team[-1]:
            return team[team.index(warp) + 1]
        if warp.next and warp.segments[warp.at] == warp.segments[warp.at - 1]:
            return team[0]
        at = self.ctas.index(warp.cta)
        for cta in self.ctas[at + 1 :] + self.ctas[: at + 1]:
            for one in own:
                if one.cta is cta and one.next:
                    return one
        return None


def simulate(sm, tile, feed, slices, operands):
    """Run one threadblock for each entry of ``operands``: slices of A, of B and of metadata.

    Returns the core, whose ``ctas`` hold C, and the cycles it took.
    """
    core = Core(sm, tile, feed, slices, len(operands), operands)
    return core, core.run()
