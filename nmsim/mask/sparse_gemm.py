"""The one unit of work: a GEMM with a mask for each operand."""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple, Self

from nmsim.errors import ShapeError
from nmsim.gemm import Gemm
from nmsim.mask.mask import Mask, Promise

__all__ = ["Promised", "Share", "SparseGemm"]


class Share(NamedTuple):
    """A share of another GEMM: from ``start`` to ``stop``, of ``whole``."""

    gemm: Gemm
    start: int
    stop: int
    whole: int

    def of(self, count: int) -> int:
        """The share of a count; shares that follow one another add up to it."""
        return count * self.stop // self.whole - count * self.start // self.whole


@dataclass(frozen=True, eq=False)
class SparseGemm:
    """A GEMM and what its operands' masks leave of it; all that an engine sees.

    Parameters
    ----------
    gemm
        Sizes and where they come from.
    a, b
        Masks of count.M x K and count.N x K; K may exceed the GEMM's by zeros that a recipe pads
        with.
    note
        What a reader of the row should know, such as why an operand runs dense.
    number_format
        That a recipe asks for (``nmsim.formats``); empty: the machine's own.
    dense_as
        What a dense run has in its place: a share of a fused attention; None: the GEMM itself.

    Raises
    ------
    ShapeError
        if a mask is not of its operand's shape, or K of the two differ.
    """

    gemm: Gemm
    a: Mask
    b: Mask
    note: str = ""
    number_format: str = ""
    dense_as: Share | None = None

    def __post_init__(self) -> None:
        g = self.gemm
        if not (isinstance(g, Gemm) and isinstance(self.a, Mask) and isinstance(self.b, Mask)):
            found = ", ".join(type(one).__name__ for one in (g, self.a, self.b))
            raise ShapeError(f"sparse GEMM of {found}: expected a Gemm and two of Mask")
        for name, mask, rows in (("a", self.a, g.m * g.count), ("b", self.b, g.n * g.count)):
            if mask.rows != rows or mask.k < g.k or mask.k != self.k:
                raise ShapeError(
                    f"GEMM {g.layer!r} {g.phase}: mask {name} is {mask.rows} x {mask.k}, "
                    f"expected {rows} x {g.k}"
                )

    @property
    def k(self) -> int:
        """Length of K as it runs, zeros included that a recipe pads with."""
        return self.a.k

    @classmethod
    def dense(cls, gemm: Gemm) -> Self:
        """A GEMM with nothing pruned."""
        return cls(
            gemm, Mask.dense(gemm.m * gemm.count, gemm.k), Mask.dense(gemm.n * gemm.count, gemm.k)
        )

    @cached_property
    def in_step(self) -> "Promised":
        """What it is but for its masks' bits and the name of its layer: one object of all alike."""
        return _one(Promised.of(self, self.gemm.unnamed))

    def release(self) -> None:
        """Let go of the masks' bits, which are made again if asked for; counts of them stay."""
        self.a.release()
        self.b.release()

    def swapped(self) -> "SparseGemm":
        """The same work as ``C^T = B . A^T``: operands, masks and sizes change places."""
        g = self.gemm
        gemm = replace(
            g,
            m=g.n,
            n=g.m,
            a_elements=g.b_elements,
            b_elements=g.a_elements,
            a_windows=g.b_windows,
            b_windows=g.a_windows,
        )
        return SparseGemm(gemm, self.b, self.a, self.note, self.number_format)

    @cached_property
    def macs_useful(self) -> int:
        """Pairs whose mask bits are both set, of all copies and repeats."""
        g = self.gemm
        if self.a.is_dense and self.b.is_dense:
            return g.macs_seen
        if self.a.is_dense:
            return g.m * self.b.kept * g.repeat
        if self.b.is_dense:
            return g.n * self.a.kept * g.repeat
        pairs = sum(
            int(
                self.a.column_counts(copy * g.m, (copy + 1) * g.m)
                @ self.b.column_counts(copy * g.n, (copy + 1) * g.n)
            )
            for copy in range(g.count)
        )
        return pairs * g.repeat


@dataclass(frozen=True, eq=False)
class Promised:
    """A sparse GEMM by its sizes and what its masks promise: equal to all of which these are so.

    Parameters
    ----------
    sizes
        The GEMM's, whatever it is called; or all of it but the name of its layer.
    a, b
        What its masks promise.
    gemm, note, number_format, dense_as
        Those of one such sparse GEMM. What is remembered must not depend on them either.
    """

    sizes: tuple[object, ...]
    a: Promise
    b: Promise
    gemm: Gemm
    note: str
    number_format: str
    dense_as: Share | None

    @classmethod
    def of(cls, work: SparseGemm, sizes: tuple[object, ...] | None = None) -> Self:
        """A sparse GEMM, to be looked up: its masks' bits are not kept.

        Parameters
        ----------
        sizes
            What of the GEMM counts; None: its sizes alone.
        """
        told = work.note, work.number_format, work.dense_as
        counts = work.gemm.sizes if sizes is None else sizes
        return cls(counts, work.a.promise, work.b.promise, work.gemm, *told)

    @cached_property
    def _key(self) -> tuple[object, ...]:
        return self.sizes, self.a, self.b

    @cached_property
    def _hash(self) -> int:
        return hash(self._key)

    def __hash__(self) -> int:
        """Of sizes and promises, found once: it is looked up in many tables."""
        return self._hash

    def __eq__(self, other: object) -> bool:
        """Whether sizes and promises are the same."""
        return self is other or (isinstance(other, Promised) and self._key == other._key)

    @cached_property
    def work(self) -> SparseGemm:
        """That sparse GEMM, its masks without bits."""
        told = self.note, self.number_format, self.dense_as
        return SparseGemm(self.gemm, self.a.mask, self.b.mask, *told)


@lru_cache(maxsize=16384)
def _one(promised: Promised) -> Promised:
    """The first of all that are equal, so that the next comparison is by identity."""
    return promised
