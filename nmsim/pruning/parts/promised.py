"""A pruner of somebody's own is held to what it says of itself, wherever it makes a mask.

Hardware believes a mask's promise and mostly never sees its bits; nobody else has tested such a
pruner. So every block that it fills is looked at, and it is tried on a small matrix before a run
believes it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import NmsimError, PatternError, SpecError
from nmsim.mask.bits import broken_vectors
from nmsim.pattern import Pattern
from nmsim.pruning.parts.context import Context, Samples
from nmsim.pruning.parts.contract import Block, Pruner

__all__ = ["check_mask", "fill_held", "small_case"]


def fill_held(pruner: Pruner, block: Block, **given: Any) -> None:
    """Fill a block, and refuse what the pruner does not do as it says.

    Raises
    ------
    SpecError
        for an exception of the pruner, in one line.
    PatternError
        for a mask that breaks the pattern, or keeps fewer where every group is to keep as many.
    """
    try:
        pruner.fill(block, **given)
    except (NmsimError, MemoryError):
        raise
    except Exception as error:  # whatever a stranger's function raises
        said = " ".join(str(error).split())[:200]
        raise SpecError(
            f"pruner {pruner.name!r} failed ({type(error).__name__}: {said})"
        ) from error
    if pruner.order is None:
        check_mask(pruner, block.pattern, block.out_mask)
    if block.out_values[~block.out_mask].any():
        raise SpecError(f"pruner {pruner.name!r} leaves values where it prunes, expected zeros")


def check_mask(pruner: Pruner, pattern: Pattern, mask: NDArray[np.bool_]) -> None:
    """Refuse a mask, rows x K, that is not as the pruner's traits say."""
    if not mask.size:
        return
    starts = np.arange(0, mask.shape[1], pattern.group)
    kept = np.add.reduceat(mask, starts, axis=1, dtype=np.int64)
    most = np.minimum(pattern.keep, np.minimum(pattern.group, mask.shape[1] - starts))
    over, under = (kept - most).max(), (kept - most).min()
    if pruner.structured and over > 0:
        raise PatternError(
            f"pruner {pruner.name!r} keeps {over} more of a group than {pattern} allows, expected "
            "what it says: structured"
        )
    if pruner.structured and pattern.vector and broken_vectors(mask, pattern):
        raise PatternError(
            f"pruner {pruner.name!r} breaks {pattern}, expected what it says: structured"
        )
    if pruner.regular and under < 0:
        raise PatternError(
            f"pruner {pruner.name!r} keeps {-under} fewer of a group than {pattern} has, expected "
            "what it says: regular"
        )


def small_case(
    pruner: Pruner, pattern: Pattern, own: Context
) -> tuple[NDArray[np.float32], Context]:
    """A small matrix, and all that a pruner may ask for beside it: drawn, where it is not known."""
    rng = np.random.default_rng(0)
    rows = 2 * max(pattern.vector, pattern.group if pruner.unit == "tile" else 4)
    shape = rows, 2 * pattern.group + pattern.group // 2
    draw: Callable[..., NDArray[np.float64]] = rng.standard_normal
    values = draw(shape).astype(np.float32)
    previous = rng.random(shape) < pattern.density
    samples = Samples.of(draw((2 * shape[1], shape[1])))
    step = 0 if own.step is None else own.step
    drawn = samples, draw(shape), draw(shape), previous
    return values, Context(own.layer, own.role, step, *drawn)
