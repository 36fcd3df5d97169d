"""Keep the largest of a whole tensor: what structure costs is measured against it."""

import numpy as np

from nmsim.pruning import Block, pruner
from nmsim.pruning.parts.effort import tensor_wide

__all__ = ["unstructured"]


@pruner(
    "unstructured",
    summary="keeps the largest magnitudes of the whole tensor, at the pattern's density",
    source="magnitude pruning: Han et al., NeurIPS 2015; as in Hubara et al., NeurIPS 2021, Fig. 3",
    regular=False,
    structured=False,
    unit="tensor",
    effort=tensor_wide,
)
def unstructured(block: Block) -> None:
    """Keep the N / M largest magnitudes of the tensor, wherever they are; no group is respected.

    The count is rounded to the nearest integer, half up; ties keep the lowest flat index.
    """
    keep, group = block.pattern.keep, block.pattern.group
    sizes = np.abs(block.values.reshape(-1))
    if sizes.dtype.kind == "i":
        sizes = sizes.view(np.uint64)
    count = (2 * sizes.size * keep + group) // (2 * group)
    least = np.partition(sizes, sizes.size - count)[sizes.size - count] if count else np.inf
    mask = sizes > least
    level = np.flatnonzero(sizes == least)
    mask[level[: count - np.count_nonzero(mask)]] = True
    block.keep(mask.reshape(block.values.shape))
