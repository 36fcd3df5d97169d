"""What a training step keeps in memory, part by part, against the dense step."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from nmsim.errors import SpecError
from nmsim.gemm import Gemm
from nmsim.hardware import IdealMachine, Machine, load_hardware
from nmsim.layer import Bare, Layer, Matmul
from nmsim.operand import OPERANDS, Role
from nmsim.overhead import operand_bits
from nmsim.pattern import Pattern
from nmsim.pruning import PRUNERS
from nmsim.recipe import Offer, Recipe, load_recipe
from nmsim.registry import unknown_name
from nmsim.workload import load_workload

__all__ = ["ASSUMPTIONS", "OPTIMIZERS", "Footprint", "Kept", "Optimizer", "memory_footprint"]

Optimizer = Literal["sgd", "momentum", "adam"]

OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)

_STATES = {"sgd": 0, "momentum": 1, "adam": 2}
"""Values that an optimizer keeps for every weight."""

MASTER_BITS = 32
"""Of a master weight and of an optimizer's state."""

ASSUMPTIONS = (
    "weights: as forward and backward read them, packed where a mask is offered that the machine",
    "  can use, else dense; for each phase, as groups lie along K (one copy on an ideal machine)",
    "metadata: of packed weights and activations",
    "masks: one bit a weight if one mask serves several steps or phases",
    "masters, optimizer: fp32, dense (pruned weights may come back); no masters of 32-bit operands",
    "gradients: of weights, dense, as wide as operands",
    "activations: inputs of GEMMs from forward to update, of strided windows what they read; one",
    "  that several layers share counts for each; packed where update is offered their mask and",
    "  that is smaller; nothing that elementwise work keeps",
    "workspace: of the layer that takes most: gradients of its output and input, and a packed copy",
)
"""What the figures rest on, line by line."""


@dataclass(frozen=True)
class Kept:
    """Bytes that one layer keeps, all repeats; ``workspace`` is of one block."""

    layer: str
    weights: int
    metadata: int
    masks: int
    masters: int
    gradients: int
    optimizer: int
    activations: int
    workspace: int


PARTS = tuple(field.name for field in fields(Kept) if field.name != "layer")


@dataclass(frozen=True)
class Footprint:
    """What a recipe's step keeps, layer by layer, and the dense one.

    Parameters
    ----------
    layers, dense
        Of the recipe and of the same step with nothing pruned.
    """

    layers: tuple[Kept, ...]
    dense: tuple[Kept, ...]

    def total(self) -> dict[str, dict[str, Any]]:
        """Bytes of every part and of all: ``dense``, ``recipe`` and their ``ratio``."""
        dense, recipe = _summed(self.dense), _summed(self.layers)
        ratio = {part: recipe[part] / dense[part] if dense[part] else None for part in dense}
        return {"dense": dense, "recipe": recipe, "ratio": ratio}


def _summed(layers: tuple[Kept, ...]) -> dict[str, int]:
    parts = {part: sum(getattr(layer, part) for layer in layers) for part in PARTS}
    parts["workspace"] = max(layer.workspace for layer in layers)
    return {**parts, "all": sum(parts.values())}


class _Bytes(NamedTuple):
    """What is stored, and what tells where it belongs."""

    values: float
    metadata: float = 0.0


@dataclass(frozen=True)
class _Step:
    machine: Machine
    recipe: Recipe
    pattern: Pattern
    batch: int
    states: int

    @property
    def bits(self) -> int:
        return operand_bits(self.machine)

    def layer(self, layer: Layer) -> Kept:
        gemms = {lowered.gemm.phase: lowered.gemm for lowered in layer.lower(self.batch)}
        wide, repeat = self.bits >= MASTER_BITS, layer.repeat
        state = math.ceil(layer.weights * MASTER_BITS / 8)
        weights, inputs = self._weights(layer, gemms), self._activations(layer, gemms)
        return Kept(
            layer.name,
            weights=math.ceil(weights.values) * repeat,
            metadata=math.ceil(weights.metadata + inputs.metadata) * repeat,
            masks=math.ceil(self._masks(layer, gemms)) * repeat,
            masters=0 if wide else state,
            gradients=math.ceil(layer.weights * self.bits / 8),
            optimizer=state * self.states,
            activations=math.ceil(inputs.values) * repeat,
            workspace=math.ceil(self._workspace(layer, gemms)),
        )

    def _weights(self, layer: Layer, gemms: dict[Any, Gemm]) -> _Bytes:
        if not layer.weights:
            return _Bytes(0.0)
        dense = _Bytes(layer.weights / layer.repeat * self.bits / 8)
        forms: dict[object, _Bytes] = {"dense": dense} if self.bits >= MASTER_BITS else {}
        for phase in ("forward", "backward"):
            if phase not in gemms:
                continue
            offer, native = self._usable("weight", gemms[phase])
            if offer is None or native is None:
                forms["dense"] = dense
                continue
            layout = "" if isinstance(self.machine, IdealMachine) else phase
            g = gemms[phase]
            forms.setdefault(
                (offer.phases, layout), self._packed(g.count * g.n, g.k, native, offer)
            )
        values = sum(form.values for form in forms.values())
        return _Bytes(values, sum(form.metadata for form in forms.values()))

    def _usable(self, role: Role, gemm: Gemm) -> tuple[Offer | None, Pattern | None]:
        """The offer of a role in a GEMM, and the pattern that it is packed under, if it can be."""
        offer = self.recipe.offer_for(role, gemm)
        if offer is None or offer.withheld:
            return None, None
        pattern, pruner = offer.pattern or self.pattern, PRUNERS[offer.pruner]
        native = self.machine.native_for(pattern)
        axes = {op.tensor: op.transposed for op in OPERANDS[gemm.phase]}
        along = pruner.structured and (axes[role] == offer.transposed or pruner.transposable)
        return offer, native if native and along and native.covers(pattern) else None

    def _packed(self, rows: int, k: int, native: Pattern, offer: Offer) -> _Bytes:
        indexed = PRUNERS[offer.pruner].metadata
        index = self.machine.metadata_bits(native) if indexed else 0
        kept = rows * native.stored(k)
        return _Bytes(kept * self.bits / 8, kept * index / 8)

    def _masks(self, layer: Layer, gemms: dict[Any, Gemm]) -> float:
        offers = {
            offer.phases: offer
            for gemm in gemms.values()
            if (offer := self.recipe.offer_for("weight", gemm)) is not None
        }
        lasting = sum(
            offer.refresh > 1 or len(offer.phases) > 1
            for offer in offers.values()
            if not (offer.pattern or self.pattern).is_dense
        )
        return lasting * layer.weights / layer.repeat / 8

    def _activations(self, layer: Layer, gemms: dict[Any, Gemm]) -> _Bytes:
        names: tuple[Any, ...] = ("activation",)
        if isinstance(layer, Matmul):
            names = ("activation", "activation_b")
        elements = sum(math.prod(layer.shape(name, self.batch)) for name in names)
        if "update" not in gemms:
            return _Bytes(elements * self.bits / 8)
        g = gemms["update"]
        dense = _Bytes(min(elements, g.count * g.n * g.k) * self.bits / 8)
        offer, native = self._usable("activation", g)
        if offer is None or native is None:
            return dense
        return min(dense, self._packed(g.count * g.n, g.k, native, offer), key=sum)

    def _workspace(self, layer: Layer, gemms: dict[Any, Gemm]) -> float:
        outputs = math.prod(layer.shape("gradient", self.batch))
        inputs = math.prod(layer.shape("activation", self.batch)) if "backward" in gemms else 0
        packed = 0.0
        for phase in ("backward", "update"):
            if phase in gemms and not isinstance(layer, Matmul):
                g = gemms[phase]
                offer, native = self._usable("gradient", g)
                if offer is not None and native is not None:
                    packed = max(packed, sum(self._packed(g.count * g.m, g.k, native, offer)))
        return (outputs + inputs) * self.bits / 8 + packed


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
    machine, whole = load_hardware(hardware), Pattern.parse(pattern)
    chosen = load_recipe(recipe)
    chosen.check_names(layers)
    pruned, dense = (
        _Step(machine, one, whole, batch, _STATES[optimizer])
        for one in (chosen, load_recipe("dense"))
    )
    left = chosen.leave_dense.names(layers)
    return Footprint(
        tuple((dense if layer.name in left else pruned).layer(layer) for layer in layers),
        tuple(map(dense.layer, layers)),
    )


def _network(model: str | Path) -> Iterator[Layer]:
    workload = load_workload(model)
    if not workload.layers or any(isinstance(layer, Bare) for layer in workload.layers):
        raise SpecError(f"model {workload.name}: expected a network, whose layers have tensors")
    yield from (layer for layer in workload.layers if not isinstance(layer, Bare))
