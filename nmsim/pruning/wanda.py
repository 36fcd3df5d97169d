"""Keep the weights that matter most to the outputs: each by its size and the norm of its input."""

import numpy as np
from numpy.typing import NDArray

from nmsim.pruning import Block, pruner
from nmsim.pruning.magnitude import keep_largest, magnitude

__all__ = ["wanda"]


@pruner(
    "wanda",
    summary="keeps the N largest |weight| x norm of the input that meets it, of every group",
    source="Sun et al., A Simple and Effective Pruning Approach for LLMs, ICLR 2024, Eq. 1",
    regular=True,
)
def wanda(block: Block, *, norms: NDArray[np.float64] | None = None) -> None:
    """Keep the N largest |w| . |x| of every group; ties keep the lowest index.

    Parameters
    ----------
    block
        Rows of weights, O x K.
    norms
        |x|: Euclidean norm of every input over the samples, K. None stands for inputs of one norm,
        for which that is magnitude.
    """
    if norms is None:
        magnitude(block)
    else:
        keep_largest(block, np.abs(block.values) * norms)
