"""N:M patterns: at most ``keep`` non-zeros in every ``group`` consecutive elements along K.

N is the *kept* count, as NVIDIA writes it (Mishra et al., arXiv:2104.08378). Hubara et al. (NeurIPS
2021) and parts of Chmiel et al. (ICLR 2023) call N the pruned count; 2:4 and 4:8 read the same.

V:N:M (Castro et al., SC 2023) is N:M in which V consecutive rows share the four columns of every M
that they keep anything of, so that what is left of those four is N:4.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from nmsim.errors import PatternError

__all__ = ["COLUMNS_KEPT", "DENSE", "MAX_GROUP", "UNSTRUCTURED", "Pattern", "PatternField"]

MAX_GROUP = 1024
"""The largest M: what patterns allow is worked out over common periods of two groups."""

WIDEST_GROUP = 2048
"""The one M beyond: where SDGF-geometric starts on its way to 1:128 (Bambhaniya et al., k = 16).

A power of two has short common periods with the widths of machines.
"""

COLUMNS_KEPT = 4
"""Columns of every M of which V rows of V:N:M keep anything."""

MAX_VECTOR = 65536
"""The largest V."""

_SPELLING = re.compile(r"(?:([0-9]{1,9}):)?([0-9]{1,9}):([0-9]{1,9})")


@dataclass(frozen=True, order=True, repr=False)
class Pattern:
    """At most ``keep`` of every ``group`` consecutive elements along K are kept.

    ``keep == group`` is legal and means dense. Named fields, because M and N are GEMM sizes.
    ``vector`` is V of V:N:M: rows, counted from the first of a matrix, that keep the same four
    columns of a group; 0: each row for itself.

    Raises
    ------
    PatternError
        unless 1 <= keep <= group <= 1024, or group is 2048 and there is no V, and
        1 <= keep < 4 <= group where there is a V.
    """

    keep: int
    group: int
    vector: int = 0

    def __repr__(self) -> str:
        vector = f", vector={self.vector}" if self.vector else ""
        return f"Pattern(keep={self.keep}, group={self.group}{vector})"

    def __post_init__(self) -> None:
        widest = MAX_GROUP if self.group != WIDEST_GROUP or self.vector else WIDEST_GROUP
        if not 1 <= self.keep <= self.group <= widest:
            raise PatternError(
                f"pattern {self.keep}:{self.group}: expected N:M with 1 <= N <= M <= {MAX_GROUP} "
                f"or M = {WIDEST_GROUP}"
            )
        rows = 0 <= self.vector <= MAX_VECTOR
        if not rows or (self.vector and not self.keep < COLUMNS_KEPT <= self.group):
            raise PatternError(
                f"pattern {self.vector}:{self.keep}:{self.group}: expected N:M, or "
                f"V:N:M with 1 <= V <= {MAX_VECTOR} and 1 <= N < {COLUMNS_KEPT} <= M <= {MAX_GROUP}"
            )

    @classmethod
    def parse(cls, text: "str | Pattern | tuple[int, int]") -> Self:
        """Read a pattern from a text such as "2:4", "64:2:8" or "dense", or from (2, 4).

        Examples
        --------
        >>> Pattern.parse("2:4")
        Pattern(keep=2, group=4)
        >>> Pattern.parse("dense").is_dense
        True
        """
        if isinstance(text, Pattern):
            return cls(text.keep, text.group, text.vector)
        if text == "dense":
            return cls(1, 1)
        if isinstance(text, tuple) and len(text) == 2 and all(type(one) is int for one in text):
            return cls(*text)
        match = _SPELLING.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise PatternError(
                f"pattern {text!r}: expected N:M with 1 <= N <= M, such as 2:4, V:N:M, such as "
                "64:2:8, or 'dense'"
            )
        if match[1] is not None and not int(match[1]):
            raise PatternError(f"pattern {text!r}: expected N:M, or V:N:M with a V of 1 or more")
        return cls(int(match[2]), int(match[3]), int(match[1] or 0))

    def __str__(self) -> str:
        rows = f"{self.vector}:" if self.vector else ""
        return "dense" if self.is_dense else f"{rows}{self.keep}:{self.group}"

    @property
    def is_unstructured(self) -> bool:
        """Whether it stands for a mask that promises nothing."""
        return False

    @property
    def plain(self) -> "Pattern":
        """The N:M of every row, whatever its neighbours keep."""
        return Pattern(self.keep, self.group)

    @property
    def inner(self) -> "Pattern":
        """What is left of V:N:M once the columns that V rows drop are gone: N:4; N:M is itself."""
        return Pattern(self.keep, COLUMNS_KEPT) if self.vector else self

    @property
    def shrink(self) -> float:
        """Share of K in the columns that V rows keep anything of; 1 of N:M."""
        return COLUMNS_KEPT / self.group if self.vector else 1.0

    @property
    def is_dense(self) -> bool:
        """Whether every element is kept, as N = M says."""
        return self.keep == self.group

    @property
    def density(self) -> float:
        """Kept elements over all elements of a whole group."""
        return self.keep / self.group

    def stored(self, k: int) -> int:
        """Slots of a compressed row of K elements; a short last group keeps min(keep, rest).

        Examples
        --------
        >>> Pattern(2, 4).stored(147)  # 36 groups of 4, and 3 elements more
        74
        """
        whole, rest = divmod(k, self.group)
        return whole * self.keep + min(self.keep, rest)

    @property
    def metadata_bits(self) -> int:
        """Bits that tell which element of its group a kept one is: ceil(log2 group); 0 if dense.

        Of V:N:M, which of the four columns; which these are is said once for V rows, and not
        counted.
        """
        return 0 if self.is_dense else (self.inner.group - 1).bit_length()

    def window_counts(self, window: int) -> list[np.ndarray]:
        """How many kept elements an aligned window of ``window`` elements may hold.

        Groups are taken as independent and uniformly drawn: the count in a window is a sum of
        hypergeometric variables, one for each group that it overlaps.

        Returns
        -------
        list of float64 arrays
            one probability mass function over 0 .. window for every window of one common period of
            group and window.
        """
        return _window_counts(self.keep, self.group, window)

    def kept_between(self, start: int, stop: int, k: int) -> np.ndarray:
        """How many elements a row of K may keep from ``start`` to ``stop``: their probabilities.

        Groups as in ``window_counts``, but for a short last one, which keeps min(keep, its length).
        """
        pmf = np.ones(1)
        for first in range(start - start % self.group, min(stop, k), self.group):
            last = min(first + self.group, k)
            inside = max(0, min(stop, last) - max(start, first))
            pmf = np.convolve(pmf, _inside(min(self.keep, last - first), last - first, inside))
        return pmf

    def covers(self, other: "Pattern") -> bool:
        """Whether every mask that obeys ``other`` obeys this pattern too (2:4 covers 1:4 and 2:8).

        Examples
        --------
        >>> Pattern(2, 4).covers(Pattern(1, 4)), Pattern(2, 4).covers(Pattern(4, 8))
        (True, False)
        """
        if self.is_dense:
            return True
        if self.vector and self.group > COLUMNS_KEPT:  # of four, all columns are kept
            shared = other.vector and other.vector % self.vector == 0
            return bool(shared and other.group == self.group and other.keep <= self.keep)
        period = math.lcm(self.group, other.group)
        return all(
            sum(min(other.keep, overlap) for overlap in overlaps) <= self.keep
            for overlaps in _overlaps(other.group, self.group, period)
        )


def _overlaps(group: int, window: int, period: int) -> list[list[int]]:
    """For every aligned window of a period, its overlap with each group that it meets."""
    return [
        [
            min((g + 1) * group, start + window) - max(g * group, start)
            for g in range(start // group, -(-(start + window) // group))
        ]
        for start in range(0, period, window)
    ]


@lru_cache(maxsize=256)
def _window_counts(keep: int, group: int, window: int) -> list[np.ndarray]:
    period = math.lcm(group, window)
    pmfs = []
    for overlaps in _overlaps(group, window, period):
        pmf = np.ones(1)
        for overlap in overlaps:
            pmf = np.convolve(pmf, _inside(keep, group, overlap))
        pmfs.append(pmf)
    return pmfs


def _inside(keep: int, group: int, overlap: int) -> list[float]:
    """P(0, 1, ... of the kept of a group lie in ``overlap`` of its elements)."""
    total = math.comb(group, keep)
    return [
        math.comb(overlap, x) * math.comb(group - overlap, keep - x) / total if x <= keep else 0.0
        for x in range(overlap + 1)
    ]


def _spell(pattern: Pattern) -> str:
    return str(pattern)


def _parse(text: Any) -> Pattern:
    return Pattern.parse(text)


DENSE = Pattern(1, 1)


class _Unstructured(Pattern):
    """Of a mask that promises nothing: hardware must look at its bits, or run it dense."""

    @property
    def is_unstructured(self) -> bool:
        """It does."""
        return True

    def __str__(self) -> str:
        return "unstructured"

    def __repr__(self) -> str:
        return "UNSTRUCTURED"


UNSTRUCTURED: Pattern = _Unstructured(MAX_GROUP - 1, MAX_GROUP)
"""No pattern that any hardware runs; masks under it say that it does not hold (``fits``)."""

PatternField = Annotated[
    Pattern,
    BeforeValidator(_parse),
    PlainSerializer(_spell),
    WithJsonSchema({"type": "string", "pattern": "^(([0-9]+:)?[0-9]+:[0-9]+|dense)$"}),
]
"""A pattern as a field of a YAML file: written ``2:4``, ``64:2:8`` or ``dense``."""
