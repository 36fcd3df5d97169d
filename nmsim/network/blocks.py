"""Blocks of a network by the names of their layers, and how often a training step runs each phase.

A layer may stand for identical blocks (``repeat``), whose number is the ``*`` of its name. What a
step does of it may differ from block to block: the first one that learns has no gradient to hand
on, frozen ones have no update. A layer's `Runs` are these numbers of blocks; its GEMMs stay one a
phase, launched as often as blocks run it.
"""

import re
from typing import NamedTuple

from nmsim.gemm import PHASES, Phase

__all__ = ["Runs", "block_of", "in_block"]

_NUMBERED = re.compile(r"(?:^|\.)\d+(?=\.|$)")


class Runs(NamedTuple):
    """What a training step runs of a layer that may stand for several blocks; numbers of blocks.

    Parameters
    ----------
    blocks
        That there are.
    again
        Whose forward is run a second time, on the way back (activation checkpointing).
    backward, update
        That have these GEMMs.
    renewed
        Whose weight is another one in the next step, of those with a backward GEMM.
    dropped
        Whose input is not kept from forward to backward, as it is computed again.
    region
        What is computed again together with this layer; "": nothing.
    passes
        Micro-batches of a step, each of which runs every phase.
    """

    blocks: int
    again: int
    backward: int
    update: int
    renewed: int
    dropped: int = 0
    region: str = ""
    passes: int = 1

    def launches(self, phase: Phase) -> int:
        """How often a GEMM of a phase is launched in a step; 0: not at all."""
        of_blocks = (self.blocks + self.again, self.backward, self.update)
        return self.passes * of_blocks[PHASES.index(phase)]

    def fresh(self, phase: Phase) -> int:
        """How many of a phase's launches have a weight that no launch of the step had before."""
        return self.renewed if phase == "backward" else self.update


def block_of(name: str) -> str:
    """The block that a layer is in: its name up to the number, or the ``*`` in its place; "": none.

    Where a name has no ``*``, its first part that is a number is taken for that of the block.

    Examples
    --------
    >>> block_of("model.layers.*.mlp.up_proj"), block_of("layer4.0.conv1"), block_of("lm_head")
    ('model.layers.*', 'layer4.0', '')
    """
    if "*" in name:
        before, _, after = name.partition("*")
        return f"{before}*{after.partition('.')[0]}"
    found = _NUMBERED.search(name)
    return name[: found.end()] if found and found.end() < len(name) else ""


def in_block(name: str, block: int) -> str:
    """A layer's name in one of its blocks: with the number for its ``*``."""
    return name.replace("*", str(block))
