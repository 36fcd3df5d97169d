"""Prune one run of every group: easy to decompress, and the least diverse of the structures."""

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import compiled
from nmsim.pruning import Block, pruner
from nmsim.pruning.parts.effort import running_sums

__all__ = ["sequential"]


@compiled
def _prune_lightest_run(
    sizes: NDArray[np.float64], keep: int, group: int, mask: NDArray[np.bool_]
) -> None:
    rows, k = sizes.shape
    for row in range(rows):
        for start in range(0, k, group):
            stop = min(start + group, k)
            run = max(stop - start - keep, 0)
            lightest, at = np.inf, start
            for first in range(start, stop - run + 1):
                weight = 0.0
                for i in range(first, first + run):
                    weight += sizes[row, i]
                if weight <= lightest:
                    lightest, at = weight, first
            for i in range(start, stop):
                mask[row, i] = i < at or i >= at + run


@pruner(
    "sequential",
    summary="prunes the lightest run of M - N consecutive elements of every group",
    source="Hubara et al., NeurIPS 2021, section 3 (sequential N:M sparsity)",
    regular=True,
    effort=running_sums,
)
def sequential(block: Block) -> None:
    """Prune the M - N consecutive elements of every group whose magnitudes add up to least.

    Among equal runs the last is pruned, so that the lowest indices are kept. A short last group
    prunes a run that leaves min(N, its length). Sums are taken in binary64.
    """
    sizes = np.abs(block.values.astype(np.float64))
    mask = np.empty(sizes.shape, np.bool_)
    _prune_lightest_run(sizes, block.pattern.keep, block.pattern.group, mask)
    block.keep(mask)
