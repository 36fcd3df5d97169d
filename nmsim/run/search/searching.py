"""A search: points are asked for, run as a sweep runs them, judged and told, until enough are."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Protocol

from nmsim.run.experiment import Judge, Plan, Planner, Verdict
from nmsim.run.store import Outcome, Store
from nmsim.run.sweep import Workers, sweep

__all__ = ["Trials", "begun", "search"]


class Trials(Protocol):
    """What a search asks of a study (`nmsim.run.search.study`)."""

    @property
    def judge(self) -> Judge:
        """Makes values of the objectives of a point's sums."""

    @property
    def numbers(self) -> Sequence[int]:
        """Of the combinations that were tried, trial by trial."""

    @property
    def running(self) -> Sequence[int]:
        """Trials that have no end yet."""

    def ask(self) -> None:
        """Begin the next trials."""

    def tell(self, verdicts: Mapping[int, Verdict]) -> None:
        """End trials; one whose point was lost is left to the next search."""


def begun(planner: Planner, trials: Trials, before: Plan | None = None) -> Plan:
    """A plan of all points that are tried so far, and of those that are to be tried next.

    Parameters
    ----------
    before
        The last one.
    """
    trials.ask()
    places = before.places if before else ()
    points = ((number, planner.grid.at(number)) for number in trials.numbers[len(places) :])
    return planner.plan(((number, values or {}) for number, values in points), places)


def search(
    store: Store,
    planner: Planner,
    plan: Plan,
    trials: Trials,
    executor: Executor,
    workers: Workers,
) -> Iterator[list[tuple[int, Outcome]]]:
    """Run trials until there are as many as are wanted; gives what came of points once stored.

    Whatever ends it, what it gave is stored, and another search goes on from there.

    Parameters
    ----------
    store
        That has taken the plan down, and takes down what is tried next.
    plan
        Of what is tried so far (`begun`).
    executor, workers
        Who runs points, and how many at a time.
    """
    while True:
        yield from sweep(store, plan, executor, workers)
        if not trials.running:
            return
        rows = store.points(trials.running)
        verdicts = {n: trials.judge(trials.numbers[n], row) for n, row in rows}
        if len(verdicts) == len(trials.numbers):
            trials.judge.check_first(list(verdicts.values()))
        trials.tell(verdicts)
        plan = begun(planner, trials, plan)
        store.extend(plan)
