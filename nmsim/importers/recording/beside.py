"""A recorded network's tables that are looked up, and what stands beside its layers."""

from collections.abc import Iterator, Sequence
from typing import Any

from nmsim.importers.recording.between import Node
from nmsim.importers.recording.chains import Chains, chains_of
from nmsim.importers.recording.layers import Run, positions

__all__ = ["beside"]

Fields = dict[str, Any]


def beside(runs: Sequence[Run], layers: Sequence[Fields]) -> tuple[list[Fields], tuple[str, ...]]:
    """Say what stands beside layers, and the layers of tables that a step looks up.

    Parameters
    ----------
    layers
        Of the first run's forward products, one each; those of a table's weight are told so.

    Returns
    -------
    list of fields, tuple of str
        Tables in the order in which they are looked up first, and what is not known, a line each.
    """
    chains = chains_of(runs[0].nodes)
    for product, layer in zip(runs[0].forward, layers, strict=True):
        _attach(layer, product.call, chains)
    tables = list(_tables(runs, chains))
    for product, layer in zip(runs[0].forward, layers, strict=True):
        for table, names in tables:
            shape = layer.get("out_features"), layer.get("in_features")
            if product.weight in names and shape == (table["entries"], table["features"]):
                layer["weight_of"] = table["name"]
    unknown = ", ".join(chains.unknown)
    told = (f"operations that no word stands for are not charged: {unknown}",) if unknown else ()
    return [table for table, _ in tables], told


def _attach(layer: Fields, call: int, chains: Chains) -> None:
    before, then = chains.before.get(call, ()), chains.then.get(call, ())
    if layer["type"] == "attention" and "softmax" in then:  # of the scores' product
        before = tuple(_ON_SCORES.get(name, name) for name in then)
        then = chains.then.get(chains.readers.get(call, -1), ())
    if layer["type"] == "gemm":
        return
    if layer.get("input") == "linear" and (made := chains.inputs.get(call)):
        layer["input"] = made
    if before:
        layer["before"] = list(before)
    if then:
        layer["then"] = list(then)
    if layer["type"] == "linear" and _keeps(then):
        layer["kept"] = True


_ON_SCORES = {"sum": "score_bias", "residual": "score_bias", "bias": "score_bias"}
"""What an addition is called where it is one to scores."""


def _keeps(then: Sequence[str]) -> bool:
    """Whether what stands before the sum at a block's end needs the output on the way back."""
    if "residual" not in then:
        return False
    return any(name not in ("bias", "scaling") for name in then[: list(then).index("residual")])


def _tables(runs: Sequence[Run], chains: Chains) -> Iterator[tuple[Fields, tuple[str, ...]]]:
    """Layers of tables, each once, with the names of their parameters."""
    every = [[node for node in run.nodes if node.kind == "lookup"] for run in runs]
    if len({len(one) for one in every}) > 1:
        return
    seen: set[str] = set()
    for alike in zip(*every, strict=True):
        name = alike[0].names[0]
        if name not in seen:
            seen.add(name)
            yield _table(runs, alike, chains), alike[0].names


def _table(runs: Sequence[Run], alike: Sequence[Node], chains: Chains) -> Fields:
    (entries, features, _), name = alike[0].shape, alike[0].names[0]
    found: Fields = {"name": name.removesuffix(".weight"), "type": "embedding"}
    found |= {"entries": entries, "features": features}
    tokens = positions(runs, [node.shape[2] for node in alike])
    if tokens is not None and tokens != "sequence":
        found["tokens"] = tokens
    if then := chains.then.get(name):
        found["then"] = list(then)
    return found
