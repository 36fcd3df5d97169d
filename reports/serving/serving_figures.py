"""What serving Llama 3 takes on an A100 and an H100, dense and 2:4, and what others printed."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import nmsim

__all__ = ["MACHINES", "MODELS", "REQUEST", "STEPS", "WEIGHTS", "measure", "printed"]

Figures = dict[str, Any]

MODELS = {"llama-3-8b": 1, "llama-3-70b": 4}
"""The networks, and the GPUs that share one: 70 billion weights of 16 bits stand on four."""

MACHINES = ("a100-sxm4-80gb", "h100-sxm")

WEIGHTS: Mapping[str, Mapping[str, Any]] = {
    "16 bits": {"recipe": "dense"},
    "2:4": {"recipe": "asp"},
    "int4": {"recipe": "dense", "overrides": {"dtype": "w4a16"}},
    "2:4 + int4": {"recipe": "asp", "overrides": {"dtype": "w4a16"}},
}
"""How weights stand in memory, and what leaves them so; a row more is an entry more."""

STEPS: Mapping[str, Mapping[str, Any]] = {
    "decode, 1 sequence": {"scenario": "decode", "context": 2048, "batch": 1},
    "decode, 16 sequences": {"scenario": "decode", "context": 2048, "batch": 16},
    "decode, 64 sequences": {"scenario": "decode", "context": 2048, "batch": 64},
    "prefill, 1 prompt": {"scenario": "prefill", "tokens": 2048, "batch": 1},
    "prefill, 16 prompts": {"scenario": "prefill", "tokens": 2048, "batch": 16},
}
REQUEST: Figures = {"tokens": 2048, "generate": 256, "batch": 16}

_PRINTED = Path(__file__).with_name("printed.csv")
_USUAL: Figures = {"fidelity": "analytical"}


def measure(models: Mapping[str, int] = MODELS, rows: slice = slice(None)) -> Figures:
    """Steps and requests of networks, on every machine, with every sort of weights.

    Parameters
    ----------
    models
        Networks, and the GPUs that share each.
    rows
        Which of the printed figures are computed too.
    """
    return {
        "steps": list(_steps(models)),
        "requests": list(_requests(models)),
        "printed": [_beside(row) for row in printed()[rows]],
    }


def _where(models: Mapping[str, int]) -> Iterator[tuple[Figures, Figures]]:
    """Every network, machine and sort of weights: what a row says of it, and keywords of a run."""
    for model, tp in models.items():
        for hardware in MACHINES:
            for weights, asked in WEIGHTS.items():
                said = {"model": model, "hardware": hardware, "gpus": tp, "weights": weights}
                yield said, {"hardware": hardware, "tp": tp, **asked}


def _steps(models: Mapping[str, int]) -> Iterator[Figures]:
    for said, keywords in _where(models):
        for step, asked in STEPS.items():
            found = nmsim.simulate(said["model"], **keywords, **asked, **_USUAL)
            whole = found.total["all"]
            yield {
                **said,
                "step": step,
                "ms": whole["step_us"] / 1e3,
                "dense_ms": whole["dense_step_us"] / 1e3,
                "speedup": whole["step_speedup"],
                "gemms_speedup": whole["speedup"],
                "tokens_per_s": whole["tokens_per_s"],
                "once_ms": whole["once_us"] / 1e3,
                "memory_gib": whole["memory_bytes"] / 2**30,
                "answer": found.answer,
            }


def _requests(models: Mapping[str, int]) -> Iterator[Figures]:
    for said, keywords in _where(models):
        found = nmsim.serve(said["model"], **keywords, **REQUEST, **_USUAL)
        yield {
            **said,
            "seconds": found.request.us / 1e6,
            "first_token_ms": found.prefill.us / 1e3,
            "per_token_ms": found.per_token.us / 1e3,
            "speedup": found.request.speedup,
            "tokens_per_s": found.tokens_per_s,
            "answer": found.answer,
        }


def printed() -> list[dict[str, str]]:
    """Figures that others printed of dense networks, each with source, stack and conditions."""
    with _PRINTED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _beside(row: Mapping[str, str]) -> Figures:
    """A printed figure and what nmsim finds, both as speed: tokens a second, or one over time."""
    sizes = {name: int(row[name]) for name in ("batch", "prompt", "generated", "tp")}
    found = _computed(row, sizes)
    value = float(row["value"])
    speed = value / found if row["unit"] == "ms" else found / value
    return {**row, **sizes, "value": value, "computed": found, "speed_ratio": speed}


def _conditions(row: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """What the machine of a printed figure has that ours has not."""
    if row["dtype"] not in ("fp16", "bf16"):
        yield "dtype", row["dtype"]
    if row["dram_gbps"]:
        yield "dram.gbps", float(row["dram_gbps"])
    if row["group"]:  # weights that share a scale and a zero, 16 bits each
        yield "packed_weights.w4a16.group", int(row["group"])
        yield "packed_weights.w4a16.scale_bits", 32


def _model(name: str) -> str:
    """A network of the catalog, or a file of this folder."""
    return str(_PRINTED.with_name(name)) if name.endswith(".yaml") else name


def _computed(row: Mapping[str, str], sizes: Mapping[str, int]) -> float:
    keywords: Figures = {
        "hardware": row["hardware"],
        "stack": row["stack"],
        "tp": sizes["tp"],
        "batch": sizes["batch"],
        "overrides": dict(_conditions(row)),
    }
    if row["what"] == "prefill":
        asked: Figures = {"scenario": "prefill", "tokens": sizes["prompt"]}
        found = nmsim.simulate(_model(row["model"]), **keywords, **asked, **_USUAL)
        return float(found.total["all"]["step_us"]) / 1e3
    served = nmsim.serve(
        _model(row["model"]),
        tokens=sizes["prompt"],
        generate=sizes["generated"],
        **keywords,
        **_USUAL,
    )
    if row["what"] == "decode":
        return 1e6 * sizes["batch"] / served.per_token.us
    return served.tokens_per_s
