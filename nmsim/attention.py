"""Fused attention: ``O = softmax(Q . K^T) . V`` of many heads, by size alone.

Scores and probabilities are no operands: a fused kernel keeps them on chip. What is read and
written are Q, K, V and O, and one statistic of the softmax for each row of Q.
"""

from dataclasses import dataclass
from numbers import Integral

from nmsim.errors import ShapeError
from nmsim.gemm import MAX_SIZE

__all__ = ["STATISTIC_BYTES", "Attention", "Traffic"]

STATISTIC_BYTES = 4
"""Bytes of a row's statistic, the logarithm of its sum of exponentials, in fp32."""

_SIZES = ("batch", "heads", "kv_heads", "queries", "keys", "head_dim", "v_head_dim", "repeat")


@dataclass(frozen=True)
class Traffic:
    """Bytes that one call of a fused kernel must move at the least: each tensor once."""

    read: int
    written: int


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

    def traffic(self, phase: str, element_bytes: int = 2) -> Traffic:
        """Bytes that must move, each tensor once: K and V are read once for a group of heads.

        Forward reads Q, K, V and writes O and the statistics. Backward reads those five and dO, and
        writes dQ, dK, dV.
        """
        self.check(phase)
        rows = self.batch * self.heads * self.queries * self.repeat
        cached = self.batch * self.kv_heads * self.keys * self.repeat
        q, o = rows * self.head_dim * element_bytes, rows * self.v_head_dim * element_bytes
        kv = cached * (self.head_dim + self.v_head_dim) * element_bytes
        statistics = rows * STATISTIC_BYTES
        if phase == "forward":
            return Traffic(q + kv, o + statistics)
        return Traffic(q + kv + 2 * o + statistics, q + kv)
