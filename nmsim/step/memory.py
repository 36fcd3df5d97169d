"""What a step of training or inference keeps in memory, part by part, against the dense step."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

from nmsim.attention import Attention
from nmsim.gemm import Gemm
from nmsim.machines import Machine, Stored, kind_of, stored
from nmsim.mask import SparseGemm
from nmsim.network.layer import AttentionLayer, Layer
from nmsim.network.layers.layer_fields import WeightedSpec
from nmsim.network.operand import Role
from nmsim.network.scenario import Scenario
from nmsim.recipes.masking import Setting, sparse_gemms
from nmsim.recipes.recipe import Offer, Recipe
from nmsim.step.fusion import as_run
from nmsim.windows import Windows

__all__ = [
    "ASSUMPTIONS",
    "INFERENCE",
    "OPTIMIZERS",
    "Asked",
    "Kept",
    "Optimizer",
    "StepMemory",
    "kept",
    "step_memory",
    "summed",
]

Optimizer = Literal["sgd", "momentum", "adam"]

OPTIMIZERS: tuple[Optimizer, ...] = get_args(Optimizer)

_STATES = {"sgd": 0, "momentum": 1, "adam": 2}
"""Values that an optimizer keeps for every weight."""

MASTER_BITS = 32
"""Of a master weight and of an optimizer's state."""

ASSUMPTIONS = (
    "weights: as forward and backward read them, packed where a mask is offered that the machine",
    "  can use, else dense; for each phase, as groups lie along K (one copy on an ideal machine),",
    "  in the number format of the phase",
    "metadata: of packed weights and activations",
    "masks: one bit a weight if one mask serves several steps or phases",
    "masters, optimizer: fp32, dense (pruned weights may come back); no masters of 32-bit operands",
    "gradients: of weights, dense, as wide as operands",
    "activations: inputs of GEMMs from forward to update, of strided windows what they read; one",
    "  that several layers share (input_of) counts once; packed where update is offered their mask",
    "  and that is smaller; nothing that elementwise work keeps; of attention Q, K, V and, where",
    "  one kernel fuses it, a statistic a row, else its probabilities",
    "workspace: of the layer that takes most: gradients of its output and input, and a packed copy",
)
"""What the figures of a training step rest on, line by line."""

INFERENCE = (
    "weights: of every layer, those that the scenario does not run too; as forward reads them,",
    "  packed where a mask is offered that the machine can use, in the number format of forward",
    "metadata: of packed weights",
    "cache: keys and values, or what makes them, of every token read, as wide as operands; none to",
    "  infer, where no later token asks for them",
    "workspace: inputs and output of the layer that takes most, scores of attention included",
    "  where no kernel fuses it; of keys and values that are cached no second copy",
)
"""What the figures of inference rest on, line by line."""


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
    cache: int
    workspace: int


_OF_TRAINING = ("masks", "masters", "gradients", "optimizer", "activations")

PARTS = tuple(field.name for field in fields(Kept) if field.name != "layer")


@dataclass(frozen=True)
class StepMemory:
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
        dense, recipe = summed(self.dense), summed(self.layers)
        ratio = {part: recipe[part] / dense[part] if dense[part] else None for part in dense}
        return {"dense": dense, "recipe": recipe, "ratio": ratio}


def summed(layers: Sequence[Kept]) -> dict[str, int]:
    """Bytes of every part over layers, of workspaces the largest, and of ``all``."""
    parts = {part: sum(getattr(layer, part) for layer in layers) for part in PARTS}
    parts["workspace"] = max((layer.workspace for layer in layers), default=0)
    return {**parts, "all": sum(parts.values())}


class _Bytes(NamedTuple):
    """Bytes of values, and of the metadata beside them."""

    values: float
    metadata: float = 0.0


class _Side(NamedTuple):
    """One operand of a GEMM as it stands in memory: its elements, all copies, and how it is stored.

    ``share`` of the elements is stored. An operand whose rows are gathered through windows stands
    there as the tensor; columns that K runs over, as they are.
    """

    whole: int
    share: float
    stored: Stored

    @classmethod
    def of(cls, stored: Stored, rows: int, gemm: Gemm, windows: Windows | None) -> "_Side":
        through = windows is not None and windows.along == "rows"
        whole = windows.tensor * gemm.count if windows and through else rows * gemm.count * gemm.k
        return cls(whole, stored.elements / gemm.k, stored)

    @property
    def packed(self) -> _Bytes:
        """Bytes of the stored elements of the operand, and of their metadata."""
        elements = self.whole * self.share
        return _Bytes(elements * self.stored.scaled_bits / 8, elements * self.stored.index_bits / 8)


@dataclass(frozen=True)
class _Gemm:
    """A GEMM of a layer, its masks, and both operands in the memory of the machine that runs it."""

    work: SparseGemm
    a: _Side
    b: _Side

    @classmethod
    def of(cls, ran: Machine, work: SparseGemm) -> "_Gemm":
        g = work.gemm
        a, b = stored(ran, work)
        return cls(work, _Side.of(a, g.m, g, g.a_windows), _Side.of(b, g.n, g, g.b_windows))


_Gemms = dict[str, list[_Gemm]]
"""The GEMMs of a layer, by phase; several where a launch has parts, or a product two gradients."""


class Asked(NamedTuple):
    """Whose memory is weighed.

    Parameters
    ----------
    layers
        That run.
    idle
        That do not run in the scenario, as they do in another; their weights stand there.
    scenario
        What the network is run for.
    machine
        In whose memory.
    optimizer
        Of training: "sgd", "momentum" or "adam".
    """

    layers: Sequence[Layer]
    idle: Sequence[Layer]
    scenario: Scenario
    machine: Machine
    optimizer: str = "momentum"


@dataclass(frozen=True)
class _Memory:
    asked: Asked
    setting: Setting

    @property
    def machine(self) -> Machine:
        return self.asked.machine

    @property
    def recipe(self) -> Recipe:
        return self.setting.recipe

    @property
    def trains(self) -> bool:
        return self.asked.scenario.trains

    @cached_property
    def bits(self) -> int:
        return kind_of(self.machine).operand_bits(self.machine)

    def layers(self) -> tuple[Kept, ...]:
        layers = [*self.asked.idle, *self.asked.layers]
        found: dict[str, _Gemms] = {layer.name: {} for layer in layers}
        kind, ran = kind_of(self.machine), dict[str, Machine]()
        phases = self.asked.scenario.phases
        gemms = sparse_gemms(layers, self.setting, phases=phases, counted=False)
        for work in as_run(gemms, self.machine, layers, self.setting.batch, self.asked.scenario):
            if work.gemm.macs:
                own = found[work.gemm.layer].setdefault(work.gemm.phase, [])
                form = work.number_format
                if form not in ran:
                    ran[form] = kind.in_format(self.machine, form).machine
                own.append(_Gemm.of(ran[form], work))
        if not self.trains:
            return self._inferring(found)
        left = self.recipe.leave_dense.names(layers)
        whole = tuple(
            self._layer(layer, found[layer.name], left=layer.name in left) for layer in layers
        )
        return self._computed_again(layers, found, whole)

    def _computed_again(
        self, layers: Sequence[Layer], gemms: Mapping[str, _Gemms], whole: tuple[Kept, ...]
    ) -> tuple[Kept, ...]:
        """With what stands there while a block is computed again: its layers' inputs, once."""
        blocks: dict[str, int] = {}
        for layer in layers:
            if layer.runs is not None and layer.runs.dropped and _reading(layer):
                own = self._activations(layer, gemms[layer.name])
                region = layer.runs.region
                blocks[region] = blocks.get(region, 0) + math.ceil(sum(own))
        return tuple(
            replace(one, workspace=one.workspace + blocks.get(_region(layer), 0))
            for layer, one in zip(layers, whole, strict=True)
        )

    def _inferring(self, gemms: Mapping[str, _Gemms]) -> tuple[Kept, ...]:
        """What layers keep of which forward alone is run, and the weights of those that idle."""
        running = tuple(self._read(layer, gemms[layer.name]) for layer in self.asked.layers)
        idle = (self._read(layer, gemms[layer.name]) for layer in self.asked.idle)
        return running + tuple(replace(one, cache=0, workspace=0) for one in idle)

    def _read(self, layer: Layer, gemms: _Gemms) -> Kept:
        weights, repeat, batch = self._weights(layer, gemms), layer.repeat, self.setting.batch
        tensors, cache = list(layer.saved), 0
        if isinstance(layer, AttentionLayer) and self.asked.scenario.generates:
            cache = layer.cache(batch)
            tensors = [t for t in tensors if not (cache and t in ("key", "value"))]
        if _fused(gemms) is not None:
            tensors.remove("probabilities")
        elements = sum(math.prod(layer.shape(name, batch)) for name in (*tensors, "gradient"))
        return Kept(
            layer.name,
            weights=math.ceil(weights.values) * repeat,
            metadata=math.ceil(weights.metadata) * repeat,
            cache=math.ceil(cache * self.bits / 8) * repeat,
            workspace=math.ceil(elements * self.bits / 8) if gemms else 0,
            **dict.fromkeys(_OF_TRAINING, 0),
        )

    def _layer(self, layer: Layer, gemms: _Gemms, *, left: bool) -> Kept:
        wide, learning = self.bits >= MASTER_BITS, _learning(layer)
        state = math.ceil(layer.weights * learning / layer.repeat * MASTER_BITS / 8)
        weights, inputs = self._weights(layer, gemms), self._activations(layer, gemms)
        keeping = _keeping(layer)
        return Kept(
            layer.name,
            weights=math.ceil(weights.values) * layer.repeat,
            metadata=math.ceil(weights.metadata + inputs.metadata * keeping / layer.repeat)
            * layer.repeat,
            masks=0 if left else math.ceil(self._masks(layer, gemms)) * learning,
            masters=0 if wide else state,
            gradients=math.ceil(layer.weights * learning / layer.repeat * self.bits / 8),
            optimizer=state * _STATES[self.asked.optimizer],
            activations=math.ceil(inputs.values) * keeping,
            cache=0,
            workspace=math.ceil(self._workspace(layer, gemms)),
        )

    def _offer(self, role: Role, layer: Layer, gemm: _Gemm) -> Offer | None:
        return self.recipe.on(layer).offer_for(role, gemm.work.gemm)

    def _weights(self, layer: Layer, gemms: _Gemms) -> _Bytes:
        """One copy of the weight for each form in which a phase reads it."""
        if not layer.weights:
            return _Bytes(0.0)
        elements = layer.weights / layer.repeat
        forms: dict[object, _Bytes] = {}
        if (
            self.trains and self.bits >= MASTER_BITS
        ) or not gemms:  # looked up in as wide as it is kept
            forms["dense", self.bits] = _Bytes(elements * self.bits / 8)
        any_axis = kind_of(self.machine).any_axis
        for phase in ("forward", "backward"):
            packed = []
            for gemm in gemms.get(phase, ()):
                offer, stored = self._offer("weight", layer, gemm), gemm.b.stored
                if offer is None or not stored.compressed:
                    forms["dense", stored.value_bits] = _Bytes(elements * stored.scaled_bits / 8)
                    continue
                layout = "" if any_axis else phase
                packed.append(((offer.phases, layout, stored.value_bits), gemm.b.packed))
            if packed:  # the parts of a launch have a tap each in one of them
                values, metadata = (
                    sum(part) for part in zip(*(own for _, own in packed), strict=True)
                )
                forms.setdefault(packed[0][0], _Bytes(values, metadata))
        values = sum(form.values for form in forms.values())
        return _Bytes(values, sum(form.metadata for form in forms.values()))

    def _masks(self, layer: Layer, gemms: _Gemms) -> float:
        """A bit a weight for every mask that serves more than one step or phase."""
        offers = {
            offer.phases: offer
            for parts in gemms.values()
            for gemm in parts
            if (offer := self._offer("weight", layer, gemm)) is not None
        }
        lasting = sum(
            offer.refresh > 1 or len(offer.phases) > 1
            for offer in offers.values()
            if not (offer.pattern or self.setting.pattern).is_dense
        )
        return lasting * layer.weights / layer.repeat / 8

    def _activations(self, layer: Layer, gemms: _Gemms) -> _Bytes:
        """What update reads again of the input; a shared one is kept by its first reader."""
        batch = self.setting.batch
        if isinstance(layer, WeightedSpec) and layer.input_of:
            return _Bytes(0.0)
        if (fused := _fused(gemms)) is not None:
            read = fused.traffic("forward", self.bits / 8).read
            return _Bytes((read + fused.statistic_bytes) / fused.repeat)
        elements = sum(math.prod(layer.shape(name, batch)) for name in layer.saved)
        if "update" not in gemms:
            return _Bytes(elements * self.bits / 8)
        gemm, *others = gemms["update"]
        if others:  # experts of different rows, whose activations no mask is made of
            return _Bytes(elements * gemm.b.stored.value_bits / 8)
        g, stored = gemm.work.gemm, gemm.b.stored
        dense = _Bytes(min(elements, g.count * g.n * g.k) * stored.value_bits / 8)
        if self._offer("activation", layer, gemm) is None or not stored.compressed:
            return dense
        return min(dense, gemm.b.packed, key=sum)

    def _workspace(self, layer: Layer, gemms: _Gemms) -> float:
        """Gradients of the layer's output and input, and the largest packed copy of the former."""
        if not gemms:
            return 0.0
        if (fused := _fused(gemms)) is not None:  # dO, and dQ, dK and dV
            o = fused.traffic("forward", self.bits / 8).written - fused.statistic_bytes
            return (o + fused.traffic("backward", self.bits / 8).written) / fused.repeat
        batch = self.setting.batch
        outputs = math.prod(layer.shape("gradient", batch))
        inputs = math.prod(layer.shape("activation", batch)) if "backward" in gemms else 0
        packed = 0.0
        for phase in ("backward", "update"):
            for gemm in gemms.get(phase, ()) if isinstance(layer, WeightedSpec) else ():
                if gemm.a.stored.compressed and self._offer("gradient", layer, gemm) is not None:
                    packed = max(packed, sum(gemm.a.packed))
        return (outputs + inputs) * self.bits / 8 + packed


def _learning(layer: Layer) -> int:
    """Blocks whose weight learns."""
    return layer.repeat if layer.runs is None else layer.runs.update


def _region(layer: Layer) -> str:
    return "" if layer.runs is None else layer.runs.region


def _reading(layer: Layer) -> int:
    """Blocks whose way back reads the input again; a frozen weight's does not."""
    if layer.runs is None:
        return layer.repeat
    return layer.runs.update if isinstance(layer, WeightedSpec) else layer.runs.backward


def _keeping(layer: Layer) -> int:
    """Blocks that keep their input from forward to the way back.

    One that is computed again keeps the input of its first layer alone, whatever reads it.
    """
    reads, runs = _reading(layer), layer.runs
    if runs is None:
        return reads
    return max(0, reads - runs.dropped) if runs.dropped else max(reads, runs.again)


def _fused(gemms: _Gemms) -> Attention | None:
    """The attention that one kernel a phase runs; None of a layer of GEMMs."""
    return next((gemm.work.gemm.attention for own in gemms.values() for gemm in own), None)


def kept(asked: Asked, setting: Setting) -> tuple[Kept, ...]:
    """What each layer keeps in a machine's memory; no tensor is drawn, no bit of a mask made.

    Parameters
    ----------
    setting
        What masks are made of.
    """
    return _Memory(asked, setting).layers()


def step_memory(asked: Asked, setting: Setting, dense: Setting) -> StepMemory:
    """What a step of layers keeps in a machine's memory, and the dense step.

    Parameters
    ----------
    setting, dense
        What masks are made of, and the same with a recipe that offers none.
    """
    return StepMemory(kept(asked, setting), kept(asked, dense))
