"""Experts: one linear layer of several, to which tokens are sent; a grouped GEMM."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field

from nmsim.errors import ShapeError
from nmsim.gemm import PHASES, Gemm, Phase
from nmsim.network.layers.layer_fields import Positive, WeightedSpec, checked_batch
from nmsim.network.lowering import IMPLICIT, Lowering
from nmsim.network.operand import OPERANDS, Lowered, TensorName
from nmsim.network.scenario import Reading, Rows

__all__ = ["Experts"]


def _shares(value: Any) -> Any:
    listed = isinstance(value, tuple) and all(type(one) is int and one >= 0 for one in value)
    if listed or value in ("even", "drawn"):
        return value
    raise ValueError("expected even, drawn, or a list of integers of 0 or more")


Shares = Annotated[Literal["even", "drawn"] | tuple[int, ...], BeforeValidator(_shares)]
"""How tokens are spread over experts: by a rule, or so many rows for each."""


class Experts(WeightedSpec):
    """Experts of one shape; every token is sent to ``per_token`` of them.

    All are one launch, a grouped GEMM, whose parts are the experts with the same number of rows.
    One without rows is in no part.
    """

    type: Literal["experts"]
    experts: Positive = Field(description="how many there are")
    per_token: Positive = Field(description="experts that a token is sent to")
    in_features: Positive
    out_features: Positive
    tokens: Rows | None = Field(
        None, description="per sample; default: the network's sequence, 1 where it has none"
    )
    rows: Shares = Field(
        "even",
        description="rows of each expert: even, drawn at random (seed), or a list, of one sample",
    )
    seed: Annotated[int, Field(ge=0)] = Field(
        0, description="of drawn rows: layers of one seed and one size draw the same"
    )

    @property
    def copies(self) -> int:
        """How many independent parts its weight has: the experts."""
        return self.experts

    @property
    def columns(self) -> int:
        """How many columns one sample has: its tokens, each as often as it is sent."""
        return Reading().rows(self.tokens) * self.per_token

    @property
    def weights(self) -> int:
        """Elements of all experts' weights, all repeats; none if they are another layer's."""
        one = self.out_features * self.in_features
        return 0 if self.weight_of else self.experts * one * self.repeat

    def at(self, reading: Reading) -> Self | None:
        """With a number for the tokens; None if the word stands for none."""
        tokens = reading.rows(self.tokens)
        if not tokens and isinstance(self.tokens, str):
            return None
        found = self.model_copy(update={"tokens": tokens})
        found.loads(1)
        return found

    def shape(self, tensor: TensorName, batch: int) -> tuple[int, ...]:
        """Shape of a tensor: activation [rows, I], weight [experts.O, I], gradient [rows, O]."""
        if tensor == "weight":
            return (self.experts * self.out_features, self.in_features)
        features = self.in_features if tensor == "activation" else self.out_features
        return (batch * self.columns, features)

    def loads(self, batch: int) -> tuple[int, ...]:
        """Rows of each expert.

        Raises
        ------
        ShapeError
            if rows that are given are not as many as tokens are sent.
        """
        whole = checked_batch(batch) * self.columns
        if self.rows == "even":
            least, more = divmod(whole, self.experts)
            return (least + 1,) * more + (least,) * (self.experts - more)
        if self.rows == "drawn":
            draw = np.random.default_rng(self.seed).multinomial(
                whole, np.full(self.experts, 1 / self.experts)
            )
            return tuple(map(int, draw))
        if len(self.rows) != self.experts or sum(self.rows) != self.columns:
            raise ShapeError(
                f"layer {self.name!r}: rows are {sum(self.rows)} of {len(self.rows)} experts, "
                f"expected {self.columns} (tokens x per_token) of {self.experts}"
            )
        return tuple(batch * rows for rows in self.rows)

    def lower(self, batch: int, lowering: Lowering = IMPLICIT) -> list[Lowered]:  # noqa: ARG002
        """The GEMMs of a training step, a part of the launch for experts of equal rows."""
        loads = self.loads(batch)
        sizes = sorted(set(filter(None, loads)), reverse=True) or [0]
        found = [
            self._share(
                rows,
                tuple(one for one, load in enumerate(loads) if load == rows),
                f"{number}/{len(sizes)}" if len(sizes) > 1 else "",
            )
            for number, rows in enumerate(sizes, start=1)
        ]
        phases = [phase for phase in PHASES if (phase, self.input) != ("backward", "data")]
        return [share(phase) for phase in phases for share in found]

    def _share(self, t: int, among: tuple[int, ...], part: str) -> Callable[[Phase], Lowered]:
        """The GEMM of a phase, for some of the experts, which have so many rows each."""
        o, i = self.out_features, self.in_features
        sizes: dict[Phase, tuple[int, int, int]] = {
            "forward": (t, o, i),
            "backward": (t, i, o),
            "update": (o, i, t),
        }
        copies = among if len(among) < self.experts else None

        def of(phase: Phase) -> Lowered:
            gemm = Gemm(
                *sizes[phase], len(among), self.name, phase, self.repeat, "experts", part=part
            )
            return Lowered(gemm, *OPERANDS[phase], among=copies)

        return of
