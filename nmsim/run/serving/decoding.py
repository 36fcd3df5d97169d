"""Decode steps, one after the other, whose context grows by a token each.

What does not depend on the context is simulated once; what does (attention over the cache, keys
that are made anew of a latent) by pieces (``nmsim.run.serving.growing``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nmsim.network.layer import Bare
from nmsim.result import totals
from nmsim.run.keyword import keywords
from nmsim.run.point import Job, Point, rows
from nmsim.run.serving.growing import summed
from nmsim.run.serving.served import Stage
from nmsim.run.workload import Workload

__all__ = ["Steps", "of_job"]


def of_job(job: Job, scenario: str, **said: Any) -> Point:
    """A point of a job in another scenario, with other tokens, context and batch."""
    own = {one.name: getattr(job, one.name) for one in keywords(Job)}
    return Point(**(own | {"scenario": scenario, "tokens": None, "context": None} | said))


def stage_of(table: Iterable[dict[str, Any]]) -> Stage:
    """What the step of some rows takes."""
    whole = totals(table)["all"]
    return Stage(whole["step_us"], whole["dense_step_us"])


@dataclass(frozen=True)
class Steps:
    """Decode steps from one context to another; none where the last comes before the first.

    Parameters
    ----------
    job
        Whose steps they are.
    batch
        Sequences in a step.
    start, end
        Tokens that were read before the first step, and before the last.
    fixed
        What every step has, whatever its context.
    moving
        Layers whose GEMMs do depend on it.
    """

    job: Job
    batch: int
    start: int
    end: int
    fixed: Stage
    moving: frozenset[str]

    @classmethod
    def of(cls, job: Job, batch: int, start: int, end: int) -> "Steps":
        """The steps of a job; what differs between the first and the last depends on context."""
        ends = [
            of_job(job, "decode", batch=batch, context=one).workload
            for one in (start, max(end, start))
        ]
        both = list(zip(*(one.layers for one in ends), strict=True))
        moving = frozenset(low.name for low, high in both if low != high)
        others = [low for low, _ in both if low.name not in moving]
        first = of_job(job, "decode", batch=batch, context=start)
        fixed = stage_of(rows(first, _only(ends[0], others))) if others else Stage(0.0, 0.0)
        return cls(job, batch, start, end, fixed, moving)

    @property
    def last(self) -> Point:
        """The last step; where none is decoded, the first that would be."""
        return of_job(self.job, "decode", batch=self.batch, context=max(self.start, self.end))

    def at(self, context: int) -> Stage:
        """A step; nothing where no token is decoded."""
        if self.end < self.start:
            return Stage(0.0, 0.0)
        us, dense = self._moving(context)
        return Stage(self.fixed.us + us, self.fixed.dense_us + dense)

    def all(self) -> Stage:
        """All steps, one after the other."""
        if self.end < self.start:
            return Stage(0.0, 0.0)
        steps = self.end - self.start + 1
        us, dense = summed(self._moving, self.start, self.end, self._grain)
        return Stage(steps * self.fixed.us + us, steps * self.fixed.dense_us + dense)

    @property
    def _grain(self) -> float:
        """Microseconds of a cycle of every launch that depends on the context."""
        point = self.last
        moving = (one for one in point.workload.layers if one.name in self.moving)
        repeats = sum(int(getattr(one, "repeat", 1)) for one in moving)
        return 2.0 * repeats / float(point.machine.clock_mhz)

    def _moving(self, context: int) -> tuple[float, float]:
        if not self.moving:
            return 0.0, 0.0
        point = of_job(self.job, "decode", batch=self.batch, context=context)
        workload = point.workload
        own = [layer for layer in workload.layers if layer.name in self.moving]
        stage = stage_of(rows(point, _only(workload, own)))
        return stage.us, stage.dense_us


def _only(workload: Workload, layers: Sequence[Any]) -> Workload:
    """The workload with some of its layers alone; the others are idle."""
    running = {layer.name for layer in layers}
    idle = [
        layer
        for layer in workload.layers
        if not isinstance(layer, Bare) and layer.name not in running
    ]
    return Workload(
        workload.name,
        workload.source,
        layers,
        scenario=workload.scenario,
        idle=[*workload.idle, *idle],
        sequence=workload.sequence,
        splits=workload.splits,
    )
