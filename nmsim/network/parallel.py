"""Tensor parallelism: a network's layers as one of several machines that share them has them.

As in Megatron-LM (Shoeybi et al., arXiv:1909.08053, section 3): a matrix whose outputs go into a
nonlinearity or a head is split by its columns, the next one by its rows, so that a block needs two
sums over the machines, one behind attention and one behind the MLP. Which layer is split how is
said by the network (``tensor_parallel`` of its file), by the name of a layer or a glob; layers that
nobody names stand whole on every machine.

============== ============================================= ===================================
split          layers                                        what of a layer a machine of N has
============== ============================================= ===================================
columns        linear, experts                               out_features / N
rows           linear, experts                               in_features / N; results are summed
partial        linear, experts                               as rows, but another layer's sum,
                                                             to which they are added, is theirs
heads          attention, matmul                             heads / N, and of heads of keys and
                                                             values as many as divide by N: at
                                                             N above them one, on several machines
key_value      linear                                        the columns of the heads of keys and
                                                             values that it has
vocabulary     linear, embedding                             of the words 1 / N, rounded up:
                                                             Megatron-LM pads them
============== ============================================= ===================================
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from nmsim.errors import SpecError
from nmsim.network.layer import AttentionLayer, Embedding, Experts, Layer, Linear, Matmul

__all__ = ["SPLITS", "Split", "exchanges", "fits", "shared", "split_of"]

Split = Literal["columns", "rows", "partial", "heads", "key_value", "vocabulary"]

SPLITS: tuple[Split, ...] = get_args(Split)

_TAKES: Mapping[Split, tuple[type, ...]] = {
    "columns": (Linear, Experts),
    "rows": (Linear, Experts),
    "partial": (Linear, Experts),
    "heads": (AttentionLayer, Matmul),
    "key_value": (Linear,),
    "vocabulary": (Linear, Embedding),
}


def split_of(layer: Layer, declared: Mapping[str, Split]) -> Split | None:
    """How a layer is split, by the first name or glob that is its; None: it stands whole."""
    found = (split for name, split in declared.items() if _is(layer, name))
    return next(found, None)


def _is(layer: Layer, name: str) -> bool:
    return layer.name == name or fnmatchcase(layer.name, name)


def fits(layers: Iterable[Layer], declared: Mapping[str, Split]) -> str:
    """Why a declaration cannot be of these layers; empty if it can."""
    known = list(layers)
    named = {layer.name: layer for layer in known}
    for name in declared:
        if not any(_is(layer, name) for layer in known):
            return f"tensor_parallel: {name!r} is no layer's name"
    for layer in known:
        split = split_of(layer, declared)
        if split is not None and not isinstance(layer, _TAKES[split]):
            kinds = " or ".join(_kind(one) for one in _TAKES[split])
            return f"tensor_parallel: {layer.name!r} is {split}, expected of {kinds} alone"
        owner = named.get(getattr(layer, "weight_of", ""))
        if owner is not None and split_of(owner, declared) != split:
            return (
                f"tensor_parallel: {layer.name!r} is {split}, expected "
                f"{split_of(owner, declared)} as {owner.name!r}, whose weight it has"
            )
    return ""


def _kind(layer: Any) -> str:
    return str(get_args(layer.model_fields["type"].annotation)[0])


def shared(
    layers: Iterable[Layer], declared: Mapping[str, Split], machines: int
) -> tuple[Layer, ...]:
    """The layers as each of so many machines has them.

    Raises
    ------
    SpecError
        for a size that does not divide by the machines, in one line that names layer and field.
    """
    known = list(layers)
    for layer in known:  # what divides no heads is told of these, not of what makes them
        if split_of(layer, declared) == "heads":
            _part(layer, "heads", machines, machines)
    groups = _groups(known, declared, machines)
    return tuple(_part(layer, split_of(layer, declared), machines, groups) for layer in known)


def _groups(layers: list[Layer], declared: Mapping[str, Split], machines: int) -> int:
    """Into how many parts heads of keys and values go: fewer than the machines where they repeat.

    Raises
    ------
    SpecError
        where heads of keys and values would stand on several machines, and no layer that makes
        them is said to.
    """
    heads = {
        layer.groups
        for layer in layers
        if isinstance(layer, AttentionLayer) and split_of(layer, declared) == "heads"
    }
    parts = {min(one, machines) for one in heads} or {machines}
    if len(parts) > 1:
        told = ", ".join(map(str, sorted(heads)))
        raise SpecError(f"tp is {machines}, expected at most {min(heads)}: kv_heads are {told}")
    if parts != {machines} and "key_value" not in declared.values():
        raise SpecError(
            f"tp is {machines}, expected at most {min(heads)}, the heads of keys and values: no "
            "layer is key_value in tensor_parallel"
        )
    return parts.pop()


def _part(layer: Layer, split: Split | None, machines: int, groups: int) -> Layer:
    """The part of a layer that one machine has."""

    def divided(field: str, by: int) -> dict[str, int]:
        whole: int = getattr(layer, field)
        if whole % by:
            raise SpecError(
                f"layer {layer.name!r}: {field} is {whole}, expected a multiple of tp ({machines})"
            )
        return {field: whole // by}

    if split is None:
        return layer
    if split == "heads":
        return _heads(layer, divided, machines)
    if split == "vocabulary":
        field = "entries" if isinstance(layer, Embedding) else "out_features"
        return layer.model_copy(update={field: -(-int(getattr(layer, field)) // machines)})
    field = "in_features" if split in ("rows", "partial") else "out_features"
    return layer.model_copy(update=divided(field, groups if split == "key_value" else machines))


def _heads(layer: Layer, divided: Any, machines: int) -> Layer:
    update = divided("heads", machines)
    if isinstance(layer, AttentionLayer) and layer.kv_heads is not None:
        if machines <= layer.kv_heads:
            update |= divided("kv_heads", machines)
        elif machines % layer.kv_heads:
            raise SpecError(
                f"layer {layer.name!r}: kv_heads is {layer.kv_heads}, expected a divisor or a "
                f"multiple of tp ({machines})"
            )
        else:
            update["kv_heads"] = 1
    return layer.model_copy(update=update)


def exchanges(layer: Layer, split: Split | None, batch: int, machines: int) -> tuple[str, int]:
    """What machines exchange behind a forward layer, and the elements of it that there are.

    Parameters
    ----------
    layer
        The part of one machine.

    Returns
    -------
    tuple
        "all-reduce" and the elements of the sum (of experts, behind the sum over those of a token);
        "all-gather" and the elements of the whole, of which each machine has its part; or "" and 0.
    """
    if split == "rows":
        rows, features = layer.shape("gradient", batch)
        return "all-reduce", rows * features // getattr(layer, "per_token", 1)
    if split == "vocabulary" and isinstance(layer, Linear):
        rows, features = layer.shape("gradient", batch)
        return "all-gather", rows * features * machines
    return "", 0
