"""Fused attention: ``O = softmax(Q . K^T) . V`` of many heads, by size alone.

Scores and probabilities are no operands: a fused kernel keeps them on chip. What is read and
written are Q, K, V and O, and one statistic of the softmax for each row of Q.
"""

import math
from dataclasses import dataclass
from numbers import Integral
from typing import NamedTuple

from nmsim.errors import ShapeError

__all__ = ["MAX_SIZE", "STATISTIC_BYTES", "Attention", "Product", "Traffic"]

MAX_SIZE = 1 << 31
"""The largest size or count of a GEMM, and of an attention."""

STATISTIC_BYTES = 4
"""Bytes of a row's statistic, the logarithm of its sum of exponentials, in fp32."""

_SIZES = ("batch", "heads", "kv_heads", "queries", "keys", "head_dim", "v_head_dim", "repeat")


@dataclass(frozen=True)
class Traffic:
    """Bytes that one call of a fused kernel must move at the least: each tensor once."""

    read: int
    written: int


class Product(NamedTuple):
    """One of the GEMMs that attention is made of, for one group of heads: M x N x K.

    ``part`` is which of how many of the phase, ``gradient_of`` whose gradient it makes ("" for
    those of forward).
    """

    part: str
    gradient_of: str
    m: int
    n: int
    k: int


@dataclass(frozen=True)
class Attention:
    """The attention of one layer: sizes, and which pairs of a query and a key it scores.

    Parameters
    ----------
    batch
        Sequences.
    heads, kv_heads
        Heads of Q, and of K and V; ``heads / kv_heads`` heads of Q share one of K and V. 0: as many
        as ``heads``.
    queries, keys
        Length of a sequence in Q, and in K and V. Decoding one token has one query.
    head_dim, v_head_dim
        Elements of a row of Q and K, and of V and O. 0: as many as ``head_dim``.
    causal
        A query sees the keys up to its own position; the last query stands at the last key.
    window
        Of causal attention: how many keys a query sees at most, its own among them. 0: all.
    layer, repeat
        What it is part of, and how many identical layers run one after the other.
    cached
        K and V stand in a cache, into which those of the queries' tokens are written first, as
        where a model generates.

    Raises
    ------
    ShapeError
        naming the field and what was expected.

    Examples
    --------
    >>> Attention(batch=1, heads=2, kv_heads=1, queries=4, keys=4, head_dim=8).pairs
    10
    """

    batch: int
    heads: int
    queries: int
    keys: int
    head_dim: int
    kv_heads: int = 0
    v_head_dim: int = 0
    causal: bool = True
    window: int = 0
    layer: str = "attention"
    repeat: int = 1
    cached: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        object.__setattr__(self, "v_head_dim", self.v_head_dim or self.head_dim)
        for name in _SIZES:
            object.__setattr__(self, name, self._size(name, 1))
        object.__setattr__(self, "window", self._size("window", 0))
        if self.heads % self.kv_heads:
            self._refuse(f"kv_heads is {self.kv_heads}, expected a divisor of heads {self.heads}")
        if self.causal and self.keys < self.queries:
            self._refuse(
                f"keys is {self.keys}, expected {self.queries} or more, as many as queries, where "
                "causal"
            )
        if self.window and not self.causal:
            self._refuse(f"window is {self.window}, expected 0 where not causal")

    def _size(self, name: str, least: int) -> int:
        value = getattr(self, name)
        integral = isinstance(value, Integral) and not isinstance(value, bool)
        if not integral or not least <= value <= MAX_SIZE:
            self._refuse(f"{name} is {value!r}, expected an integer from {least} to {MAX_SIZE}")
        return int(value)  # numpy's integers wrap

    def _refuse(self, problem: str) -> None:
        raise ShapeError(f"attention {self.layer!r}: {problem}")

    @property
    def group(self) -> int:
        """Heads of Q that share one head of K and V."""
        return self.heads // self.kv_heads

    @property
    def pairs(self) -> int:
        """Pairs of a query and a key that one head scores."""
        if not self.causal:
            return self.queries * self.keys
        first = self.keys - self.queries + 1  # what the first query sees
        seen = self.window or self.keys
        ramp = min(self.queries, max(0, seen - first))  # queries that see fewer than the window
        return ramp * first + ramp * (ramp - 1) // 2 + (self.queries - ramp) * min(seen, self.keys)

    def products(self, phase: str) -> tuple[Product, ...]:
        """The GEMMs of a phase, each with ``batch * kv_heads`` copies.

        The queries of a group stand one below the other, so that its keys are read once. Backward
        has four: that P = softmax(Q.K^T) is made again is left to who has not kept it.
        """
        self.check(phase)
        q, s, d, e = self.queries * self.group, self.keys, self.head_dim, self.v_head_dim
        if phase == "forward":
            return Product("1/2", "", q, s, d), Product("2/2", "", q, e, s)
        return (
            Product("1/4", "p", q, s, e),
            Product("2/4", "v", s, e, q),
            Product("3/4", "q", q, d, s),
            Product("4/4", "k", s, d, q),
        )

    def square(self, phase: str) -> tuple[int, int, int, int]:
        """M, N, K and copies of one GEMM with as many MACs as the products of a phase together."""
        self.check(phase)
        each = {"forward": 1, "backward": 2}[phase]
        features = self.head_dim + self.v_head_dim
        return self.queries * self.group, self.keys, each * features, self.batch * self.kv_heads

    def macs_seen(self, phase: str) -> int:
        """Multiply-adds of scored pairs in the products of a phase, of all heads and repeats.

        That is ``square`` without the pairs that a mask hides, and nothing made twice.
        """
        _, _, width, _ = self.square(phase)
        return self.batch * self.heads * self.repeat * self.pairs * width

    def macs(self, phase: str) -> int:
        """Multiply-adds of scored pairs, of all heads and repeats.

        Forward has two products, Q.K^T and P.V. Backward has five: it makes the scores again, and
        dP = dO.V^T, dV = P^T.dO, dQ = dS.K and dK = dS^T.Q.

        Raises
        ------
        ShapeError
            for a phase other than forward and backward: attention has no weights to update.
        """
        widths = {
            "forward": self.head_dim + self.v_head_dim,
            "backward": 3 * self.head_dim + 2 * self.v_head_dim,
        }
        self.check(phase)
        return self.batch * self.heads * self.repeat * self.pairs * widths[phase]

    def check(self, phase: str) -> None:
        """Refuse a phase that attention does not have.

        Raises
        ------
        ShapeError
            for any but forward and backward.
        """
        if phase not in ("forward", "backward"):
            self._refuse(f"phase is {phase!r}, expected forward or backward")

    @property
    def statistic_bytes(self) -> int:
        """Bytes of the softmax's statistics, of all heads and repeats: what backward needs of P."""
        return self.batch * self.heads * self.queries * self.repeat * STATISTIC_BYTES

    def traffic(
        self, phase: str, element_bytes: float = 2, written_element_bytes: float | None = None
    ) -> Traffic:
        """Bytes that must move, each tensor once: K and V are read once for a group of heads.

        Forward reads Q, K, V and writes O and the statistics. Backward reads those five and dO, and
        writes dQ, dK, dV. What is written may be of another width than what is read.
        """
        self.check(phase)
        rows = self.batch * self.heads * self.queries * self.repeat
        cached = self.batch * self.kv_heads * self.keys * self.repeat
        q, o = rows * self.head_dim, rows * self.v_head_dim
        kv = cached * (self.head_dim + self.v_head_dim)
        statistics = self.statistic_bytes
        width = element_bytes if written_element_bytes is None else written_element_bytes
        if phase == "forward":
            return Traffic(_bytes(q + kv, element_bytes), _bytes(o, width) + statistics)
        return Traffic(_bytes(q + kv + 2 * o, element_bytes) + statistics, _bytes(q + kv, width))


def _bytes(elements: int, each: float) -> int:
    return math.ceil(elements * each)
