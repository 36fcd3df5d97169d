"""How a layer's GEMMs read its tensors: roles, and the axis that K runs along in each phase.

With T = batch.tokens or batch.OH.OW, I = KH.KW.C_in (channel fastest) and O = C_out:

======== === === === ===================== ======================
phase    M   N   K   A                     B
======== === === === ===================== ======================
forward  T   O   I   activation            weight
backward T   I   O   gradient              weight, transposed
update   O   I   T   gradient, transposed  activation, transposed
======== === === === ===================== ======================

Backward of a convolution is so where columns are added up afterwards. As an implicit GEMM it has
the input's pixels as M, C_in as N, and KH.KW.C_out (channel fastest) as K: the gradient is gathered
through windows, and the weight tap by tap, so that groups lie along C_out as before. A transposed
convolution has T = batch.H.W of its input, I = C_in, O = KH.KW.C_out, and this forward.

K is last in both operands. A mask of a tensor is N:M along K in two phases only if it obeys the
pattern along both axes of its matrix: ``Operand.transposed`` says which axis a phase needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, get_args

from nmsim.gemm import Gemm, Phase
from nmsim.pattern import Pattern

__all__ = [
    "ATTENTION_OPERANDS",
    "ATTENTION_ROLES",
    "OPERANDS",
    "ROLES",
    "AttentionRole",
    "Brought",
    "FileLayout",
    "HasTensors",
    "Input",
    "Lowered",
    "Operand",
    "Role",
    "TensorName",
    "operands_of",
]

Input = Literal["data", "relu", "gelu", "swiglu", "norm", "softmax", "embedding", "linear"]
"""What made a layer's input: its distribution, and for ``data`` that it needs no gradient."""

AttentionRole = Literal["query", "key", "value", "probabilities"]
"""Tensors of an attention that its products multiply."""

TensorName = (
    Literal["activation", "activation_b", "weight", "gradient", "score_gradient"] | AttentionRole
)
"""A layer's tensors; ``activation_b`` is the second input of a matmul, ``score_gradient`` what
comes back through the softmax of an attention."""

Role = Literal["activation", "weight", "gradient", "query", "key", "value", "probabilities"]
"""What a matrix is to the network."""

ATTENTION_ROLES: tuple[AttentionRole, ...] = get_args(AttentionRole)

ROLES: tuple[Role, ...] = ("activation", "weight", "gradient", *ATTENTION_ROLES)


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
    taps
        Of a weight that is read tap by tap: which ones, one after the other along K, each with the
        channels that ``transposed`` says. Rows are then the other channels. Empty: it is not.
    """

    tensor: TensorName
    transposed: bool = False
    taps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Lowered:
    """One GEMM of a layer, where its operands come from, and where its results go.

    Parameters
    ----------
    gemm
        Its sizes, and the windows that operands are gathered through.
    a, b
        Its operands.
    pixels
        Along each dimension, the pixels that its rows make, if these are some of an image.
    among
        The layer's copies that it is of, such as the experts that have so many rows; None: all.
    """

    gemm: Gemm
    a: Operand
    b: Operand
    pixels: tuple[range, ...] = ()
    among: tuple[int, ...] | None = None


class Brought(NamedTuple):
    """A mask that a workload's own file declares of a tensor, in one phase, by its pattern."""

    role: Role
    phase: Phase
    pattern: Pattern


class FileLayout(NamedTuple):
    """How a file lays a tensor out, whose features come last here.

    Parameters
    ----------
    shape
        In the file.
    split
        The same with axes split that do not stay together.
    order
        The split axes in the order of the tensor.
    """

    shape: tuple[int, ...]
    split: tuple[int, ...]
    order: tuple[int, ...]

    @classmethod
    def channels_second(cls, shape: tuple[int, ...]) -> "FileLayout":
        """An image or a weight as PyTorch has it, of a shape with channels last."""
        stored = (shape[0], shape[-1], *shape[1:-1])
        return cls(stored, stored, (0, *range(2, len(shape)), 1))


OPERANDS: Mapping[Phase, tuple[Operand, Operand]] = {
    "forward": (Operand("activation"), Operand("weight")),
    "backward": (Operand("gradient"), Operand("weight", transposed=True)),
    "update": (Operand("gradient", transposed=True), Operand("activation", transposed=True)),
}

ATTENTION_OPERANDS: Mapping[tuple[Phase, str], tuple[Operand, Operand]] = {
    ("forward", "1/2"): (Operand("query"), Operand("key")),
    ("forward", "2/2"): (Operand("probabilities"), Operand("value", transposed=True)),
    ("backward", "1/4"): (Operand("gradient"), Operand("value")),
    ("backward", "2/4"): (
        Operand("probabilities", transposed=True),
        Operand("gradient", transposed=True),
    ),
    ("backward", "3/4"): (Operand("score_gradient"), Operand("key", transposed=True)),
    ("backward", "4/4"): (
        Operand("score_gradient", transposed=True),
        Operand("query", transposed=True),
    ),
}
"""Operands of an attention's products, by phase and part (``nmsim.network.layers.attention``)."""


def operands_of(gemm: Gemm) -> tuple[Operand, Operand]:
    """How a GEMM of a layer reads its tensors."""
    product = gemm.kind == "attention" and bool(gemm.part)
    return ATTENTION_OPERANDS[gemm.phase, gemm.part] if product else OPERANDS[gemm.phase]


class HasTensors(Protocol):
    """What a source of values must know of a layer."""

    def owner(self, tensor: TensorName) -> str:
        """Name of the layer that a tensor belongs to: seeds it, and finds it in a file."""

    @property
    def input(self) -> Input:
        """The operation that made the layer's input."""

    @property
    def spatial(self) -> int:
        """How many dimensions its images have; 0: its tensors are matrices."""

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a layer's tensor for a batch, features last."""

    def in_file(self, tensor: TensorName, batch: int) -> FileLayout | None:
        """How a file lays a tensor out; None: as its shape says."""
