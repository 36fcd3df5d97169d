"""The trials of a search: Optuna's study, in memory while it runs, in a file as it goes on.

``search.sqlite`` holds a study for each search that ran in its folder, as Optuna's own tools read
it. A generation of trials is written before any of it is run, and each trial's values once its
point is stored: whatever ends a search, the next one takes up what was left running.

The studies are of the library ``optuna`` (extra ``search``), so this module is imported through
``nmsim.extras`` alone.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from nmsim.cost.technology import load_technology
from nmsim.errors import SpecError
from nmsim.run.experiment import Judge, Plan, Search, Verdict
from nmsim.run.search.sampling import POPULATION, Unseen, distributions
from nmsim.run.search.space import Exhausted, Space

__all__ = ["SEARCH", "Study"]

SEARCH = "search.sqlite"

_STATES = {True: TrialState.COMPLETE, False: TrialState.FAIL}


@dataclass
class Study:
    """The study of a search, open to go on: `opened` gives one.

    Parameters
    ----------
    space
        What is searched.
    judge
        What is looked for.
    numbers
        Of the combinations that were tried, trial by trial.
    running
        Trials that have no end yet.
    """

    space: Space
    judge: Judge
    _live: optuna.Study
    _kept: optuna.Study
    _storages: tuple[BaseStorage, BaseStorage]
    numbers: list[int] = field(default_factory=list)
    running: list[int] = field(default_factory=list)
    _ended: bool = False

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, plan: Plan, *, fresh: bool = False) -> Iterator["Study"]:
        """Open the study of a search in a folder, or begin one.

        Parameters
        ----------
        plan
            Of an experiment that searches, in whose points each value of each field stands
            (`Planner.covering`): they tell the code and the files that results follow from. Where
            these are others, a study is another.
        fresh
            Remove what the folder's file holds.

        Raises
        ------
        SpecError
            naming the file: it cannot be written, or holds no studies.
        """
        path = folder / SEARCH
        if fresh:
            for end in ("", "-journal"):
                path.with_name(path.name + end).unlink(missing_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        search = plan.experiment.search
        assert search is not None, "what is no search has no study"  # noqa: S101
        try:
            kept, storage = _kept(path, plan, search)
        except Exception as error:  # of Optuna, SQLAlchemy or SQLite, as the damage may be
            why = next(iter(str(error).splitlines()), type(error).__name__)
            raise SpecError(f"{path}: holds no studies, or cannot be written ({why})") from error
        memory = InMemoryStorage()
        live = optuna.create_study(directions=kept.directions, storage=memory)
        space = Space(plan.grid)
        live.sampler = Unseen(space, search.sampler, search.seed)
        study = cls(space, Judge(search, plan.grid), live, kept, (memory, storage))
        try:
            study._take_up()
            yield study
        finally:
            storage.engine.dispose()

    def _take_up(self) -> None:
        """Have what the file has."""
        for trial in self._kept.get_trials(deepcopy=False):
            self._live.add_trial(trial)
            self._begin(trial.params)
            if trial.state.is_finished():
                self.running.remove(trial.number)

    def _begin(self, params: Mapping[str, int]) -> int:
        """Take down a trial's combination; its number in the grid."""
        number = self.space.number([params[name] for name in self.space.names])
        self.running.append(len(self.numbers))
        self.numbers.append(number)
        self.space.seen.add(number)
        return number

    def ask(self) -> None:
        """Begin the trials of the next generation, or those that the last one lacks."""
        begun = len(self.numbers)
        generation = -(-(begun + (not self.running)) // POPULATION)
        most = min(generation * POPULATION, self.judge.search.trials)
        asked: list[FrozenTrial] = []
        # What a trial without a combination leaves in memory is behind all others: none follows.
        with suppress(Exhausted):
            asked.extend(self._asked() for _ in range(begun, 0 if self._ended else most))
        self._ended = len(asked) < most - begun
        for trial in asked:
            self._kept.add_trial(trial)

    def _asked(self) -> FrozenTrial:
        """A trial that was begun in memory, as the file is to have it."""
        asked = self._live.ask(distributions(self.space))
        trial = self._live.get_trials(deepcopy=False)[asked.number]
        number = self._begin(trial.params)
        values = {name: _told(value) for name, value in self.space.values(number).items()}
        return create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={"values": values},
            system_attrs=trial.system_attrs,
        )

    def tell(self, verdicts: Mapping[int, Verdict]) -> None:
        """End trials, by number, as their points were judged.

        One whose point was lost runs on in the file: the next search takes it up.
        """
        self.running = [number for number in self.running if number not in verdicts]
        ended = {number: one for number, one in verdicts.items() if not one.lost}
        for number, verdict in ended.items():
            constraints = {
                text: float(broken)
                for text, broken in zip(
                    self.judge.search.constraints, verdict.violated, strict=False
                )
            }
            attributes = create_trial(state=TrialState.FAIL, constraints=constraints).system_attrs
            for study, storage in zip((self._live, self._kept), self._storages, strict=True):
                of_study = storage.get_study_id_from_name(study.study_name)
                trial = storage.get_trial_id_from_study_id_trial_number(of_study, number)
                for name, value in attributes.items():
                    storage.set_trial_system_attr(trial, name, value)
                if verdict.reason:
                    storage.set_trial_user_attr(trial, "reason", verdict.reason)
                state = _STATES[bool(verdict.values)]
                storage.set_trial_state_values(trial, state, verdict.values or None)

    def front(self) -> list[int]:
        """Trials that no other is better than in all objectives, of those that may be."""
        with suppress(ValueError):  # none is complete
            return sorted(trial.number for trial in self._live.best_trials)
        return []


def _kept(path: Path, plan: Plan, search: Search) -> tuple[optuna.Study, RDBStorage]:
    storage = RDBStorage(f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": 60}})
    study = optuna.create_study(
        study_name=f"{plan.experiment.title} {_identity(plan, search)}",
        directions=list(search.objectives.values()),
        storage=storage,
        load_if_exists=True,
    )
    study.set_user_attr("objectives", list(search.objectives))
    return study, storage


def _identity(plan: Plan, search: Search) -> str:
    """Of all that decides which points a search tries, but how many."""
    grid, whole = plan.grid, hashlib.sha256(b"".join(place.key for place in plan.places))
    # What areas are priced by, which no point's key has: it changes no row.
    for name in sorted({str(plan.point(place).technology) for place in plan.places}):
        whole.update(load_technology(name).model_dump_json().encode())
    derived = [(name, one.text) for name, one in grid.derived]
    conditions = [one.text for one in grid.conditions]
    said = search.model_dump(exclude={"trials"})
    fixed = sorted(grid.fixed.items())
    whole.update(repr((grid.axes, derived, conditions, said, fixed)).encode())
    return whole.hexdigest()[:12]


def _told(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
