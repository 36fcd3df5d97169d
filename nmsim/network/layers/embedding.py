"""Embeddings: tables that are looked up, which is no GEMM; they have parameters all the same."""

from typing import Literal, Self

from pydantic import Field

from nmsim.network.layers.layer_fields import LayerSpec, Positive, checked_batch
from nmsim.network.lowering import IMPLICIT, Lowering
from nmsim.network.operand import Input, Lowered, TensorName
from nmsim.network.scenario import Reading, Rows

__all__ = ["Embedding"]


class Embedding(LayerSpec):
    """A table with a row of features for each entry; a layer behind may share it (weight_of)."""

    type: Literal["embedding"]
    entries: Positive = Field(description="such as the words of a vocabulary")
    features: Positive
    tokens: Rows | None = Field(
        None,
        description="rows looked up per sample; default: the network's sequence, 1 where it has "
        "none",
    )
    input: Input = Field("data", description="what made the layer's input: indices")

    @property
    def copies(self) -> int:
        """How many independent parts its tensors have: one."""
        return 1

    @property
    def columns(self) -> int:
        """How many columns one sample has: one, as nothing is multiplied."""
        return 1

    def at(self, reading: Reading) -> Self | None:
        """With a number for the tokens; None if the word stands for none."""
        tokens = reading.rows(self.tokens)
        if not tokens and isinstance(self.tokens, str):
            return None
        return self.model_copy(update={"tokens": tokens})

    @property
    def weights(self) -> int:
        """Elements of the table, all repeats."""
        return self.entries * self.features * self.repeat

    @property
    def saved(self) -> tuple[TensorName, ...]:
        """Tensors that its backward GEMMs read again: none, it has none."""
        return ()

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a tensor: weight [entries, features], of others a row for every token."""
        rows = self.entries if tensor == "weight" else batch * Reading().rows(self.tokens)
        return (rows, self.features)

    def lower(self, batch: int, lowering: Lowering = IMPLICIT) -> list[Lowered]:  # noqa: ARG002
        """No GEMM: rows are looked up."""
        checked_batch(batch)
        return []
