"""Keep a uniformly drawn subset of every group: what any better algorithm is measured against."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.jit import kernel
from nmsim.pruning import Block, pruner

__all__ = ["random"]

_MASK = (1 << 64) - 1


@kernel
def _mix(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def _keep_drawn(
    values: NDArray[Any],
    keep: int,
    group: int,
    state: np.uint64,
    first_row: int,
    out_values: NDArray[Any],
    out_mask: NDArray[np.bool_],
) -> None:
    rows, k = values.shape
    step = np.uint64(0x9E3779B97F4A7C15)
    for row in range(rows):
        stream = _mix(state + step * np.uint64(first_row + row + 1))
        for start in range(0, k, group):
            left = min(group, k - start)
            wanted = min(keep, left)
            for i in range(start, start + left):
                # Selection sampling (Fan, Muller, Rezucha 1962): exact, in one pass.
                draw = _mix(stream + step * np.uint64(i + 1)) >> np.uint64(11)
                kept = np.float64(draw) * 2.0**-53 * left < wanted
                out_mask[row, i] = kept
                out_values[row, i] = values[row, i] if kept else 0
                left -= 1
                wanted -= kept


@pruner(
    "random",
    summary="keeps N of every group, every subset equally likely",
    source="selection sampling: Fan, Muller and Rezucha, JASA 57 (1962)",
    regular=True,
    stochastic=True,
)
def random(block: Block) -> None:
    """Keep N of every group of rows x K values, every subset equally likely.

    One hash of seed, row and column (Steele, Lea and Flood's SplitMix64, OOPSLA 2014) per element,
    so that a row's mask depends on nothing else.
    """
    p, state = block.pattern, np.uint64(block.seed & _MASK)
    _keep_drawn(
        block.values, p.keep, p.group, state, block.first_row, block.out_values, block.out_mask
    )
