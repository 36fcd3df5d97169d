"""The memory pipeline as events (simpy): the oracle of the recurrence, and what it cannot do.

An array is two processes: its DMA engine, which runs a program of loads and stores in order, and
its rows of PEs, which stream piece after piece. One array alone gives exactly the times of
``nmsim.machines.systolic.pipeline.memory``. Several arrays may share the channel: an engine holds
it only while a transfer moves, and has it in its turn. Turns are those of ``pipeline.turns``,
written down beforehand: by the part of its pieces that an array has passed.
"""

from collections import defaultdict, deque
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import simpy

from nmsim.machines.systolic.pipeline.memory import (
    BACK_TO_BACK,
    EXPOSED,
    HIDDEN,
    TICKS,
    UNCOUNTED,
    Pieces,
    Timing,
)

__all__ = ["Span", "Times", "run"]

Events = Generator[simpy.Event, Any, None]


class Span(NamedTuple):
    """What happens from one time to another, ticks: a load, a store, or a fold that streams."""

    what: str
    fold: int
    start: int
    end: int


class Times(NamedTuple):
    """When an array's last result has left, ticks, and what its channel and its PEs did."""

    finished: int
    spans: list[Span]


def run(
    arrays: Sequence[Sequence[Pieces]], timing: Timing, pieces: Sequence[int] | None = None
) -> list[Times]:
    """Take the folds of each array, in order, through one channel that all of them share.

    Parameters
    ----------
    pieces
        Of the whole of each array's program, if only its first folds are given.
    """
    env = simpy.Environment()
    steps = [list(_steps(folds)) for folds in arrays]
    channel = _Channel(
        env, steps, [len(one) for one in steps] if pieces is None else pieces, timing
    )
    pipelines = [_Pipeline(env, channel, i, one, timing) for i, one in enumerate(steps)]
    env.run()
    return [
        Times(max(one.array_done, one.engine_done), sorted(one.spans, key=lambda s: s.start))
        for one in pipelines
    ]


class _Step(NamedTuple):
    """A piece: its fold, whether that fold starts or ends with it, and what it streams."""

    number: int
    fold: Pieces
    first: bool
    last: bool
    ticks: int


class _Owed(NamedTuple):
    """Results: channel time of each of so many shares, and the event of the first of them."""

    share: int
    shares: int
    there: simpy.Event
    number: int


class _Channel:
    """A channel that is each array's in its turn, and waits for none that it need not wait for."""

    def __init__(
        self,
        env: simpy.Environment,
        arrays: Sequence[Sequence[_Step]],
        pieces: Sequence[int],
        timing: Timing,
    ) -> None:
        turns = [
            (turn / of, array)
            for array, (steps, of) in enumerate(zip(arrays, pieces, strict=True))
            for turn in _turns(steps, timing)
        ]
        self.env = env
        self.order = deque(array for _, array in sorted(turns))
        self.waiting: dict[int, simpy.Event] = {}
        self.held = False

    def take(self, array: int) -> simpy.Event:
        """The array's next turn: an event."""
        turn = self.waiting[array] = self.env.event()
        self._pass_on()
        return turn

    def give_back(self) -> None:
        """The transfer has ended."""
        self.held = False
        self._pass_on()

    def _pass_on(self) -> None:
        if not self.held and self.order and self.order[0] in self.waiting:
            self.held = True
            self.waiting.pop(self.order.popleft()).succeed()


class _Pipeline:
    """One array: what its engine and its PEs tell each other, piece by piece."""

    def __init__(
        self,
        env: simpy.Environment,
        channel: _Channel,
        number: int,
        steps: Sequence[_Step],
        timing: Timing,
    ) -> None:
        self.env, self.channel, self.number, self.timing = env, channel, number, timing
        self.steps = steps
        self.spans: list[Span] = []
        self.array_done = self.engine_done = 0
        self.events: dict[tuple[str, int], simpy.Event] = defaultdict(env.event)
        self.times: dict[tuple[str, int], int] = {}
        self.owed: dict[int, _Owed] = {}
        for before in (-2, -1):
            for what in ("started", "ended"):
                self.events[what, before].succeed()
        env.process(self._engine())
        env.process(self._array())

    def _at(self, what: str, piece: int) -> simpy.Event:
        return self.events[what, piece]

    def _later(self, ticks: int, what: str, piece: int) -> None:
        """Let an event happen after some time."""

        def wait() -> Events:
            yield self.env.timeout(ticks)
            self._happens(what, piece)

        self.env.process(wait())

    def _happens(self, what: str, piece: int) -> None:
        self.times[what, piece] = int(self.env.now)
        self._at(what, piece).succeed()

    def _transfer(self, what: str, number: int, ticks: int, marks: Sequence[Any] = ()) -> Events:
        """Hold the channel for a transfer; marks are events some time after it began."""
        yield self.channel.take(self.number)
        start = int(self.env.now)
        for after, name, piece in marks:
            self._later(after, name, piece)
        yield self.env.timeout(ticks)
        self.channel.give_back()
        self.spans.append(Span(what, number, start, int(self.env.now)))

    def _engine(self) -> Events:
        """The program of the DMA engine."""
        owed: deque[list[Any]] = deque()
        for q, step in enumerate(self.steps):
            yield self._at("started", q - 2)
            nothing = not owed and q - 2 not in self.owed
            if nothing:
                self._happens("stored", q)
            yield from self._load(q, step)
            yield from self._store(q, owed, None if step.first and step.fold.opens else 1)
            if not nothing:
                self._happens("stored", q)
        for q in (len(self.steps), len(self.steps) + 1):
            yield self._at("started", q - 2)
            yield from self._store(q, owed, None)
        self.engine_done = int(self.env.now)

    def _store(self, q: int, owed: deque[list[Any]], shares: int | None) -> Events:
        """Results of piece q - 2 become owed, those before leave; and so many shares; None: all."""
        if q - 2 in self.owed:
            yield from self._leave(owed, None)
            results = self.owed[q - 2]
            yield results.there
            owed.append([results, results.shares])
        yield from self._leave(owed, shares)

    def _leave(self, owed: deque[list[Any]], shares: int | None) -> Events:
        """So many shares of what is owed leave; None: all of them."""
        while owed and (shares is None or shares > 0):
            results, left = owed[0]
            gone = left if shares is None else min(shares, left)
            yield from self._transfer("store", results.number, gone * results.share)
            owed[0][1] -= gone
            if not owed[0][1]:
                owed.popleft()
            if shares is not None:
                break

    def _load(self, q: int, step: _Step) -> Events:
        one, latency = step.fold, self.timing.latency
        held = self.timing.held
        x_loads = one.x_loads and (step.first or not held)
        x, y = (one.x if x_loads else 0), (one.y if one.y_loads else 0)
        rows = one.y_row if one.y_loads else 0
        marks = [(latency + (one.x_row if x_loads else 0) + rows, "first", q)]
        if held:
            marks = [(latency + x + rows, "first", q)]
            marks += [(latency + one.x_row, "held_first", q), (latency + x, "held_last", q)]
        if x_loads or one.y_loads:
            yield from self._transfer("load", step.number, x + y, marks)
            yield self._at("ended", q - 2)
            self._later(latency, "last", q)

    def _array(self) -> Events:
        """The PEs: piece after piece."""
        begun = drained = ended = 0
        for q, step in enumerate(self.steps):
            one, held = step.fold, self.timing.held
            x_loads = one.x_loads and (step.first or not held)
            if step.first:
                yield from self._open(q, step, begun)
            if one.y_loads or (x_loads and not held):
                yield self._at("first", q)
            if step.first and one.opens:
                yield self._at("stored", q)
            start = int(self.env.now)
            if step.first:
                begun = start
                drained = ended + (self.timing.shift if step.number else 0)
            self._happens("started", q)
            self._owe(q, step, begun)
            yield self.env.timeout(step.ticks)
            if one.y_loads or (x_loads and not held):
                yield self._at("last", q)
            if step.last and (held, self.timing.period) == (False, BACK_TO_BACK):
                yield self.env.timeout(max(0, drained - int(self.env.now)))
            ended = int(self.env.now)
            self._happens("ended", q)
            self.spans.append(Span("stream", step.number, start, int(self.env.now)))
            self._results(q, step, begun)

    def _open(self, q: int, step: _Step, begun: int) -> Events:
        """All that a fold waits for but what streams: its neighbours, and what it holds."""
        timing, one, before = self.timing, step.fold, min(2, step.number)
        if before and timing.period != BACK_TO_BACK:
            yield self.env.timeout(timing.fill)
        ready = int(self.env.now)
        if not timing.held:
            if timing.period == EXPOSED and before:
                ready += timing.shift
            if timing.period == HIDDEN and before > 1:
                ready = max(ready, begun + timing.shift)
            yield self.env.timeout(ready - int(self.env.now))
            return
        if timing.period == UNCOUNTED:
            if one.x_loads:
                yield self._at("held_last", q)
            return
        lead = TICKS if timing.period == BACK_TO_BACK else 0
        # When shifting in may begin: behind the fold before, if it is hidden, then with its words.
        asked = ready if timing.period == EXPOSED else max(0, begun - (lead if before else 0))
        yield from self._shift_in(q, one, asked, lead)

    def _shift_in(self, q: int, one: Pieces, asked: int, lead: int) -> Events:
        """A preload from some time on, which may have passed, and the cycle before the stream."""
        now = int(self.env.now)
        done = asked + one.shift
        if one.x_loads:
            done = max(done, (yield from self._when("held_first", q)) + one.shift)
            done = max(done, (yield from self._when("held_last", q)))
        done = max(done + lead, now)
        yield self.env.timeout(max(0, done - int(self.env.now)))

    def _when(self, what: str, piece: int) -> Generator[simpy.Event, Any, int]:
        """When an event happened, waiting for it if it has not yet."""
        if (what, piece) not in self.times:
            yield self._at(what, piece)
        return self.times[what, piece]

    def _owe(self, q: int, step: _Step, begun: int) -> None:
        """What a piece owes: the first of it leaves the array R cycles after it came in (ws)."""
        one, shift, now = step.fold, self.timing.shift, int(self.env.now)
        there = self._at("there", q)
        if step.last and one.share:
            self.owed[q] = _Owed(one.share, one.shares, there, step.number)
            if self.timing.held:
                self._later(max(0, begun + shift - now), "there", q)
        elif one.spilled:
            self.owed[q] = _Owed(one.spilled, 1, there, step.number)
            self._later(shift, "there", q)

    def _results(self, q: int, step: _Step, begun: int) -> None:
        """When the results of a fold that has streamed leave the array."""
        timing, now = self.timing, int(self.env.now)
        if not step.last:
            return
        self.array_done = now + timing.fill
        if not timing.held:
            behind = begun + timing.shift if timing.period == HIDDEN and step.number else 0
            first = max(now + timing.fill, behind)
            self.array_done = first + (0 if timing.period == UNCOUNTED else timing.shift)
            if step.fold.share:
                self._later(first - now, "there", q)


def _steps(folds: Sequence[Pieces]) -> Generator[_Step, None, None]:
    for number, one in enumerate(folds):
        part = one.ticks // one.pieces
        for piece in range(one.pieces):
            last = piece == one.pieces - 1
            ticks = one.ticks - (one.pieces - 1) * part if last else part
            yield _Step(number, one, piece == 0, last, ticks)


def _turns(steps: Sequence[_Step], timing: Timing) -> Generator[int, None, None]:
    """At which turns, three to a piece, an array moves anything: loads, what is owed, a share."""
    left = 0
    for q in range(len(steps) + 2):
        step = steps[q] if q < len(steps) else None
        if step is not None:
            x_loads = step.fold.x_loads and (step.first or not timing.held)
            if x_loads or step.fold.y_loads:
                yield 3 * q
        owed = _owed(steps[q - 2]) if q > 1 else 0
        if owed:
            if left:
                yield 3 * q + 1
            left = owed
        if left:
            yield 3 * q + 2
        left = 0 if step is None or (step.first and step.fold.opens) else max(0, left - 1)


def _owed(step: _Step) -> int:
    """Shares of results that a piece owes."""
    if step.last and step.fold.share:
        return step.fold.shares
    return int(step.fold.spilled > 0)
