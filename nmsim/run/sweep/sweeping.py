"""A sweep: what is not stored yet is run, and stored as it finishes."""

from collections.abc import Iterator
from concurrent.futures import Executor

from nmsim.run.experiment.plan import Plan
from nmsim.run.point import Point
from nmsim.run.store import Outcome, Store
from nmsim.run.sweep.chunks import Workers, finished

__all__ = ["sweep"]


def sweep(
    store: Store, plan: Plan, executor: Executor, workers: Workers
) -> Iterator[list[tuple[int, Outcome]]]:
    """Run the points of a plan that a store lacks; gives what came of them once it is stored.

    Whatever ends it, what it gave is stored, and another sweep of the plan goes on from there.

    Parameters
    ----------
    store
        That has taken the plan down (`Store.begin`).
    executor, workers
        Who runs points, and how many at a time.
    """
    place_of = dict(store.to_run())

    def point_of(number: int) -> Point:
        return plan.point(plan.places[place_of[number]])

    for found in finished(list(place_of), point_of, plan.experiment.keep, executor, workers):
        store.add(found)
        yield found
