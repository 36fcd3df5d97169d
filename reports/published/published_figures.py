"""What 2:4 gained where somebody printed it, beside what nmsim computes for the same conditions."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nmsim
from nmsim.report.simulation import Simulation
from reports.claims import Within
from reports.papers.bench import AS_IS, Bench

__all__ = ["HERE", "WITHIN", "beside", "measure", "measure_known", "printed"]

Figures = dict[str, Any]

HERE = Path(__file__).resolve().parent

WITHIN = Within(factor=1.05)
"""How far a computed speed-up may be off a printed one, to either side."""

_USUAL: Figures = {"fidelity": "analytical"}


def printed() -> list[dict[str, str]]:
    """Printed pairs of times, dense and 2:4, with source and conditions."""
    with (HERE / "published.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def measure(rows: slice = slice(None)) -> list[Figures]:
    """Printed rows with what nmsim finds; ``rows``: which of them."""
    return [beside(row) for row in printed()[rows]]


def measure_known(bench: Bench) -> list[Figures]:
    """Rows whose conditions are known, on some machines."""
    return [beside(row, bench) for row in printed() if row["known"] == "yes"]


def beside(row: Mapping[str, str], bench: Bench = AS_IS) -> Figures:
    """A printed speed-up beside the computed one, and both computed times, milliseconds.

    ``whole_ms``, where it is given, is the printed dense time of more than the network: what the
    network saves is taken off it. ``merged`` is the network with products of one input as one,
    which is how they run where none of them is sparse and that is faster.
    """
    dense_step, sparse_step = (
        _step(row, row["network"], *ran, bench)
        for ran in (("dense", row["dense_stack"]), (row["recipe"], row["stack"]))
    )
    dense, sparse = _ms(dense_step), _ms(sparse_step)
    if row["merged"]:
        merged = _step(row, row["merged"], "dense", row["dense_stack"], bench)
        saved = max(0.0, dense - _ms(merged))
        apart = ~sparse_step["layer"].isin(merged["layer"])
        dense -= saved
        sparse -= 0.0 if any(sparse_step["compressed"][apart]) else saved
    whole = float(row["whole_ms"] or 0)
    rest = max(0.0, whole - dense)
    ours = (dense + rest) / (sparse + rest)
    theirs = float(row["dense_ms"]) / float(row["sparse_ms"])
    return {
        **{name: row[name] for name in ("what", "source", "conditions", "otherwise", "known")},
        "network": Path(row["network"]).name.removesuffix(".yaml"),
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


def _step(
    row: Mapping[str, str], network: str, recipe: str, stack: str, bench: Bench
) -> Simulation:
    overrides: Figures = {"dtype": row["dtype"]}
    if row["library"] and recipe != "dense":
        overrides["library"] = row["library"]
    if row["group"] and recipe == "dense":  # weights that share a scale and a zero, 16 bits each
        overrides["packed_weights.w4a16.group"] = int(row["group"])
        overrides["packed_weights.w4a16.scale_bits"] = 32
    if row["attention"]:
        overrides["fused_attention"] = row["attention"] == "fused"
    if row["scenario"] == "train":  # of what was timed none had an optimizer
        overrides["elementwise.optimizer"] = None
    length = "context" if row["scenario"] == "decode" else "tokens"
    asked: Figures = {length: int(row["tokens"])} if row["tokens"] else {}
    return nmsim.simulate(
        _named(network),
        recipe=_named(recipe),
        stack=_named(stack),
        hardware=bench.machine(row["hardware"]),
        scenario=row["scenario"],
        batch=int(row["batch"]),
        overrides=overrides,
        **asked,
        **_USUAL,
    )


def _ms(step: Simulation) -> float:
    return float(step.total["all"]["step_us"]) / 1e3


def _named(name: str) -> str:
    """A name from the catalogs, or a file of this folder."""
    return str(HERE / name) if name.endswith(".yaml") else name
