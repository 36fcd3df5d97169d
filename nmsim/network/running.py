"""What a training step runs of each layer: which learn, which hand a gradient on, which run twice.

The walk goes through layers in the order in which they run, block by block. A layer has a backward
GEMM if its input needs a gradient: if anything before it learns. What reads the same input as a
layer before it (``input_of``) needs one if that layer does.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from nmsim.errors import SpecError
from nmsim.network.blocks import Runs, in_block
from nmsim.network.layer import Embedding, Layer, Linear
from nmsim.network.layers.layer_fields import WeightedSpec
from nmsim.network.learning import Adapters, Learning, any_matches
from nmsim.network.unrolled import Unrolled, blocks_of, in_order, unrolled

__all__ = ["running", "with_adapters"]

_Place = tuple[str, int]
"""A layer in one of its blocks: its name, and the block's number."""


class _State(NamedTuple):
    """What a step does of a layer in one block."""

    learns: bool
    live: bool


def with_adapters(layers: Sequence[Layer], learning: Learning) -> tuple[Layer, ...]:
    """The layers, each one that carries an adapter with its A and its B behind it.

    Raises
    ------
    SpecError
        if a glob matches no linear layer, or one of another sort with a weight.
    """
    found = list(layers)
    for adapters in learning.adapters:
        found = _carrying(found, adapters)
    return tuple(found)


def _carrying(layers: Sequence[Layer], adapters: Adapters) -> list[Layer]:
    found: list[Layer] = []
    for layer in layers:
        found.append(layer)
        blocks = [block for block in blocks_of(layer) if _names(adapters.globs, layer, block)]
        if not blocks or not (layer.weights or isinstance(layer, WeightedSpec)):
            continue
        if not isinstance(layer, Linear):
            raise SpecError(
                f"adapters is {adapters.said!r}: layer {layer.name!r} is {layer.type}, expected "
                "linear layers alone"
            )
        found += _pair(layer, adapters, blocks)
    if len(found) == len(layers):
        raise SpecError(f"adapters: {_no_match(adapters.globs, layers)}")
    return found


def _pair(layer: Linear, adapters: Adapters, blocks: list[int]) -> tuple[Linear, Linear]:
    """A and B of the blocks of a layer that carry them."""
    if len(blocks) != blocks[-1] - blocks[0] + 1:
        raise SpecError(
            f"adapters is {adapters.said!r}: matches blocks {', '.join(map(str, blocks))} of "
            f"{layer.name!r}, expected blocks without a gap"
        )
    whole = {"first_block": blocks[0], "repeat": len(blocks), "weight_of": ""}
    a = layer.model_copy(
        update=whole
        | {
            "name": f"{layer.name}.lora_A",
            "out_features": adapters.rank,
            "before": (),
            "then": (),
        }
    )
    b = layer.model_copy(
        update=whole
        | {
            "name": f"{layer.name}.lora_B",
            "in_features": adapters.rank,
            "input": "linear",
            "input_of": "",
            "before": (),
            "then": ("scaling", "sum"),
        }
    )
    return a, b


@lru_cache(maxsize=256)
def running(
    layers: tuple[Layer, ...], learning: Learning, *, block_by_block: bool = False
) -> tuple[Layer, ...]:
    """The layers of a training step, adapters among them, that know what the step runs of them.

    Parameters
    ----------
    block_by_block
        One for each of the blocks that a layer stands for.

    Raises
    ------
    SpecError
        for globs that match no layer that they could, or layers that learn and carry an adapter.
    """
    carried = with_adapters(layers, learning)
    _check_globs("learn", learning.learn, [one for one in carried if _has_weight(one)])
    _check_globs("recompute", learning.recompute, carried)
    if len({layer.name for layer in carried}) < len(carried):
        raise SpecError("adapters: two of them match one layer, expected one")
    adapters = {layer.name for layer in carried} - {layer.name for layer in layers}
    _check_frozen(carried, adapters, learning)
    states = _states(carried, adapters, learning)
    regions = _regions(carried, states, learning)
    each = unrolled(carried) if block_by_block else _whole(carried)
    return tuple(one.layer.running(_runs(one, states, regions, learning)) for one in each)


def _whole(layers: Iterable[Layer]) -> Iterator[Unrolled]:
    return (Unrolled(layer, layer, blocks_of(layer)) for layer in layers)


def _runs(
    one: Unrolled,
    states: Mapping[_Place, _State],
    regions: Mapping[_Place, tuple[str, ...]],
    learning: Learning,
) -> Runs:
    layer, blocks = one.whole, one.blocks
    places = [(layer.name, block) for block in blocks]
    own = [states[place] for place in places]
    again, dropped = 0, 0
    for place in places:
        region = regions.get((_region(layer), place[1]), ())
        if layer.name in region:
            dropped += layer.name != region[0]
            ends = layer.name == region[-1] and _ends(layer)
            again += learning.reentrant or not ends
    return Runs(
        blocks=len(blocks),
        again=again,
        backward=sum(one.live for one in own),
        update=sum(one.learns for one in own),
        renewed=sum(one.live and one.learns for one in own),
        dropped=dropped,
        region=_region(one.layer) if again or dropped else "",
        passes=learning.micro_batches,
    )


def _ends(layer: Layer) -> bool:
    """Whether a block can end before a layer: nothing keeps its output, nor does it keep any."""
    return isinstance(layer, Linear) and not layer.kept


def _states(
    layers: Sequence[Layer], adapters: set[str], learning: Learning
) -> dict[_Place, _State]:
    """What learns in every block, and what has a gradient to hand on."""
    if not learning.learn and not adapters:
        return {(layer.name, b): _State(True, True) for layer in layers for b in blocks_of(layer)}
    sharing = _sharing(layers)
    found: dict[_Place, _State] = {}
    before = False
    for layer, block in in_order(layers):
        names = (in_block(name, block) for name in sharing[layer.owner("weight")])
        learns = _has_weight(layer) and (
            layer.name in adapters or any(any_matches(learning.learn, name) for name in names)
        )
        shared = layer.input_of if isinstance(layer, WeightedSpec) else ""
        beside = found.get((shared, block))
        # A norm in front of a layer has a scale: it learns where the whole of its block does.
        norm = layer.input == "norm" and any_matches(learning.learn, _norm_of(layer, block))
        live = beside.live if beside is not None else before or norm
        found[layer.name, block] = _State(learns, live)
        before |= learns
    return found


def _sharing(layers: Sequence[Layer]) -> dict[str, list[str]]:
    """Names of the layers that have one weight, by its owner: if any of them learns, it does."""
    found: dict[str, list[str]] = {}
    for layer in layers:
        found.setdefault(layer.owner("weight"), []).append(layer.name)
    return found


def _norm_of(layer: Layer, block: int) -> str:
    """A name that only globs over all of a layer's block match, or of a network's top."""
    return in_block(".".join(filter(None, (layer.block, "norm"))), block)


def _regions(
    layers: Sequence[Layer], states: Mapping[_Place, _State], learning: Learning
) -> dict[_Place, tuple[str, ...]]:
    """Layers of each block that are computed again, in order; blocks without a way back have none.

    Raises
    ------
    SpecError
        if nothing is, as nothing stands before the last layer of any block.
    """
    found: dict[_Place, list[Layer]] = {}
    for layer, block in in_order(layers) if learning.recompute else ():
        if _names(learning.recompute, layer, block) and not isinstance(layer, Embedding):
            found.setdefault((_region(layer), block), []).append(layer)
    live = {
        place: own
        for place, own in found.items()
        if any(any(states[layer.name, place[1]]) for layer in own)
    }
    if learning.recompute and not any(
        len(own) > 1 or learning.reentrant or not _ends(own[0]) for own in live.values()
    ):
        raise SpecError(
            f"recompute is {','.join(learning.recompute)!r}: no block has anything to compute "
            "again there (reentrant alone has its last linear layer)"
        )
    return {place: tuple(layer.name for layer in own) for place, own in live.items()}


def _region(layer: Layer) -> str:
    return layer.block or layer.name


def _names(globs: Sequence[str], layer: Layer, block: int) -> bool:
    return any_matches(globs, in_block(layer.name, block))


def _has_weight(layer: Layer) -> bool:
    return isinstance(layer, WeightedSpec | Embedding)


def _check_globs(field: str, globs: Sequence[str], layers: Sequence[Layer]) -> None:
    for glob in globs:
        if not any(_names((glob,), layer, b) for layer in layers for b in blocks_of(layer)):
            raise SpecError(f"{field}: {_no_match((glob,), layers)}")


def _no_match(globs: Sequence[str], layers: Sequence[Layer]) -> str:
    names = [layer.name for layer in layers]
    return (
        f"{','.join(globs)!r} matches no layer (they are {', '.join(names[:3])}"
        f"{', ...' * (len(names) > 3)})"
    )


def _check_frozen(layers: Sequence[Layer], adapters: set[str], learning: Learning) -> None:
    """Refuse a layer that is to learn and carries an adapter, whose point is that it does not."""
    for layer in layers:
        carrier = layer.name.removesuffix(".lora_A")
        if layer.name not in adapters or carrier == layer.name:
            continue
        for block in blocks_of(layer):
            name = in_block(carrier, block)
            if any_matches(learning.learn, name):
                raise SpecError(
                    f"learn is {','.join(learning.learn)!r}: {name!r} carries an adapter, so that "
                    "its weight is frozen: expected other layers"
                )
