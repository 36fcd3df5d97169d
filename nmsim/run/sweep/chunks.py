"""Points in chunks of about a second, through any executor: the one way that sweeps are run.

Chunks begin with one point and grow as points turn out to be short, so that handing them over costs
little beside running them, and a kill loses little. Where a worker is lost with a chunk, its points
are run again, each alone; one that is alone with a worker when that dies again is set aside.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field

from nmsim.errors import NmsimError
from nmsim.run.experiment.schema import Keep
from nmsim.run.point import Point
from nmsim.run.store import Outcome
from nmsim.run.sweep.outcome import Chunk, outcomes

__all__ = ["Workers", "finished"]

_SECONDS = 1.0
"""What a chunk should take."""

_MOST = 512
"""Points of a chunk: beyond, what comes back of one takes long to store."""

_GROWTH = 4
"""A chunk is at most so many times the one that it was measured on."""

_QUEUED = 2
"""Chunks that a worker has at a time: one that it runs, and one that waits for it."""

Found = list[tuple[int, Outcome]]

Workers = int | Callable[[], int]
"""Points that an executor runs at a time, or who knows it as workers come and go."""


@dataclass
class _Line:
    """Points that wait: those that go in chunks, and those that lost a worker, which go alone."""

    points: deque[int]
    point_of: Callable[[int], Point]
    alone: deque[int] = field(default_factory=deque)
    suspects: set[int] = field(default_factory=set)
    size: int = 1

    def take(self, *, idle: bool) -> list[int]:
        """The next chunk; none if nothing waits, or if it waits until all workers are idle."""
        if self.points:
            return [self.points.popleft() for _ in range(min(self.size, len(self.points)))]
        # Alone on the machine, too: two large points may each have memory enough, but not both.
        return [self.alone.popleft()] if self.alone and idle else []

    def learn(self, found: Found) -> None:
        """Fit the size of chunks to what points took."""
        seconds = sum(outcome.seconds for _, outcome in found) / len(found)
        wanted = int(_SECONDS / seconds) if seconds else _MOST
        self.size = max(1, min(wanted, len(found) * _GROWTH, _MOST))

    def lost(self, numbers: list[int], error: BaseException) -> Found:
        """Points whose worker died: one that was alone again is set aside, others wait again."""
        if len(numbers) == 1 and numbers[0] in self.suspects:
            reason = f"it kills the worker that runs it: {error}"
            return [(numbers[0], Outcome(0.0, {}, reason, lost=True))]
        self.suspects.update(numbers)
        self.alone.extend(numbers)
        return []


def finished(
    numbers: Sequence[int],
    point_of: Callable[[int], Point],
    keep: Keep,
    executor: Executor,
    workers: Workers,
) -> Iterator[Found]:
    """Run points and give what came of them, a chunk at a time, as it finishes.

    Parameters
    ----------
    numbers
        What a store calls the points, in the order in which they are begun.
    point_of
        From a number to its point, asked when the point is handed over.
    executor
        In the manner of ``concurrent.futures``; a `BrokenExecutor` of a future is a lost worker.
    workers
        Points that it runs at a time.
    """
    line = _Line(deque(numbers), point_of)
    running: dict[Future[Found], list[int]] = {}
    try:
        while True:
            while len(running) < _QUEUED * _many(workers) and (own := line.take(idle=not running)):
                chunk: Chunk = [(number, point_of(number)) for number in own]
                running[executor.submit(outcomes, chunk, keep)] = own
            if not running:
                return
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                own = running.pop(future)
                found = _found(future, own, line)
                if found:
                    yield found
    finally:
        for future in running:
            future.cancel()


def _many(workers: Workers) -> int:
    return workers() if callable(workers) else workers


def _found(future: Future[Found], own: list[int], line: _Line) -> Found:
    try:
        found = future.result()
    except BrokenExecutor as error:
        return line.lost(own, error)
    except NmsimError:  # of the executor: it cannot go on
        raise
    except Exception as error:  # noqa: BLE001 - of handing over, or of what nobody foresaw
        reason = f"{type(error).__name__}: {error}"
        return [(number, Outcome(0.0, {}, reason, lost=True)) for number in own]
    line.learn(found)
    return found
