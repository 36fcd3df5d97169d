"""Which combination is tried next: Optuna's samplers over a space of which none is tried twice.

The samplers are the library ``optuna`` (extra ``search``), so this module is imported through
``nmsim.extras`` alone. A sampler is made anew for every trial, from the seed and the trial's
number: what it suggests depends on nothing else than the trials that are finished.

Sources: Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II, IEEE Transactions
on Evolutionary Computation 6(2), 2002; Ozaki et al., Multiobjective Tree-Structured Parzen
Estimator, Journal of Artificial Intelligence Research 73, 2022.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from nmsim.run.search.space import Space, Steps

__all__ = ["POPULATION", "Unseen", "distributions"]

POPULATION = 40
"""Trials of a generation, and of what is asked for at a time."""


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The axes of a space as Optuna has them: which of an axis' values."""
    return {
        name: IntDistribution(0, size - 1)
        if ordered
        else CategoricalDistribution(tuple(range(size)))
        for name, size, ordered in zip(space.names, space.sizes, space.ordered, strict=True)
    }


class Generations(NSGAIISampler):
    """NSGA-II whose parents stand in one order, whether they were chosen just now or before."""

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        """Parents in the order of trials: as they are chosen they stand in another."""
        parents: list[FrozenTrial] = super().get_parent_population(study, generation)
        return sorted(parents, key=lambda trial: trial.number)


def _evolution(seed: int) -> BaseSampler:
    return Generations(population_size=POPULATION, seed=seed)


def _estimator(seed: int) -> BaseSampler:
    return TPESampler(n_startup_trials=0, seed=seed)


SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {"nsga2": _evolution, "tpe": _estimator}
"""By the name that an experiment gives them."""


class Unseen(BaseSampler):
    """Suggests, for one trial, what a sampler of Optuna does, or the nearest that was not tried.

    Parameters
    ----------
    space
        Of combinations, and which of them were tried.
    name
        Of the sampler: a key of ``SAMPLERS``.
    seed
        Of the search.
    """

    def __init__(self, space: Space, name: str, seed: int) -> None:
        self._space = space
        self._name, self._seed = name, seed
        self._start = space.start(POPULATION, seed)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All axes, of every trial."""
        del study, trial
        return distributions(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A combination that is left.

        Raises
        ------
        Exhausted
            if none is.
        """
        bits = np.random.SeedSequence([self._seed, trial.number])
        draw = np.random.default_rng(bits)
        wanted = self._wanted(study, trial, search_space, int(bits.generate_state(1)[0]), draw)
        number = self._space.unseen(wanted, draw)
        return dict(zip(search_space, self._space.steps(number), strict=True))

    def _wanted(
        self,
        study: Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
        seed: int,
        draw: np.random.Generator,
    ) -> Steps:
        """What Optuna's sampler wants; of the first trials, what fills the space evenly."""
        inner = SAMPLERS[self._name](seed)
        found = inner.sample_relative(study, trial, search_space)
        if trial.number < len(self._start):
            first: Steps = self._start[trial.number]
            return first
        other = dict(zip(search_space, self._space.random(draw), strict=True))
        return tuple(map(int, (other | found).values()))

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Never asked: a trial without a combination is not begun."""
        raise NotImplementedError(param_name, study, trial, param_distribution)
