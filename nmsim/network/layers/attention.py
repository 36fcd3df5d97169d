"""Attention as one layer: every query against the keys that its head shares with others.

With b samples (times windows), h heads in g groups that share keys and values, q queries, s keys,
heads of d and values of e features, all GEMMs have b.g copies, one for each group, so that a group
reads its keys once; its queries stand one below the other:

======== ==== =========== ===== ===== ===== ====================================================
phase    part gradient_of M     N     K     what
======== ==== =========== ===== ===== ===== ====================================================
forward  1/2              q.h/g s     d     scores, Q.K^T
forward  2/2              q.h/g e     s     the heads' outputs, P.V
backward 1/4  p           q.h/g s     e     dP = dO.V^T
backward 2/4  v           s     e     q.h/g dV = P^T.dO
backward 3/4  q           q.h/g d     s     dQ = dS.K
backward 4/4  k           s     d     q.h/g dK = dS^T.Q
======== ==== =========== ===== ===== ===== ====================================================

MACs are those of the whole square, masked half included, and nothing is computed twice: a kernel
that forms the scores again in backward does more. A list that repeats keys for every head has the
same MACs, h/g times as many copies, and M (of dV and dK: K) so much smaller.
"""

from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from nmsim.attention import Attention
from nmsim.errors import ShapeError
from nmsim.gemm import Gemm, Phase
from nmsim.network.layers.layer_fields import LayerSpec, Positive, checked_batch
from nmsim.network.lowering import IMPLICIT, Lowering
from nmsim.network.operand import ATTENTION_OPERANDS, Input, Lowered, TensorName
from nmsim.network.scenario import Positions, Reading

__all__ = ["AttentionLayer"]

_PHASES: tuple[Phase, ...] = ("forward", "backward")

_STACKED = ("score_gradient", "probabilities")
"""Tensors whose heads come before their rows, as they are made."""


class AttentionLayer(LayerSpec):
    """Attention of queries over keys and values; projections to them are layers of their own."""

    type: Literal["attention"]
    heads: Positive = Field(description="heads of queries")
    kv_heads: Positive | None = Field(
        None, description="heads of keys and values, which queries share; default: heads"
    )
    head_dim: Positive = Field(description="features of a query and a key")
    v_head_dim: Positive | None = Field(None, description="features of a value; default: head_dim")
    queries: Positions = Field("sequence", description="queries per sample and window")
    keys: Positions | None = Field(
        None, description="keys per sample and window; default: of the same tokens as the queries"
    )
    windows: Positive = Field(1, description="squares per sample that do not see each other")
    causal: bool = Field(False, description="a query sees no later key; GEMMs are whole squares")
    window: Annotated[int, Field(ge=1)] | None = Field(
        None, description="of keys that a query sees; those that no query sees are not read"
    )
    cached: Positive | None = Field(
        None,
        description="values of a token that are kept for later ones; default: the keys and values "
        "of kv_heads",
    )
    input: Input = Field("softmax", description="what made the matrix that weighs the values")

    @model_validator(mode="after")
    def _heads_are_shared_evenly(self) -> Self:
        if self.kv_heads is not None and self.heads % self.kv_heads:
            raise ValueError(
                f"layer {self.name!r}: kv_heads is {self.kv_heads}, "
                f"expected a divisor of heads ({self.heads})"
            )
        if self.window is not None and not self.causal:
            raise ValueError(
                f"layer {self.name!r}: window is {self.window}, expected null where not causal"
            )
        return self

    @property
    def groups(self) -> int:
        """Groups of heads that share keys and values."""
        return self.kv_heads or self.heads

    @property
    def values(self) -> int:
        """Features of a value."""
        return self.v_head_dim or self.head_dim

    def cache(self, batch: int) -> int:
        """Values that one block keeps for tokens to come: of every key, where those can be kept.

        They can where no key changes with a later token: of causal attention, and of a decoder's
        over what an encoder has read.
        """
        queries, keys = self._sizes
        if not self.causal and keys <= queries:
            return 0
        token = self.cached or self.groups * (self.head_dim + self.values)
        return self.samples(batch) * keys * token

    @property
    def copies(self) -> int:
        """Independent parts of its tensors: heads come one after the other, as rows."""
        return 1

    @property
    def columns(self) -> int:
        """How many columns one sample and head has: the queries."""
        return self._sizes[0]

    @property
    def weights(self) -> int:
        """Elements of the weight: none, the projections have them."""
        return 0

    @property
    def saved(self) -> tuple[TensorName, ...]:
        """What its backward GEMMs read again."""
        return ("query", "key", "value", "probabilities")

    @property
    def _sizes(self) -> tuple[int, int]:
        """Queries and keys, as numbers."""
        reading = Reading()
        queries = reading.rows(self.queries)
        return queries, queries if self.keys is None else reading.keys(self.keys)

    def at(self, reading: Reading) -> Self | None:
        """With numbers for words; None if no query is read."""
        queries = reading.rows(self.queries)
        if not queries:
            return None
        keys = reading.keys(self.queries if self.keys is None else self.keys)
        if self.window is not None:
            keys = min(keys, queries + self.window - 1)
        if self.causal and keys < queries:
            raise ShapeError(
                f"layer {self.name!r}: keys is {keys}, expected {queries} or more, as many as "
                "queries, where causal"
            )
        return self.model_copy(update={"queries": queries, "keys": keys})

    def samples(self, batch: int) -> int:
        """How many squares a batch has."""
        return batch * self.windows

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a tensor: [batch.windows, tokens, heads.features].

        Of the probabilities [batch.windows, heads, queries, keys]: they are its activation.
        """
        samples, (queries, keys) = self.samples(batch), self._sizes
        shapes: dict[TensorName, tuple[int, ...]] = {
            "query": (samples, queries, self.heads * self.head_dim),
            "key": (samples, keys, self.groups * self.head_dim),
            "value": (samples, keys, self.groups * self.values),
            "gradient": (samples, queries, self.heads * self.values),
        }
        return shapes.get(tensor, (samples, self.heads, queries, keys))

    def by_group(self, tensor: TensorName, block: NDArray[Any]) -> NDArray[Any]:
        """Samples of a tensor as products read them: a matrix a group, heads below each other.

        Parameters
        ----------
        block
            [samples, ...], as ``shape`` has them.

        Returns
        -------
        array
            [samples.groups, rows, features]; rows are those of all heads of a group.
        """
        if tensor in _STACKED:
            heads = block
        else:
            count = self.groups if tensor in ("key", "value") else self.heads
            tokens = block.reshape(len(block), block.shape[1], count, -1)
            heads = np.moveaxis(tokens, 2, 1)
        return heads.reshape(len(block) * self.groups, -1, heads.shape[-1])

    def attention(self, batch: int) -> Attention:
        """The layer as one operation by size, as a fused kernel runs it; the same two squares."""
        queries, keys = self._sizes
        return Attention(
            batch=self.samples(checked_batch(batch)),
            heads=self.heads,
            kv_heads=self.groups,
            queries=queries,
            keys=keys,
            head_dim=self.head_dim,
            v_head_dim=self.values,
            causal=self.causal,
            window=self.window or 0,
            layer=self.name,
            repeat=self.repeat,
        )

    def lower(self, batch: int, lowering: Lowering = IMPLICIT) -> list[Lowered]:  # noqa: ARG002
        """Two GEMMs forward and four backward, one copy for each group of heads."""
        whole = self.attention(batch)
        count = whole.batch * whole.kv_heads
        return [
            Lowered(
                Gemm(
                    *(one.m, one.n, one.k, count, self.name, phase, self.repeat, "attention"),
                    gradient_of=one.gradient_of,
                    part=one.part,
                ),
                *ATTENTION_OPERANDS[phase, one.part],
            )
            for phase in _PHASES
            for one in whole.products(phase)
        ]
