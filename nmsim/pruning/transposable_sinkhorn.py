"""Transposable masks by optimal transport: every tile's mask as a plan, smoothed, then rounded.

Meng, Makni and Mazumder (TSENOR, 2025) let a mask take any value from 0 to 1 and reward its
entropy: what is best then is found by scaling rows, columns and entries in turn (Sinkhorn's and
Dykstra's projections), of all tiles at once. Rounding keeps the largest entries that have room.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.pattern import Pattern
from nmsim.pruning import Block, pruner
from nmsim.pruning.parts.effort import tile_sort
from nmsim.pruning.parts.tiles import tiles, untile
from nmsim.pruning.transposable_approximate import keep_greedily

__all__ = ["transposable_sinkhorn"]

Floats = NDArray[np.float64]

_LARGEST_GROUP = 64


def _plan(sizes: Floats, keep: int, sharpness: float, rounds: int) -> Floats:
    """Logarithms of the plan: rows and columns of every tile sum up to N, no entry is above 1."""
    largest = sizes.max(axis=(1, 2), keepdims=True, initial=0.0)
    plan = sharpness * sizes / np.where(largest > 0, largest, 1.0)
    over = np.zeros_like(plan)  # what the bound of 1 took from an entry, given back (Dykstra)
    for _ in range(rounds):
        for axis in (2, 1):
            plan -= _log_sum(plan, axis) - math.log(keep)
        plan += over
        bounded = np.minimum(plan, 0.0)
        over = plan - bounded
        plan = bounded
    return plan


def _log_sum(logs: Floats, axis: int) -> Floats:
    top = logs.max(axis=axis, keepdims=True, initial=-np.inf)
    return np.asarray(top + np.log(np.exp(logs - top).sum(axis=axis, keepdims=True)))


@compiled
def _fill(sizes: Floats, heights: NDArray[np.int64], widths: NDArray[np.int64], keep: int,
          kept: NDArray[np.bool_]) -> None:  # fmt: skip
    """Give rows and columns that have room left an element more, by exchange.

    Where row i and column j have room, a kept (p, q) makes way for (i, q) and (p, j) if these are
    larger together: row p and column q keep as many as before, i and j one more. Every exchange
    raises what is kept, so there is an end; the best for each i and j is taken.
    """
    for t in range(len(sizes)):
        h, w, size, own = heights[t], widths[t], sizes[t], kept[t]
        for i in range(h):
            for j in range(w):
                while own[i, :w].sum() < keep and own[:h, j].sum() < keep:
                    best, at_p, at_q = 0.0, -1, -1
                    for p in range(h):
                        for q in range(w):
                            if own[p, q] and not own[i, q] and not own[p, j]:
                                gain = size[i, q] + size[p, j] - size[p, q]
                                if gain > best:
                                    best, at_p, at_q = gain, p, q
                    if at_p < 0:
                        break
                    own[at_p, at_q] = False
                    own[i, at_q] = True
                    own[at_p, j] = True


def _within(pattern: Pattern) -> str:
    if pattern.group <= _LARGEST_GROUP:
        return ""
    return f"tiles of {pattern.group} x {pattern.group}, expected at most {_LARGEST_GROUP}"


@pruner(
    "transposable-sinkhorn",
    summary="keeps nearly the most of the M x M tile, by entropy-smoothed transport and rounding",
    source="Meng, Makni and Mazumder, TSENOR: Finding Transposable N:M Sparse Masks, 2025",
    regular=False,
    transposable=True,
    unit="tile",
    limits=_within,
    effort=tile_sort,
)
def transposable_sinkhorn(
    block: Block,
    *,
    scores: Floats | None = None,
    sharpness: float = 30.0,
    rounds: int = 50,
) -> None:
    """Keep at most N in every row and column of a tile: nearly the mask of the largest sum.

    The plan S maximises sum(S w / max w) + H(S) / sharpness with rows and columns that sum up to N
    and no entry above 1. Its largest entries are kept, from heavy to light, while their row and
    column have room; exchanges then fill what has room left. Ties keep the lowest flat index.

    Parameters
    ----------
    block
        Whole tiles.
    scores
        What every value is worth, 0 or more; None: its magnitude.
    sharpness
        How little entropy counts: more is nearer to the best mask, and takes more rounds.
    rounds
        Scalings of rows, columns and entries.
    """
    tile = tiles(block if scores is None else replace(block, values=scores))
    kept, keep = np.zeros(tile.sizes.shape, np.bool_), block.pattern.keep
    plan = _plan(tile.sizes, keep, sharpness, rounds)
    keep_greedily(plan, tile.heights, tile.widths, keep, kept)
    _fill(*tile, keep, kept)
    block.keep(untile(block, kept))
