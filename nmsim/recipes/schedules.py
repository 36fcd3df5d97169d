"""Masks and patterns as functions of the training step, and the decay of SR-STE.

Bambhaniya et al. (2025, section 3) relax N:M pruning while training: mask decay (MDGF) lets pruned
weights fade out, structure decay (SDGF) starts from patterns that prune less, or coarser.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmsim.errors import PatternError, SpecError
from nmsim.pattern import DENSE, Pattern
from nmsim.registry import Registry, unknown_name

__all__ = [
    "SCHEDULES",
    "Schedule",
    "State",
    "decayed",
    "exponential_decay",
    "geometric_patterns",
    "linear_decay",
    "schedule",
    "srste_step",
    "stepwise_patterns",
]


@dataclass(frozen=True)
class State:
    """What a schedule asks for at one step.

    Parameters
    ----------
    pattern
        Of the mask; DENSE while nothing is pruned.
    decay
        Factor of the pruned weights: 0 for a binary mask.
    """

    pattern: Pattern
    decay: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """A training run: dense steps, steps that sparsify, and steps that fine-tune.

    Parameters
    ----------
    target
        Pattern of the fine-tuning steps.
    steps
        Of the whole run; any unit, steps or epochs.
    sparsify
        State after ``j`` of ``span`` sparsifying steps.
    dense_steps, finetune_steps
        At the start and at the end of the run.

    Raises
    ------
    SpecError
        if the phases are longer than the run, or negative.
    """

    target: Pattern
    steps: int
    sparsify: Callable[[int, int], State]
    dense_steps: int = 0
    finetune_steps: int = 0

    def __post_init__(self) -> None:
        """Refuse dense and fine-tuning steps that do not fit into the run."""
        phases = (self.dense_steps, self.finetune_steps)
        if min(phases) < 0 or sum(phases) > self.steps:
            raise SpecError(
                f"schedule of {self.steps} steps: {self.dense_steps} dense and "
                f"{self.finetune_steps} fine-tuning ones do not fit"
            )

    def at(self, step: int) -> State:
        """Look up one step, counted from 0; after the last one the target stays."""
        span = self.steps - self.dense_steps - self.finetune_steps
        j = step - self.dense_steps
        if j < 0:
            return State(DENSE)
        return self.sparsify(j, span) if j < span else State(self.target)


def linear_decay(beta: float, j: int) -> float:
    """MDGF-linear: max(1 - beta j, 0) after ``j`` sparsifying steps."""
    return max(1.0 - beta * j, 0.0)


def exponential_decay(beta: float, j: int, cutoff: float = 0.0) -> float:
    """MDGF-exponential: exp(-beta j), and 0 once that is below ``cutoff``.

    The exponential itself never reaches 0, so without a cutoff the mask is never binary.
    """
    decay = math.exp(-beta * j)
    return decay if decay >= cutoff else 0.0


def stepwise_patterns(pattern: Pattern) -> tuple[Pattern, ...]:
    """SDGF-stepwise: M-1 : M, then M/2^d : M until the target.

    Raises
    ------
    PatternError
        unless M / N is a power of two, two or more.

    Examples
    --------
    >>> [str(p) for p in stepwise_patterns(Pattern(1, 8))]
    ['7:8', '4:8', '2:8', '1:8']
    """
    ratio, rest = divmod(pattern.group, pattern.keep)
    if rest or ratio < 2 or ratio & (ratio - 1):
        raise PatternError(f"pattern {pattern}: sdgf-stepwise expects M / N of 2, 4, 8, ...")
    halves = [pattern.group >> d for d in range(1, ratio.bit_length())]
    kept = [pattern.group - 1, *halves] if pattern.group > 2 else halves
    return tuple(Pattern(keep, pattern.group) for keep in kept)


def geometric_patterns(pattern: Pattern, k: int = 16) -> tuple[Pattern, ...]:
    """SDGF-geometric: k N / 2^d : k M / 2^d, at constant density, until the target.

    Raises
    ------
    SpecError
        unless k is a power of two.

    Examples
    --------
    >>> [str(p) for p in geometric_patterns(Pattern(1, 8))]
    ['16:128', '8:64', '4:32', '2:16', '1:8']
    """
    if not isinstance(k, int) or k < 1 or k & (k - 1):
        raise SpecError(f"sdgf-geometric, k: {k}, expected a power of two")
    factors = [k >> d for d in range(k.bit_length())]
    return tuple(Pattern(pattern.keep * f, pattern.group * f) for f in factors)


def _in_turn(patterns: tuple[Pattern, ...]) -> Callable[[int, int], State]:
    """Share the steps out evenly; pattern i starts at step floor(i span / count)."""

    def sparsify(j: int, span: int) -> State:
        count = len(patterns)
        return State(patterns[min(((j + 1) * count - 1) // span, count - 1)])

    return sparsify


SCHEDULES: Registry[Callable[..., Callable[[int, int], State]]] = Registry("schedule")


def _check_beta(name: str, beta: float | None) -> None:
    if beta is not None and not beta > 0:
        raise SpecError(f"{name}, beta: {beta}, expected a rate above 0")


@SCHEDULES.register("mdgf-linear")
def _mdgf_linear(pattern: Pattern, beta: float | None = 2e-4) -> Callable[[int, int], State]:
    _check_beta("mdgf-linear", beta)

    def sparsify(j: int, span: int) -> State:
        return State(pattern, linear_decay(1 / span if beta is None else beta, j))

    return sparsify


@SCHEDULES.register("mdgf-exponential")
def _mdgf_exponential(
    pattern: Pattern, beta: float | None = 2e-4, cutoff: float = 0.0
) -> Callable[[int, int], State]:
    _check_beta("mdgf-exponential", beta)
    if beta is None and not 0 < cutoff < 1:
        raise SpecError("mdgf-exponential without beta: expected a cutoff between 0 and 1")
    if not 0 <= cutoff <= 1:
        raise SpecError(f"mdgf-exponential, cutoff: {cutoff}, expected a factor from 0 to 1")

    def sparsify(j: int, span: int) -> State:
        rate = -math.log(cutoff) / span if beta is None else beta
        return State(pattern, exponential_decay(rate, j, cutoff))

    return sparsify


@SCHEDULES.register("sdgf-stepwise")
def _sdgf_stepwise(pattern: Pattern) -> Callable[[int, int], State]:
    return _in_turn(stepwise_patterns(pattern))


@SCHEDULES.register("sdgf-geometric")
def _sdgf_geometric(pattern: Pattern, k: int = 16) -> Callable[[int, int], State]:
    return _in_turn(geometric_patterns(pattern, k))


def schedule(
    name: str,
    pattern: str | Pattern,
    steps: int,
    *,
    dense_steps: int = 0,
    finetune_steps: int = 0,
    **parameters: float | None,
) -> Schedule:
    """Make the schedule of a name, with its options.

    Parameters
    ----------
    name
        "mdgf-linear" (beta), "mdgf-exponential" (beta, cutoff), "sdgf-stepwise",
        "sdgf-geometric" (k). beta None: the decay ends with the sparsifying steps.
    pattern
        The target.
    steps, dense_steps, finetune_steps
        As in ``Schedule``.
    parameters
        Those of the schedule, by keyword.

    Raises
    ------
    UnknownName, PatternError, SpecError
        for a name, pattern or parameter that the schedule does not have.

    Examples
    --------
    >>> str(schedule("sdgf-stepwise", "1:4", 350).at(116).pattern)
    '2:4'
    """
    target, make = Pattern.parse(pattern), SCHEDULES[name]
    if target.vector:
        raise PatternError(f"pattern {target}: schedule {name!r} sparsifies to N:M, not to V:N:M")
    known = tuple(signature(make).parameters)[1:]
    for parameter in parameters:
        if parameter not in known:
            raise SpecError(f"schedule {name!r}: {unknown_name('option', parameter, known)}")
    return Schedule(target, steps, make(target, **parameters), dense_steps, finetune_steps)


def decayed(weights: ArrayLike, mask: ArrayLike, decay: float) -> NDArray[Any]:
    """Weights of the forward pass under mask decay: w (mask + decay (1 - mask))."""
    array = np.asarray(weights)
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    return np.where(mask, array, array * array.dtype.type(decay))


def srste_step(
    weights: ArrayLike, gradient: ArrayLike, mask: ArrayLike, rate: float, decay: float = 2e-4
) -> NDArray[Any]:
    """Take one step of gradient descent with SR-STE (Zhou et al., ICLR 2021, Eq. 8).

    w - rate (g + decay (1 - mask) w): pruned weights decay a little more, so that masks settle. The
    decay is inside the learning rate; Xu et al. (AAAI 2022, Eq. 6) print it outside.
    """
    array = np.asarray(weights)
    extra = np.where(mask, 0.0, decay * array)
    return array - rate * (np.asarray(gradient) + extra)
