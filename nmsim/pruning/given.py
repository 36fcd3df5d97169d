"""A mask that is there already: what a tensor has as zeros stays pruned, and nothing else is."""

from nmsim.errors import PatternError
from nmsim.mask import broken_promise
from nmsim.pruning import Block, pruner
from nmsim.pruning.parts.effort import none

__all__ = ["given"]


@pruner(
    "given",
    summary="keeps what is not zero: the mask of a tensor that was pruned elsewhere, which must "
    "obey the pattern",
    source="the file of tensors, or the values themselves; nothing is chosen here",
    regular=False,
    brought=True,
    unit="vector",
    effort=none,
)
def given(block: Block) -> None:
    """Keep the elements that are not zero, and change none; refuse the first group with too many.

    A group may keep fewer than the pattern allows: pruners that choose by size would fill it up
    with zeros, which hardware that skips by bits would then multiply.
    """
    mask = block.values != 0
    if broken := broken_promise(mask, block.pattern, block.first_row):
        raise PatternError(f"{broken} ({block.pattern} along K)")
    block.keep(mask)
