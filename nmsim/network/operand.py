"""How a layer's GEMMs read its tensors: roles, and the axis that K runs along in each phase.

With T = batch.tokens or batch.OH.OW, I = KH.KW.C_in (channel fastest) and O = C_out:

======== === === === ===================== ======================
phase    M   N   K   A                     B
======== === === === ===================== ======================
forward  T   O   I   activation            weight
backward T   I   O   gradient              weight, transposed
update   O   I   T   gradient, transposed  activation, transposed
======== === === === ===================== ======================

K is last in both operands. A mask of a tensor is N:M along K in two phases only if it obeys the
pattern along both axes of its matrix: ``Operand.transposed`` says which axis a phase needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from nmsim.gemm import Gemm, Phase

__all__ = [
    "OPERANDS",
    "HasTensors",
    "Input",
    "Lowered",
    "Operand",
    "Role",
    "TensorName",
]

Input = Literal["data", "relu", "gelu", "swiglu", "norm", "softmax", "embedding", "linear"]
"""What made a layer's input: its distribution, and for ``data`` that it needs no gradient."""

TensorName = Literal["activation", "activation_b", "weight", "gradient"]
"""A layer's tensors; ``activation_b`` is the second input of a matmul."""

Role = Literal["activation", "weight", "gradient"]
"""What a matrix is to the network."""


@dataclass(frozen=True)
class Operand:
    """How an operand is read off a tensor.

    Parameters
    ----------
    tensor
        Which of the layer's tensors.
    transposed
        Its rows are the tensor's features and K runs over samples (or, for a weight, over outputs);
        otherwise K is the tensor's last axis (under im2col, the window's channels).
    """

    tensor: TensorName
    transposed: bool = False


@dataclass(frozen=True)
class Lowered:
    """One GEMM of a layer and where its operands come from."""

    gemm: Gemm
    a: Operand
    b: Operand


OPERANDS: Mapping[Phase, tuple[Operand, Operand]] = {
    "forward": (Operand("activation"), Operand("weight")),
    "backward": (Operand("gradient"), Operand("weight", transposed=True)),
    "update": (Operand("gradient", transposed=True), Operand("activation", transposed=True)),
}


class HasTensors(Protocol):
    """What a source of values must know of a layer."""

    def owner(self, tensor: TensorName) -> str:
        """Name of the layer that a tensor belongs to: seeds it, and finds it in a file."""

    @property
    def input(self) -> Input:
        """The operation that made the layer's input."""

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a layer's tensor for a batch, features last."""
