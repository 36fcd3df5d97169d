"""Structured data gradient pruning: keep the largest, rescale to the magnitude there was."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import ShapeError
from nmsim.pruning import Block, pruner
from nmsim.pruning.magnitude import magnitude
from nmsim.pruning.parts.effort import scaling
from nmsim.pruning.parts.groups import grouped, ungrouped

__all__ = ["sdgp"]

Floats = NDArray[np.float64]


def _ratios(before: Floats, after: Floats, epsilon: float) -> Floats:
    """Divide sums of magnitudes; 1 where nothing is left."""
    return np.divide(before, after + epsilon, out=np.ones_like(before), where=after > 0)


def _per_map(block: Block, rows: int, epsilon: float) -> Floats:
    count = len(block.values) // rows
    before, after = (
        np.abs(a).reshape(count, rows, -1).sum(1, keepdims=True)
        for a in (block.values, block.out_values)
    )
    scale = np.broadcast_to(_ratios(before, after, epsilon), (count, rows, before.shape[2]))
    return scale.reshape(block.values.shape)


def _per_block(block: Block, epsilon: float) -> Floats:
    group, k = block.pattern.group, block.values.shape[1]
    before, after = (
        grouped(np.abs(a), group).sum(2, keepdims=True) for a in (block.values, block.out_values)
    )
    scale = np.broadcast_to(_ratios(before, after, epsilon), (*before.shape[:2], group))
    return ungrouped(scale, k)


@pruner(
    "sdgp",
    summary="keeps the N largest of every group, scaled so that the L1 norm is kept",
    source="McDanel et al., arXiv:2202.00774; its use in Chmiel et al., ICLR 2023, A.7",
    regular=True,
    rescales=True,
    unit="sample",
    masks_as="magnitude",
    effort=scaling,
)
def sdgp(
    block: Block,
    *,
    per: Literal["map", "block"] = "map",
    rows: int = 0,
    epsilon: float = 1e-4,
) -> None:
    """Keep the N largest of every group of channels, scaled up to the magnitude before pruning.

    Parameters
    ----------
    block
        Whole samples; K is the channels of an output gradient.
    per
        What is scaled as one: the "map" of one channel of one sample (the code released with
        McDanel et al.), or the "block", a group of channels (Chmiel et al.'s description).
    rows
        Rows of one sample, OH * OW; 0 takes the axes between the first and the last, or all rows
        of a matrix.
    epsilon
        Added to the kept sum of a map before dividing by it, 1e-4 in the released code. 0 keeps the
        L1 norm exactly. The scale of a block has none.
    """
    if rows < 0 or len(block.values) % block.unit_rows:
        raise ShapeError(
            f"{block.first_row + len(block.values)} rows: expected whole samples of {rows}"
        )
    magnitude(block)
    block.out_values[...] *= (
        _per_map(block, block.unit_rows, epsilon) if per == "map" else _per_block(block, 0.0)
    )
