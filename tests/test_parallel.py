"""Tensor parallelism: what each of several machines has of a network, and what they exchange."""

import pytest

from nmsim.errors import NmsimError, SpecError
from nmsim.machines import load_hardware
from nmsim.network.catalog import load_model
from nmsim.network.scenario import Scenario
from nmsim.result import totals
from nmsim.run.memory import held
from nmsim.run.point import Point, Subject, rows
from nmsim.run.workload import load_workload

DECODE = Scenario("decode", None, 1023)
GPU = "a100-sxm4-80gb"


def layers(model, tp, scenario=DECODE):
    workload = load_workload(model, scenario, tp)
    return {layer.name.rpartition(".")[2]: layer for layer in workload.layers}


def macs(model, tp):
    workload = load_workload(model, DECODE, tp)
    return {
        layer.name: sum(one.gemm.macs for one in layer.lower(4) if one.gemm.phase == "forward")
        for layer in workload.layers
    }


def test_each_layer_is_split_as_megatron_splits_it():
    found = layers("llama-3-8b", 4)
    assert found["q_proj"].out_features == 4096 // 4
    assert found["k_proj"].out_features == found["v_proj"].out_features == 1024 // 4
    assert (found["self_attn"].heads, found["self_attn"].kv_heads) == (8, 2)
    assert found["o_proj"].in_features == 4096 // 4
    assert found["gate_proj"].out_features == found["up_proj"].out_features == 14336 // 4
    assert found["down_proj"].in_features == 14336 // 4
    assert found["lm_head"].out_features == found["embed_tokens"].entries == 128256 // 4
    assert found["down_proj"].out_features == found["o_proj"].out_features == 4096


def test_heads_of_keys_and_values_repeat_where_machines_are_more():
    found = layers("llama-3-8b", 32)
    assert (found["self_attn"].heads, found["self_attn"].kv_heads) == (1, 1)
    assert found["k_proj"].out_features == 128  # a head, which four machines have
    assert found["q_proj"].out_features == 128


@pytest.mark.parametrize("model", ["llama-2-7b", "llama-3-70b", "mixtral-8x7b", "gpt-j-6b", "gpt2"])
@pytest.mark.parametrize("tp", [2, 4])
def test_machines_together_multiply_what_one_does(model, tp):
    whole, part = macs(model, 1), macs(model, tp)
    known = load_model(model)
    split = load_workload(model, DECODE, tp).splits
    for name, count in whole.items():
        times = tp if name in split else 1  # a router of experts stands whole on each
        assert part[name] * times == pytest.approx(count, rel=1e-4), name  # words are rounded up
    assert len(split) >= len(known.layers) - 2


def test_experts_are_split_by_their_hidden_size():
    found = layers("mixtral-8x7b", 8)
    assert found["gate_up_proj"].out_features == 28672 // 8
    assert found["down_proj"].in_features == 14336 // 8
    assert found["gate_up_proj"].experts == 8
    assert found["gate"].out_features == 8


def test_the_vocabulary_is_padded():
    assert layers("gpt2", 4)["lm_head"].out_features == -(-50257 // 4)


def test_memory_and_cache_are_one_machines():
    one, four = (
        held(Subject("llama-3-70b", scenario="decode", hardware=GPU, tp=tp)).memory_bytes
        for tp in (1, 4)
    )
    assert one / 4 == pytest.approx(four, rel=0.01)


def test_a_split_of_ones_own_network(tmp_path):
    text = (
        "summary: s\nsource: s\nsequence: 64\n{}layers:\n"
        "  - {{name: up, type: linear, in_features: 64, out_features: 256, input: norm}}\n"
        "  - {{name: down, type: linear, in_features: 256, out_features: 64, input: relu}}\n"
    ).replace("\\\n", "\n")
    path = tmp_path / "own.yaml"
    path.write_text(text.format("tensor_parallel: {up: columns, down: rows}\n"))
    point = Point(path, scenario="infer", hardware=GPU, fidelity="analytical", tp=2)
    found = {row["layer"]: row for row in rows(point)}
    assert (found["up"]["n"], found["down"]["k"]) == (128, 128)
    assert found["up"]["communication_us"] == 0 < found["down"]["communication_us"]
    for wrong, said in (
        ("{sideways: rows}", "'sideways' is no layer's name"),
        ("{up: heads}", "'up' is heads, expected of attention or matmul alone"),
        ("{up: across}", "expected 'columns', 'rows'"),
    ):
        path.write_text(text.format(f"tensor_parallel: {wrong}\n"))
        with pytest.raises(NmsimError) as raised:
            load_model(path)
        assert said in str(raised.value)
    path.write_text(text.format("tensor_parallel: {up: columns, down: rows}\n"))
    with pytest.raises(SpecError, match=r"layer 'up': out_features is 256, .* tp \(3\)"):
        load_workload(path, Scenario("infer"), 3)


def test_shared_weights_are_split_alike(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "summary: s\nsource: s\nsequence: 64\ntensor_parallel: {table: vocabulary}\nlayers:\n"
        "  - {name: table, type: embedding, entries: 256, features: 64}\n"
        "  - {name: head, type: linear, in_features: 64, out_features: 256, weight_of: table}\n"
    )
    with pytest.raises(NmsimError, match="'head' is None, expected vocabulary as 'table'"):
        load_model(path)


# ---- what machines exchange


def test_a_ring_sends_what_it_must():
    link = load_hardware(GPU).link
    large = 1e9
    for machines in (2, 4, 8):
        least = 2 * (machines - 1) / machines * large / (link.gbps * 1e3)
        assert least < link.us("all-reduce", large, machines) < 1.1 * least
        assert link.us("all-gather", large, machines) == pytest.approx(
            link.us("all-reduce", large, machines) / 2, rel=0.01
        )
    assert link.us("all-reduce", large, 1) == 0


def test_small_sums_take_the_protocol_of_least_latency():
    link = load_hardware(GPU).link
    steps = 2 * 7
    assert link.us("all-reduce", 8, 8) == pytest.approx(6.6 + steps * 0.6, rel=0.01)
    assert link.us("all-reduce", 0, 2) == 6.6 + 2 * 0.6


def test_a_block_has_two_sums():
    point = Point("llama-3-8b", scenario="decode", hardware=GPU, fidelity="analytical", tp=2)
    found = {row["layer"].rpartition(".")[2]: row["communication_us"] for row in rows(point)}
    assert {name for name, us in found.items() if us} == {"o_proj", "down_proj", "lm_head"}
    link = load_hardware(GPU).link
    assert found["o_proj"] == found["down_proj"]
    assert found["o_proj"] == pytest.approx(32 * link.us("all-reduce", 16 * 4096 * 2, 2))
    assert found["lm_head"] == pytest.approx(link.us("all-gather", 16 * 128256 * 2, 2), rel=1e-3)


def test_parallel_layers_of_a_block_share_a_sum():
    """GPT-J adds attention and MLP to one stream: one sum for both."""
    point = Point("gpt-j-6b", scenario="decode", hardware=GPU, fidelity="analytical", tp=2)
    found = {row["layer"].rpartition(".")[2]: row["communication_us"] for row in rows(point)}
    assert found["out_proj"] == 0 < found["fc_out"]


def test_experts_of_a_token_are_summed_before_machines_are():
    point = Point("mixtral-8x7b", scenario="decode", hardware=GPU, fidelity="analytical", tp=2)
    found = [row for row in rows(point) if row["communication_us"]]
    sums = {row["layer"].rpartition(".")[2]: row["communication_us"] for row in found}
    assert sums["down_proj"] == pytest.approx(sums["o_proj"])


def test_communication_is_part_of_both_steps():
    keywords = {"scenario": "decode", "hardware": GPU, "fidelity": "analytical", "recipe": "asp"}
    total = totals(rows(Point("llama-3-8b", tp=4, elementwise=False, **keywords)))["all"]
    assert total["communication_us"] > 0
    assert total["step_us"] == pytest.approx(total["time_us"] + total["communication_us"])
    assert total["dense_step_us"] == pytest.approx(
        total["dense_time_us"] + total["communication_us"]
    )


def test_a_machine_without_a_link_leaves_communication_out():
    keywords = {"scenario": "decode", "hardware": "l40s", "fidelity": "analytical"}
    total = totals(rows(Point("llama-3-8b", tp=4, elementwise=False, **keywords)))["all"]
    assert total["communication_us"] is None
    assert total["step_us"] == pytest.approx(total["time_us"])
