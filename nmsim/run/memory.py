"""The memory that a network takes in a scenario, by the network's name, and what a machine has."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

from nmsim.errors import NmsimError, SpecError
from nmsim.network.layer import Bare
from nmsim.network.tensors import Synthetic
from nmsim.pattern import Pattern
from nmsim.recipes.masking import Setting
from nmsim.recipes.recipe import Recipe, load_recipe
from nmsim.run.keyword import Keyword, taking
from nmsim.run.point import Subject
from nmsim.step.memory import OPTIMIZERS, Asked, StepMemory, kept, step_memory, summed

__all__ = ["Held", "Keeping", "footprint_of", "held", "memory_footprint"]


@dataclass(frozen=True, kw_only=True)
class Keeping(Subject):
    """The keywords of a memory footprint: those of a subject, and the optimizer."""

    optimizer: Annotated[
        str,
        Keyword("Whose states stand beside the weights, in training.", choices=OPTIMIZERS),
    ] = "momentum"


class Held(NamedTuple):
    """What a run keeps in a machine's memory, and what the machine has; bytes.

    Parameters
    ----------
    memory_bytes
        None: GEMMs without a network do not say.
    capacity_bytes
        None: the machine does not say.
    """

    memory_bytes: int | None
    capacity_bytes: int | None


@taking(Keeping)
def memory_footprint(step: Keeping) -> StepMemory:
    """Weigh what a step of a network keeps in memory, in training or inference.

    Raises
    ------
    NmsimError
        for a name or path that cannot be used, or a model that is no network.

    Examples
    --------
    Of 16-bit weights at 2:4 half is kept, and 2 bits beside each: 9/16.

    >>> found = memory_footprint("bert-base", recipe="transposable", hardware="ideal")
    >>> last, dense = found.layers[-1], found.dense[-1]
    >>> (last.weights + last.metadata) / dense.weights
    0.5625
    """
    return footprint_of(step)


def footprint_of(step: Keeping) -> StepMemory:
    """What a step keeps in memory, layer by layer; ``memory_footprint`` of a value."""
    workload = step.workload
    if not workload.layers or any(isinstance(layer, Bare) for layer in workload.layers):
        raise SpecError(f"model {workload.name}: expected a network, whose layers have tensors")
    asked = _asked(step, step.optimizer)
    setting, dense = (_setting(step, load_recipe(one)) for one in (step.recipe, "dense"))
    return step_memory(asked, setting, dense)


def held(subject: Subject, *recipes: Recipe) -> Held:
    """What a run of a subject keeps in memory, and what its machine has.

    All layers and phases of the scenario, whichever are simulated; in training, the states of SGD
    with momentum. Where sizes or masks of any of these are refused, nothing is known; rows say why.

    Parameters
    ----------
    recipes
        Of these the one that keeps most; none: the subject's.
    """
    capacity, workload = subject.machine.capacity_bytes, subject.workload
    if not workload.layers or any(isinstance(layer, Bare) for layer in workload.layers):
        return Held(None, capacity)
    asked = _asked(subject)
    try:
        found = [
            summed(kept(asked, _setting(subject, recipe)))["all"]
            for recipe in recipes or (load_recipe(subject.recipe),)
        ]
    except NmsimError:
        return Held(None, capacity)
    return Held(max(found), capacity)


def _asked(subject: Subject, optimizer: str = "momentum") -> Asked:
    workload = subject.workload
    layers = tuple(layer for layer in workload.layers if not isinstance(layer, Bare))
    return Asked(layers, workload.idle, workload.scenario, subject.machine, optimizer)


def _setting(subject: Subject, recipe: Recipe) -> Setting:
    pattern = Pattern.parse(subject.pattern)
    return Setting(recipe, pattern, Synthetic(), subject.at_once, lowering=subject.layout)
