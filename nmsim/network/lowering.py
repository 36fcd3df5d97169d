"""What all layers share: a name, repeats, a weight of their own or another's, and their GEMMs."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from nmsim.errors import ShapeError
from nmsim.gemm import Gemm, Phase
from nmsim.network.operand import OPERANDS, Input, Lowered, TensorName
from nmsim.spec import Spec
from nmsim.windows import Windows

__all__ = ["INPUT", "LayerSpec", "Positive", "WeightedSpec", "checked_batch", "three_gemms"]

Positive = Annotated[int, Field(ge=1, le=1 << 31)]

INPUT = "what made the layer's input; a layer fed by data has no backward GEMM"
"""The description of a layer's field of that name."""


class LayerSpec(Spec):
    """Fields that the YAML of every layer has."""

    name: Annotated[str, Field(min_length=1)] = Field(description="unique; seeds its tensors")
    repeat: Positive = Field(1, description="identical blocks, launched one after the other")

    def owner(self, tensor: TensorName) -> str:  # noqa: ARG002
        """Name of the layer that a tensor belongs to: this one's."""
        return self.name

    def samples(self, batch: int) -> int:
        """Entries of its tensors that share no column: the batch."""
        return batch


class WeightedSpec(LayerSpec):
    """What every layer with a weight says."""

    type: Literal["conv", "linear"]
    input: Input = Field("linear", description=INPUT)
    weight_of: str = Field("", description="layer whose weight this one shares; counted there")

    def owner(self, tensor: TensorName) -> str:
        """Name of the layer that a tensor belongs to; a shared weight belongs to another."""
        return self.weight_of if tensor == "weight" and self.weight_of else self.name


def checked_batch(batch: int) -> int:
    """The batch, checked to be 1 or more.

    Raises
    ------
    ShapeError
        if it is below 1.
    """
    if not isinstance(batch, int) or batch < 1:
        raise ShapeError(f"batch is {batch!r}, expected an integer of 1 or more")
    return batch


def three_gemms(
    layer: WeightedSpec,
    *,
    t: int,
    o: int,
    i: int,
    count: int,
    activation_elements: int,
    scatter: int,
    windows: Windows | None = None,
) -> list[Lowered]:
    """Forward, backward and update of a layer with a weight; no backward if data feed it.

    Parameters
    ----------
    layer
        Whose GEMMs.
    t, o, i
        Rows of the activation, outputs and inputs of one copy (``nmsim.network.operand``).
    count
        Copies in one launch.
    activation_elements
        Distinct elements in memory behind one copy's activation.
    scatter
        Elements that adding the gradient's columns back into an image reads and writes.
    windows
        How the rows of the activation are gathered, where they are.
    """

    def gemm(m: int, n: int, k: int, phase: Phase) -> Gemm:
        return Gemm(m, n, k, count, layer.name, phase, layer.repeat, layer.type)

    turned = replace(windows, along="k") if windows else None
    gemms = [
        replace(gemm(t, o, i, "forward"), a_elements=activation_elements, a_windows=windows),
        replace(gemm(t, i, o, "backward"), scatter_elements=scatter),
        replace(gemm(o, i, t, "update"), b_elements=activation_elements, b_windows=turned),
    ]
    if layer.input == "data":
        del gemms[1]
    return [Lowered(gemm, *OPERANDS[gemm.phase]) for gemm in gemms]
