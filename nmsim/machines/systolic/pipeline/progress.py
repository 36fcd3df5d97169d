"""How far an array has come: the recurrence of the memory pipeline, told transfer by transfer.

These are the steps of ``nmsim.machines.systolic.pipeline.memory`` once more, in plain Python and
taken apart where a transfer stands between them, so that somebody else can say when the channel
was free for it (``nmsim.machines.systolic.pipeline.contention``). All times are ticks.
"""

from dataclasses import dataclass

from nmsim.machines.systolic.pipeline.memory import (
    BACK_TO_BACK,
    EXPOSED,
    HIDDEN,
    TICKS,
    UNCOUNTED,
    Pieces,
    Timing,
)

__all__ = ["Progress", "loads_x"]

_TIMES = (
    "free",
    "asked",
    "started",
    "started_before",
    "ended",
    "ended_before",
    "fold_started",
    "stored",
    "there",
    "there_before",
    "drained",
    "x_first",
    "x_last",
    "first",
    "last",
)

_NUMBERS = (
    "share",
    "queued",
    "slots",
    "slots_before",
    "shares",
    "shares_before",
    "last_ticks",
    "warm",
    "own_bandwidth",
    "own_latency",
)


@dataclass(slots=True)
class Progress:
    """What one array remembers of its pieces, and what it has waited for.

    Parameters
    ----------
    free, asked
        When its engine is free; when the piece in hand might have been asked for.
    started, started_before, ended, ended_before
        Of the last two pieces.
    fold_started, stored, there, there_before, drained, finished
        When the last fold started, the last results had left, those of the last two pieces are
        there, outputs have made room, and the array is through with all folds.
    x_first, x_last, first, last
        When words of the piece in hand arrive: of what is held, of what streams; None: none do.
    queued
        From ``asked`` until its transfer began.
    left, share
        Shares of results that are owed, and the channel time of one.
    slots, shares, slots_before, shares_before
        Into how many shares the results of the last two pieces will be cut, and the time of each.
    bandwidth, latency, write_back
        What was waited, by cause; ``own_`` are those of the last fold since it started.
    """

    timing: Timing
    free: int = 0
    asked: int = 0
    started: int = 0
    started_before: int = 0
    ended: int = 0
    ended_before: int = 0
    fold_started: int = 0
    stored: int = 0
    there: int = 0
    there_before: int = 0
    drained: int = 0
    finished: int = 0
    x_first: int | None = None
    x_last: int | None = None
    first: int | None = None
    last: int | None = None
    queued: int = 0
    left: int = 0
    share: int = 0
    slots: int = 0
    slots_before: int = 0
    shares: int = 0
    shares_before: int = 0
    last_ticks: int = 0
    warm: int = 0
    own_bandwidth: int = 0
    own_latency: int = 0
    bandwidth: int = 0
    latency: int = 0
    write_back: int = 0

    def since(self, now: int) -> tuple[int | None, ...]:
        """All that the future depends on but ``left``, times as seen from ``now``."""
        times = (getattr(self, name) for name in _TIMES)
        numbers = (getattr(self, name) for name in _NUMBERS)
        return (*(None if time is None else time - now for time in times), *numbers)

    def begins(self) -> None:
        """The step of a piece begins: when the piece before the last has started."""
        self.asked = self.started_before
        self.free = max(self.free, self.asked)
        self.queued = self.free - self.asked
        self.x_first = self.x_last = self.first = self.last = None

    def loaded(self, one: Pieces, opens: bool, ticks: int) -> None:
        """A load of so many ticks has moved: when its words arrive, and the engine is free."""
        began, latency, held = self.free - ticks, self.timing.latency, self.timing.held
        x_loads = loads_x(one, opens, held)
        self.queued = began - self.asked
        self.free = max(self.free, self.ended_before)
        last = self.free + latency
        if not held:
            rows = (one.x_row if x_loads else 0) + (one.y_row if one.y_loads else 0)
            self.first, self.last = began + rows + latency, last
            return
        x = one.x if x_loads else 0
        if one.y_loads:
            self.first, self.last = began + x + one.y_row + latency, last
        if x_loads:
            self.x_first, self.x_last = began + one.x_row + latency, began + x + latency

    def left_shares(self, gone: int) -> None:
        """So many shares of what is owed have left."""
        self.left -= gone
        if self.left == 0:
            self.stored, self.share = self.free, 0

    def owes(self) -> None:
        """What was owed has left: results of the piece before the last are owed from now on."""
        if self.slots_before > 0:
            self.free = max(self.free, self.there_before)
            self.left, self.share = self.slots_before, self.shares_before
        self.slots_before, self.shares_before = self.slots, self.shares
        self.there_before = self.there
        self.slots = self.shares = 0

    def streams(self, one: Pieces, ticks: int, opens: bool) -> None:
        """The piece streams, as soon as all that it waits for is there."""
        ready = wanted = self.ended
        if opens:
            ready, wanted = self._open(one)
            self._settle()
        wanted = max(wanted, self.first or 0)
        start = max(wanted, self.stored) if opens and one.opens else wanted
        end = max(start + ticks, self.last or 0)
        late = max(0, self.timing.latency - self.queued)
        self._wait(late, wanted - ready, end - start - ticks, opens and self.timing.held)
        self.write_back += start - wanted
        self.started_before, self.started = self.started, start
        self.ended_before, self.ended = self.ended, end
        self.free = max(self.free, self.started_before)
        if opens:
            self.fold_started = start
            self.drained = self.ended_before + (self.timing.shift if self.warm else 0)
            self.warm = min(2, self.warm + 1)
        if one.spilled > 0:
            self.slots, self.shares, self.there = 1, one.spilled, start + self.timing.shift

    def closes(self, one: Pieces) -> None:
        """A fold has streamed: its results, and what shifts behind it."""
        timing = self.timing
        if timing.period == BACK_TO_BACK and not timing.held:
            shown = max(0, timing.shift - one.ticks) if self.warm > 1 else 0
            seen = max(0, self.drained - self.ended)
            self.ended += seen
            self._hide(shown - seen)
        self.last_ticks = one.ticks
        first = self.fold_started + timing.shift
        self.finished = self.ended + timing.fill
        if not timing.held:
            behind = first if self.warm > 1 and timing.period == HIDDEN else 0
            first = max(self.ended + timing.fill, behind)
            self.finished = first + (0 if timing.period == UNCOUNTED else timing.shift)
        if one.share > 0:
            self.slots, self.shares, self.there = one.shares, one.share, first
        # Times that no longer matter are brought up to the end of the fold, so that folds recur.
        self.stored = max(self.stored, self.ended)
        self.drained = self.ended
        if self.slots == 0:
            self.there = self.ended
        if self.slots_before == 0:
            self.there_before = self.ended

    def ends(self) -> None:
        """All folds have streamed: what is waited for from now on is for results to leave."""
        if self.warm > 1 and self.timing.period == HIDDEN and not self.timing.held:
            self._show()
        self._settle()

    def left_all(self) -> int:
        """The last results have left: when the array is done."""
        done = max(self.finished, self.free)
        self.write_back += done - self.finished
        return done

    def _open(self, one: Pieces) -> tuple[int, int]:
        """When a fold could start if nothing had to be loaded, and when with what it holds."""
        timing = self.timing
        ready = self._behind()
        if timing.period == EXPOSED and (self.warm or timing.held):
            ready += one.shift
        if timing.period == UNCOUNTED or not timing.held:
            return ready, max(ready, self.x_last or 0)
        lead = 0
        if timing.period == BACK_TO_BACK:
            lead = TICKS
            ready = max(ready, timing.shift + lead)
        held = max((self.x_first or 0) + one.shift, self.x_last or 0) + lead
        return ready, max(ready, held)

    def _behind(self) -> int:
        """When a fold could start if it neither shifted anything in nor loaded."""
        timing, free = self.timing, self.ended
        if self.warm and timing.period != BACK_TO_BACK:
            free += timing.fill
        hidden = timing.period == HIDDEN and (self.warm > 1 or timing.held)
        back = timing.period == BACK_TO_BACK and self.warm > 0 and timing.held
        if hidden or back:
            if back or not timing.held:
                self._show()
            free = max(free, self.fold_started + timing.shift)
        return free

    def _show(self) -> None:
        """What waits hid of a shift behind the fold before is no wait."""
        timing = self.timing
        behind = timing.fill if timing.period == HIDDEN else 0
        shown = max(0, timing.shift - self.last_ticks - behind)
        seen = max(0, self.fold_started + timing.shift - self.ended - behind)
        self._hide(shown - seen)

    def _hide(self, ticks: int) -> None:
        bandwidth = min(ticks, self.own_bandwidth)
        latency = min(ticks - bandwidth, self.own_latency)
        self.own_bandwidth -= bandwidth
        self.own_latency -= latency
        self.write_back -= ticks - bandwidth - latency

    def _wait(self, late: int, before: int, after: int, opens: bool) -> None:
        """Count what a piece waited for its load before it started and after, latency first."""
        early, later = min(before, late), min(after, max(0, late - before))
        if opens:
            self.latency += early
            self.bandwidth += before - early
        else:
            self.own_latency += early
            self.own_bandwidth += before - early
        self.own_latency += later
        self.own_bandwidth += after - later

    def _settle(self) -> None:
        """What the last fold has waited is counted."""
        self.bandwidth += self.own_bandwidth
        self.latency += self.own_latency
        self.own_bandwidth = self.own_latency = 0


def loads_x(one: Pieces, opens: bool, held: bool) -> bool:
    """Whether a piece loads x: what is held comes with the first piece of its fold."""
    return one.x_loads and (opens or not held)
