"""How many masks a structure allows: Hubara et al. (NeurIPS 2021, section 3)."""

import math
from functools import lru_cache
from itertools import product
from typing import Literal, get_args

from nmsim.errors import PatternError, ShapeError, SpecError
from nmsim.pattern import Pattern

__all__ = ["Structure", "mask_diversity"]

_MOST_STATES = 100_000

Structure = Literal[
    "unstructured", "structured", "transposable", "transposable-at-most", "sequential"
]


def _power(base: int, exponent: int) -> int:
    # The type of int ** int is not int, for it depends on the sign.
    return int(base**exponent)


def _row_choices(columns: tuple[int, ...], least: int, most: int) -> list[tuple[int, ...]]:
    """Ways to take at most so many columns of each kind, between least and most in all."""
    ways = product(*(range(min(count, most) + 1) for count in columns[1:]))
    return [way for way in ways if least <= sum(way) <= most]


@lru_cache(maxsize=64)
def _tile_masks(group: int, keep: int, at_most: bool) -> int:
    """Count M x M masks with exactly, or at most, N in every row and column.

    Row by row; a state is how many columns have room for 0, 1, ... N more.
    """
    if math.comb(group + keep, keep) > _MOST_STATES:
        raise PatternError(f"pattern {keep}:{group}: too many transposable masks to count exactly")
    states = {(*([0] * keep), group): 1}
    for _ in range(group):
        after: dict[tuple[int, ...], int] = {}
        for columns, ways in states.items():
            for choice in _row_choices(columns, 0 if at_most else keep, keep):
                left = list(columns)
                factor = ways
                for room, taken in enumerate(choice, 1):
                    factor *= math.comb(columns[room], taken)
                    left[room] -= taken
                    left[room - 1] += taken
                key = tuple(left)
                after[key] = after.get(key, 0) + factor
        states = after
    return sum(states.values())


def _tiles(pattern: Pattern, shape: tuple[int, ...]) -> int:
    group = pattern.group
    if len(shape) < 2 or shape[-1] % group or shape[-2] % group:
        raise ShapeError(f"shape {shape}: expected whole tiles of {group} x {group}")
    return math.prod(shape) // group**2


def _transposable(pattern: Pattern, tiles: int, at_most: bool, counting: str) -> int:
    keep, group = pattern.keep, pattern.group
    if counting == "paper":
        if at_most:
            raise SpecError("mask diversity: the paper has no formula for transposable-at-most")
        pruned = group - keep
        per_tile = math.prod(math.factorial(group - i) for i in range(pruned))
        return _power(per_tile, tiles)
    # What is pruned and what is kept change places without changing the count.
    fewer = keep if at_most else min(keep, group - keep)
    return _power(_tile_masks(group, fewer, at_most), tiles)


def mask_diversity(
    pattern: str | Pattern,
    shape: tuple[int, ...],
    structure: Structure = "structured",
    counting: Literal["exact", "paper"] = "exact",
) -> int:
    """Count the masks that a structure allows (Hubara et al., NeurIPS 2021, section 3, Eq. 2).

    Parameters
    ----------
    pattern
        N is what is kept; in the paper N is what is pruned.
    shape
        Of the tensor, K last; whole tiles for transposable masks.
    structure
        "transposable" has exactly N in every row and column of a tile, like the others, which keep
        one share; "transposable-at-most" is what hardware accepts.
    counting
        The "paper" formula for transposable masks, (M! (M-1)! ... (M-N+1)!)^(T / M^2), is right for
        one pruned element only. The other structures are the same in both.

    Raises
    ------
    ShapeError, PatternError, SpecError
        for a shape without whole tiles, a tile with too many states, an unknown structure.

    Examples
    --------
    >>> mask_diversity("2:4", (4, 4), "transposable")
    90
    """
    kept = Pattern.parse(pattern)
    if not shape or min(shape) < 0:
        raise ShapeError(
            f"mask diversity: shape {shape}, expected at least one size, none negative"
        )
    if counting not in ("exact", "paper"):
        raise SpecError(f"mask diversity: counting {counting!r}, expected exact or paper")
    size, k = math.prod(shape), shape[-1]
    whole, rest = divmod(k, kept.group)
    rows = size // k if k else 0
    if structure == "unstructured":
        return math.comb(size, (2 * size * kept.keep + kept.group) // (2 * kept.group))
    if structure == "structured":
        short = math.comb(rest, min(kept.keep, rest))
        return _power(_power(math.comb(kept.group, kept.keep), whole) * short, rows)
    if structure == "sequential":
        runs = kept.keep + 1 if not kept.is_dense else 1
        short = kept.keep + 1 if rest > kept.keep else 1
        return _power(_power(runs, whole) * short, rows)
    if structure in ("transposable", "transposable-at-most"):
        at_most = structure == "transposable-at-most"
        return _transposable(kept, _tiles(kept, shape), at_most, counting)
    known = ", ".join(get_args(Structure))
    raise SpecError(f"mask diversity: structure {structure!r}, expected one of {known}")
