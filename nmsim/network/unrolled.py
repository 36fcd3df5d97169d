"""Layers that stand for identical blocks, block by block, in the order in which they run.

A checkpoint has a tensor for each block: with its tensors every block has masks of its own, and so
GEMMs of its own, under the names that the checkpoint has for them.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from nmsim.network.blocks import block_of, in_block
from nmsim.network.layer import Layer

__all__ = ["Unrolled", "blocks_of", "in_order", "unrolled"]


def blocks_of(layer: Layer) -> range:
    """Numbers of the blocks that a layer stands for."""
    return range(layer.first_block, layer.first_block + layer.repeat)


def in_order(layers: Sequence[Layer]) -> Iterator[tuple[Layer, int]]:
    """Layers as a step runs them: those of a block one after the other, then the next block."""
    for group in _groups(layers):
        yield from _by_block(group)


def _groups(layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """Layers of the same blocks together; those whose names tell no blocks apart each alone."""
    for _, own in groupby(layers, lambda one: block_of(one.name) if "*" in one.name else one.name):
        yield list(own)


def _by_block(group: list[Layer]) -> Iterator[tuple[Layer, int]]:
    every = sorted({block for layer in group for block in blocks_of(layer)})
    for block in every:
        yield from ((layer, block) for layer in group if block in blocks_of(layer))


class Unrolled(NamedTuple):
    """A layer for some of the blocks that another one stands for.

    Parameters
    ----------
    layer
        Under the name that it has in its block.
    whole
        Which stands for all blocks.
    blocks
        Their numbers: one, or all of a layer whose name does not tell blocks apart.
    """

    layer: Layer
    whole: Layer
    blocks: range


def unrolled(layers: Sequence[Layer]) -> Iterator[Unrolled]:
    """The layers with one for each block in the place of those that have a ``*`` in their names."""
    known = {layer.name: layer for layer in layers}
    for group in _groups(layers):
        if "*" not in group[0].name:
            yield from (Unrolled(layer, layer, blocks_of(layer)) for layer in group)
            continue
        for layer, block in _by_block(group):
            yield Unrolled(_alone(layer, block, known), layer, range(block, block + 1))


def _alone(layer: Layer, block: int, known: Mapping[str, Layer]) -> Layer:
    """A layer in one block; what it shares a weight or an input with stands so, too.

    Blocks are shared by their order: what shares may count from another number on.
    """
    others = {}
    for shared in ("weight_of", "input_of"):
        if name := getattr(layer, shared, ""):
            others[shared] = in_block(name, known[name].first_block + block - layer.first_block)
    return layer.alone(block).model_copy(update=others)
