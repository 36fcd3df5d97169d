"""Scenarios: what tokens and context make of a network's sizes, and which phases run."""

import json
import sys

import pytest

from nmsim import cli, load_model, simulate
from nmsim.errors import NmsimError, SpecError, UnknownName
from nmsim.gemm import PHASES, Gemm
from nmsim.network.catalog import MODELS, Network
from nmsim.network.scenario import SCENARIOS, Scenario, Sequence
from nmsim.run.manifest import manifest
from nmsim.run.point import Job, Point, Subject, rows
from nmsim.spec import validate

DECODERS = ["gpt2", "gpt-j-6b", "llama-2-7b", "llama-3-8b", "llama-3-70b", "qwen3-4b",
            "mixtral-8x7b", "deepseek-v3"]  # fmt: skip


def macs(name, *scenario, kinds=("linear", "experts", "attention"), **sizes):
    gemms = load_model(name).gemms(1, *scenario, **sizes)
    return sum(g.macs for g in gemms if g.phase == "forward" and g.kind in kinds)


def rows_of(gemms, layer):
    return [g.m for g in gemms if g.layer == layer]


@pytest.mark.parametrize("name", list(MODELS))
def test_inference_is_the_forward_pass_of_training(name):
    network = load_model(name)
    trained = [g for g in network.gemms(2) if g.phase == "forward"]
    assert network.gemms(2, "infer") == trained
    assert {g.phase for g in network.gemms(2)} == set(PHASES)


@pytest.mark.parametrize("name", DECODERS)
def test_a_prompt_wants_one_tokens_successor(name):
    network = load_model(name)
    prompt, whole = network.gemms(3, "prefill", 64), network.gemms(3, "infer", 64)
    assert rows_of(prompt, "lm_head") == [3]
    assert rows_of(whole, "lm_head") == [3 * 64]
    assert [g for g in prompt if g.layer != "lm_head"] == [g for g in whole if g.layer != "lm_head"]


@pytest.mark.parametrize("name", [name for name in DECODERS if name != "deepseek-v3"])
def test_a_prompt_decoded_token_by_token_multiplies_the_causal_half(name):
    """What is not attention adds up to the same; attention to the half that is not masked."""
    tokens = 12
    every = ("linear", "experts")
    one_by_one = [macs(name, "decode", context=past, kinds=every) for past in range(tokens)]
    assert sum(one_by_one) == macs(name, "infer", tokens, kinds=every)
    seen = [macs(name, "decode", context=past, kinds=["attention"]) for past in range(tokens)]
    whole = macs(name, "infer", tokens, kinds=["attention"])
    assert 2 * sum(seen) * tokens == whole * (tokens + 1)


def test_latent_keys_are_expanded_for_the_whole_context():
    gemms = load_model("deepseek-v3").gemms(16, "decode")
    layer = "model.layers.*.self_attn.kv_b_proj"
    assert rows_of(gemms, layer) == [16 * 2049]
    assert rows_of(gemms, layer.replace("kv_b", "q_b")) == [16]


def test_defaults_are_the_networks_sequence_and_2048_tokens():
    for name, prompt, keys in (("llama-3-8b", 2048, 2049), ("gpt2", 1024, 1024)):
        network = load_model(name)
        scores = [network.gemms(1, scenario)[:40] for scenario in ("prefill", "decode")]
        prefill, decode = (next(g for g in one if g.kind == "attention") for one in scores)
        assert (prefill.n, decode.n) == (prompt, keys)
    assert rows_of(load_model("llama-3-8b").gemms(1, "infer"), "lm_head") == [8192]


def test_several_tokens_may_be_decoded_at_once():
    network = load_model("llama-3-8b")
    gemms = network.gemms(2, "decode", tokens=5, context=100)
    scores = next(g for g in gemms if g.kind == "attention")
    assert (scores.m, scores.n, scores.count) == (5 * 4, 105, 2 * 8)
    assert rows_of(gemms, "lm_head") == [10]


def test_an_encoder_reads_its_source_once():
    network = load_model("t5-base")
    prefill, decode = (network.gemms(1, one, 30) for one in ("prefill", "decode"))
    assert any(g.layer.startswith("encoder.") for g in prefill)
    assert not any(g.layer.startswith("encoder.") for g in decode)
    cross = "decoder.block.*.layer.1.EncDecAttention"
    assert next(g.n for g in decode if g.layer == cross) == 30
    assert not any(g.layer in (f"{cross}.k", f"{cross}.v") for g in decode)
    assert rows_of(prefill, f"{cross}.k") == [30]
    assert next(g for g in decode if g.layer.endswith("0.SelfAttention")).n == 129


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (100, Sequence(tokens=100)),
        ({"tokens": 100}, Sequence(tokens=100)),
        ({"tokens": 9, "target": 4, "prompt": 7, "context": 0},
         Sequence(tokens=9, target=4, prompt=7, context=0)),
    ],
)  # fmt: skip
def test_a_sequence_is_a_number_or_says_more(said, expected):
    layers = [{"name": "a", "type": "linear", "in_features": 2, "out_features": 2, "tokens": 1}]
    assert validate(Network, {"sequence": said, "layers": layers}, "test").sequence == expected


@pytest.mark.parametrize("said", ["long", 0, True, [4], {"prompt": 3}])
def test_what_is_no_sequence_is_one_line(said):
    layers = [{"name": "a", "type": "linear", "in_features": 2, "out_features": 2}]
    with pytest.raises(SpecError, match="sequence") as error:
        validate(Network, {"sequence": said, "layers": layers}, "test")
    assert "\n" not in str(error.value)


def test_layers_read_the_sequence_unless_they_say_otherwise():
    layer = {"type": "linear", "in_features": 2, "out_features": 2}
    layers = [{"name": "a", **layer}, {"name": "b", "tokens": 3, **layer},
              {"name": "c", "tokens": 5, "batched": False, **layer}]  # fmt: skip
    with_one = validate(Network, {"sequence": 7, "layers": layers}, "test")
    without = validate(Network, {"layers": layers}, "test")
    for network, first in ((with_one, 7), (without, 1)):
        gemms = network.gemms(2, "infer")
        assert [g.m for g in gemms] == [2 * first, 2 * 3, 5]


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        ("resnet18", {"tokens": 9}, "model resnet18: tokens is 9, expected none"),
        ("vit-b16", {"tokens": 9}, "model vit-b16: tokens is 9, expected none"),
        ("bert-base", {"scenario": "decode"}, "bert-base: scenario is 'decode', expected train or"),
        ("resnet18", {"scenario": "prefill"}, "expected train or infer: it predicts no tokens"),
        ("gpt2", {"context": 9}, "context is 9, expected none in scenario train"),
        ("gpt2", {"scenario": "decod"}, "unknown scenario 'decod'; did you mean 'decode'"),
        ("gpt2", {"tokens": 0}, "tokens is 0, expected an integer of 1 or more"),
        ("gpt2", {"scenario": "decode", "context": -1}, "context is -1, expected an integer of 0"),
    ],
)
def test_what_a_network_cannot_be_run_for_is_refused(model, given, message):
    with pytest.raises(NmsimError, match=message):
        load_model(model).gemms(1, **given)
    with pytest.raises(NmsimError, match=message) as error:
        list(rows(Point(model, fidelity="analytical", **given)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", [{"scenario": "infer"}, {"tokens": 4}])
def test_gemms_that_are_given_have_their_sizes(given):
    for model in ("gemm:8x8x8", [Gemm(8, 8, 8)]):
        with pytest.raises(SpecError, match="expected train alone: GEMMs that are given"):
            list(rows(Point(model, **given)))


def test_inference_has_no_gradients():
    point = Point("gpt2", scenario="infer", phases=["backward"], fidelity="analytical")
    with pytest.raises(SpecError, match="phase is 'backward', expected forward alone"):
        list(rows(point))


@pytest.mark.parametrize(("scenario", "samples"), [("train", 32), ("infer", 1), ("prefill", 1),
                                                   ("decode", 16)])  # fmt: skip
def test_a_scenario_has_a_batch_of_its_own(scenario, samples):
    assert [kind("gpt2", scenario=scenario).samples for kind in (Subject, Job, Point)] == [
        samples
    ] * 3
    assert Point("gpt2", scenario=scenario, batch=3).samples == 3


def test_what_is_printed_and_drawn_says_the_scenario(tmp_path, monkeypatch, capsys):
    given = ["gpt2", "--scenario", "decode", "--context", "99", "--hardware", "ideal"]
    monkeypatch.setattr(sys, "argv", ["nmsim", "simulate", *given, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit):
        cli.main()
    first, *lines = capsys.readouterr().out.splitlines()
    assert "gpt2 on ideal, decode of 16 sequences at 99 tokens of context: " in first
    assert any(line.startswith("step of decoding  ") for line in lines)
    page = (tmp_path / "run" / "index.html").read_text()
    assert '<h2 id="step">A step of decoding</h2>' in page
    assert "<span>scenario</span> <b>decode</b>" in page
    assert f'<p class="answer">{first}</p>' in page


def test_rows_and_manifest_say_the_scenario():
    point = Point(
        "qwen3-4b", scenario="decode", context=99, hardware="a100-sxm4-80gb", fidelity="analytical"
    )
    table = list(rows(point))
    assert {row["phase"] for row in table} == {"forward"}
    assert {row["m"] for row in table if row["kind"] == "linear"} == {16}
    about = manifest(point, "test").document()
    said = {name: about[name] for name in ("scenario", "tokens", "context", "phases", "batch")}
    assert said == {"scenario": "decode", "tokens": None, "context": 99, "phases": ["forward"],
                    "batch": 16}  # fmt: skip
    json.dumps(about)


def test_python_takes_what_the_command_line_does(command):
    table = simulate("gpt2", hardware="ideal", scenario="prefill", tokens=16, fidelity="analytical")
    options = "--hardware ideal --scenario prefill --tokens 16 --fidelity analytical --format json"
    code, out, _ = command("simulate", "gpt2", *options.split())
    assert code == 0
    printed = json.loads(out)["rows"]
    assert [row["cycles"] for row in printed] == list(table["cycles"])


def test_a_training_run_is_of_training(command):
    code, _, err = command("train", "gpt2", "--steps", "3", "--scenario", "infer")
    assert code == 2
    assert "scenario is 'infer', expected train" in err
    assert set(SCENARIOS) == {"train", "infer", "prefill", "decode"}
    with pytest.raises(UnknownName, match="did you mean 'prefill'"):
        Scenario("prefil")


def test_memory_grows_with_tokens(command):
    code, out, _ = command("memory", "gpt2", "--tokens", "64", "--batch", "1", "--format", "json")
    assert code == 0
    few = json.loads(out)["total"]["dense"]["activations"]
    code, out, _ = command("memory", "gpt2", "--tokens", "128", "--batch", "1", "--format", "json")
    assert few < json.loads(out)["total"]["dense"]["activations"]
