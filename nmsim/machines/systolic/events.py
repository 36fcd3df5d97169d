"""The memory pipeline as events (simpy): the oracle of the recurrence, and what it cannot do.

One array alone gives exactly the times of ``nmsim.machines.systolic.memory``. Several arrays may
share the channel: then they contend for it, first come first served.
"""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import simpy

__all__ = ["Fold", "finish_times"]

Events = Generator[simpy.Event, Any, None]


class Fold(NamedTuple):
    """A fold: compute time, and channel time of its load, stream and results, ticks."""

    compute: int
    load: int
    stream: int
    store: int


def finish_times(arrays: Sequence[Sequence[Fold]], latency: int) -> list[int]:
    """When each array has finished its folds and its last results have left, ticks.

    Parameters
    ----------
    arrays
        The folds of each array, in order.
    latency
        From the end of a transfer's channel time to its arrival, ticks.
    """
    env = simpy.Environment()
    channel = simpy.Resource(env, capacity=1)
    pipelines = [_Pipeline(env, channel, folds, latency) for folds in arrays]
    env.run()
    return [pipeline.finished for pipeline in pipelines]


class _Pipeline:
    """One array: its folds, and the requests that they make of the channel."""

    def __init__(
        self, env: simpy.Environment, channel: simpy.Resource, folds: Sequence[Fold], latency: int
    ) -> None:
        self.env = env
        self.channel = channel
        self.latency = latency
        self.finished = 0
        env.process(self._run(folds))

    def _transfer(self, ticks: int, latency: int) -> Events:
        with self.channel.request() as turn:
            yield turn
            yield self.env.timeout(ticks)
        yield self.env.timeout(latency)

    def _request(self, ticks: int, latency: int) -> simpy.Event:
        if ticks == 0:
            return self.env.timeout(0)
        return self.env.process(self._transfer(ticks, latency))

    def _run(self, folds: Sequence[Fold]) -> Events:
        done: simpy.Event = self.env.timeout(0)
        loads: list[simpy.Event] = [self._request(folds[0].load, self.latency)] if folds else []
        stores = [done, done]
        for index, fold in enumerate(folds):
            yield loads[index] & stores[index]
            # In this order: what the fold streams comes before what the next one loads.
            streamed = self._request(fold.stream, self.latency)
            if index + 1 < len(folds):
                loads.append(self._request(folds[index + 1].load, self.latency))
            yield streamed & self.env.timeout(fold.compute)
            stores.append(self._request(fold.store, 0))
        yield stores[-1]
        self.finished = int(self.env.now)
