"""Running the points of an experiment: by whom, and what is said before, meanwhile and after."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.metadata import version
from typing import Any, NamedTuple

from nmsim.cli.console import progress, tell
from nmsim.errors import SpecError
from nmsim.extras import extra
from nmsim.run.experiment import Plan, Planner
from nmsim.run.point import Point
from nmsim.run.search import begun, search
from nmsim.run.store import Counts, Outcome, Store
from nmsim.run.sweep import Workers, sweep
from nmsim.run.workers import LocalPool

__all__ = ["ClusterKind", "Crew", "Done", "run_grid", "run_search", "searched_line"]

Found = list[tuple[int, Outcome]]


class ClusterKind(StrEnum):
    """What clusters a sweep starts: processes of this machine, or jobs of Slurm."""

    LOCAL = "local"
    SLURM = "slurm"


class Done(NamedTuple):
    """What a sweep ran: points that it computed, and of a search the trials of its front."""

    computed: int
    front: list[int]


@dataclass(frozen=True)
class Crew:
    """Who runs points: processes of this machine, or workers of a Dask cluster.

    Parameters
    ----------
    workers
        Processes, or jobs, at most.
    scheduler
        Address of a cluster's scheduler; empty: none.
    cluster
        Kind of a cluster to start; empty: none.
    """

    workers: int
    scheduler: str = ""
    cluster: str = ""

    @classmethod
    def asked(
        cls, workers: int | None, scheduler: str | None, cluster: ClusterKind | None
    ) -> "Crew":
        """A crew as options say it.

        Raises
        ------
        SpecError, MissingExtra
            for options that do not go together; if Dask is not installed.
        """
        if scheduler is not None and cluster is not None:
            raise SpecError("--cluster: --scheduler is said too, expected one of the two")
        if scheduler is not None and workers is not None:
            raise SpecError("--workers: --scheduler is said too, its cluster has those that it has")
        if cluster is ClusterKind.SLURM and workers is None:
            raise SpecError("--workers is missing, expected how many jobs Slurm may run at a time")
        if scheduler is not None or cluster is not None:
            extra("cluster", "nmsim.run.cluster.pool")
        many = workers or os.cpu_count() or 1
        return cls(many, scheduler or "", str(cluster or ""))

    @property
    def is_here(self) -> bool:
        """Whether points are run by processes of this one."""
        return not (self.scheduler or self.cluster)

    def duration(self, seconds: float) -> str:
        """How long points take that take so long one after the other, and on what."""
        if self.scheduler:  # who knows of workers is asked when there is something to run
            return f"{_duration(seconds)} of one worker of {self.scheduler}"
        here = f"{self.workers} processes"
        return f"{_duration(seconds / self.workers)} on {here if self.is_here else self.cluster}"

    @contextmanager
    def at_work(self, points: int, examples: Sequence[Point]) -> Iterator[tuple[Any, Any]]:
        """An executor, and how many points it runs at a time.

        Parameters
        ----------
        points
            To be run: no more processes are started.
        examples
            Of each machine that they name, a point.
        """
        if self.is_here:
            with LocalPool(min(self.workers, points)) as pool:
                yield pool, pool.workers
            return
        module = "slurm" if self.cluster == ClusterKind.SLURM else "pool"
        clusters, warm = extra("cluster", f"nmsim.run.cluster.{module}"), _small(examples)
        many = min(self.workers, points)
        starts = {
            "": lambda: clusters.connected(self.scheduler, warm),
            "local": lambda: clusters.local(many, warm),
            "slurm": lambda: clusters.slurm(many, warm),
        }
        with starts[self.cluster]() as pool:
            yield pool, pool.workers


def _small(examples: Sequence[Point]) -> list[Point]:
    """A small GEMM on each of the machines that points name."""
    of_machine = {str(point.hardware): point for point in examples}
    asked = ("recipe", "plugins", "pattern", "hardware", "overrides", "fidelity")
    return [
        Point("gemm:64x64x64", **{name: getattr(point, name) for name in asked})
        for point in of_machine.values()
    ]


def run_grid(store: Store, plan: Plan, about: dict[str, Any], crew: Crew) -> Done:
    """Run what is not stored; whatever ends it, what is done is kept, and that is said."""
    before = store.begin(plan, version("nmsim"))
    store.describe(about)
    to_run = len(store.to_run())
    crew = replace(crew, workers=max(1, min(crew.workers, to_run)))
    _tell_plan(before, to_run, store.seconds(), crew)
    if not to_run:
        return Done(0, [])
    with _said_how_to_go_on(store), crew.at_work(to_run, plan.examples) as (pool, workers):
        clock = _Clock(to_run, workers, known=store.seconds() is not None)
        return Done(_followed(sweep(store, plan, pool, workers), to_run, clock), [])


def run_search(
    store: Store,
    planner: Planner,
    plan: Plan,
    about: dict[str, Any],
    crew: Crew,
    *,
    fresh: bool,
) -> Done:
    """Run the trials that a search lacks, in the manner of `run_grid`.

    Parameters
    ----------
    plan
        Of points in which each value that is searched stands.
    fresh
        Forget the folder's searches.
    """
    asked = planner.experiment.search
    assert asked is not None, "run_grid runs what is no search"  # noqa: S101
    studies = extra("search", "nmsim.run.search.study").Study
    with studies.opened(store.path.parent, plan, fresh=fresh) as study:
        tried = len(study.numbers) - len(study.running)
        first = begun(planner, study)
        before = store.begin(first, version("nmsim"))
        store.describe(about)
        tried = min(tried, before.total - before.left)
        left = max(min(asked.trials, len(planner.grid)) - tried, before.left)
        tell(
            f"{asked.trials:,} trials of {len(planner.grid):,} combinations, {tried:,} reused, "
            f"{left:,} to try"
        )
        if not left:
            return Done(0, study.front())
        with _said_how_to_go_on(store), crew.at_work(left, plan.examples) as (pool, many):
            clock = _Clock(left, many, known=False)
            points = search(store, planner, first, study, pool, many)
            return Done(_followed(points, left, clock), study.front())


def searched_line(points: dict[str, int], front: list[int]) -> str:
    """What came of a search."""
    parts = [f"{points['total']:,} trials"]
    parts += [f"{points[name]:,} {name}" for name in ("reused", "computed", "failed")]
    return f"{', '.join(parts)}; {len(front):,} on the front"


def _followed(points: Iterator[Found], many: int, clock: "_Clock") -> int:
    """Show how points are run; how many of them were."""
    computed = 0
    with progress("sweeping", many) as step:
        for found in points:
            computed += sum(not outcome.reason for _, outcome in found)
            clock.learn([outcome.seconds for _, outcome in found])
            for _ in found:
                step()
    return computed


def _tell_plan(before: Counts, to_run: int, seconds: float | None, crew: Crew) -> None:
    """Say first what is asked for, what of it is there, and how long the rest may take."""
    parts = [f"{before.total:,} points", f"{before.total - before.left:,} reused"]
    parts.append(f"{to_run:,} to compute")
    if to_run and seconds is not None:
        parts.append(f"about {crew.duration(seconds * to_run)}")
    elif to_run:
        parts.append("an estimate of the time follows when the first are done")
    tell(", ".join(parts))


class _Clock:
    """Says once how long a sweep will take, from what its first points took."""

    def __init__(self, points: int, workers: Workers, *, known: bool) -> None:
        self._left, self._workers, self._said = points, workers, known
        # A worker's first point loads and compiles what later ones have.
        self._first = _now(workers)
        self._seconds: list[float] = []

    def learn(self, seconds: list[float]) -> None:
        """Take in what points took."""
        self._left -= len(seconds)
        skipped = min(self._first, len(seconds))
        self._first -= skipped
        self._seconds += seconds[skipped:]
        if self._said or len(self._seconds) < min(3, self._left):
            return
        self._said = True
        if self._left:
            mean = sum(self._seconds) / len(self._seconds)
            told = _duration(mean * self._left / _now(self._workers))
            tell(f"about {told} for {self._left:,} more, as the first ones took")


def _now(workers: Workers) -> int:
    return workers() if callable(workers) else workers


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def _said_how_to_go_on(store: Store) -> Iterator[None]:
    try:
        yield
    except BaseException:
        counts = store.counts()
        tell(
            f"{counts.total - counts.left:,} of {counts.total:,} points are stored in "
            f"{store.path}: the same command goes on from there"
        )
        raise
