"""Inference as it is served: weights are pruned once, GPUs share a network, a request has a sum."""

import itertools
import json
import time

import pytest

from nmsim.errors import NmsimError
from nmsim.network.catalog import MODELS, load_model
from nmsim.network.scenario import SCENARIOS
from nmsim.result import totals
from nmsim.run.point import Point, rows
from nmsim.run.serving import serve
from nmsim.run.serving.growing import summed

GPU = "a100-sxm4-80gb"


def found(model="llama-3-8b", **keywords):
    keywords = {"hardware": GPU, "recipe": "asp", "fidelity": "analytical", **keywords}
    return list(rows(Point(model, **keywords)))


# ---- weights that do not change


@pytest.mark.parametrize("scenario", ["infer", "prefill", "decode"])
def test_weights_are_pruned_once_and_in_no_step(scenario):
    total = totals(found(scenario=scenario, layers="*mlp*", elementwise=False))["all"]
    assert total["mask_us"] == total["mask_weight_us"] == 0
    assert total["once_us"] > 0
    assert total["step_us"] == total["time_us"]
    assert total["step_speedup"] == pytest.approx(total["speedup"], rel=1e-6)


def test_a_training_step_packs_its_weights_and_has_no_once():
    table = found("vit-tiny", layers="*fc1*")
    total = totals(table)["all"]
    assert total["once_us"] is None
    assert total["mask_us"] == total["mask_weight_us"] > 0


def test_once_is_the_whole_search_whatever_shares_it():
    """asp searches once in a million steps: of a served weight that is one whole search."""
    trained, served = (
        found("vit-tiny", layers="*fc1*", phases=("forward",), batch=1, **scenario)[0]
        for scenario in ({}, {"scenario": "infer"})
    )
    packing = trained["mask_us"]  # the search is spread over a million steps
    assert packing < served["once_us"] < 10 * packing
    assert served["mask_work"].count("once") == 2
    assert "/ 1000000 steps" in trained["mask_work"]


def test_activations_are_masked_in_every_step_of_inference():
    keywords = {"recipe": "inference-weights+activations", "scenario": "prefill", "tokens": 16}
    total = totals(found("gpt2", layers="*c_fc", elementwise=False, **keywords))["all"]
    assert total["mask_activation_us"] == total["mask_us"] > 0
    assert total["mask_weight_us"] == 0 < total["once_us"]
    assert total["step_us"] == pytest.approx(total["time_us"] + total["mask_us"])


@pytest.mark.slow
def test_every_network_in_every_scenario_takes_seconds():
    started, ran = time.process_time(), 0
    for model, scenario in itertools.product(MODELS, SCENARIOS):
        known = load_model(model)
        if scenario in ("prefill", "decode") and not known.generates:
            continue
        ran += bool(found(model, scenario=scenario))
    assert ran > 90
    assert time.process_time() - started < 30


# ---- requests


REQUEST = {"hardware": GPU, "recipe": "asp", "fidelity": "analytical", "batch": 4}


def step(model, scenario, **keywords):
    keywords = {**REQUEST, **keywords}
    return totals(rows(Point(model, scenario=scenario, **keywords)))["all"]


@pytest.mark.parametrize("hardware", [GPU, "systolic-128x128-2to4"])
def test_a_request_is_the_sum_of_its_steps(hardware):
    found = serve("gpt2", tokens=105, generate=31, **{**REQUEST, "hardware": hardware})
    steps = [step("gpt2", "decode", context=105 + one, hardware=hardware) for one in range(30)]
    for stage, key in (("us", "step_us"), ("dense_us", "dense_step_us")):
        whole = sum(one[key] for one in steps)
        assert getattr(found.decode, stage) == pytest.approx(whole, rel=1e-5)
    prompt = step("gpt2", "prefill", tokens=105, hardware=hardware)
    assert found.prefill.us == pytest.approx(prompt["step_us"])
    assert found.once_us == pytest.approx(prompt["once_us"])
    assert found.first.us == pytest.approx(steps[0]["step_us"])
    assert found.last.us == pytest.approx(steps[-1]["step_us"])
    assert found.request.us == found.prefill.us + found.decode.us
    assert found.tokens_per_s == pytest.approx(4 * 31e6 / found.request.us)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["llama-3-8b", "deepseek-v3", "mixtral-8x7b"])
@pytest.mark.parametrize("hardware", [GPU, "h100-sxm", "systolic-128x128-2to4"])
def test_long_requests_are_the_sum_of_their_steps(model, hardware):
    keywords = {**REQUEST, "hardware": hardware}
    found = serve(model, tokens=500, generate=200, **keywords)
    steps = (step(model, "decode", context=500 + one, **keywords) for one in range(199))
    assert found.decode.us == pytest.approx(sum(one["step_us"] for one in steps), rel=1e-5)


def test_one_token_is_a_prefill_and_no_step():
    found = serve("gpt2", tokens=30, generate=1, **REQUEST)
    assert found.decode.us == found.first.us == found.per_token.us == 0
    assert found.request.us == found.prefill.us
    assert "each further one" not in found.answer
    assert found.document()["decode"]["speedup"] is None


def test_an_answer_of_requests_holds_their_figures():
    found = serve("llama-3-8b", tokens=512, generate=128, tp=2, **REQUEST)
    assert f"speed-up {found.request.speedup:.2f} of requests" in found.answer
    assert f"{found.tokens_per_s:,.0f} tokens/s instead of" in found.answer
    assert "2 x a100-sxm4-80gb" in found.answer
    assert "4 requests of 512 tokens of prompt and 128 generated" in found.answer
    dense = serve("gpt2", tokens=16, generate=2, **{**REQUEST, "recipe": "dense"})
    assert "nothing is pruned" in dense.answer
    assert "instead" not in dense.answer
    assert dense.once_us == 0


def test_requests_keep_the_cache_of_their_last_token():
    short, long = (serve("gpt2", tokens=16, generate=one, **REQUEST) for one in (2, 502))
    more = long.about["memory_bytes"] - short.about["memory_bytes"]
    assert more == 500 * 4 * 12 * 2 * 768 * 2  # tokens, batch, blocks, K and V, features, bytes


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("t5-base", {}, "expected a decoder alone"),
        ("resnet18", {}, "it predicts no tokens"),
        ("gpt2", {"generate": 0}, "generate is 0, expected an integer of 1 or more"),
        ("gpt2", {"generate": 1 << 21}, "expected 1048576 at most"),
        ("gpt2", {"tokens": 0}, "tokens is 0"),
        ("gpt2", {"context": 3}, "requests are prefilled and decoded"),
        ("gpt2", {"scenario": "decode"}, "requests are prefilled and decoded"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(model, options, said):
    with pytest.raises(NmsimError) as raised:
        serve(model, **{**REQUEST, **options})
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_serve_prints_its_answer_first(command):
    typed = ["serve", "gpt2", "--tokens", "64", "--generate", "32", "--recipe", "asp"]
    typed += ["--hardware", GPU, "--fidelity", "analytical"]
    status, out, _ = command(*typed)
    lines = out.splitlines()
    assert status == 0
    assert lines[0].startswith(f"gpt2 on {GPU}")
    assert "1 request of 64 tokens of prompt and 32 generated" in lines[0]
    assert any(line.startswith("once: weights pruned and packed") for line in lines)
    document = json.loads(command(*typed, "--format", "json")[1])
    assert document["answer"] == lines[0]
    assert document["manifest"]["tokens"] == 64


# ---- sums by pieces


def jumping(context):
    """A line with a jump at every 64th context, as tiles have, in whole 0.01."""
    return (round(3.0 + 0.013 * context + 1.7 * (context // 64), 2), 1.0)


@pytest.mark.parametrize(("first", "last"), [(0, 0), (5, 9), (0, 63), (64, 1087), (3, 5000)])
def test_pieces_add_up_to_all_steps(first, last):
    found = summed(jumping, first, last, 0.01)
    whole = [sum(jumping(one)[n] for one in range(first, last + 1)) for n in (0, 1)]
    assert found == pytest.approx(whole, abs=0.01 * (last - first + 1))  # a grain a step


def test_a_line_is_looked_at_in_few_places():
    looked = []

    def line(context):
        looked.append(context)
        return (2.0 * context,)

    assert summed(line, 10, 100_000, 1e-6)[0] == pytest.approx(sum(range(10, 100_001)) * 2)
    assert len(looked) <= 12


def test_a_single_step_that_stands_out_beside_an_end_is_seen():
    def step_of(context):
        return (5.0 if context == 11 else 1.0,)

    assert summed(step_of, 10, 999, 0.01)[0] == 990 + 4
