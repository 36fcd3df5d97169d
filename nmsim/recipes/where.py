"""The rule by which a tool chooses what it prunes: sorts, names and sizes of layers.

A rule is of a network, whose layers have names, sorts and sizes. GEMMs that are given by size were
chosen by who gave them: no rule passes one over.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field

from nmsim.network.layer import Bare, Experts, Layer, Linear
from nmsim.network.layers.convolution import Convolution
from nmsim.spec import Spec

__all__ = ["Globs", "Where", "globs_of", "matches"]

Globs = str | tuple[str, ...]
"""One glob or several, any of which may match."""

Multiple = Annotated[int, Field(ge=1)]


class Where(Spec):
    """Which layers of a network a tool prunes; all of what is said must hold."""

    types: tuple[Literal["conv", "conv_transposed", "linear", "experts"], ...] = Field(
        (), description="sorts of layers; none: all"
    )
    names: Globs = Field("*", description="glob or globs over layer names")
    but: Globs = Field((), description="glob or globs over the names of layers that stay dense")
    in_blocks: bool = Field(
        False, description="layers of numbered blocks alone: no embedding, stem or head"
    )
    outputs: Multiple = Field(1, description="of the weight, a group's too: a multiple of so many")
    inputs: Multiple = Field(1, description="of one group of the weight: a multiple of so many")

    def why_not(self, layer: Layer | Bare) -> str:
        """Why a layer stays dense, for people; "" if the rule takes it, or it is no network's."""
        if isinstance(layer, Bare):
            return ""
        return next(self._reasons(layer), "")

    def _reasons(self, layer: Layer) -> Iterator[str]:
        if self.types and layer.type not in self.types:
            yield f"of {', '.join(self.types)} alone, not of {layer.type}"
        if not matches(self.names, layer.name) or matches(self.but, layer.name):
            yield "its rule does not name this layer"
        if self.in_blocks and not layer.block:
            yield "of layers in blocks alone"
        for size, multiple, what in zip(
            _sizes(layer),
            (self.outputs, self.inputs),
            ("outputs", "inputs of a group"),
            strict=False,  # of a layer without a weight there is no size
        ):
            if size % multiple:
                yield f"{what}: {size}, expected a multiple of {multiple}"


def _sizes(layer: Layer) -> tuple[int, ...]:
    """Outputs of all groups, and inputs of one, as the first two sizes of a weight in PyTorch."""
    if isinstance(layer, Convolution):
        return layer.out_channels, layer.inputs
    if isinstance(layer, Linear | Experts):
        return layer.out_features, layer.in_features
    return ()


def globs_of(layers: Globs) -> tuple[str, ...]:
    """The globs one by one."""
    return (layers,) if isinstance(layers, str) else layers


def matches(layers: Globs, name: str) -> bool:
    """Whether one of the globs matches a layer's name."""
    return any(fnmatchcase(name, glob) for glob in globs_of(layers))
