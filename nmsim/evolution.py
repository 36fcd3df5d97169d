"""A search for the least of a function that has no derivative and may jump: CMA-ES.

The evolution strategy with covariance matrix adaptation draws a generation of points from a normal
distribution, and moves its mean, its step and its covariance towards the better half. It needs
order only, so that steps in the function do no harm, and it learns how coordinates go together.

Source: Hansen, The CMA Evolution Strategy: A Tutorial, arXiv:1604.00772, equations (5) to (44) with
its default constants.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Least", "least"]

Vector = NDArray[np.float64]


class Least(NamedTuple):
    """The best point that was seen, the function there, and how often it was evaluated."""

    point: Vector
    value: float
    evaluations: int


@dataclass(frozen=True)
class _Rates:
    """Size of a generation, weights of its better half, and rates of learning."""

    drawn: int
    weights: Vector
    mass: float
    path: float
    step: float
    one: float
    many: float
    damping: float

    @classmethod
    def of(cls, size: int) -> "_Rates":
        drawn = 4 + int(3 * np.log(size))
        half = drawn // 2
        weights = np.log(half + 0.5) - np.log(np.arange(1, half + 1))
        weights /= weights.sum()
        mass = float(1 / (weights**2).sum())
        one = 2 / ((size + 1.3) ** 2 + mass)
        step = (mass + 2) / (size + mass + 5)
        return cls(
            drawn=drawn,
            weights=weights,
            mass=mass,
            path=(4 + mass / size) / (size + 4 + 2 * mass / size),
            step=step,
            one=one,
            many=min(1 - one, 2 * (mass - 2 + 1 / mass) / ((size + 2) ** 2 + mass)),
            damping=1 + step + 2 * max(0.0, np.sqrt((mass - 1) / (size + 1)) - 1),
        )


class _State(NamedTuple):
    mean: Vector
    sigma: float
    covariance: Vector
    step_path: Vector
    shape_path: Vector


def _advance(state: _State, best: Vector, axes: Vector, scales: Vector, rates: _Rates) -> _State:
    """The distribution after a generation; ``best`` are its better half's steps, better first."""
    size = len(state.mean)
    moved = rates.weights @ best
    white = axes @ ((axes.T @ moved) / scales)
    step_path = (1 - rates.step) * state.step_path
    step_path = step_path + np.sqrt(rates.step * (2 - rates.step) * rates.mass) * white
    usual = np.sqrt(size) * (1 - 1 / (4 * size) + 1 / (21 * size**2))
    length = float(np.linalg.norm(step_path)) / usual
    # A path that is still growing says nothing of the shape.
    steady = float(length < 1.4 + 2 / (size + 1))
    shape_path = (1 - rates.path) * state.shape_path
    shape_path = shape_path + steady * np.sqrt(rates.path * (2 - rates.path) * rates.mass) * moved
    lost = (1 - steady) * rates.path * (2 - rates.path)
    covariance = (1 - rates.one - rates.many + rates.one * lost) * state.covariance
    covariance = covariance + rates.one * np.outer(shape_path, shape_path)
    covariance = covariance + rates.many * (best.T * rates.weights) @ best
    return _State(
        mean=state.mean + state.sigma * moved,
        sigma=state.sigma * float(np.exp(rates.step / rates.damping * (length - 1))),
        covariance=(covariance + covariance.T) / 2,
        step_path=step_path,
        shape_path=shape_path,
    )


def least(
    function: Callable[[Vector], float],
    start: Vector,
    *,
    step: float,
    generations: int,
    tolerance: float,
    seed: int,
) -> Least:
    """Search from a point for a lower one.

    Parameters
    ----------
    function
        From a point to a finite number.
    step
        Standard deviation of the first generation, the same in all coordinates.
    generations
        At most so many, of 4 + 3 ln(coordinates) points each.
    tolerance
        Stops once no coordinate spreads more than this.
    """
    rng = np.random.default_rng(seed)
    size = len(start)
    rates = _Rates.of(size)
    state = _State(np.array(start, float), step, np.eye(size), np.zeros(size), np.zeros(size))
    found = Least(state.mean, function(state.mean), 1)
    for _ in range(generations):
        variances, axes = np.linalg.eigh(state.covariance)
        scales = np.sqrt(np.maximum(variances, 1e-20))
        steps = (rng.standard_normal((rates.drawn, size)) * scales) @ axes.T
        values = np.array([function(state.mean + state.sigma * one) for one in steps])
        order = np.argsort(values, kind="stable")
        point, value = state.mean + state.sigma * steps[order[0]], float(values[order[0]])
        if value >= found.value:
            point, value = found.point, found.value
        found = Least(point, value, found.evaluations + rates.drawn)
        state = _advance(state, steps[order[: len(rates.weights)]], axes, scales, rates)
        if state.sigma * np.sqrt(np.diag(state.covariance).max()) < tolerance:
            break
    return found
