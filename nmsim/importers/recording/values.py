"""Values of one recorded step: weights, activations and gradients, as a tensor file or a trace.

A weight is taken as it was multiplied, behind whatever masks it: its zeros are the user's masks. In
a trace each GEMM sees them along its own K, and a pattern is promised where every group keeps it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from nmsim.errors import PatternError, SpecError
from nmsim.files import write_file
from nmsim.importers.recording.layers import Run, Size, layers_of
from nmsim.importers.recording.operations import Multiplied
from nmsim.importers.recording.product import Product
from nmsim.mask import Mask, SparseGemm
from nmsim.network.catalog import Network
from nmsim.network.layer import Conv, Layer, Linear, lowered
from nmsim.network.operand import Lowered, Operand
from nmsim.pattern import Pattern
from nmsim.registry import unknown_name
from nmsim.run.trace import Trace
from nmsim.spec import validate

__all__ = ["Tensors", "recorded"]

Values = NDArray[np.float32]
Bits = NDArray[np.bool_]


@dataclass(frozen=True)
class Tensors:
    """The tensors of one step.

    Parameters
    ----------
    run
        The step.
    what
        What was recorded, for people.
    implementation
        The library that ran it, with its version.
    values
        By ``<layer>.weight``, ``.activation`` and ``.gradient``; a convolution's as PyTorch has
        them, all others with features last.
    """

    run: Run
    what: str
    implementation: str
    values: Mapping[str, Values]

    @property
    def network(self) -> Network:
        """The network of the step, at its own sizes."""
        layers, _ = layers_of([self.run])
        source = f"a step of {self.what} as {self.implementation} runs it, recorded by nmsim"
        sizes = self.run.size.of_network
        document = {"name": self.what, "source": source, **sizes, "layers": layers}
        return validate(Network, document, self.what)

    def save(self, path: str | Path) -> None:
        """Write a tensor file, which ``--tensors`` reads.

        Raises
        ------
        SpecError
            if the file cannot be written.
        """
        arrays = {name: np.ascontiguousarray(one) for name, one in self.values.items()}
        write_file(Path(path), lambda aside: save_file(arrays, aside))

    def trace(self, pattern: str | None = None, masks: Mapping[str, Any] | None = None) -> Trace:
        """The step's GEMMs with the zeros of its weights as masks; attention runs dense.

        Parameters
        ----------
        pattern
            That masks promise along K where every group keeps it; None: nothing is promised.
        masks
            In place of a weight's zeros, by the layer's name: booleans of the weight's shape.

        Raises
        ------
        SpecError, ShapeError
            for a mask of no layer, or of another shape than its weight.
        """
        own = dict(masks or {})
        network = self.network
        for name in own:
            if f"{name}.weight" not in self.values:
                known = [one.removesuffix(".weight") for one in self.values]
                raise unknown_name("layer with a weight", name, known)
        works = tuple(self._works(network, own, pattern))
        made = {"model": self.what, "recorded": self.implementation, "batch": self.run.size.batch}
        return Trace(works, {**made, "pattern": pattern or "none promised"})

    def _works(
        self, network: Network, own: Mapping[str, Any], pattern: str | None
    ) -> Iterator[SparseGemm]:
        for layer, forward in zip(network.layers, self.run.forward, strict=True):
            ran = {p.phase for p in self.run.products if p.call == forward.call}
            kept = self._kept(layer, own)
            for one in lowered(layer, self.run.size.batch):
                if one.gemm.phase in ran:
                    yield _masked(layer, one, kept, pattern)

    def _kept(self, layer: Layer, own: Mapping[str, Any]) -> Bits | None:
        """Which elements of a layer's weight are kept, channels last; None: all, or unknown."""
        values = self.values.get(f"{layer.owner('weight')}.weight")
        if values is None or not isinstance(layer, Linear | Conv):
            return None
        kept = np.asarray(own.get(layer.owner("weight"), values != 0)).astype(np.bool_)
        if kept.shape != values.shape:
            raise SpecError(
                f"mask of layer {layer.name!r}: shape is {kept.shape}, expected {values.shape}"
            )
        return np.moveaxis(kept, 1, -1) if isinstance(layer, Conv) else kept


def _masked(layer: Layer, one: Lowered, kept: Bits | None, pattern: str | None) -> SparseGemm:
    gemm = one.gemm
    rows = ((one.a, gemm.m * gemm.count), (one.b, gemm.n * gemm.count))
    masks = [
        _mask(_seen(layer, operand, kept), pattern)
        if kept is not None and operand.tensor == "weight" and not kept.all()
        else Mask.dense(many, gemm.k)
        for operand, many in rows
    ]
    promised = all(mask.fits for mask in masks)
    note = "" if promised or pattern is None else f"zeros of the weight are not {pattern} along K"
    return SparseGemm(gemm, masks[0], masks[1], note)


def _seen(layer: Layer, operand: Operand, kept: Bits) -> Bits:
    """A weight's mask as an operand reads it: rows of all copies x K."""
    outputs, inputs = len(kept), kept.shape[-1]
    parts = kept.reshape(layer.copies, outputs // layer.copies, -1, inputs)
    if operand.taps:
        parts = parts[:, :, list(operand.taps)]
        turned = parts.transpose(0, 3, 2, 1) if operand.transposed else parts
        rows = layer.copies * (inputs if operand.transposed else outputs // layer.copies)
        return turned.reshape(rows, -1)
    if operand.transposed:
        return parts.transpose(0, 2, 3, 1).reshape(-1, outputs // layer.copies)
    return parts.reshape(outputs, -1)


def _mask(bits: Bits, pattern: str | None) -> Mask:
    """A mask that promises the pattern, if it is so; else nothing."""
    if pattern is None:
        return Mask(bits, None)
    try:
        return Mask(bits, Pattern.parse(pattern))
    except PatternError:
        return Mask(bits, None)


@dataclass
class _Keeper:
    """Keeps what products multiply, while they are told of."""

    array: Callable[[Any], Values]
    tensors: dict[tuple[int, str], Values] = field(default_factory=dict)

    def __call__(self, product: Product, one: Multiplied, first: bool) -> None:
        """Keep a product's tensors; of two that are the same the first."""
        if product.kind not in ("linear", "conv") or product.again or not product.weight:
            return
        if product.phase == "forward":
            rows, weight = (one.a, one.b) if first else (one.b, one.a)
            self._keep(product, "activation", rows, one, turned=not first)
            self._keep(product, "weight", weight, one, turned=first)
        else:
            gradient, update = (one.a if first else one.b), product.phase == "update"
            self._keep(product, "gradient", gradient, one, turned=first == update)

    def _keep(
        self, product: Product, tensor: str, value: Any, one: Multiplied, *, turned: bool
    ) -> None:
        key = (product.call, tensor)
        if key in self.tensors:
            return
        array = self.array(value)
        if one.kind == "conv":
            self.tensors[key] = array
            return
        if tensor == "weight" and array.ndim > 2:  # copies of one weight
            array = array[0]
        array = np.swapaxes(array, -1, -2) if turned else array
        self.tensors[key] = array.reshape(-1, array.shape[-1])


def recorded(
    step: Callable[[Size], None],
    size: Size,
    model: Any,
    dispatch: Any,
) -> Tensors:
    """The tensors of a step, run once.

    Parameters
    ----------
    step
        Runs at a size.
    dispatch
        The module that watches PyTorch.
    """
    keeper = _Keeper(dispatch.array)
    run = dispatch.run_of(step, size, model, keeper)
    layers, _ = layers_of([run])
    values = {
        f"{layer['name']}.{tensor}": keeper.tensors[product.call, tensor]
        for product, layer in zip(run.forward, layers, strict=True)
        for tensor in ("weight", "activation", "gradient")
        if (product.call, tensor) in keeper.tensors
    }
    return Tensors(run, type(model).__name__, f"torch {dispatch.VERSION}", values)
