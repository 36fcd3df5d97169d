"""What a recipe's pruners are told of a layer: what meets its weight along K, and its gradients.

A mask of a weight that is made for forward runs along inputs, which the layer's activations meet;
made for backward it runs along outputs, which the gradients of the layer's output meet. They are
those of the run's step: of a file of tensors, or drawn where it has none, and then the row says
``synthetic``. Tokens are sent to experts as the step goes: every expert is told of all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import RecipeError, SpecError
from nmsim.network.im2col import column_values
from nmsim.network.layer import Bare, Conv, Experts, Layer, Linear
from nmsim.network.layers.convolution import Convolution
from nmsim.network.operand import TensorName
from nmsim.network.streams import makers_of
from nmsim.network.tensors import Synthetic, TensorSource
from nmsim.pruning import PRUNERS, Context, Samples
from nmsim.pruning.parts.context import ALONG_K
from nmsim.recipes.recipe import Offer
from nmsim.recipes.setting import Setting

__all__ = ["check_asked", "contexts", "ordered", "told"]

_OF_TENSORS = (*ALONG_K, "gradients")

_NOT_KNOWN = {
    "scores": "what every value is worth",
    "previous": "the mask before this one",
}
"""What no run can say, in words."""


@dataclass(frozen=True)
class _Met:
    """The rows that meet a weight along K, as the layer's tensors have them."""

    layer: Layer | Bare
    tensor: TensorName
    source: TensorSource
    batch: int

    def rows(self, copy: int) -> Iterator[NDArray[Any]]:
        """Blocks of samples x K of one of the layer's copies."""
        layer, blocks = self.layer, self.source.blocks(self.layer, self.tensor, self.batch)
        if isinstance(layer, Convolution) and layer.wide == self.tensor:
            yield from (_columns(layer, image, copy) for block in blocks for image in block)
            return
        copies = 1 if isinstance(layer, Experts) else layer.copies
        for block in blocks:
            pixels = block.reshape(-1, block.shape[-1])
            width = pixels.shape[1] // copies
            yield pixels[:, copy * width : (copy + 1) * width] if copies > 1 else pixels

    def of(self, copy: int) -> Samples:
        """The same, to be read as often as somebody asks."""
        return Samples(lambda: self.rows(copy))


def _columns(layer: Convolution, image: NDArray[Any], copy: int) -> NDArray[Any]:
    """What the windows over one image see of one copy: windows x taps.channels."""
    windows = layer.windows(1)
    width = windows.taps * windows.channels
    out = np.empty((width, windows.pixels), np.float32)
    pixels = np.ascontiguousarray(image.reshape(-1, image.shape[-1]), np.float32)
    column_values(pixels, windows, layer.copies, copy * width, out)
    return out.T


def _source(layer: Layer | Bare, tensor: TensorName, setting: Setting) -> TensorSource:
    """Where the rows come from: the run's tensors, if they have these; drawn ones if not."""
    try:
        setting.tensors.check([layer], tensor, setting.batch)
    except SpecError:
        return Synthetic(setting.seed)
    return setting.tensors


def _tensor(offer: Offer) -> TensorName:
    """What meets a weight along K of the first phase that its mask is offered in."""
    return "gradient" if offer.transposed else "activation"


def told(layer: Layer | Bare, offer: Offer, setting: Setting) -> str:
    """What a row says of what a pruner was told of it; "" if it asks for nothing that is drawn."""
    pruner = PRUNERS[offer.pruner]
    asked = [name for name in pruner.wants if name in _OF_TENSORS]
    if not asked or offer.role != "weight":
        return ""
    if not isinstance(_source(layer, _tensor(offer), setting), Synthetic):
        return ""
    drawn = f"synthetic {_tensor(offer)}s, seed {setting.seed}"
    if pruner.masks_as:
        return (
            f"{offer.pruner} mask of the {offer.role}: {pruner.masks_as}'s, its values by {drawn}"
        )
    return f"{offer.pruner} mask of the {offer.role} by {drawn}"


def ordered(
    layer: Layer | Bare, offer: Offer, setting: Setting, layers: Sequence[Layer | Bare]
) -> str:
    """What a row says of a mask in another order of K: who is permuted with it; "" of others.

    Raises
    ------
    RecipeError
        if others than one linear layer have to do with the input's channels.
    """
    if PRUNERS[offer.pruner].order is None:
        return ""
    makers = makers_of(layer, layers)
    if makers.why_not:
        raise RecipeError(
            f"recipe {setting.recipe.name!r}, layer {layer.name!r}: a {offer.pruner} mask puts K "
            f"in another order, but {makers.why_not}: expected an input that one linear layer "
            "makes for this one alone"
        )
    who = " and ".join(makers.names) or "what makes its input, for it alone,"
    return f"K in another order: {who} with its outputs permuted"


def _gradients(layer: Layer | Bare, offer: Offer, setting: Setting, copy: int) -> NDArray[Any]:
    """The gradient of a copy's weight over the step, dY^T X, turned as the mask is made."""
    inputs = _Met(layer, "activation", _source(layer, "activation", setting), setting.batch)
    source = _source(layer, "gradient", setting)
    outputs = np.concatenate(list(_Met(layer, "gradient", source, setting.batch).rows(copy)))
    total, start = np.zeros((outputs.shape[1], 0)), 0
    for block in inputs.rows(copy):
        part = outputs[start : start + len(block)].T @ block
        total, start = part + total if start else part, start + len(block)
    return total.T if offer.transposed else total


def check_asked(layer: Layer | Bare, offer: Offer, setting: Setting) -> None:
    """Refuse a pruner that asks for what a run cannot tell it of a layer's tensor.

    Raises
    ------
    RecipeError
        naming the layer, the pruner and what it asks for.
    """
    if why := _unknown(layer, offer, setting):
        raise RecipeError(
            f"recipe {setting.recipe.name!r}, layer {layer.name!r}: pruner {offer.pruner!r} asks "
            f"for {why}"
        )


def _unknown(layer: Layer | Bare, offer: Offer, setting: Setting) -> str:
    """What a pruner asks for and cannot be told, and what was expected; "" if all is known."""
    pruner = PRUNERS[offer.pruner]
    asked = [name for name in pruner.wants if name in _OF_TENSORS]
    if asked and offer.role != "weight":
        return f"{asked[0]}, expected a mask of the weight, not of the {offer.role}"
    if "gradients" in asked and not isinstance(layer, Linear | Conv):
        return "gradients, expected a linear layer or a convolution"
    if "step" in pruner.needs and setting.step is None:
        return "step, expected a default, or nmsim train: a step alone has no number"
    for name, what in _NOT_KNOWN.items():
        if name in pruner.needs:
            return f"{name}, expected a default: a run does not know {what}"
    return ""


def contexts(layer: Layer | Bare, offer: Offer, setting: Setting) -> Callable[[int], Context]:
    """What a pruner is told of each copy of a layer's tensor, by its number.

    Raises
    ------
    RecipeError
        if it asks for what is not known (``check_asked``).
    """
    check_asked(layer, offer, setting)
    asked = [name for name in PRUNERS[offer.pruner].wants if name in _OF_TENSORS]
    own = Context(layer.name, offer.role, setting.step)
    if not asked:
        return lambda _: own
    met = _Met(layer, tensor := _tensor(offer), _source(layer, tensor, setting), setting.batch)

    def context(copy: int) -> Context:
        of_weight = _gradients(layer, offer, setting, copy) if "gradients" in asked else None
        return replace(own, activations=met.of(copy), gradients=of_weight)

    return context
