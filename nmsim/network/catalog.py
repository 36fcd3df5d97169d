"""Networks: their layers and their published sizes, one YAML file each."""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Annotated, Self, Unpack

from pydantic import ConfigDict, Field, model_validator

from nmsim.errors import NmsimError, SpecError
from nmsim.files import once_per_content
from nmsim.gemm import Gemm
from nmsim.network.layer import Embedding, Layer, lowered
from nmsim.network.layers.layer_fields import WeightedSpec, checked_batch
from nmsim.network.learning import Learning, Step
from nmsim.network.lowering import Lowering
from nmsim.network.parallel import SPLITS, Split, fits, shared
from nmsim.network.running import running, with_adapters
from nmsim.network.scenario import TRAINING, Reading, Scenario, Sequence
from nmsim.network.unrolled import unrolled
from nmsim.registry import unknown_name
from nmsim.spec import Catalog, Spec, catalog_files, parse_scalar, read_text

__all__ = ["MODELS", "Elsewhere", "Network", "Published", "load_model"]

Positive = Annotated[int, Field(ge=1)]


_MOST_BLOCKS = 1 << 14
"""Blocks of which each has a name."""


class Elsewhere(Spec):
    """Published parameters that are no GEMM's operand, such as embeddings and biases."""

    what: str
    count: Positive


class Published(Spec):
    """Figures from the literature that the layers must add up to."""

    parameters: Positive = Field(description="of the whole network")
    macs: Positive | None = Field(None, description="forward, one sample; null: none found")
    macs_tolerance: Annotated[float, Field(ge=0, le=0.05)] = Field(
        0, description="relative: the printed figure's rounding, or what it counts besides GEMMs"
    )
    source: str
    elsewhere: tuple[Elsewhere, ...] = Field((), description="parameters that no GEMM holds")


class Network(Spec):
    """A network as the list of its layers that are matrix multiplications."""

    model_config = ConfigDict(serialize_by_alias=True)

    name: str = Field("", description="filled in from the file's name")
    summary: str = Field("", description="one line")
    source: str = Field("", description="where the shapes come from")
    implementation: str = Field(
        "", description="the library whose layers and names these are, where libraries differ"
    )
    aliases: tuple[str, ...] = Field((), description="what others call it; on one line")
    published: Published | None = None
    batch: Positive | None = Field(
        None, description="samples in a step that says nothing of them; default: the scenario's"
    )
    sequence: Sequence | None = Field(
        None, description="tokens that it reads; a number is short for its `tokens`"
    )
    tensor_parallel: Mapping[str, Split] = Field(
        {},
        description="how layers, by name or glob, are split over machines that share the network "
        f"({', '.join(SPLITS)}); others stand whole on each; none: it is not split",
    )
    declared: tuple[Layer, ...] = Field(
        min_length=1, alias="layers", description="in the order in which they run"
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: set[str] = set()
        for layer in self.declared:
            if "*" in layer.name and layer.repeat > _MOST_BLOCKS:
                raise ValueError(
                    f"layer {layer.name!r}: repeat is {layer.repeat}, expected {_MOST_BLOCKS} "
                    "blocks at most"
                )
            for name in {layer.name, *layer.names}:
                if name in seen:
                    raise ValueError(f"two layers are named {name!r}")
                seen.add(name)
        return self

    @model_validator(mode="after")
    def _words_stand_for_tokens(self) -> Self:
        try:
            self.at()
        except NmsimError as error:
            raise ValueError(str(error)) from error
        return self

    @model_validator(mode="after")
    def _shared_weights_fit(self) -> Self:
        layers = {layer.name: layer for layer in self.declared}
        for layer in self.declared:
            if not isinstance(layer, WeightedSpec) or not layer.weight_of:
                continue
            owner = layer.weight_of
            if owner not in layers:
                raise ValueError(
                    f"layer {layer.name!r}: {unknown_name('weight_of', owner, layers)}"
                )
            if not _fits(layers[owner], layer):
                raise ValueError(
                    f"layer {layer.name!r}: weight_of is {owner!r}, expected a layer with a weight "
                    "of its own, of the same type and shape, or an embedding of that shape"
                )
        return self

    @model_validator(mode="after")
    def _splits_are_of_layers(self) -> Self:
        if why := fits(self.declared, self.tensor_parallel):
            raise ValueError(why)
        return self

    @model_validator(mode="after")
    def _shared_inputs_fit(self) -> Self:
        layers = {layer.name: layer for layer in self.layers}
        names: list[str] = []  # of the layers before
        for layer in self.declared:
            names.append(layer.name)
            if not isinstance(layer, WeightedSpec) or not layer.input_of:
                continue
            owner = layer.input_of
            if owner not in names:
                raise ValueError(f"layer {layer.name!r}: {unknown_name('input_of', owner, names)}")
            if not _reads_the_same(layers.get(owner), layers.get(layer.name)):
                raise ValueError(
                    f"layer {layer.name!r}: input_of is {owner!r}, expected another layer with an "
                    "input of its own, of the same elements"
                )
        return self

    @property
    def weights(self) -> int:
        """Elements of all layers' weights, tables of embeddings too, shared ones once."""
        return sum(layer.weights for layer in self.declared)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of a training step on the network's own sequence."""
        return self.at()

    @property
    def generates(self) -> bool:
        """Whether it predicts tokens, so that it can be prefilled and decode."""
        return any(getattr(layer, "tokens", None) == "predicted" for layer in self.declared)

    def at(
        self, scenario: Scenario = TRAINING, *, block_by_block: bool = False
    ) -> tuple[Layer, ...]:
        """The layers that run in a scenario, with numbers for the words in which they say sizes.

        Parameters
        ----------
        block_by_block
            One for each of the identical blocks, whose tensors differ (``network.unrolled``).

        Raises
        ------
        SpecError
            for tokens of a network that has no sequence, or a scenario that it does not have.
        """
        if scenario.generates and not self.generates:
            raise SpecError(
                f"model {self.name}: scenario is {scenario.name!r}, expected train or infer: "
                "it predicts no tokens"
            )
        if scenario.tokens is not None and self.sequence is None:
            raise SpecError(
                f"model {self.name}: tokens is {scenario.tokens}, expected none: "
                "its layers say their own"
            )
        reading = self.sequence.reading(scenario) if self.sequence else Reading()
        every = (_at(layer, reading) for layer in self.declared)
        layers = tuple(layer for layer in every if layer is not None)
        learning = scenario.learning
        if scenario.trains and not learning.plain:
            return running(layers, learning, block_by_block=block_by_block)
        found = layers if learning.plain else with_adapters(layers, learning)
        return tuple(one.layer for one in unrolled(found)) if block_by_block else found

    def shared(self, layers: Iterable[Layer], machines: int) -> tuple[Layer, ...]:
        """Layers of the network as each of so many machines has them (``network.parallel``).

        Raises
        ------
        SpecError
            if the network does not say how it is split, or a size does not divide.
        """
        if machines == 1:
            return tuple(layers)
        if not self.tensor_parallel:
            raise SpecError(
                f"model {self.name}: tp is {machines}, expected 1: its file says no tensor_parallel"
            )
        return shared(layers, self.tensor_parallel, machines)

    def gemms(
        self,
        batch: int = 1,
        scenario: str = "train",
        tokens: int | None = None,
        context: int | None = None,
        lowering: str | Lowering = "implicit",
        **step: Unpack[Step],
    ) -> list[Gemm]:
        """The GEMMs of a step: forward, backward and update of every layer, or forward alone.

        Backward of a strided convolution has one for each phase of the stride, told apart by their
        ``part``; a layer fed by data has none.

        Parameters
        ----------
        batch
            Samples in the step.
        scenario
            "train"; or "infer", "prefill" and "decode", which run forward alone.
        tokens, context
            That a sample has, and that were read before when decoding; None: the network's own
            (``nmsim.network.scenario``).
        lowering
            ``implicit``, as libraries run convolutions, ``columns``, or by phase,
            ``backward=columns``.
        **step
            ``learn``, ``recompute``, ``adapters``, ``micro_batches`` and ``reentrant``, as
            `nmsim.simulate` takes them.

        Raises
        ------
        ShapeError, SpecError, UnknownName
            if batch is below 1, the network has no such scenario or no tokens, or a lowering does
            not exist.
        """
        learning, how = Learning.of(**step), Lowering.parse(lowering)
        asked = Scenario(scenario, tokens, context, learning)
        samples = learning.samples(checked_batch(batch))
        found = (one for layer in self.at(asked) for one in lowered(layer, samples, how))
        return [one.gemm for one in found if one.gemm.phase in asked.phases]


def _at(layer: Layer, reading: Reading) -> Layer | None:
    try:
        return layer.at(reading)
    except SpecError as error:
        raise SpecError(f"layer {layer.name!r}: {error}") from error


def _fits(lender: Layer, borrower: Layer) -> bool:
    """Whether a layer has a weight, and another's is of its shape."""
    kinds = (type(borrower), Embedding)
    alike = isinstance(lender, kinds) and lender.copies == borrower.copies
    same = lender.shape("weight", 1) == borrower.shape("weight", 1)
    return alike and same and lender.weights > 0


def _reads_the_same(owner: Layer | None, reader: Layer | None) -> bool:
    """Whether a layer has an input of its own, of the elements that another one reads."""
    if owner is None or reader is None:  # one of them does not run in training
        return True
    own = isinstance(owner, WeightedSpec) and not owner.input_of
    sizes = [prod(one.shape("activation", 1)) for one in (owner, reader)]
    return own and sizes[0] == sizes[1] and owner.repeat == reader.repeat


def _models_folder() -> Path:
    # Inside a wheel the networks stand in the package, in a checkout beside it.
    package = Path(__file__).parents[1]
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


MODELS: Catalog[Network] = Catalog("model", _models_folder(), Network, "network")
"""The networks that ship with nmsim."""


@once_per_content
def _aliases() -> Mapping[str, str]:
    """The networks of the catalog by what others call them."""
    files = catalog_files(MODELS.folder).values()
    texts = ((file.stem, read_text(file)) for file in files)
    said = ((name, re.search(r"^aliases: (.+)$", text, re.MULTILINE)) for name, text in texts)
    return {alias: name for name, line in said if line for alias in parse_scalar(line[1])}


def load_model(name: str | Path) -> Network:
    """A network by name, by what others call it, or from a YAML file.

    Raises
    ------
    UnknownName, SpecError
        for a name that does not exist or a file that does not describe a network.
    """
    return _loaded(str(name))


@once_per_content
def _loaded(name: str) -> Network:
    files = catalog_files(MODELS.folder)
    known = name if name in files else _aliases().get(name, name)
    network = MODELS.load(known)
    return network.model_copy(update={"name": network.name or MODELS.path(known).stem})
