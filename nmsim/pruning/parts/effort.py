"""What pruning algorithms do per element, for machines that prune on the fly.

Operations are comparisons, additions and products as a thread counts them; a value that a matrix
must be read again for is counted as a read.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from nmsim.pattern import COLUMNS_KEPT, Pattern

__all__ = [
    "Effort",
    "drawing",
    "flow",
    "none",
    "proportional",
    "ranking",
    "ranking_and_sum",
    "running_sums",
    "scaling",
    "successive",
    "tensor_wide",
    "tile_sort",
    "vectors",
]

Options = Mapping[str, Any]

DRAW = 25.0
"""Operations of a random number: Philox 4x32-10 (Salmon et al., SC 2011) makes four of them in ten
rounds of two wide products (four operations), four exclusive ors and two additions."""

SOLVER_NS = 13.0
"""Nanoseconds of a core for each M^3 of a tile: 8 x 8 tiles at 4:8, 150,000 a second and core, as
measured of nmsim's own solver (docs/pruning.md); the exponent is that of Hubara et al. (NeurIPS
2021, A.3): O(nodes . edges) of 2 M + 2 and M^2 + 2 M."""


class Effort(NamedTuple):
    """What an algorithm takes beside reading a matrix and writing what it keeps.

    Parameters
    ----------
    operations
        Per element.
    reads
        Times that the matrix is read.
    host_ns
        Nanoseconds of a core of the host per element; 0: it runs where the GEMMs do.
    """

    operations: float
    reads: int = 1
    host_ns: float = 0.0


def none(_pattern: Pattern, _options: Options) -> Effort:
    """Effort of a mask that is known: nothing is looked at."""
    return Effort(0.0, reads=0)


def ranking(pattern: Pattern, _options: Options) -> Effort:
    """Every pair of a group is compared and the result added to a rank: M - 1 per element."""
    return Effort(pattern.group - 1.0)


def vectors(pattern: Pattern, _options: Options) -> Effort:
    """A sum over V rows; four of the M sums of every V, and ranks among four of what is left."""
    if not pattern.vector:
        return ranking(pattern, _options)
    chosen = COLUMNS_KEPT * (pattern.group - 1.0) / (pattern.vector * pattern.group)
    ranks = COLUMNS_KEPT * (COLUMNS_KEPT - 1.0) / pattern.group
    return Effort(1.0 + chosen + ranks)


def ranking_and_sum(pattern: Pattern, _options: Options) -> Effort:
    """Ranks, the sum of what is pruned, and its share added to what is kept."""
    return Effort(pattern.group - 1.0 + 2)


def running_sums(_pattern: Pattern, _options: Options) -> Effort:
    """The sum of a run of a group slides, an addition and a subtraction, and is compared."""
    return Effort(3.0)


def drawing(_pattern: Pattern, _options: Options) -> Effort:
    """Selection sampling: a number for every element, a comparison, a count."""
    return Effort(DRAW + 2)


def tensor_wide(_pattern: Pattern, _options: Options) -> Effort:
    """Radix selection over the tensor: a histogram of each of two digits, then the mask."""
    return Effort(6.0, reads=3)


def scaling(pattern: Pattern, options: Options) -> Effort:
    """Ranks, sums of magnitudes before and after, a product; sums of a map need a second read."""
    return Effort(pattern.group - 1.0 + 4, reads=1 if options.get("per") == "block" else 2)


def tile_sort(pattern: Pattern, _options: Options) -> Effort:
    """Sort the M^2 elements of a tile, then visit each: two counts read, compared, counted up.

    A bitonic network (Batcher, AFIPS 1968) compares log2 n (log2 n + 1) / 4 times an element, a
    minimum and a maximum each.
    """
    depth = math.ceil(math.log2(max(2, pattern.group**2)))
    return Effort(2 * depth * (depth + 1) / 4 + 4)


def flow(pattern: Pattern, _options: Options) -> Effort:
    """A minimum-cost flow per tile, on the host as in Hubara et al. (NeurIPS 2021, Table 2)."""
    return Effort(0.0, host_ns=SOLVER_NS * pattern.group)


def proportional(pattern: Pattern, _options: Options) -> Effort:
    """Probabilities p = min(1, |a| / t) and one systematic draw.

    Ranks; sums from below, and N candidates for t (compare, divide); per element a quotient, a
    minimum, a running sum and two comparisons with the drawn points; one number a group; N
    products.
    """
    keep, group = pattern.keep, pattern.group
    return Effort(group - 1 + 6 + (3 * keep + DRAW) / group)


def successive(pattern: Pattern, _options: Options) -> Effort:
    """N draws without replacement, in proportion to |a|, divided by their inclusion probability.

    Each draw sums what is left, makes a number and compares running sums with it; the probability
    (Eq. 17 of Chmiel et al.) takes a sum of quotients over the group for every element kept.
    """
    keep, group = pattern.keep, pattern.group
    return Effort(keep * (2 * group + DRAW) / group + 3 * keep)
