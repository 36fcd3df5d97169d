"""Where values come from: drawn by role from the distributions of the literature, or from files.

A tensor comes as consecutive blocks along its first axis, channels last, so that no tensor need be
held whole. Synthetic tensors are drawn from ``default_rng([seed, crc32(layer), crc32(tensor)])``:
every phase sees the same W, X and dY, and adding a layer changes no other layer.
"""

import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.network.operand import HasTensors, TensorName

__all__ = ["Rectified", "Synthetic", "TensorSource", "spans"]

Block = NDArray[np.float32]

_BLOCK_ELEMENTS = 1 << 20


class TensorSource(Protocol):
    """Where the values of a layer's tensors come from."""

    @property
    def name(self) -> str:
        """What a manifest calls it."""

    def blocks(self, layer: HasTensors, tensor: TensorName, batch: int) -> Iterator[NDArray[Any]]:
        """A tensor as consecutive blocks along its first axis, of shape ``layer.shape(...)``."""

    def check(self, layers: Iterable[HasTensors], tensor: TensorName, batch: int) -> None:
        """Refuse now what could not be read later: a tensor of these layers, or its shape."""

    @property
    def masks(self) -> "TensorSource":
        """The masks of these tensors where it has them, and the tensors where it has none."""


@dataclass(frozen=True)
class Synthetic:
    """Tensors drawn at random, by role, from distributions of the literature.

    - weight: normal, variance 2 / fan-in (He et al., ICCV 2015, equation 10).
    - activation: normal with log-normal scale per channel (ranges differ by channel: Nagel et al.,
      ICCV 2019, figure 2) and, in images, first-order correlation along height and width; then the
      layer's real non-linearity. Tokens are independent.
    - gradient: log-normal magnitude, random sign (Chmiel et al., ICLR 2021, section 3).

    Parameters
    ----------
    seed
        The same seed draws the same tensors.
    gradient_sigma
        Standard deviation of ln |gradient|. That it is log-normal is Chmiel's; 2.0 is ours. Means
        over layers, recorded: 4.3 in a CNN, 2.3 in a ViT, 2.1 in a transformer of characters, of
        single layers 1.3 to 6.4 (``reports/tensors``). Masks by magnitude do not depend on it.
    channel_sigma
        Standard deviation of ln(scale of a channel). That channels differ is Nagel's; 0.5 is ours.
        Recorded: 1.3 in the CNN, 0.26 in the ViT, 0.32 in the transformer, 0.10 to 1.9 by layer.
    correlation
        Of a pixel with its neighbour, before the non-linearity; 0.7 is ours, and 0.62 behind a
        ReLU. Recorded there: 0.24 in the CNN, 0.06 and 0.42 by layer.
    logit_sigma
        Standard deviation of attention's logits; 2.0 is ours. Recorded in the transformer: 0.1 at
        its first step, 2.2 at its hundredth, 3.8 at its two hundredth.
    """

    seed: int = 0
    gradient_sigma: float = 2.0
    channel_sigma: float = 0.5
    correlation: float = 0.7
    logit_sigma: float = 2.0

    @property
    def name(self) -> str:
        """What a manifest calls it: the seed, and constants that are not the default ones."""
        own = [one for one in fields(self)[1:] if getattr(self, one.name) != one.default]
        told = "".join(f", {one.name} {getattr(self, one.name):g}" for one in own)
        return f"synthetic, seed {self.seed}{told}"

    def blocks(self, layer: HasTensors, tensor: TensorName, batch: int) -> Iterator[Block]:
        """A tensor as consecutive blocks of float32 along its first axis."""
        shape = layer.shape(tensor, batch)
        key = [self.seed, zlib.crc32(layer.owner(tensor).encode()), zlib.crc32(tensor.encode())]
        rng = np.random.default_rng(key)
        if tensor == "weight":
            return _weights(rng, shape)
        if tensor == "gradient":
            return _gradients(rng, shape, self.gradient_sigma)
        made_by = layer.input if tensor in ("activation", "probabilities") else "linear"
        return self._activations(rng, shape, made_by, spatial=layer.spatial)

    def _activations(
        self, rng: np.random.Generator, shape: tuple[int, ...], made_by: str, *, spatial: int
    ) -> Iterator[Block]:
        gain = np.exp(rng.standard_normal(shape[-1], np.float32) * np.float32(self.channel_sigma))
        # The bit generator of the second branch is its own, as that of a gradient's signs.
        branch = np.random.default_rng(rng.integers(1 << 63)) if made_by == "swiglu" else None
        for rows in spans(shape):
            block = rng.standard_normal((rows, *shape[1:]), np.float32)
            for axis in range(1, 1 + spatial):
                flat = block.reshape(math.prod(shape[1:axis]) * rows, shape[axis], -1)
                _correlate(flat, np.float32(self.correlation))
            values = _nonlinearity(made_by, block, gain, self.logit_sigma)
            if branch is not None:
                values *= branch.standard_normal(block.shape, np.float32)
            yield values

    def check(self, layers: Iterable[HasTensors], tensor: TensorName, batch: int) -> None:
        """Every tensor can be drawn."""

    @property
    def masks(self) -> "Synthetic":
        """The tensors: none has a mask."""
        return self


@dataclass(frozen=True)
class Rectified:
    """Another source's tensors with negative activations set to zero.

    Chmiel et al. (ICLR 2023, section 6) prune activations after a ReLU, whatever the network has.
    """

    source: TensorSource

    @property
    def name(self) -> str:
        """What a manifest calls it."""
        return f"{self.source.name}, activations rectified"

    def blocks(self, layer: HasTensors, tensor: TensorName, batch: int) -> Iterator[NDArray[Any]]:
        """A tensor as consecutive blocks along its first axis."""
        for values in self.source.blocks(layer, tensor, batch):
            yield np.maximum(values, 0) if tensor == "activation" else values

    def check(self, layers: Iterable[HasTensors], tensor: TensorName, batch: int) -> None:
        """Refuse what the other source does."""
        self.source.check(layers, tensor, batch)

    @property
    def masks(self) -> "Rectified":
        """The other source's masks: what is set to zero here is what they leave out."""
        return Rectified(self.source.masks)


def spans(shape: tuple[int, ...]) -> Iterator[int]:
    """Lengths of consecutive blocks along the first axis, about a million elements each."""
    row = int(np.prod(shape[1:], dtype=np.int64))
    step = max(1, _BLOCK_ELEMENTS // row)
    for start in range(0, shape[0], step):
        yield min(step, shape[0] - start)


def _weights(rng: np.random.Generator, shape: tuple[int, ...]) -> Iterator[Block]:
    scale = np.float32(np.sqrt(2.0 / np.prod(shape[1:], dtype=np.int64)))
    for rows in spans(shape):
        yield rng.standard_normal((rows, *shape[1:]), np.float32) * scale


def _gradients(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Iterator[Block]:
    # The bit generator of the signs is its own, so that blocks of any size draw the same tensor.
    signs = np.random.default_rng(rng.integers(1 << 63))
    for rows in spans(shape):
        block = rng.standard_normal((rows, *shape[1:]), np.float32)
        np.exp(block * np.float32(sigma), out=block)
        yield np.where(signs.random(block.shape, np.float32) < 0.5, -block, block)


def _nonlinearity(made_by: str, x: Block, gain: Block, logit_sigma: float) -> Block:
    if made_by == "relu":
        return np.maximum(x, 0) * gain
    if made_by == "gelu":  # Hendrycks and Gimpel, arXiv:1606.08415, tanh form
        y = x * gain
        return np.asarray(0.5 * y * (1 + np.tanh(0.7978845608 * (y + 0.044715 * y**3))))
    if made_by == "swiglu":  # the gate, x . sigmoid(x): Shazeer, arXiv:2002.05202, section 2
        y = x * gain
        return np.asarray(y / (1 + np.exp(-y)))
    if made_by == "softmax":
        e = np.exp(x * np.float32(logit_sigma))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))
    return x * gain


@compiled
def _correlate(x: NDArray[np.float32], rho: np.float32) -> None:
    """First-order autoregression along the middle of three axes; keeps unit variance."""
    fresh = np.float32(np.sqrt(np.float32(1) - rho * rho))
    outer, size, inner = x.shape
    for b in range(outer):
        for h in range(1, size):
            for c in range(inner):
                x[b, h, c] = rho * x[b, h - 1, c] + fresh * x[b, h, c]
