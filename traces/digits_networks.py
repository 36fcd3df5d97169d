"""Two small networks whose weighted layers multiply what a recipe leaves of their operands.

Each GEMM of a layer with a weight is one product of matrices, K last as in nmsim: a convolution is
unfolded into columns, channel fastest. The layers' shapes are those of ``digits-cnn.yaml`` and
``digits-vit.yaml`` beside this file. Needs the extra ``digits``.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it

from nmsim.network.catalog import Network, load_model
from nmsim.network.layer import Conv, Linear
from nmsim.recipes.recipe import Recipe
from traces.pruned_layer import PrunedLayer, WeightMasks

__all__ = ["NETWORKS", "DigitsCnn", "DigitsVit", "Gemms", "Seen", "made", "shapes"]

HERE = Path(__file__).resolve().parent
NETWORKS = ("digits-cnn", "digits-vit")

Seen = dict[str, NDArray[Any]]
"""One step of a layer: tensors by name, and masks by role and phase, K of that phase last."""


class _Products(torch.autograd.Function):
    """Forward, backward and update of ``x`` (T x I) and ``weight`` (O x I), each as pruned."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, gemms: "Gemms") -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.gemms = gemms
        return x @ gemms.weight_in("forward", weight).T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x, weight = ctx.saved_tensors
        gemms = ctx.gemms
        before = gemms.backward(gradient, weight) if ctx.needs_input_grad[0] else None
        return before, gemms.update(gradient, x), None


class Gemms(nn.Module):
    """A layer with a weight: its parameters, and its GEMMs as a recipe prunes them.

    The gradient of what is pruned goes straight through to the dense weight.

    Parameters
    ----------
    layer
        Shape and name.
    generator
        Draws the weight: normal, variance 2 / fan-in for a convolution and 1 / fan-in else.
    """

    def __init__(self, layer: Conv | Linear, generator: torch.Generator) -> None:
        super().__init__()
        outputs, *window = layer.shape("weight", 1)
        fan_in = int(np.prod(window))
        gain = 2.0 if isinstance(layer, Conv) else 1.0
        drawn = torch.randn(outputs, fan_in, generator=generator)
        self.weight = nn.Parameter(drawn * (gain / fan_in) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.layer = layer
        self.pruned: PrunedLayer | None = None
        self.masks: WeightMasks = {}
        self.seen: Seen | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Features last: columns (T x I) or tokens (..., I) in, (..., O) out."""
        flat = x.reshape(-1, x.shape[-1])
        y = _Products.apply(flat, self.weight, self) + self.bias
        return y.reshape(*x.shape[:-1], -1)

    def make_masks(self) -> None:
        """Masks of the weight as it is now."""
        if self.pruned is not None:
            self.masks = self.pruned.weight_masks(self.weight.detach().numpy())

    def weight_in(self, phase: str, weight: Tensor) -> Tensor:
        """The weight as the GEMM of a phase reads it."""
        mask = self.masks.get(phase)
        return weight if mask is None else weight * torch.from_numpy(np.ascontiguousarray(mask))

    def backward(self, gradient: Tensor, weight: Tensor) -> Tensor:
        """Gradient of the input, T x I."""
        done = self._step.backward_gradient(gradient.numpy())
        if done is None:
            return gradient @ self.weight_in("backward", weight)
        self._see("gradient backward", done.mask)
        return _tensor(done.values) @ self.weight_in("backward", weight)

    def update(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Gradient of the weight, O x I."""
        a, b = self._step.update_operands(gradient.numpy(), x.numpy())
        if self.seen is not None:
            self.seen["weight"] = self.weight.detach().numpy().copy()
            self.seen["columns"] = x.numpy().copy()
            self.seen["gradient"] = gradient.numpy().copy()
            for phase, mask in self.masks.items():
                self._see(f"weight {phase}", mask if phase == "forward" else mask.T)
            self._see("gradient update", a.mask.T)
            self._see("activation update", b.mask.T)
        return _tensor(a.values).T @ _tensor(b.values)

    @property
    def _step(self) -> PrunedLayer:
        assert self.pruned is not None, "a network is given its recipe before it is trained"  # noqa: S101
        return self.pruned

    def _see(self, name: str, mask: NDArray[np.bool_]) -> None:
        if self.seen is not None:
            self.seen[name] = mask


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


class DigitsNetwork(nn.Module):
    """What both networks share: layers by name, recipe, step and what is seen of it."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.network = shapes(name)
        weighted = [layer for layer in self.network.layers if isinstance(layer, Conv | Linear)]
        self.gemms = {layer.name: Gemms(layer, generator) for layer in weighted}
        self.registered = nn.ModuleList(self.gemms.values())

    def prune(self, recipe: Recipe, pattern: Any, samples: int) -> None:
        """Multiply as a recipe says from now on; masks of weights wait for ``make_masks``."""
        for gemms in self.gemms.values():
            gemms.pruned = PrunedLayer(gemms.layer, recipe, pattern, samples)

    def start_step(self, seed: int, *, make_masks: bool, see: bool) -> None:
        """Draw anew; make masks of the weights as they are, and remember the step, if told so."""
        for gemms in self.gemms.values():
            if gemms.pruned is not None:
                gemms.pruned = gemms.pruned.at(seed)
            if make_masks:
                gemms.make_masks()
            gemms.seen = {} if see else None

    def seen(self) -> dict[str, Seen]:
        """What the layers remember of the last step."""
        return {name: dict(gemms.seen or {}) for name, gemms in self.gemms.items()}

    def run(self, name: str, x: Tensor) -> Tensor:
        """Apply one layer; remembers its input."""
        gemms = self.gemms[name]
        if gemms.seen is not None:
            gemms.seen["activation"] = x.detach().numpy().copy()
        if isinstance(gemms.layer, Conv):
            height, width = gemms.layer.output_size
            y: Tensor = gemms(_columns(gemms.layer, x))
            return y.reshape(len(x), height, width, -1).permute(0, 3, 1, 2)
        return gemms(x)


def _columns(layer: Conv, image: Tensor) -> Tensor:
    """Unfold an image NCHW into T x (window, channel fastest)."""
    stride, padding = layer.each("stride"), layer.each("padding")
    parts = F.unfold(image, layer.window, padding=padding, stride=stride)
    taps = layer.window[0] * layer.window[1]
    split = parts.reshape(len(image), layer.in_channels, taps, -1)
    return split.permute(0, 3, 2, 1).reshape(-1, taps * layer.in_channels)


class DigitsCnn(DigitsNetwork):
    """Three convolutions and a classifier, ReLU between."""

    def __init__(self, seed: int) -> None:
        super().__init__("digits-cnn", seed)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of samples x 64 pixels."""
        x = pixels.reshape(-1, 1, 8, 8)
        for name in ("conv1", "conv2", "conv3"):
            x = F.relu(self.run(name, x))
        return self.run("fc", F.max_pool2d(x, 2).flatten(1))


class DigitsVit(DigitsNetwork):
    """Patches of 2 x 2 pixels, two encoder blocks with normalisation first, mean of the tokens."""

    width, heads, blocks = 64, 4, 2

    def __init__(self, seed: int) -> None:
        super().__init__("digits-vit", seed)
        generator = torch.Generator().manual_seed(seed + 1)
        self.places = nn.Parameter(0.02 * torch.randn(16, self.width, generator=generator))
        norms = [nn.LayerNorm(self.width) for _ in range(2 * self.blocks + 1)]
        self.norms = nn.ModuleList(norms)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of samples x 64 pixels."""
        split = pixels.reshape(-1, 4, 2, 4, 2)
        patches = split.permute(0, 1, 3, 2, 4).reshape(-1, 16, 4)
        x = self.run("embed", patches) + self.places
        for block in range(self.blocks):
            name = f"blocks.{block}"
            x = x + self._attention(name, self.norms[2 * block](x))
            y = F.gelu(self.run(f"{name}.mlp.0", self.norms[2 * block + 1](x)))
            x = x + self.run(f"{name}.mlp.2", y)
        return self.run("head", self.norms[-1](x).mean(1))

    def _attention(self, name: str, x: Tensor) -> Tensor:
        split = self.run(f"{name}.qkv", x).reshape(len(x), 16, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        scores = (query @ key.transpose(-1, -2)) * query.shape[-1] ** -0.5
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(x.shape)
        return self.run(f"{name}.out", mixed)


def shapes(name: str) -> Network:
    """The network's layers, from the YAML file beside this one."""
    return load_model(HERE / f"{name}.yaml")


def made(name: str, seed: int) -> DigitsNetwork:
    """A network with weights drawn from a seed."""
    return DigitsCnn(seed) if name == "digits-cnn" else DigitsVit(seed)
