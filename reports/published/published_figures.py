"""What 2:4 gained where somebody printed it, beside what nmsim computes for the same conditions."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nmsim

__all__ = ["HERE", "TOLERANCE", "beside", "measure", "printed"]

Figures = dict[str, Any]

HERE = Path(__file__).resolve().parent

TOLERANCE = 0.05
"""How far a computed speed-up may be off a printed one, to either side."""

_USUAL = {"hardware": "a100-sxm4-80gb", "fidelity": "analytical"}


def printed() -> list[dict[str, str]]:
    """Printed pairs of times, dense and 2:4, with source and conditions."""
    with (HERE / "published.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def measure(rows: slice = slice(None)) -> list[Figures]:
    """Printed rows with what nmsim finds; ``rows``: which of them."""
    return [beside(row) for row in printed()[rows]]


def beside(row: Mapping[str, str]) -> Figures:
    """A printed speed-up beside the computed one, and both computed times, milliseconds.

    ``whole_ms``, where it is given, is the printed dense time of more than the network: what the
    network saves is taken off it.
    """
    dense = _step_ms(row, "dense", row["dense_stack"])
    sparse = _step_ms(row, row["recipe"], row["stack"])
    whole = float(row["whole_ms"] or 0)
    rest = max(0.0, whole - dense)
    ours = (dense + rest) / (sparse + rest)
    theirs = float(row["dense_ms"]) / float(row["sparse_ms"])
    return {
        **{name: row[name] for name in ("what", "source", "conditions", "otherwise", "known")},
        "network": row["network"].removesuffix(".yaml"),
        "tokens": row["tokens"],
        "batch": int(row["batch"]),
        "printed_dense_ms": float(row["dense_ms"]),
        "printed_sparse_ms": float(row["sparse_ms"]),
        "dense_ms": dense,
        "sparse_ms": sparse,
        "printed": theirs,
        "computed": ours,
        "ratio": ours / theirs,
    }


def _step_ms(row: Mapping[str, str], recipe: str, stack: str) -> float:
    overrides: Figures = {"dtype": row["dtype"]}
    if row["library"] and recipe != "dense":
        overrides["library"] = row["library"]
    length = "context" if row["scenario"] == "decode" else "tokens"
    asked: Figures = {length: int(row["tokens"])} if row["tokens"] else {}
    found = nmsim.simulate(
        _named(row["network"]),
        recipe=_named(recipe),
        stack=_named(stack),
        scenario=row["scenario"],
        batch=int(row["batch"]),
        overrides=overrides,
        elementwise=row["scenario"] != "train",  # no optimizer in what was timed
        **asked,
        **_USUAL,
    )
    return float(found.total["all"]["step_us"]) / 1e3


def _named(name: str) -> str:
    """A name from the catalogs, or a file of this folder."""
    return str(HERE / name) if name.endswith(".yaml") else name
