"""What a step multiplies, as plain values: one product of matrices, and what it belongs to."""

from dataclasses import dataclass
from math import prod
from typing import Literal

from nmsim.gemm import Phase

__all__ = ["Heads", "Kind", "Product", "Sizes", "Window"]

Kind = Literal["linear", "experts", "conv", "attention", "matmul"]

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A convolution by its forward layer, whatever the phase; a value for each dimension.

    Parameters
    ----------
    images
        Samples that reach it.
    in_size, out_size
        Pixels of the forward layer's input and output.
    """

    images: int
    in_channels: int
    out_channels: int
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    groups: int
    in_size: Sizes
    out_size: Sizes
    transposed: bool = False
    output_padding: Sizes = ()


@dataclass(frozen=True)
class Heads:
    """An attention by its sizes; ``kv_heads`` as they were projected, before any repetition.

    Parameters
    ----------
    batch
        Squares that do not see each other: samples, and windows of them.
    fused
        One operation ran it; otherwise products and a softmax did.
    unread
        It has a mask of every query and key whose values are not known.
    """

    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    head_dim: int
    v_head_dim: int
    causal: bool = False
    fused: bool = True
    unread: bool = False


@dataclass(frozen=True)
class Product:
    """One product of a step.

    Parameters
    ----------
    kind
        ``linear`` and ``experts`` have a weight; ``matmul`` multiplies two activations.
    phase
        forward, backward (gradient of the input, or of an operand of a matmul), update.
    call
        Number of the forward product that it is of; of one that is forward its own.
    operation
        Of PyTorch, which ran it: "aten.addmm".
    module
        Path of the module that ran it forward.
    weight
        Name of the parameter; empty: none.
    m, n, k, count
        As `nmsim.Gemm` has them, of a linear layer in its phase; of experts, ``m`` rows (in update
        ``k``) of all experts together. 0 for convolutions and attention, which have sizes of their
        own.
    gradient_of
        Of the backward of a matmul, the operand: "a" or "b".
    again
        Forward a second time, on the way back.
    source
        Number of the tensor that it reads as an activation: the same for copies and views.
    made_by
        What made that tensor: data, relu, gelu, swiglu, norm, softmax, embedding, linear.
    """

    kind: Kind
    phase: Phase
    call: int
    operation: str
    module: str = ""
    weight: str = ""
    m: int = 0
    n: int = 0
    k: int = 0
    count: int = 1
    window: Window | None = None
    heads: Heads | None = None
    gradient_of: str = ""
    again: bool = False
    source: int = 0
    made_by: str = "linear"

    @property
    def layer(self) -> str:
        """Name of its layer: that of its weight, or of the module and the operation."""
        if self.weight:
            return self.weight.removesuffix(".weight")
        ran = "attention" if self.heads is not None else self.operation.rpartition(".")[2]
        own = self.module.rpartition(".")[2]  # a block by its number does much besides
        return f"{self.module}.{ran}" if own.isdecimal() else self.module or ran

    @property
    def macs(self) -> int:
        """Multiply-accumulates, of attention those of whole squares."""
        if self.window is not None:
            w = self.window
            places = w.in_size if w.transposed else w.out_size
            channels = w.in_channels * w.out_channels // w.groups
            return w.images * prod(places) * prod(w.kernel) * channels
        if self.heads is not None:
            h = self.heads
            square = h.batch * h.heads * h.queries * h.keys * (h.head_dim + h.v_head_dim)
            return square * (1 if self.phase == "forward" else 2)
        return self.m * self.n * self.k * self.count
