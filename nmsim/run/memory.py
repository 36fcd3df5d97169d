"""The memory of a network's training step, by the network's name."""

from collections.abc import Iterator
from pathlib import Path

from nmsim.errors import SpecError
from nmsim.machines import Machine, load_hardware
from nmsim.network.layer import Bare, Layer
from nmsim.network.tensors import Synthetic
from nmsim.pattern import Pattern
from nmsim.recipes.masking import Setting
from nmsim.recipes.recipe import load_recipe
from nmsim.registry import unknown_name
from nmsim.run.workload import load_workload
from nmsim.step.memory import OPTIMIZERS, Footprint, footprint

__all__ = ["memory_footprint"]


def memory_footprint(
    model: str | Path,
    *,
    recipe: str | Path = "dense",
    pattern: str | Pattern = "2:4",
    batch: int = 1,
    optimizer: str = "momentum",
    hardware: str | Path | Machine = "systolic-128x128-2to4",
) -> Footprint:
    """What a training step of a network keeps in memory.

    Parameters
    ----------
    model
        A network's name or YAML file.
    recipe, pattern
        What is pruned; N:M for masks whose recipe names no pattern of its own.
    batch
        Samples in a training step.
    optimizer
        "sgd", "momentum" or "adam".
    hardware
        Whose operand width, native patterns and metadata count.

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
    if optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", optimizer, OPTIMIZERS)
    layers = tuple(_network(model))
    setting, dense = (
        Setting(load_recipe(one), Pattern.parse(pattern), Synthetic(), batch)
        for one in (recipe, "dense")
    )
    return footprint(layers, load_hardware(hardware), setting, dense, optimizer)


def _network(model: str | Path) -> Iterator[Layer]:
    workload = load_workload(model)
    if not workload.layers or any(isinstance(layer, Bare) for layer in workload.layers):
        raise SpecError(f"model {workload.name}: expected a network, whose layers have tensors")
    yield from (layer for layer in workload.layers if not isinstance(layer, Bare))
