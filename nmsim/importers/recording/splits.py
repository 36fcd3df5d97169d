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
    for at, layer in enumerate(layers):
        if layer["type"] == "attention":
            found = {**_around(layers, at), **found}
    if not found:
        return {}
    for layer in layers:
        if layer.get("tokens") == "predicted" and layer["name"] not in found:
            found[layer["name"]] = "vocabulary"
    return found


def _around(layers: list[dict[str, Any]], at: int) -> dict[str, str]:
    """The splits of an attention, of its projections and of the layers behind it."""
    attention = layers[at]
    features = attention["heads"] * attention.get("v_head_dim", attention["head_dim"])
    behind = [one for one in layers[at + 1 :] if one["type"] in (*_WEIGHTED, "attention")]
    until = [one["type"] for one in behind].index("attention") if _next(behind) else len(behind)
    out = next((one for one in behind[:1] if one.get("in_features") == features), None)
    if out is None:
        return {}
    found = {attention["name"]: "heads", out["name"]: "rows"}
    found |= _projections(layers[:at], attention)
    return found | _wide(behind[1:until], out["out_features"])


def _next(behind: list[dict[str, Any]]) -> bool:
    return any(one["type"] == "attention" for one in behind)


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
