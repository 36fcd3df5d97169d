"""The search for the least of a function that has no derivative and may jump: CMA-ES.

The evolution strategy with covariance matrix adaptation draws a generation of points from a normal
distribution, and moves its mean, its step and its covariance towards the better half. It needs
order only, so that steps in the function do no harm, and it learns how coordinates go together.

The strategy itself is the library ``cmaes`` (extra ``calibrate``), so this module is imported
through ``nmsim.extras`` alone.

Source: Nomura and Shibata, cmaes: A Simple yet Practical Python Library for CMA-ES,
arXiv:2402.01373; Hansen, The CMA Evolution Strategy: A Tutorial, arXiv:1604.00772.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from cmaes import CMA
from numpy.typing import NDArray

__all__ = ["Least", "least"]

Vector = NDArray[np.float64]


class Least(NamedTuple):
    """The best point that was seen, the function there, and how often it was evaluated."""

    point: Vector
    value: float
    evaluations: int


def least(
    function: Callable[[Vector], float],
    start: Vector,
    *,
    step: float,
    generations: int,
    tolerance: float,
    seed: int,
) -> Least:
    """Search from a point for a lower one; the start itself is the first that is tried.

    Parameters
    ----------
    function
        From a point to a finite number.
    step
        Standard deviation of the first generation, the same in all coordinates.
    generations
        At most so many, of 4 + 3 ln(coordinates) points each.
    tolerance
        Stops once the points of a generation deviate by less than this in every coordinate, or
        where ``cmaes`` sees that no further generation can differ from the last ones.
    seed
        Any integer from 0 up.
    """
    # The library's generator takes 32 bits; a sequence folds a longer seed into them.
    bits = int(np.random.SeedSequence(seed).generate_state(1)[0])
    strategy = CMA(mean=np.array(start, float), sigma=step, seed=bits)
    found = Least(start, function(start), 1)
    for _ in range(generations):
        points = [strategy.ask() for _ in range(strategy.population_size)]
        drawn = [(point, function(point)) for point in points]
        point, value = min(drawn, key=lambda one: one[1])
        if value >= found.value:
            point, value = found.point, found.value
        found = Least(point, value, found.evaluations + len(drawn))
        strategy.tell(drawn)
        if np.std(points, axis=0).max() < tolerance or strategy.should_stop():
            break
    return found
