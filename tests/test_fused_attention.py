"""Attention layers in a run: one row a phase where a kernel fuses them, else their GEMMs."""

import json
import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from tiers import fast_every

from nmsim.attention import Attention
from nmsim.errors import ShapeError, SpecError
from nmsim.gemm import Gemm
from nmsim.machines import (
    FIDELITIES,
    HARDWARE,
    attention_time,
    kind_of,
    load_hardware,
    simulate,
    simulate_dense,
)
from nmsim.mask import Mask, SparseGemm
from nmsim.network.catalog import MODELS, load_model
from nmsim.network.scenario import SCENARIOS, Scenario
from nmsim.pattern import Pattern
from nmsim.result import totals
from nmsim.run.explanation import explain
from nmsim.run.memory import memory_footprint
from nmsim.run.point import Point, rows
from nmsim.run.trace import load, record
from nmsim.step.fusion import as_run

A100 = "a100-sxm4-80gb"
FUSING = [name for name in HARDWARE if getattr(load_hardware(name), "attention", ())]
GPUS = [name for name in HARDWARE if load_hardware(name).kind == "gpu"]
ARRAYS = [name for name in HARDWARE if load_hardware(name).kind == "systolic"]


def table(model, hardware=A100, **given):
    return list(rows(Point(model, **{"hardware": hardware, "fidelity": "analytical", **given})))


def attention_rows(*given, **named):
    return [row for row in table(*given, **named) if row["kind"] == "attention"]


ATTENDING = [
    (name, scenario)
    for name in MODELS
    for scenario in SCENARIOS
    if any(layer.type == "attention" for layer in load_model(name).declared)
    and (load_model(name).generates or scenario in ("train", "infer"))
]


@pytest.mark.parametrize(("name", "scenario"), ATTENDING)
def test_a_row_has_the_macs_of_its_gemms(name, scenario):
    for layer in load_model(name).at(Scenario(scenario)):
        if layer.type == "attention":
            gemms = [one.gemm for one in layer.lower(3)]
            for phase in ("forward", "backward"):
                fused = Gemm.fused(layer.attention(3), phase)
                assert fused.macs == sum(g.macs for g in gemms if g.phase == phase)
                assert (fused.layer, fused.repeat, fused.count) == (
                    gemms[0].layer,
                    gemms[0].repeat,
                    gemms[0].count,
                )


@pytest.mark.parametrize(("queries", "keys", "causal", "window"), [
    (7, 7, False, 0), (7, 7, True, 0), (3, 9, True, 0), (9, 9, True, 4), (1, 8, True, 3),
])  # fmt: skip
def test_useful_pairs_are_those_that_a_query_sees(queries, keys, causal, window):
    one = Attention(
        2, 6, queries, keys, 5, kv_heads=3, v_head_dim=4, causal=causal, window=window, repeat=2
    )
    seen = sum(
        not causal or (0 <= q + keys - queries - k < (window or keys))
        for q, k in product(range(queries), range(keys))
    )
    forward, backward = (SparseGemm.dense(Gemm.fused(one, p)) for p in ("forward", "backward"))
    assert forward.macs_useful == 2 * 2 * 6 * seen * (5 + 4)
    assert backward.macs_useful == 2 * forward.macs_useful
    assert forward.gemm.macs == 2 * 2 * 6 * queries * keys * (5 + 4)


def test_a_gemm_with_an_attention_of_other_sizes_is_refused():
    one = Attention(1, 2, 4, 4, 8)
    with pytest.raises(ShapeError, match="expected the attention that it runs"):
        replace(Gemm.fused(one, "forward"), n=5)
    with pytest.raises(ShapeError, match="expected forward or backward"):
        Gemm.fused(one, "update")


@pytest.mark.parametrize("hardware", FUSING)
@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_training_step_has_a_row_a_phase_timed_as_its_kernel(hardware, fidelity):
    layers = {"layers": "*self_attn", "batch": 1, "fidelity": fidelity}
    found = attention_rows("llama-3-8b", hardware, **layers)
    assert [(row["phase"], row["part"], row["gradient_of"]) for row in found] == [
        ("forward", "", ""),
        ("backward", "", ""),
    ]
    machine = load_hardware(hardware)
    (layer,) = (x for x in load_model("llama-3-8b").at(Scenario()) if x.type == "attention")
    for row in found:
        timed = attention_time(machine, layer.attention(1), row["phase"])
        assert row["time_us"] == pytest.approx(timed.time_us, rel=1e-4)
        assert (row["kernel"], row["bound"]) == (timed.kernel, timed.bound)
        assert (row["dram_read_bytes"], row["dram_write_bytes"]) == (
            timed.read_bytes,
            timed.written_bytes,
        )
        assert row["kernel"].startswith("flash-attention-")
        assert "one kernel, in closed form at either fidelity" in row["note"]
        assert row["m"] * row["n"] * row["k"] * row["count"] * row["repeat"] == row["macs_dense"]
        assert row["speedup"] == 1


@pytest.mark.parametrize("scenario", fast_every(list(SCENARIOS), 3))
@pytest.mark.parametrize("hardware", FUSING)
def test_slots_hold_what_is_useful_and_fit_the_cycles(hardware, scenario):
    for row in attention_rows("llama-3-8b", hardware, scenario=scenario, batch=2):
        machine = load_hardware(hardware)
        assert row["macs_useful"] <= row["macs_issued"] <= row["cycles"] * machine.peak_macs
        assert row["compute_cycles"] + row["stall_cycles"] == row["cycles"]


@pytest.mark.parametrize(("causal", "phase"), [*product((False, True), ("forward", "backward"))])
def test_issued_slots_are_whole_blocks_and_scores_made_again(causal, phase):
    """512 queries and keys, blocks of 128 x 64: causal, each row of blocks ends past its own."""
    one = Attention(1, 4, 512, 512, 128, causal=causal)
    issued = simulate(load_hardware(A100), SparseGemm.dense(Gemm.fused(one, phase))).macs_issued
    queries, keys = (128, 64) if phase == "forward" else (64, 128)
    blocks = [
        (q, k)
        for q in range(0, 512, queries)
        for k in range(0, 512, keys)
        if not causal or k <= q + queries - 1
    ]
    products = {"forward": 2, "backward": 5}[phase]
    assert issued == 4 * len(blocks) * queries * keys * products * 128


@pytest.mark.parametrize(
    ("hardware", "scenario", "library"),
    [
        (A100, "train", "flash-attention-2"),
        (A100, "infer", "flash-attention-2"),
        (A100, "prefill", "vllm"),
        (A100, "decode", "vllm"),
        ("h100-sxm", "train", "flash-attention-3"),
        ("h100-sxm", "decode", "vllm"),
        ("h200", "prefill", "vllm"),
    ],
)
def test_a_scenario_has_a_library(hardware, scenario, library):
    found = attention_rows("llama-3-8b", hardware, scenario=scenario, layers="*self_attn", batch=2)
    assert {row["kernel"].split()[0] for row in found} == {library}
    told = [text for _, text in kind_of(load_hardware(hardware)).facts(load_hardware(hardware))]
    assert any(text.startswith(library) for text in told)


def test_new_keys_are_written_into_the_cache_where_the_library_does():
    notes = {
        name: attention_rows("llama-3-8b", name, scenario="decode", layers="*self_attn")[0]["note"]
        for name in (A100, "h100-sxm")
    }
    moved = 2 * 16 * 8 * 128 * 2 * 2 * 32  # read and written, K and V of a token of 16 sequences
    assert f"{moved:,} bytes more, copied into the cache" in notes[A100]
    assert "cache" not in notes["h100-sxm"]


def test_attention_without_causality_stands_in_no_cache():
    found = attention_rows("transformer", scenario="prefill", layers="encoder*")
    assert found
    assert {row["kernel"].split()[0] for row in found} == {"flash-attention-2"}


def test_shared_keys_make_decoding_as_much_faster_as_they_are_fewer():
    """A layer of llama-3-70b, 16 sequences of 2,048 tokens: 64 heads on 8 of keys, or on 64."""
    (layer,) = (
        x
        for x in load_model("llama-3-70b").at(Scenario("decode", context=2047))
        if x.type == "attention"
    )
    one = replace(layer.attention(16), repeat=1, cached=True)
    grouped, repeated = (
        simulate_dense(load_hardware(A100), Gemm.fused(replace(one, kv_heads=g), "forward"))
        for g in (8, 64)
    )
    assert grouped.time_us == pytest.approx(100, rel=0.15)
    assert repeated.time_us == pytest.approx(657, rel=0.15)
    assert grouped.bound == repeated.bound == "dram bandwidth"
    # A call's launches do not shrink with its keys.
    assert 5 < repeated.time_us / grouped.time_us < 8


# ---- where it runs as GEMMs


@pytest.mark.parametrize(
    ("hardware", "overrides", "why"),
    [
        (A100, {"fused_attention": False}, "fused_attention is false"),
        (A100, {"dtype": "int8"}, "has no fused attention of int8, forward, for head_dim 128"),
        ("l40s", {}, "l40s has no kernels of fused attention"),
        ("v100", {}, "v100 has no kernels of fused attention"),
        ("tpu-v3-core", {}, "fused_attention is false"),
        ("ideal", {}, ""),
    ],
)
def test_elsewhere_it_runs_as_its_gemms_and_they_say_why(hardware, overrides, why):
    found = attention_rows(
        "llama-3-8b", hardware, overrides=overrides, layers="*self_attn", batch=1
    )
    assert [row["part"] for row in found] == ["1/2", "2/2", "1/4", "2/4", "3/4", "4/4"]
    for row in found:
        assert why in row["note"]
        assert bool(row["note"]) == bool(why)
        assert not why or row["note"].startswith("scores and probabilities go through memory: ")


def test_a_layer_is_fused_in_all_phases_or_in_none():
    """vLLM has no way back: a machine with its kernels alone trains by GEMMs, and serves fused."""
    machine = load_hardware(A100, attention=["vllm-sm80"])
    layers = {"layers": "*self_attn", "batch": 1}
    trained = attention_rows("llama-3-8b", machine, phases=("forward",), **layers)
    assert len(trained) == 2
    assert all("has no fused attention of bf16, backward" in row["note"] for row in trained)
    served = attention_rows("llama-3-8b", machine, scenario="prefill", **layers)
    assert [row["kernel"].split()[0] for row in served] == ["vllm"]


def test_heads_wider_than_any_kernel_run_as_gemms():
    (layer,) = (x for x in load_model("bert-base").at(Scenario()) if x.type == "attention")
    machine = load_hardware(A100, attention=["flash-attention-2-sm80"])
    for head_dim, count in ((256, 2), (257, 6)):
        wide = layer.model_copy(update={"head_dim": head_dim})
        works = [SparseGemm.dense(one.gemm) for one in wide.lower(2)]
        assert len(list(as_run(works, machine, [wide], 2))) == count


def test_a_layer_that_is_offered_a_mask_runs_as_its_gemms():
    (layer,) = (x for x in load_model("bert-base").at(Scenario()) if x.type == "attention")
    works = [SparseGemm.dense(one.gemm) for one in layer.lower(2)]
    g = works[1].gemm
    bits = np.zeros((g.n * g.count, g.k), bool)
    bits[:, ::2] = True
    masked = [works[0], replace(works[1], b=Mask.of(bits, Pattern(1, 2))), *works[2:]]
    found = list(as_run(masked, load_hardware(A100), [layer], 2))
    assert [one.gemm for one in found] == [one.gemm for one in works]
    assert all("follows no mask" in one.note for one in found)
    assert len(list(as_run(works, load_hardware(A100), [layer], 2))) == 2


@pytest.mark.parametrize("recipe", ["dense", "dfss"])
def test_the_phases_that_are_asked_for_do_not_decide_how_attention_runs(recipe):
    """A mask of the way there keeps the products of the way back apart, asked for or not."""
    given = {"recipe": recipe, "batch": 2, "layers": "*attention.self"}
    whole = table("bert-base", **given)
    for phase in ("forward", "backward"):
        alone = table("bert-base", phases=(phase,), **given)
        assert alone == [row for row in whole if row["phase"] == phase]


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_each_product_of_an_attention_is_launched(fidelity):
    """It reads what another one wrote; parts of a convolution's gradient are one launch."""
    (layer,) = (x for x in load_model("bert-base").at(Scenario()) if x.type == "attention")
    machine = load_hardware("v100")
    for one in layer.lower(2):
        alone = replace(one.gemm, part="", gradient_of="", kind="gemm")
        cycles = [simulate_dense(machine, gemm, fidelity).cycles for gemm in (one.gemm, alone)]
        assert cycles[0] == cycles[1]


def test_a_machine_without_a_kernel_refuses_the_fused_gemm():
    fused = SparseGemm.dense(Gemm.fused(Attention(1, 2, 4, 4, 8), "forward"))
    for name in ("ideal", "v100"):
        with pytest.raises(SpecError, match=name):
            simulate(load_hardware(name), fused)


# ---- arrays


@pytest.mark.parametrize(("name", "fidelity"), [*product(("tpu-v3-core", "eyeriss"), FIDELITIES)])
def test_a_fused_array_multiplies_as_gemms_and_moves_the_tensors_alone(name, fidelity):
    machine = load_hardware(name, fused_attention=True)
    free = load_hardware(machine, **{"dram.gbps": None, "dram.latency_ns": 0.0})
    one = Attention(2, 4, 192, 200, 48, kv_heads=2, v_head_dim=40, repeat=3)
    square = {"forward": ((384, 200, 48), (384, 40, 200)), "backward": (
        (384, 200, 48), (384, 200, 40), (200, 40, 384), (384, 48, 200), (200, 48, 384),
    )}  # fmt: skip
    read = {"forward": 8 * 192 * 48 + 4 * 200 * 88}
    read["backward"] = read["forward"] + 2 * 8 * 192 * 40
    for phase, sizes in square.items():
        found = simulate(machine, SparseGemm.dense(Gemm.fused(one, phase)), fidelity)
        products = [simulate_dense(free, Gemm(*size, 4), fidelity) for size in sizes]
        assert found.compute_cycles == 3 * sum(run.cycles for run in products)
        assert found.macs_issued == 3 * sum(run.macs_issued for run in products)
        statistics = 4 * 8 * 192 if phase == "backward" else 0
        bits = machine.operand_bits
        assert found.dram_read_bytes == 3 * (read[phase] * bits // 8 + statistics)
        moved = (found.dram_read_bytes + found.dram_write_bytes) / 3
        busy = moved / (machine.dram.gbps * 1e3) * machine.clock_mhz
        latency = math.ceil(machine.dram.latency_ns * machine.clock_mhz / 1e3)
        alone = found.compute_cycles / 3
        assert found.cycles / 3 == max(alone, math.ceil(busy)) + latency
        assert sum(found.parts) == found.cycles


@pytest.mark.parametrize("name", ARRAYS)
def test_every_array_may_fuse(name):
    layers = {"layers": "*self_attn", "scenario": "decode"}
    fused = attention_rows("llama-3-8b", name, overrides={"fused_attention": True}, **layers)
    gemms = attention_rows("llama-3-8b", name, **layers)
    assert (len(fused), len(gemms)) == (1, 2)
    assert fused[0]["macs_dense"] == sum(row["macs_dense"] for row in gemms)
    assert fused[0]["cycles"] <= sum(row["cycles"] for row in gemms)
    moved = [
        sum(row["dram_read_bytes"] + row["dram_write_bytes"] for row in some)
        for some in (fused, gemms)
    ]
    assert moved[0] < moved[1]
    slots = ("useful", "empty_slot", "misfit", "ragged", "fill", "preload", "drain", "path_wait")
    spent = sum(fused[0][f"{part}_cycles"] for part in slots)
    assert spent == fused[0]["compute_cycles"]
    assert fused[0]["misfit_cycles"] == 0


# ---- what reads the rows


@pytest.mark.parametrize("name", fast_every(list(GPUS), 2))
def test_every_gpu_decodes(name, command):
    status, shown, _ = command(
        "simulate", "llama-3-8b", "--scenario", "decode", "--hardware", name,
        "--fidelity", "analytical", "--format", "json",
    )  # fmt: skip
    assert status == 0
    document = json.loads(shown)
    own = [row for row in document["rows"] if row["kind"] == "attention"]
    assert len(own) == (1 if name in FUSING else 2)
    assert document["total"]["all"]["time_us"] > sum(row["time_us"] for row in own)


def test_totals_count_attention_as_dense():
    whole = table("llama-3-8b", recipe="asp", batch=1)
    all_of, dense = totals(whole)["all"], totals(table("llama-3-8b", batch=1))["all"]
    own = [row for row in whole if row["kind"] == "attention"]
    weighted = [row for row in whole if row["kind"] != "attention"]
    assert all_of["time_us"] == pytest.approx(sum(row["time_us"] for row in whole))
    assert all_of["step_us"] > all_of["time_us"]
    assert all(row["dense_cycles"] == row["cycles"] for row in own)
    assert all_of["dense_cycles"] == dense["cycles"]
    assert dense["speedup"] == dense["speedup_ideal"] == 1
    masked = sum(row["macs_dense"] for row in weighted if row["b_pattern"] != "dense")
    assert all_of["sparse_share"] == pytest.approx(masked / all_of["macs_dense"])
    left = sum(row["macs_useful"] for row in weighted) + sum(row["macs_dense"] for row in own)
    assert all_of["speedup_ideal"] == pytest.approx(all_of["macs_dense"] / left)
    assert all_of["macs_useful"] < left


@pytest.mark.parametrize(
    ("name", "overrides", "fidelity"),
    [
        (A100, {}, "analytical"),
        (A100, {}, "cycle"),
        ("tpu-v3-core", {"fused_attention": True}, "cycle"),
    ],
)
def test_an_explanation_adds_up(name, overrides, fidelity):
    point = Point(
        "llama-3-8b",
        hardware=name,
        overrides=overrides,
        fidelity=fidelity,
        layers="*self_attn",
        batch=1,
    )
    for one in explain(point):
        assert one.promise == one.speedup == 1
        assert sum(step.cycles for step in one.steps) == one.result.cycles
        assert all(step.cycles >= 0 for step in one.steps)
        assert one.steps[0].cycles == pytest.approx(
            one.work.macs_useful / one.machine.peak_macs, abs=1
        )


def test_no_softmax_passes_over_memory_beside_a_fused_row():
    found = {
        fused: attention_rows(
            "bert-base", overrides={"fused_attention": fused}, elementwise=True, layers="*self"
        )
        for fused in (True, False)
    }
    assert sum(row["elementwise_us"] for row in found[False]) > 0
    assert sum(row["elementwise_us"] for row in found[True]) == 0


def test_memory_keeps_statistics_in_place_of_probabilities():
    kept = {
        fused: memory_footprint(
            "bert-base", batch=2, hardware=A100, overrides={"fused_attention": fused}
        )
        for fused in (True, False)
    }
    (layer,) = (x for x in load_model("bert-base").at(Scenario()) if x.type == "attention")
    own = {
        fused: next(one for one in step.dense if one.layer == layer.name)
        for fused, step in kept.items()
    }
    heads, tokens = layer.heads, 128
    tensors = 3 * 2 * tokens * heads * layer.head_dim * 2
    assert own[True].activations == layer.repeat * (tensors + 2 * heads * tokens * 4)
    assert own[False].activations == layer.repeat * (tensors + 2 * heads * tokens**2 * 2)
    assert own[True].workspace == 4 * 2 * tokens * heads * layer.head_dim * 2


def test_a_trace_holds_gemms_and_runs_them(tmp_path):
    point = Point("bert-base", hardware=A100, batch=1, layers="*attention.self")
    path = tmp_path / "attention.safetensors"
    assert record(path, point.sparse_gemms(), {}) == 6
    assert len(load(path).gemms) == 6
    found = table(str(path), batch=None)
    assert [row["part"] for row in found] == ["1/2", "2/2", "1/4", "2/4", "3/4", "4/4"]


def test_a_stored_run_has_a_page_with_its_rows(tmp_path, command):
    given = ("--hardware", A100, "--fidelity", "analytical", "--recipe", "asp", "--batch", 2)
    status, _, _ = command(
        "simulate", "llama-3-8b", *given, "--elementwise", "--out", tmp_path / "run"
    )
    assert status == 0
    page = (tmp_path / "run" / "index.html").read_text()
    assert "flash-attention-2 128x64" in page
    assert "flash-attention-2 64x128" in page
