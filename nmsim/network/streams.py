"""Whose channels a layer reads, so that they may be put in another order by whoever makes them.

Channels may change places if one linear layer alone makes them, one alone reads them, and what is
done between works channel by channel. A residual stream is written and read by every block: its
channels have one order for all of them, as the heads of an attention have.
"""

from collections.abc import Sequence
from typing import NamedTuple

from nmsim.network.layer import Bare, Layer, Linear
from nmsim.network.operations import chain_of

__all__ = ["Makers", "makers_of"]

_BY_CHANNEL = frozenset(
    (
        *("batch_norm", "layer_norm", "rms_norm", "relu", "gelu", "silu", "swiglu", "softmax"),
        *("bias", "layer_scale", "scaling", "dropout", "mean"),
    )
)
"""Operations that do to channels in another order what they do to them in theirs."""


class Makers(NamedTuple):
    """Layers whose outputs a layer's inputs are; none: the network does not have them.

    Parameters
    ----------
    names
        One layer, or the two whose product is taken (SwiGLU).
    why_not
        Why its inputs cannot change places; "": they can.
    """

    names: tuple[str, ...] = ()
    why_not: str = ""


def makers_of(layer: Layer | Bare, layers: Sequence[Layer | Bare]) -> Makers:
    """Who makes a layer's input, among the layers of a network in their order."""
    if not isinstance(layer, Linear):
        return Makers()
    before = layers[: next(at for at, one in enumerate(layers) if one.name == layer.name)]
    if layer.input_of or any(_source(one) == layer.name for one in layers):
        return Makers(why_not="other layers read the same input")
    if not before and layer.input not in ("data", "embedding"):
        return Makers()
    if not before or not isinstance(last := before[-1], Linear):
        return Makers(why_not="no linear layer makes its input")
    made = _product(last, before) if layer.input == "swiglu" else (last,)
    why_not = _why_not(layer, last, sum(one.out_features for one in made) // len(made))
    return Makers(why_not=why_not) if why_not else Makers(tuple(one.name for one in made))


def _why_not(layer: Linear, last: Linear, channels: int) -> str:
    """Why the channels of the layer before are not the inputs of this one alone."""
    if last.block != layer.block:
        return f"its input comes from {last.name}, outside of its block"
    for made in chain_of((*last.then, *layer.before)):
        if made.name not in _BY_CHANNEL:
            return f"behind {last.name} stands {made.name}, which others share"
    halves = 2 if layer.input == "swiglu" else 1  # of one matrix for both
    if channels not in (layer.in_features, halves * layer.in_features):
        return f"{last.name} makes {channels} channels"
    return ""


def _source(layer: Layer | Bare) -> str:
    return "" if isinstance(layer, Bare) else getattr(layer, "input_of", "")


def _product(last: Linear, before: Sequence[Layer | Bare]) -> tuple[Linear, ...]:
    """The layers of a SwiGLU: the last one, and the one that reads the same input before it."""
    gates = [one for one in before if isinstance(one, Linear) and one.name == last.input_of]
    return (*gates, last)
