"""A recipe's schedule as spans of steps in which hardware sees the same masks."""

from collections.abc import Iterator
from dataclasses import dataclass

from nmsim.pattern import DENSE, Pattern
from nmsim.recipes.recipe import Plan, Recipe
from nmsim.recipes.schedules import Schedule

__all__ = ["Span", "spans"]


@dataclass(frozen=True)
class Span:
    """Consecutive steps in which hardware sees the same masks.

    Parameters
    ----------
    first, steps
        The first step, counted from 0, and how many.
    stage
        "dense" before the schedule prunes, "decay" while pruned weights fade out, "structure" while
        patterns are not yet the target's, "sparse" with masks at their patterns.
    patterns
        Of every offer of the recipe; DENSE where hardware is offered none.
    """

    first: int
    steps: int
    stage: str
    patterns: tuple[Pattern, ...]


def spans(recipe: Recipe, pattern: Pattern, steps: int) -> Iterator[Span]:
    """A recipe's schedule as spans of steps that hardware sees alike.

    States never come back once a schedule has left them, so that the end of each is found by
    bisection.

    Parameters
    ----------
    pattern
        Of offers that name none.
    steps
        Of the run, 1 or more.
    """
    targets = tuple(offer.pattern or pattern for offer in recipe.operands)
    schedules = [
        _schedule(recipe, number, targets[number], steps) for number in range(len(targets))
    ]
    begins = round(recipe.schedule.dense * steps) if recipe.schedule else 0

    def state(step: int) -> tuple[str, tuple[Pattern, ...]]:
        if step < begins:
            return "dense", tuple(s.at(step).pattern for s in schedules)
        states = [s.at(step) for s in schedules]
        seen = tuple(DENSE if each.decay else each.pattern for each in states)
        if any(each.decay for each in states):
            return "decay", seen
        return "sparse" if seen == targets else "structure", seen

    first = 0
    while first < steps:
        here = state(first)
        last, beyond = first, steps
        while beyond - last > 1:
            middle = (last + beyond) // 2
            if state(middle) == here:
                last = middle
            else:
                beyond = middle
        yield Span(first, beyond - first, *here)
        first = beyond


def _schedule(recipe: Recipe, number: int, target: Pattern, steps: int) -> Schedule:
    """The schedule of one offer: the recipe's if it governs the role, else the target."""
    plan = recipe.schedule
    if plan is None or recipe.operands[number].role not in plan.roles:
        return Plan().over(target, steps)
    return plan.over(target, steps)
