"""Identical blocks that follow one another, as layers that say how often they are repeated."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from nmsim.network.blocks import block_of

__all__ = ["folded"]

Fields = dict[str, Any]

_NAMES = ("name", "weight_of", "input_of")


def folded(layers: list[Fields]) -> list[Fields]:
    """Layers with ``repeat`` in place of blocks that differ in their number alone."""
    blocks = [list(group) for _, group in groupby(layers, lambda one: block_of(one["name"]))]
    found: list[Fields] = []
    for run in _alike(blocks):
        found += run[0] if len(run) == 1 else _repeated(run)
    return found


def _alike(blocks: list[list[Fields]]) -> Iterator[list[list[Fields]]]:
    """Blocks in groups of those that are alike and numbered one after the other."""
    run: list[list[Fields]] = []
    for block in blocks:
        if run and not _follows(run[-1], block):
            yield run
            run = []
        run.append(block)
    if run:
        yield run


def _follows(one: list[Fields], other: list[Fields]) -> bool:
    before, after = block_of(one[0]["name"]), block_of(other[0]["name"])
    stem, _, number = before.rpartition(".")
    if not number.isdecimal() or after != f"{stem}.{int(number) + 1}".lstrip("."):
        return False
    return [_starred(layer, before) for layer in one] == [_starred(layer, after) for layer in other]


def _starred(layer: Fields, block: str) -> Fields:
    """A layer with `*` for the number of its block, in the names of others too."""
    stem = block.rpartition(".")[0]
    star = f"{stem}.*" if stem else "*"

    def turned(name: str) -> str:
        return star + name[len(block) :] if name.startswith(f"{block}.") else name

    return {key: turned(value) if key in _NAMES else value for key, value in layer.items()}


def _repeated(run: list[list[Fields]]) -> list[Fields]:
    block = block_of(run[0][0]["name"])
    first = int(block.rpartition(".")[2])
    more: Fields = {"repeat": len(run)} | ({"first_block": first} if first else {})
    return [{**_starred(layer, block), **more} for layer in run[0]]
