"""Columns of what a step takes beside its GEMMs: masks, other work, exchanges between machines."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nmsim.files import remembered
from nmsim.machines import Machine, kind_of
from nmsim.mask import SparseGemm
from nmsim.network.layer import Bare, Layer
from nmsim.recipes.masking import Setting
from nmsim.recipes.recipe import Recipe
from nmsim.result import Columns
from nmsim.run.rows.estimate import ESTIMATED, estimate, no_estimate
from nmsim.run.rows.row import by_format
from nmsim.run.workload import Workload
from nmsim.step.communication import communication_us
from nmsim.step.masks import MASK_COLUMNS, Masked, mask_columns

__all__ = ["BesideGemms"]


@dataclass(frozen=True)
class BesideGemms:
    """What a machine does beside the GEMMs of a workload; a trace does not say how masks came.

    Parameters
    ----------
    machine
        As it was asked for.
    setting
        What masks are made of.
    samples
        In a step.
    machines
        That share the network.
    """

    machine: Machine
    workload: Workload
    setting: Setting
    samples: int
    machines: int

    def columns(self, works: Sequence[SparseGemm], *, estimated: bool) -> Columns:
        """Columns of GEMMs, a value for each.

        Parameters
        ----------
        estimated
            Say what of the step is no GEMM, too.
        """
        if self.workload.trace:
            none: list[Any] = [None] * len(works)
            return dict.fromkeys((*MASK_COLUMNS, "communication_us", *ESTIMATED), none)
        formats = by_format(works)
        found = [
            self._in_format(wanted, [works[n] for n in numbers], estimated=estimated)
            for wanted, numbers in formats.items()
        ]
        if len(found) == 1:
            return found[0]
        return _in_order(formats.values(), found)

    def _in_format(
        self, number_format: str, works: Sequence[SparseGemm], *, estimated: bool
    ) -> Columns:
        kind = kind_of(self.machine)
        machine, own = (kind.in_format(self.machine, one).machine for one in (number_format, ""))
        known = _layers(self.workload, self.setting.recipe, self.setting.batch)
        layers = [known[work.gemm.layer] for work in works]
        asked = [
            Masked(recipe, work, weights)
            for work, (_, recipe, weights) in zip(works, layers, strict=True)
        ]
        exchanged = [
            self._exchanged(machine, layer, work)
            for work, (layer, *_) in zip(works, layers, strict=True)
        ]
        rest = estimate(self.workload, self.samples) if estimated else no_estimate
        frozen = not self.workload.scenario.trains
        return {
            **mask_columns(machine, asked, frozen=frozen),
            "communication_us": exchanged,
            **rest(machine, own, works),
        }

    def _exchanged(self, machine: Machine, layer: Layer | Bare, work: SparseGemm) -> float | None:
        if self.machines == 1 or isinstance(layer, Bare):
            return None
        split = self.workload.splits.get(layer.name)
        batch = self.setting.batch
        return communication_us(machine, layer, work.gemm, split, batch, self.machines)


@remembered(maxsize=16)
def _layers(
    workload: Workload, recipe: Recipe, batch: int
) -> Mapping[str, tuple[Layer | Bare, Recipe, int]]:
    """Layers by name, the recipe as each meets it, and elements of its weight."""
    return {
        layer.name: (layer, recipe.on(layer), math.prod(layer.shape("weight", batch)))
        for layer in workload.layers
    }


def _in_order(places: Iterable[Sequence[int]], found: Sequence[Columns]) -> Columns:
    """Columns of some rows each, as columns of all: which they are, of each."""
    order = [place for some in places for place in some]
    back = sorted(range(len(order)), key=order.__getitem__)
    joined = {name: [v for one in found for v in one[name]] for name in found[0]}
    return {name: [values[i] for i in back] for name, values in joined.items()}
