"""How a recorded network is split over machines: by its shapes, as Megatron-LM splits blocks.

What reads an attention's input and makes its heads is split by columns, what reads them by rows;
of the layers behind, those that widen by columns and the one that narrows by rows.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["splits_of"]

Fields = Mapping[str, Any]

_WEIGHTED = ("linear", "experts")


def splits_of(layers: list[dict[str, Any]]) -> dict[str, str]:
    """The split of every layer of blocks by name; none where there is no attention to split."""
    found: dict[str, str] = {}
    attentions = [at for at, layer in enumerate(layers) if layer["type"] == "attention"]
    for at in attentions:
        found |= _around(layers, at)
    if not found:
        return {}
    for at in attentions:
        found |= _behind(layers, at, found)
    for layer in layers:
        if layer.get("tokens") == "predicted" and layer["name"] not in found:
            found[layer["name"]] = "vocabulary"
    words = {layer["out_features"] for layer in layers if found.get(layer["name"]) == "vocabulary"}
    tables = (layer for layer in layers if layer["type"] == "embedding")
    return found | {one["name"]: "vocabulary" for one in tables if one["entries"] in words}


def _around(layers: list[dict[str, Any]], at: int) -> dict[str, str]:
    """The splits of an attention, of its projections and of what reads its heads."""
    attention, out = layers[at], _out(layers, at)
    if out is None:
        return {}
    found = {attention["name"]: "heads", out["name"]: "rows"}
    return found | _projections(layers[:at], attention)


def _out(layers: list[dict[str, Any]], at: int) -> dict[str, Any] | None:
    """The layer that reads all heads of an attention, right behind it."""
    features = layers[at]["heads"] * layers[at].get("v_head_dim", layers[at]["head_dim"])
    behind = (one for one in layers[at + 1 :] if one["type"] in (*_WEIGHTED, "attention"))
    first = next(behind, None)
    return first if first is not None and first.get("in_features") == features else None


def _behind(layers: list[dict[str, Any]], at: int, known: Mapping[str, str]) -> dict[str, str]:
    """The splits of layers behind an attention, up to the next one and what that projects."""
    out = _out(layers, at)
    if out is None:
        return {}
    behind = layers[at + 1 :]
    kinds = [one["type"] for one in behind]
    until = kinds.index("attention") if "attention" in kinds else len(behind)
    return _wide([one for one in behind[:until] if one["name"] not in known], out["out_features"])


def _projections(before: list[dict[str, Any]], attention: Fields) -> dict[str, str]:
    """What makes queries, keys and values, from the last layer before an attention on."""
    heads, own = attention["heads"], attention["head_dim"]
    groups = attention.get("kv_heads", heads)
    value = attention.get("v_head_dim", own)
    found: dict[str, str] = {}
    for layer in reversed(before[-3:]):
        if layer["type"] != "linear" or not layer["name"].startswith(_module(before, attention)):
            break
        out = layer["out_features"]
        if out in (heads * own, heads * own + groups * (own + value)):
            found[layer["name"]] = "columns"
        elif out in (groups * own, groups * value):
            found[layer["name"]] = "key_value"
        else:
            break
    return found


def _module(before: list[dict[str, Any]], attention: Fields) -> str:
    """How names of projections begin: as the attention's, or as that of the block that runs it."""
    own = f"{attention['name']}."
    if any(layer["name"].startswith(own) for layer in before):
        return own
    return str(attention["name"]).removesuffix("attention")


def _wide(layers: list[dict[str, Any]], hidden: int) -> dict[str, str]:
    """Layers that widen a block's features, and the one that narrows them again."""
    found: dict[str, str] = {}
    wide: list[dict[str, Any]] = []
    for layer in layers:
        if layer["type"] not in _WEIGHTED:
            continue
        halves = {one["out_features"] // part for one in wide for part in (1, 2)}
        if wide and layer["out_features"] == hidden and layer["in_features"] in halves:
            found |= {one["name"]: "columns" for one in wide if _feeds(one, layer)}
            found[layer["name"]] = "rows"
            wide = []
        elif layer["in_features"] == hidden:
            wide.append(layer)
    return found


def _feeds(one: Fields, narrow: Fields) -> bool:
    return one["out_features"] in (narrow["in_features"], 2 * narrow["in_features"])
