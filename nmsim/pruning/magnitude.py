"""Keep the largest of every group: the N:M pruning of Mishra et al. (arXiv:2104.08378)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import kernel
from nmsim.pruning import Block, pruner

__all__ = ["magnitude"]


@kernel
def _keep_largest(
    values: NDArray[Any],
    keep: int,
    group: int,
    out_values: NDArray[Any],
    out_mask: NDArray[np.bool_],
) -> None:
    rows, k = values.shape
    for row in range(rows):
        for start in range(0, k, group):
            stop = min(start + group, k)
            for i in range(start, stop):
                size = abs(values[row, i])
                larger = 0
                for j in range(start, stop):
                    other = abs(values[row, j])
                    larger += (other > size) or (other == size and j < i)
                kept = larger < keep
                out_mask[row, i] = kept
                out_values[row, i] = values[row, i] if kept else 0


@pruner(
    "magnitude",
    summary="keeps the N largest magnitudes of every group; ties keep the lowest index",
    source="Mishra et al., arXiv:2104.08378, section 3",
    regular=True,
)
def magnitude(block: Block) -> None:
    """Keep the N largest magnitudes of every group of rows x K values; ties keep the lowest index.

    Minimises the squared error of every group (Mishra et al., arXiv:2104.08378, section 3).
    """
    p = block.pattern
    _keep_largest(block.values, p.keep, p.group, block.out_values, block.out_mask)
