"""N:M patterns: at most ``keep`` non-zeros in every ``group`` consecutive elements along K.

N is the *kept* count, as NVIDIA writes it (Mishra et al., arXiv:2104.08378). Hubara et al. (NeurIPS
2021) and parts of Chmiel et al. (ICLR 2023) call N the pruned count; 2:4 and 4:8 read the same.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from nmsim.errors import PatternError

__all__ = ["DENSE", "MAX_GROUP", "Pattern", "PatternField"]

MAX_GROUP = 1024
"""The largest M: what patterns allow is worked out over common periods of two groups."""

_SPELLING = re.compile(r"([0-9]{1,9}):([0-9]{1,9})")


@dataclass(frozen=True, order=True)
class Pattern:
    """At most ``keep`` of every ``group`` consecutive elements along K are kept.

    ``keep == group`` is legal and means dense. Named fields, because M and N are GEMM sizes.

    Raises
    ------
    PatternError
        unless 1 <= keep <= group <= 1024.
    """

    keep: int
    group: int

    def __post_init__(self) -> None:
        if not 1 <= self.keep <= self.group <= MAX_GROUP:
            raise PatternError(
                f"pattern {self.keep}:{self.group}: expected N:M with 1 <= N <= M <= {MAX_GROUP}"
            )

    @classmethod
    def parse(cls, text: "str | Pattern") -> Self:
        """Read a pattern from a text such as "2:4" or "dense".

        Examples
        --------
        >>> Pattern.parse("2:4")
        Pattern(keep=2, group=4)
        >>> Pattern.parse("dense").is_dense
        True
        """
        if isinstance(text, Pattern):
            return cls(text.keep, text.group)
        if text == "dense":
            return cls(1, 1)
        match = _SPELLING.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise PatternError(
                f"pattern {text!r}: expected N:M with 1 <= N <= M, such as 2:4, or 'dense'"
            )
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return "dense" if self.is_dense else f"{self.keep}:{self.group}"

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
        """Bits that tell which element of its group a kept one is: ceil(log2 group); 0 if dense."""
        return 0 if self.is_dense else (self.group - 1).bit_length()

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

PatternField = Annotated[
    Pattern,
    BeforeValidator(_parse),
    PlainSerializer(_spell),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]+:[0-9]+|dense)$"}),
]
"""A pattern as a field of a YAML file: written ``2:4`` or ``dense``."""
