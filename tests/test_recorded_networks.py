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


@pytest.mark.parametrize(("network", "scenario"), list(RECORDED))
def test_a_network_multiplies_what_its_implementation_does(network, scenario):
    first = RECORDED[network, scenario][0]
    model = load_model(network)
    layers = {layer.name: layer for layer in model.declared}
    found = Counter()
    for gemm in model.gemms(int(first["batch"]), scenario, **sizes_of(first), lowering="columns"):
        found[with_keys_of_its_own(gemm, layers)] += gemm.repeat
    assert found == recorded(network, scenario)


@pytest.mark.parametrize("network", list(PARAMETERS))
def test_a_network_has_the_parameters_of_its_implementation(network):
    model = load_model(network)
    elsewhere = sum(part.count for part in model.published.elsewhere)
    assert model.weights + elsewhere == int(PARAMETERS[network]["parameters"])


@pytest.mark.parametrize(
    "network", [name for name, row in PARAMETERS.items() if row["gmac_forward_one_sample"]]
)
def test_one_samples_forward_has_the_macs_that_were_recorded(network):
    sizes = sizes_of(RECORDED[network, "infer"][0])
    macs = sum(gemm.macs for gemm in load_model(network).gemms(1, "infer", **sizes))
    assert round(macs / 1e9, 6) == float(PARAMETERS[network]["gmac_forward_one_sample"])
