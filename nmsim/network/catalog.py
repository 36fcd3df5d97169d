"""Networks: their layers and their published sizes, one YAML file each."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from nmsim.gemm import Gemm
from nmsim.network.layer import Layer, Matmul
from nmsim.network.lowering import Lowering
from nmsim.registry import unknown_name
from nmsim.spec import Catalog, Spec

__all__ = ["MODELS", "Elsewhere", "Network", "Published", "load_model"]

Positive = Annotated[int, Field(ge=1)]


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

    name: str = Field("", description="filled in from the file's name")
    summary: str = Field("", description="one line")
    source: str = Field("", description="where the shapes come from")
    published: Published | None = None
    layers: tuple[Layer, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: set[str] = set()
        for layer in self.layers:
            if layer.name in seen:
                raise ValueError(f"two layers are named {layer.name!r}")
            seen.add(layer.name)
        return self

    @model_validator(mode="after")
    def _shared_weights_fit(self) -> Self:
        layers = {layer.name: layer for layer in self.layers}
        for layer in self.layers:
            if isinstance(layer, Matmul) or not layer.weight_of:
                continue
            owner = layer.weight_of
            if owner not in layers:
                raise ValueError(
                    f"layer {layer.name!r}: {unknown_name('weight_of', owner, layers)}"
                )
            if not _fits(layers[owner], layer):
                raise ValueError(
                    f"layer {layer.name!r}: weight_of is {owner!r}, expected a layer with a weight "
                    "of its own, of the same type and shape"
                )
        return self

    @property
    def weights(self) -> int:
        """Elements of all layers' weights, shared ones once."""
        return sum(layer.weights for layer in self.layers)

    def gemms(self, batch: int = 1, *, lowering: str | Lowering = "implicit") -> list[Gemm]:
        """The GEMMs of a training step: forward, backward and update of every layer.

        Backward of a strided convolution has one for each phase of the stride, told apart by their
        ``part``; a layer fed by data has none.

        Parameters
        ----------
        batch
            Samples in the step.
        lowering
            ``implicit``, as libraries run convolutions, ``columns``, or by phase,
            ``backward=columns``.

        Raises
        ------
        ShapeError
            if batch is below 1.
        UnknownName
            for a lowering that does not exist.
        """
        how = Lowering.parse(lowering)
        return [one.gemm for layer in self.layers for one in layer.lower(batch, how)]


def _fits(lender: Layer, borrower: Layer) -> bool:
    """Whether a layer has a weight, and another's is of its shape."""
    alike = type(lender) is type(borrower) and lender.copies == borrower.copies
    same = lender.shape("weight", 1) == borrower.shape("weight", 1)
    return alike and same and lender.weights > 0


def _models_folder() -> Path:
    # Inside a wheel the networks stand in the package, in a checkout beside it.
    package = Path(__file__).parents[1]
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


MODELS: Catalog[Network] = Catalog("model", _models_folder(), Network)
"""The networks that ship with nmsim."""


def load_model(name: str | Path) -> Network:
    """A network by name or from a YAML file.

    Raises
    ------
    UnknownName, SpecError
        for a name that does not exist or a file that does not describe a network.
    """
    network = MODELS.load(name)
    return network.model_copy(update={"name": network.name or MODELS.path(name).stem})
