"""The combinations that a search may ask for, each by its number in the grid, no one twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import qmc

from nmsim.run.experiment.axes import Axis
from nmsim.run.experiment.grid import Grid

__all__ = ["Exhausted", "Space"]

Steps = tuple[int, ...]
"""For each axis, which of its values."""

_NEAR = 64
"""Moves from a combination that was asked for already, before any other is as good."""

_PER_RADIUS = 16
"""Moves over so many axes as the last ones, before one more is moved."""

_SCANNED = 1_000_000
"""Combinations that are looked through for one that is left, where guesses find none."""


class Exhausted(Exception):
    """No point is left that was not asked for, of those that could be looked through."""


@dataclass
class Space:
    """A grid and what of it was asked for: gives combinations that were not, and are points.

    Parameters
    ----------
    grid
        Whose axes are searched. Numbers along an axis are in order; texts are not.
    seen
        Numbers of combinations that were asked for.
    """

    grid: Grid
    seen: set[int] = field(default_factory=set)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the axes that have more than one value: their fields, joined by spaces."""
        return tuple(" ".join(axis.names) for axis in self._axes)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """How many values each of these has."""
        return tuple(len(axis.values) for axis in self._axes)

    @cached_property
    def ordered(self) -> tuple[bool, ...]:
        """Whether the values of each rise or fall, so that neighbours are alike."""
        return tuple(map(_is_ordered, self._axes))

    @cached_property
    def _axes(self) -> tuple[Axis, ...]:
        return tuple(axis for axis in self.grid.axes if len(axis.values) > 1)

    def number(self, steps: Sequence[int]) -> int:
        """The number in the grid of a combination."""
        number = 0
        for size, step in zip(self.sizes, steps, strict=True):
            number = number * size + int(step)
        return number

    def steps(self, number: int) -> Steps:
        """The combination that has a number."""
        found = []
        for size in reversed(self.sizes):
            number, step = divmod(number, size)
            found.append(step)
        return tuple(reversed(found))

    def start(self, many: int, seed: int) -> list[Steps]:
        """Combinations that fill the space evenly: a scrambled sequence of Halton's.

        Source: Owen, A randomized Halton algorithm in R, arXiv:1706.02808.
        """
        if not self.sizes:
            return [()] * many
        shares = qmc.Halton(len(self.sizes), seed=np.random.default_rng(seed)).random(many)
        return [tuple(map(int, row)) for row in (shares * self.sizes).astype(int)]

    def unseen(self, steps: Steps, draw: np.random.Generator) -> int:
        """The combination itself, or one near it that was not asked for and is a point.

        Raises
        ------
        Exhausted
            if none is left.
        """
        for attempt in range(_NEAR):
            if self._is_left(number := self.number(steps)):
                return number
            steps = self._moved(steps, 1 + attempt // _PER_RADIUS, draw)
        for _ in range(_NEAR):
            number = int(draw.integers(len(self.grid)))
            if self._is_left(number):
                return number
        first = int(draw.integers(len(self.grid)))
        for further in range(min(len(self.grid), _SCANNED)):
            if self._is_left(number := (first + further) % len(self.grid)):
                return number
        raise Exhausted

    def random(self, draw: np.random.Generator) -> Steps:
        """Any combination."""
        return tuple(int(draw.integers(size)) for size in self.sizes)

    def values(self, number: int) -> Mapping[str, Any]:
        """What is varied, of a combination."""
        found = self.grid.at(number) or {}
        return {one.name: found[one.name] for one in self.grid.fields if one.name in found}

    def _is_left(self, number: int) -> bool:
        return number not in self.seen and self.grid.at(number) is not None

    def _moved(self, steps: Steps, axes: int, draw: np.random.Generator) -> Steps:
        """A combination that differs in some axes: by one step where they are ordered."""
        moved = list(steps)
        chosen = draw.choice(len(moved), min(axes, len(moved)), replace=False) if moved else ()
        for at in map(int, chosen):
            if self.ordered[at]:
                moved[at] = _beside(steps[at], self.sizes[at], draw)
            else:
                moved[at] = int(draw.integers(self.sizes[at]))
        return tuple(moved)


def _beside(step: int, size: int, draw: np.random.Generator) -> int:
    """One step up or down, within an axis."""
    if step in (0, size - 1):
        return 1 if step == 0 else size - 2
    return step + (1 if draw.random() < 0.5 else -1)


def _is_ordered(axis: Axis) -> bool:
    values = [value for value, *more in axis.values if not more]
    if len(values) < len(axis.values) or not all(_is_number(value) for value in values):
        return False
    rising = [low < high for low, high in pairwise(values)]
    return all(rising) or not any(rising)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
