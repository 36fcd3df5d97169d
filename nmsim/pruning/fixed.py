"""A mask that does not look at the values, and the gradient shift that makes up for it.

Xu et al. (AAAI 2022, section 5.3) keep every other column of the unfolded activations, because
neighbouring pixels are alike, and let the gradient of a pruned column act on its neighbour.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmsim.errors import ShapeError
from nmsim.pattern import Pattern
from nmsim.pruning import Block, pruner
from nmsim.pruning.parts.effort import none

__all__ = ["fixed", "fixed_positions", "information_restoration"]


def fixed_positions(pattern: Pattern) -> NDArray[np.bool_]:
    """Spread N kept elements evenly over a group of M: element j M // N for j = 0 .. N - 1.

    Examples
    --------
    >>> fixed_positions(Pattern(2, 4)).astype(int)
    array([1, 0, 1, 0])
    """
    kept = np.zeros(pattern.group, np.bool_)
    kept[np.arange(pattern.keep) * pattern.group // pattern.keep] = True
    return kept


@pruner(
    "fixed",
    summary="keeps the same evenly spread elements of every group, every other one for 2:4",
    source="Xu et al., AAAI 2022, Eq. 7, for any N:M",
    regular=False,
    metadata=False,
    effort=none,
)
def fixed(block: Block) -> None:
    """Keep elements j M // N of every group, whatever their values; hardware needs no metadata.

    For M = 2 N that is every other column, counted from the first (Xu et al., AAAI 2022, Eq. 7). A
    short last group keeps what the mask leaves of it, which can be fewer than N. Groups run through
    samples: pad each to whole groups if every sample is to start with a kept column.
    """
    k = block.values.shape[1]
    kept = np.resize(fixed_positions(block.pattern), k)
    block.keep(np.broadcast_to(kept, block.values.shape))


def information_restoration(gradient: ArrayLike, sample: int) -> NDArray[Any]:
    """Add to the gradient of every column that of the next one: Eq. 10 of Xu et al. (AAAI 2022).

    A pruned column of the activations is taken to equal the kept one before it, so its gradient
    belongs there. Multiply the result with the activations that ``fixed`` pruned to N:M = 1:2.

    Parameters
    ----------
    gradient
        Gradient of the layer's output, any leading shape, last axis samples * columns: O x
        (batch * OH * OW).
    sample
        Columns of one sample, OH * OW; the last column of a sample has no next one.

    Raises
    ------
    ShapeError
        if the last axis does not hold whole samples.
    """
    array = np.asarray(gradient)
    if array.ndim == 0 or sample < 1 or array.shape[-1] % sample:
        raise ShapeError(
            f"gradient of shape {array.shape}: expected a last axis of whole samples of {sample}"
        )
    shifted = array.reshape(*array.shape[:-1], -1, sample).copy()
    shifted[..., :-1] += array.reshape(shifted.shape)[..., 1:]
    return shifted.reshape(array.shape)
