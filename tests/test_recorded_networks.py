"""Networks against what public implementations multiply: the same GEMMs, as often."""

import csv
from collections import Counter
from math import prod
from pathlib import Path

import pytest

from nmsim.network.catalog import load_model

GOLDEN = Path(__file__).parent / "golden"


def table(name):
    with (GOLDEN / name).open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


RECORDED = {}
for row in table("recorded-networks.csv"):
    RECORDED.setdefault((row["network"], row["scenario"]), []).append(row)
PARAMETERS = {row["network"]: row for row in table("recorded-parameters.csv")}


def numbers(row, *columns):
    return tuple(int(row[column]) for column in columns)


def size(text):
    return prod(map(int, text.split("x")))


def convolution(row):
    """Columns of every output position; of a transposed one, every input position's taps."""
    samples, groups, into, out = numbers(row, "instances", "groups", "in_channels", "out_channels")
    taps, into, out = size(row["kernel"]), into // groups, out // groups
    if row["transposed"] == "1":
        t, o, i = samples * size(row["in_size"]), out * taps, into
    else:
        t, o, i = samples * size(row["out_size"]), out, into * taps
    sizes = {"forward": (t, o, i), "backward": (t, i, o), "update": (o, i, t)}
    return [(row["phase"], *sizes[row["phase"]], groups)]


def attention(row):
    """Every head against keys of its own: a list that repeats shared keys."""
    samples, heads, q, s, d, e = numbers(
        row, "instances", "heads", "q_tokens", "kv_tokens", "head_dim", "v_head_dim"
    )
    count = samples * heads
    forward = [(q, s, d), (q, e, s)]
    backward = [(q, s, e), (s, e, q), (q, d, s), (s, d, q)]
    chosen = forward if row["phase"] == "forward" else backward
    return [(row["phase"], *sizes, count) for sizes in chosen]


def linear(row):
    return [(row["phase"], *numbers(row, "m", "n", "k", "count"))]


LOWER = {"conv": convolution, "attention": attention, "linear": linear}


def recorded(network, scenario):
    found = Counter()
    for row in RECORDED[network, scenario]:
        for gemm in LOWER[row["kind"]](row):
            found[gemm] += int(row["times"])
    return found


def with_keys_of_its_own(gemm, layers):
    """A GEMM of attention with the rows of a group of heads told apart."""
    if gemm.kind != "attention":
        return gemm.phase, gemm.m, gemm.n, gemm.k, gemm.count
    shared = layers[gemm.layer].heads // layers[gemm.layer].groups
    m, k = gemm.m, gemm.k
    if gemm.gradient_of in ("v", "k"):
        k //= shared
    else:
        m //= shared
    return gemm.phase, m, gemm.n, k, gemm.count * shared


def sizes_of(row):
    """Tokens and context as the table prints them: 4096, 2048+1, 512/114, 2048/128+1."""
    text = row["tokens_or_size"]
    if "x" in text:
        return {}
    whole, _, target = text.partition("/")
    if row["scenario"] != "decode":
        return {"tokens": int(whole)}
    if target:
        return {"tokens": int(whole), "context": int(target.partition("+")[0])}
    return {"context": int(whole.partition("+")[0])}


BLOCKS = {"llama-3-8b": "model.layers.*", "bert-base": "encoder.layer.*"}

STEPS = {
    "train-checkpoint": lambda network: {"recompute": BLOCKS[network]},
    "train-checkpoint-reentrant": lambda network: {
        "recompute": BLOCKS[network],
        "reentrant": True,
    },
    "train-frozen": lambda _: {"learn": ["layer4.*", "fc"]},
    "train-lora16-qv": lambda _: {"adapters": "16:*.q_proj,*.v_proj"},
    "train-2x4": lambda _: {"micro_batches": 2},
}
"""What is said of a step that is more than one forward and backward of all layers."""


@pytest.mark.parametrize(("network", "scenario"), list(RECORDED))
def test_a_network_multiplies_what_its_implementation_does(network, scenario):
    first = RECORDED[network, scenario][0]
    model = load_model(network)
    layers = {layer.name: layer for layer in model.declared}
    step = STEPS.get(scenario, lambda _: {})(network)
    batch = int(first["batch"]) * step.get("micro_batches", 1)
    asked = "train" if scenario in STEPS else scenario
    found = Counter()
    for gemm in model.gemms(batch, asked, **sizes_of(first), lowering="columns", **step):
        found[with_keys_of_its_own(gemm, layers)] += gemm.repeat
    assert found == recorded(network, scenario)


def test_adapters_of_rank_16_leave_128_small_updates_of_225_large_ones():
    model = load_model("llama-3-8b")
    whole, low = (
        [g for g in model.gemms(1, **step) if g.phase == "update"]
        for step in ({}, {"adapters": "16:*.q_proj,*.v_proj"})
    )
    assert [sum(g.repeat for g in gemms) for gemms in (whole, low)] == [225, 128]
    assert all(16 in (g.m, g.n) for g in low)
