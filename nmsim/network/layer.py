"""Layers: their tensors' shapes, and their lowering to the GEMMs of a training step."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field

from nmsim.errors import ShapeError, SpecError
from nmsim.formats import format_in
from nmsim.gemm import Gemm, Phase
from nmsim.network.blocks import Runs
from nmsim.network.layers.attention import AttentionLayer
from nmsim.network.layers.conv_transposed import ConvTransposed
from nmsim.network.layers.convolution import Conv
from nmsim.network.layers.embedding import Embedding
from nmsim.network.layers.experts import Experts
from nmsim.network.layers.layer_fields import (
    FORMAT,
    LayerFormat,
    LayerSpec,
    Positive,
    WeightedSpec,
    checked_batch,
)
from nmsim.network.lowering import IMPLICIT, Lowering
from nmsim.network.operand import (
    OPERANDS,
    Brought,
    FileLayout,
    Input,
    Lowered,
    Operand,
    TensorName,
)
from nmsim.network.scenario import Reading, Rows

__all__ = [
    "AttentionLayer",
    "Bare",
    "Conv",
    "ConvTransposed",
    "Embedding",
    "Experts",
    "Fixed",
    "Layer",
    "Linear",
    "Matmul",
    "lowered",
]


class Linear(WeightedSpec):
    """A fully connected layer on ``tokens`` rows per sample."""

    type: Literal["linear"]
    in_features: Positive
    out_features: Positive
    tokens: Rows | None = Field(
        None, description="rows per sample; default: the network's sequence, 1 where it has none"
    )
    kept: bool = Field(
        False,
        description="what stands behind it in its block keeps its output for the way back, such as "
        "dropout or a norm: a block that is computed again does not stop before it",
    )
    batched: bool = Field(True, description="rows of every sample; false: of a step, once")

    @property
    def copies(self) -> int:
        """How many independent parts its tensors have: one."""
        return 1

    @property
    def columns(self) -> int:
        """How many columns one sample has: its tokens."""
        return Reading().rows(self.tokens)

    def samples(self, batch: int) -> int:
        """How many samples' tokens there are: the batch, or one for the whole step."""
        return batch if self.batched else 1

    def at(self, reading: Reading) -> Self | None:
        """With a number for the tokens; None if the word stands for none."""
        tokens = reading.rows(self.tokens)
        if not tokens and isinstance(self.tokens, str):
            return None
        return self.model_copy(update={"tokens": tokens})

    @property
    def weights(self) -> int:
        """Elements of the weight, all repeats; none if it is another layer's."""
        return 0 if self.weight_of else self.out_features * self.in_features * self.repeat

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a tensor: activation [T, I], weight [O, I], gradient [T, O]."""
        if tensor == "weight":
            return (self.out_features, self.in_features)
        features = self.in_features if tensor == "activation" else self.out_features
        return (self.samples(batch) * self.columns, features)

    def lower(self, batch: int, lowering: Lowering = IMPLICIT) -> list[Lowered]:  # noqa: ARG002
        """The GEMMs of a training step of the layer; T = batch.tokens."""
        t = self.samples(checked_batch(batch)) * self.columns
        o, i = self.out_features, self.in_features

        def gemm(m: int, n: int, k: int, phase: Phase) -> Lowered:
            own = Gemm(m, n, k, 1, self.name, phase, self.repeat, "linear")
            return Lowered(own, *OPERANDS[phase])

        backward = [] if self.input == "data" else [gemm(t, i, o, "backward")]
        return [gemm(t, o, i, "forward"), *backward, gemm(o, i, t, "update")]


class _Product(LayerSpec):
    """A product of two tensors, neither of them a weight: ``C[m,n] = A[m,k] . B[n,k]^T``."""

    m: Positive = Field(description="rows of A, such as queries")
    n: Positive = Field(description="rows of B, such as keys, or features of a head")
    k: Positive = Field(description="reduction, such as features of a head, or keys")
    input: Input = Field("linear", description="what made A")

    @property
    def copies(self) -> int:
        """Independent parts of its tensors: heads come one after the other, as rows."""
        return 1

    @property
    def columns(self) -> int:
        """How many columns one sample and head has: the rows of A."""
        return self.m

    @property
    def weights(self) -> int:
        """Elements of the weight: none, a product of activations has no weight."""
        return 0

    @property
    def saved(self) -> tuple[TensorName, ...]:
        """Both operands."""
        return ("activation", "activation_b")


class Matmul(_Product):
    """A product of two activations, ``C[m,n] = A[m,k] . B[n,k]^T``, per sample and head."""

    type: Literal["matmul"]
    heads: Positive = Field(1, description="independent products per sample")
    number_format: LayerFormat = Field("", description=FORMAT)

    def runs_in(self, phase: Phase) -> str:
        """The number format that its file says for a phase; "": none."""
        return format_in(self.number_format, phase)

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a tensor: activation [batch.heads, m, k], activation_b [.., n, k]."""
        rows, columns = {
            "activation": (self.m, self.k),
            "activation_b": (self.n, self.k),
        }.get(tensor, (self.m, self.n))
        return (batch * self.heads, rows, columns)

    def lower(self, batch: int, lowering: Lowering = IMPLICIT) -> list[Lowered]:  # noqa: ARG002
        """Forward, and the gradients of A and of B: dA = dC . B and dB = dC^T . A."""
        m, n, k = self.m, self.n, self.k
        count = checked_batch(batch) * self.heads

        def gemm(m: int, n: int, k: int, phase: Phase, gradient_of: str = "") -> Gemm:
            return Gemm(
                m, n, k, count, self.name, phase, self.repeat, "matmul", gradient_of=gradient_of
            )

        a, b, gradient = Operand("activation"), Operand("activation_b"), Operand("gradient")
        return [
            Lowered(gemm(m, n, k, "forward"), a, b),
            Lowered(gemm(m, k, n, "backward", "a"), gradient, replace(b, transposed=True)),
            Lowered(
                gemm(n, k, m, "backward", "b"),
                replace(gradient, transposed=True),
                replace(a, transposed=True),
            ),
        ]


class Fixed(_Product):
    """A product of one size, ``C[m,n] = A[m,k] . B[n,k]^T``, of a step of one batch and length.

    What was recorded and follows neither stays so: a step of another size is refused.
    """

    type: Literal["gemm"]
    count: Positive = Field(1, description="independent products in the step")
    batch: Positive = Field(description="samples of the step that it is of; no other")
    tokens: Positive | None = Field(
        None, description="length of the step that it is of; no other; null: whatever it is"
    )
    target: Positive | None = Field(
        None, description="of the decoder in the step that it is of; no other; null: whatever it is"
    )

    def at(self, reading: Reading) -> Self | None:
        """The layer itself.

        Raises
        ------
        SpecError
            for tokens that it was not recorded of.
        """
        words = reading.read
        read = {"tokens": words.get("source", reading.rows(None)), "target": words.get("target", 1)}
        for name, own in (("tokens", self.tokens), ("target", self.target)):
            if own is not None and read[name] != own:
                raise SpecError(f"{name} is {read[name]}, expected {own}: a product of fixed size")
        return self

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:  # noqa: ARG002
        """Shape of a tensor: activation [count, m, k], activation_b [count, n, k]."""
        return self._product.shape(tensor, 1)

    def lower(self, batch: int, lowering: Lowering = IMPLICIT) -> list[Lowered]:
        """Forward and the gradients of both operands, as of a matmul.

        Raises
        ------
        ShapeError
            for samples that it was not recorded of.
        """
        if checked_batch(batch) != self.batch:
            raise ShapeError(
                f"layer {self.name!r}: batch is {batch}, expected {self.batch}: a product of fixed "
                "size"
            )
        return self._product.lower(1, lowering)

    @property
    def _product(self) -> Matmul:
        sizes = {"m": self.m, "n": self.n, "k": self.k, "heads": self.count}
        named = {"name": self.name, "repeat": self.repeat, "input": self.input}
        return Matmul.model_validate({"type": "matmul", **sizes, **named})


_CALLED = {"conv_transpose": "conv_transposed"}
"""Other names of types, as PyTorch and ONNX call them."""


def _typed(document: Any) -> Any:
    """A layer whose type has the name that it has here."""
    if isinstance(document, Mapping) and isinstance(document.get("type"), str):
        return {**document, "type": _CALLED.get(document["type"], document["type"])}
    return document


Layer = Annotated[
    Conv | ConvTransposed | Linear | Experts | Matmul | Fixed | AttentionLayer | Embedding,
    Field(discriminator="type"),
    BeforeValidator(_typed),
]


@dataclass(frozen=True)
class Bare:
    """A GEMM without a layer: its operands are the tensors, in the roles of its phase.

    Parameters
    ----------
    gemm
        With the sizes of one sample; of a step, if there is one sample in it.
    input
        What made its input.
    masks
        That its table declares, whatever a recipe offers.
    number_format
        That its table declares; empty: the recipe's, or the machine's own.
    batched
        Its table says how many samples it is of: they are in its sizes, and no step has more.
    """

    gemm: Gemm
    input: Input = "linear"
    masks: tuple[Brought, ...] = ()
    number_format: str = ""
    batched: bool = False

    @property
    def name(self) -> str:
        """Name of the layer that the GEMM is of."""
        return self.gemm.layer

    def runs_in(self, phase: Phase) -> str:  # noqa: ARG002 (it has one)
        """The number format that was said for its phase; "": none."""
        return self.number_format

    @property
    def note(self) -> str:
        """What is said of its rows: nothing."""
        return ""

    def owner(self, tensor: TensorName) -> str:  # noqa: ARG002
        """Name of the layer that a tensor belongs to: its own."""
        return self.name

    @property
    def spatial(self) -> int:
        """How many dimensions its images have: none, its tensors are matrices."""
        return 0

    def in_file(self, tensor: TensorName, batch: int) -> FileLayout | None:  # noqa: ARG002
        """How a file lays a tensor out; None: as its shape says."""
        return None

    def samples(self, batch: int) -> int:
        """Entries of its tensors that share no column: the batch."""
        return batch

    @property
    def copies(self) -> int:
        """How many independent parts its tensors have: one, of which copies are rows."""
        return 1

    @property
    def columns(self) -> int:
        """How many columns one sample has: one, as a bare GEMM does not say where samples begin."""
        return 1

    def lower(self, batch: int, lowering: Lowering = IMPLICIT) -> list[Lowered]:  # noqa: ARG002
        """The GEMM itself, which is not lowered: of several samples, with the rows of them all.

        Raises
        ------
        ShapeError
            for several samples of a GEMM that says of how many it is, or is gathered from images.
        """
        return [Lowered(self._of(checked_batch(batch)), *OPERANDS[self.gemm.phase])]

    def _of(self, batch: int) -> Gemm:
        g = self.gemm
        if batch == 1:
            return g
        elements = (g.a_elements, g.b_elements, g.attention)
        if self.batched or any(one is not None for one in elements):
            whose = "its table says its batch" if self.batched else "its operands are of one size"
            raise ShapeError(f"GEMM {g.layer!r}: batch is {batch}, expected none: {whose}")
        if g.phase == "update":
            return replace(g, k=g.k * batch)
        return replace(g, m=g.m * batch)

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a tensor: rows of all copies by K, or K by rows where the phase transposes."""
        g = self._of(batch)
        a, b = OPERANDS[g.phase]
        operand, rows = (a, g.m) if a.tensor == tensor else (b, g.n)
        return (g.k, rows * g.count) if operand.transposed else (rows * g.count, g.k)


def lowered(layer: Layer | Bare, batch: int, lowering: Lowering = IMPLICIT) -> list[Lowered]:
    """The GEMMs of a step, each launched as often as the step runs it; of a micro-batch's samples.

    Parameters
    ----------
    batch
        Samples of a micro-batch.
    """
    found, runs = layer.lower(batch, lowering), None if isinstance(layer, Bare) else layer.runs
    if runs is None:
        return found
    return [_launched(one, runs) for one in found if runs.launches(one.gemm.phase)]


def _launched(one: Lowered, runs: Runs) -> Lowered:
    gemm, phase = one.gemm, one.gemm.phase
    often = replace(gemm, repeat=runs.launches(phase), renewed=runs.fresh(phase))
    return replace(one, gemm=often)
