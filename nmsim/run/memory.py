"""The memory of a network's training step, by the network's name."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from nmsim.errors import SpecError
from nmsim.network.layer import Bare, Layer
from nmsim.network.tensors import Synthetic
from nmsim.pattern import Pattern
from nmsim.recipes.masking import Setting
from nmsim.recipes.recipe import load_recipe
from nmsim.run.keyword import Keyword, taking
from nmsim.run.point import Subject, check_trains
from nmsim.run.workload import Workload
from nmsim.step.memory import OPTIMIZERS, StepMemory, step_memory

__all__ = ["Keeping", "footprint_of", "memory_footprint"]


@dataclass(frozen=True, kw_only=True)
class Keeping(Subject):
    """The keywords of a memory footprint: those of a subject, and the optimizer."""

    optimizer: Annotated[
        str, Keyword("Whose states stand beside the weights.", choices=OPTIMIZERS)
    ] = "momentum"


@taking(Keeping)
def memory_footprint(step: Keeping) -> StepMemory:
    """Weigh what a training step of a network keeps in memory.

    Raises
    ------
    NmsimError
        for a name or path that cannot be used, or a model that is no network.

    Examples
    --------
    Of 16-bit weights at 2:4 half is kept, and 2 bits beside each: 9/16.

    >>> found = memory_footprint("bert-base", recipe="transposable", hardware="ideal").total()
    >>> (found["recipe"]["weights"] + found["recipe"]["metadata"]) / found["dense"]["weights"]
    0.5625
    """
    return footprint_of(step)


def footprint_of(step: Keeping) -> StepMemory:
    """What a step keeps in memory, layer by layer; ``memory_footprint`` of a value."""
    check_trains(step)
    layers = tuple(_network(step.workload))
    setting, dense = (
        Setting(
            load_recipe(one),
            Pattern.parse(step.pattern),
            Synthetic(),
            step.samples,
            lowering=step.layout,
        )
        for one in (step.recipe, "dense")
    )
    return step_memory(layers, step.machine, setting, dense, step.optimizer)


def _network(workload: Workload) -> Iterator[Layer]:
    if not workload.layers or any(isinstance(layer, Bare) for layer in workload.layers):
        raise SpecError(f"model {workload.name}: expected a network, whose layers have tensors")
    yield from (layer for layer in workload.layers if not isinstance(layer, Bare))
