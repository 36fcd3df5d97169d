"""The sentence that a run opens with: its figures are those of the totals, in every scenario."""

import json
import re

import pytest

import nmsim
from nmsim.errors import SpecError
from nmsim.network.scenario import Scenario
from nmsim.report.step import step_table
from nmsim.run.answer import answer, evidence_said, sums
from nmsim.run.asked import asked
from nmsim.run.manifest import manifest
from nmsim.run.point import Point, rows
from nmsim.run.workload import load_workload

GPU = "a100-sxm4-80gb"
MACHINES = (GPU, "l40s", "systolic-128x128-2to4", "ideal")
FEW = (GPU, "systolic-128x128-2to4")
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}
NUMBER = r"([\d,]+(?:\.\d+)?)"


def run(model, **keywords):
    point = Point(model, **{"fidelity": "analytical", "hardware": GPU, **keywords})
    return list(rows(point)), manifest(point, "a test").document()


def figure(text):
    return float(text.replace(",", ""))


def near(text, value):
    """Whether a printed figure is a value, rounded to as many digits as it has."""
    digits = len(text.partition(".")[2])
    return abs(figure(text) - value) <= 0.5000001 * 10**-digits


def check_gain(said, table, whole):
    """Speed-ups, times and rates of the sentence against the totals."""
    speedup = re.search(
        rf"speed-up {NUMBER} of the step(?:, {NUMBER} of its GEMMs alone,)? by", said
    )
    assert near(speedup[1], whole["step_speedup"])
    assert near(speedup[2] or speedup[1], whole["speedup"])
    time, unit, dense, other = re.search(
        rf"{NUMBER} (us|ms|s) instead of {NUMBER} (us|ms|s)", said
    ).groups()
    assert near(time, whole["step_us"] / UNITS[unit])
    assert near(dense, whole["dense_step_us"] / UNITS[other])
    offered = {row[side] for row in table for side in ("a_pattern", "b_pattern")} - {"dense"}
    assert all(pattern in said for pattern in offered)


def parts(table, whole):
    """Microseconds of what no mask shortens, by a word of the sentence that would say so."""

    def us(wanted):
        return sum(row["time_us"] for row in table if wanted(row))

    def masked(row):
        return {row["a_pattern"], row["b_pattern"]} != {"dense"}

    def used(row):
        return row["mask_cycles"] is not None and not row["chosen"].startswith("dense")

    return {
        "Attention": us(lambda row: not masked(row) and row["kind"] == "attention"),
        "are offered no mask": us(lambda row: not masked(row) and row["kind"] != "attention"),
        "are not used": us(lambda row: masked(row) and not used(row)),
        "Making masks": whole["mask_us"],
        "Elementwise work": whole["elementwise_us"] or 0.0,
        "Waiting for the host": whole["host_wait_us"] or 0.0,
        "Communication": whole["communication_us"] or 0.0,
        "Putting images": whole["scatter_us"] or 0.0,
    }


def check_limit(said, table, whole):
    """The part that is named is the largest one, and its share is right."""
    found = parts(table, whole)
    name = max(found, key=found.get)
    share = found[name] / whole["step_us"]
    if share < 0.05:
        assert "GEMMs with masks gain" in said
        return
    assert name in said
    assert int(re.search(r"(\d+)% of the step", said)[1]) == round(100 * share)


CASES = [
    ("gpt2", "decode", 1, (GPU,), ("asp",)),
    ("vit-tiny", "infer", 1, FEW, ("asp", "activations")),
    ("vit-tiny", "train", 1, FEW, ("asp", "transposable")),
    ("llama-3-8b", "decode", 4, (GPU, "l40s"), ("asp",)),
]
MORE = [
    (model, scenario, 1, MACHINES, ("asp", "activations"))
    for model in ("gpt2", "t5-base", "resnet18")
    for scenario in ("infer", "prefill", "decode")
    if model != "resnet18" or scenario == "infer"
]
MORE.append(("resnet18", "train", 1, MACHINES, ("asp", "transposable+mvue", "fst", "sdgp")))


@pytest.mark.parametrize(
    ("model", "scenario", "tp", "machines", "recipes"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)],
)
def test_every_figure_is_the_totals(model, scenario, tp, machines, recipes):
    for hardware in machines:
        for recipe in recipes:
            table, about = run(model, scenario=scenario, hardware=hardware, recipe=recipe, tp=tp)
            said, whole = answer(table, about), sums(table, about)["all"]
            check_gain(said, table, whole)
            check_limit(said, table, whole)
            assert ("training step" in said) == (scenario == "train")
            assert ("tokens/s" in said) == (whole["tokens_per_s"] is not None)
            assert ("Communication is left out" in said) == (tp > 1 and hardware != GPU)
            assert hardware in said


def test_nothing_pruned_is_said_and_no_speedup():
    said = answer(*run("gpt2", scenario="decode"))
    assert "nothing is pruned" in said
    assert "speed-up" not in said


def test_a_recipe_that_offers_no_mask_says_so():
    said = answer(*run("vit-tiny", recipe="asp", phases=("backward", "update")))
    assert "backward and update of a training step" in said
    assert "recipe asp offers no mask to it" in said
    assert "speed-up" not in said


def test_what_number_formats_gain_is_told_apart():
    table, about = run("vit-tiny", recipe="transposable+mvue-8bit")
    told = re.search(rf"number formats alone {NUMBER}", answer(table, about))
    assert near(told[1], sums(table, about)["all"]["format_speedup"])


def test_without_a_dense_run_there_is_no_speedup():
    said = answer(*run("gpt2", scenario="decode", recipe="asp", compare=False))
    assert "no dense run was made" in said
    assert "speed-up" not in said


def test_shares_of_evidence_are_of_the_time_of_gemms():
    rows = [
        {"time_us": time, "evidence": word}
        for time, word in ((1.0, "beyond"), (6.0, "near"), (1.0, ""), (3.0, "within"))
    ]
    said = "Of the time of its GEMMs 60 % stands near what was measured, 30 % within what was "
    assert evidence_said(rows) == f"{said}measured and 10 % beyond what was measured."
    assert evidence_said(rows[2:3]) == ""


def test_an_array_has_no_measured_data_to_stand_near():
    rows, about = run("gpt2", scenario="decode", hardware="systolic-128x128")
    assert "measured" not in answer(rows, about)


def test_tokens_per_second_are_those_of_a_step():
    table, about = run("gpt2", scenario="decode", batch=8, recipe="asp")
    whole = sums(table, about)["all"]
    assert whole["tokens_per_s"] == pytest.approx(8e6 / whole["step_us"])
    assert whole["dense_tokens_per_s"] == pytest.approx(8e6 / whole["dense_step_us"])
    assert whole["ms_per_token"] == pytest.approx(whole["step_us"] / 1e3)
    columns = [list(map(str, one.cells)) for one in step_table(sums(table, about)).columns]
    shown = dict(zip(columns[0], columns[2], strict=True))
    assert float(shown["tokens"].replace(",", "")) == pytest.approx(whole["tokens_per_s"], rel=0.01)
    table, about = run("gpt2", scenario="prefill", tokens=512, batch=3)
    whole = sums(table, about)["all"]
    assert whole["tokens_per_s"] == pytest.approx(3 * 512e6 / whole["step_us"])
    assert whole["ms_per_token"] == pytest.approx(whole["step_us"] / 512e3)


@pytest.mark.parametrize(
    ("model", "scenario", "samples", "said"),
    [
        (
            "llama-3-8b",
            Scenario("decode", None, 4096),
            16,
            "decode of 16 sequences at 4,096 tokens",
        ),
        (
            "llama-3-8b",
            Scenario("decode", 4, 7),
            1,
            "decode of 4 tokens of each of 1 sequence at 7",
        ),
        ("llama-3-8b", Scenario("prefill"), 1, "prefill of 1 prompt of 2,048 tokens"),
        ("llama-3-8b", Scenario("prefill", 1), 2, "prefill of 2 prompts of 1 token"),
        ("bert-base", Scenario("infer"), 2, "inference of 2 sequences of 128 tokens"),
        ("resnet18", Scenario("infer"), 1, "inference of 1 sample"),
        ("resnet18", Scenario(), 32, "a training step of 32 samples"),
        ("gpt2", Scenario(), 1, "a training step of 1 sequence of 1,024 tokens"),
        (
            "t5-base",
            Scenario("decode", 9, 3),
            1,
            "decode of 1 sequence at 3 tokens of context, behi",
        ),
        ("t5-base", Scenario(), 2, "2 sequences of 512 tokens and 114 tokens of target"),
        ("gemm:8x8x8", Scenario(), 1, "these GEMMs"),
    ],
)
def test_a_step_in_words(model, scenario, samples, said):
    workload = load_workload(model, scenario)
    assert said in asked(workload, samples, scenario.phases)["step"]


def test_a_part_of_a_step_is_told():
    workload = load_workload("gpt2")
    assert asked(workload, 1, ("update",), "*mlp*")["step"].startswith(
        "layers *mlp* of update of a"
    )


def test_terminal_json_and_python_open_with_the_same_answer(command):
    options = ["--scenario", "decode", "--recipe", "asp", "--fidelity", "analytical"]
    typed = ["simulate", "gpt2", "--hardware", GPU, *options]
    status, out, _ = command(*typed)
    first = out.splitlines()[0]
    assert status == 0
    found = nmsim.simulate(
        "gpt2", scenario="decode", recipe="asp", fidelity="analytical", hardware=GPU
    )
    assert first == found.answer
    assert json.loads(command(*typed, "--format", "json")[1])["answer"] == first
    assert found.total["all"]["tokens_per_s"] > found.total["all"]["dense_tokens_per_s"]
    assert found.manifest["step"] == "decode of 16 sequences at 1,023 tokens of context"


def test_what_is_taken_of_a_simulation_is_a_table():
    found = nmsim.simulate("gpt2", scenario="decode", fidelity="analytical", hardware=GPU)
    assert not hasattr(found[found.kind == "linear"], "answer")
    assert len(found.sort_values("layer")) == len(found)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "resnet18", "scenario": "decode"}, "expected train or infer"),
        ({"scenario": "serve"}, "scenario 'serve'"),
        ({"scenario": "decode", "tokens": 0}, "tokens is 0, expected an integer of 1 or more"),
        ({"scenario": "decode", "context": 2**31}, f"context is {2**31}, expected {2**31 - 1} at"),
        ({"scenario": "prefill", "tokens": 2**31 + 1}, f"expected {2**31} at most"),
        ({"scenario": "decode", "tp": 5}, "heads is 12, expected a multiple of tp (5)"),
        ({"scenario": "decode", "tp": 0}, "tp is 0, expected an integer of 1 or more"),
        ({"tp": 2}, "tp is 2, expected 1 in scenario train"),
        ({"model": "vit-tiny", "scenario": "infer", "tp": 3}, "its file says no tensor_parallel"),
        ({"model": "gemm:8x8x8", "tp": 2}, "GEMMs that are given are whole"),
        ({"scenario": "decode", "tp": 12}, "tp is 12, expected 8 at most: the link of a100"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(options, said):
    with pytest.raises(nmsim.NmsimError) as raised:
        run(**{"model": "gpt2", **options})
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_of_tensors_is_of_one_machine(tmp_path):
    (tmp_path / "w.npz").touch()
    with pytest.raises(SpecError, match="expected none, tp is 2"):
        run("gpt2", scenario="decode", tp=2, tensors=tmp_path / "w.npz")
