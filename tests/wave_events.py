"""Tiles over the slots of a GPU as events (simpy): the oracle of ``waves``, and what it cannot do.

Tiles that ask nothing of the channel take exactly the times of ``nmsim.machines.gpu.sm.slots``.
Otherwise the tiles under way contend for it, first come first served, a slice of K at a time.
"""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import simpy

__all__ = ["TileWork", "ends"]

Events = Generator[simpy.Event, Any, None]


class TileWork(NamedTuple):
    """A tile: times in whatever unit the caller counts.

    Parameters
    ----------
    slices
        Of K.
    compute
        Time of one slice once it is there.
    transfer
        Channel time of one slice.
    stages
        Slices in shared memory at once: one being computed, the others on their way.
    rest
        Prologue and epilogue, when neither computes nor loads.
    """

    slices: int
    compute: int
    transfer: int = 0
    stages: int = 2
    rest: int = 0


def ends(tiles: Sequence[TileWork], slots: int, *, latency: int = 0) -> list[int]:
    """When each tile ends, in launch order.

    Parameters
    ----------
    slots
        Tiles under way at most.
    latency
        From the end of a slice's channel time to its arrival.
    """
    env = simpy.Environment()
    launch = _Launch(env, slots, latency)
    done = [env.process(launch.tile(index, tile)) for index, tile in enumerate(tiles)]
    env.run()
    return [launch.ended[index] for index in range(len(done))]


class _Launch:
    """What tiles share: slots and the channel."""

    def __init__(self, env: simpy.Environment, slots: int, latency: int) -> None:
        self.env = env
        self.slots = simpy.Resource(env, capacity=slots)
        self.channel = simpy.Resource(env, capacity=1)
        self.latency = latency
        self.ended: dict[int, int] = {}

    def tile(self, index: int, tile: TileWork) -> Events:
        with self.slots.request() as turn:
            yield turn
            yield self.env.timeout(tile.rest)
            loads = [self._load(tile) for _ in range(min(tile.stages - 1, tile.slices))]
            for piece in range(tile.slices):
                # The stage that the last slice left takes the next that is not on its way.
                if len(loads) < tile.slices:
                    loads.append(self._load(tile))
                yield loads[piece]
                yield self.env.timeout(tile.compute)
        self.ended[index] = int(self.env.now)

    def _load(self, tile: TileWork) -> simpy.Event:
        if tile.transfer == 0:
            return self.env.timeout(0)
        return self.env.process(self._transfer(tile.transfer))

    def _transfer(self, time: int) -> Events:
        with self.channel.request() as turn:
            yield turn
            yield self.env.timeout(time)
        yield self.env.timeout(self.latency)
