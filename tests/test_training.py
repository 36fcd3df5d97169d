"""Training runs: schedules as segments, sums in closed form, the papers' FLOPs, the command."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

import nmsim
from nmsim.errors import NmsimError, SpecError
from nmsim.network.catalog import Network, load_model
from nmsim.pattern import DENSE, Pattern
from nmsim.recipes.recipe import RECIPES, Recipe, load_recipe
from nmsim.recipes.spans import spans
from nmsim.report import read_training, write_training
from nmsim.run import training
from nmsim.run.point import Point
from nmsim.run.training import run_training, training_document, training_step
from nmsim.spec import validate

LAYER = {"type": "linear", "tokens": 16, "in_features": 32, "out_features": 64}
PLAIN = {"layers": [{**LAYER, "name": "one"}, {**LAYER, "name": "two", "repeat": 3}]}


DOCS = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
SAVED = re.findall(r"^\| (1:\d+) \| ([\d. |]+) \|$", DOCS, re.MULTILINE)


@pytest.fixture
def plain(tmp_path):
    """Two linear layers: every size is a multiple of 16, so that densities are exact."""
    path = tmp_path / "plain.yaml"
    path.write_text(json.dumps(PLAIN), encoding="utf-8")
    return str(path)


def recipe(*operands, **fields):
    document = {"name": "own", "summary": "s", "source": "t", "operands": list(operands)}
    return validate(Recipe, document | fields, "test")


WEIGHT = {"role": "weight", "phases": ["forward"], "pruner": "magnitude"}


def share(run):
    return run.total("flops") / (run.dense.flops * run.steps)


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 333])
@pytest.mark.parametrize("name", list(RECIPES))
def test_spans_are_the_schedule_step_by_step(name, steps):
    chosen, pattern = load_recipe(name), Pattern(1, 4)
    plan = chosen.schedule
    found = list(spans(chosen, pattern, steps))
    assert [span.first for span in found] == [
        sum(span.steps for span in found[:i]) for i in range(len(found))
    ]
    assert sum(span.steps for span in found) == steps
    for span in found:
        for step in range(span.first, span.first + span.steps):
            for number, offer in enumerate(chosen.operands):
                target = offer.pattern or pattern
                expected = target
                if plan and offer.role in plan.roles:
                    state = plan.over(target, steps).at(step)
                    expected = DENSE if state.decay else state.pattern
                    assert (span.stage == "decay") == (state.decay > 0)
                assert span.patterns[number] == expected
    for one, other in pairwise(found):
        assert (one.stage, one.patterns) != (other.stage, other.patterns)


def test_a_long_run_is_cut_without_visiting_its_steps():
    found = list(spans(load_recipe("sdgf-stepwise"), Pattern(1, 8), 10**12))
    assert [str(span.patterns[0]) for span in found] == ["dense", "7:8", "4:8", "2:8", "1:8"]
    assert found[0].steps == 5 * 10**10
    assert found[-1].steps == 10**11 + found[1].steps


def test_shares_are_rounded_to_steps_once():
    # 5 % of 30 steps is 1.5: two steps, for the stage as for the masks.
    found = list(spans(load_recipe("sdgf-stepwise"), Pattern(1, 8), 30))
    assert [(span.stage, span.steps) for span in found[:2]] == [("dense", 2), ("structure", 6)]


def test_mixed_patterns_follow_one_schedule_each_in_its_own_shares():
    offers = [{**WEIGHT, "layers": "a", "pattern": "1:8"}, {**WEIGHT, "pattern": "1:4"}]
    chosen = recipe(*offers, schedule={"sparsify": "sdgf-stepwise"})
    found = [tuple(map(str, span.patterns)) for span in spans(chosen, Pattern(2, 4), 12)]
    # 1:8 changes at 3, 6 and 9 of 12 steps, 1:4 at 4 and 8.
    assert found == [
        ("7:8", "3:4"), ("4:8", "3:4"), ("4:8", "2:4"), ("2:8", "2:4"), ("2:8", "1:4"),
        ("1:8", "1:4"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "ideal"),
    [
        ("sr-ste", 3 / 2.5),
        ("transposable", 3 / 2),
        ("bidirectional", 3 / 2),
        ("fst", 2),
        ("transposable+mvue", 2),
        ("dense", 1),
    ],
)
def test_whole_runs_save_the_macs_that_the_papers_count(plain, name, ideal):
    """Xu et al., AAAI 2022, table 3: 1.2, 1.5 and 2 are dense over useful MACs.

    A transposable mask keeps at most N: some groups keep fewer.
    """
    run = nmsim.train(plain, recipe=name, steps=10)
    gained = run.total("macs_dense") / run.total("macs_useful")
    assert gained == pytest.approx(1 / share(run), rel=1e-12)
    if name.startswith("transposable"):
        assert ideal <= gained < 1.006 * ideal
    else:
        assert gained == pytest.approx(ideal, rel=1e-12)


def test_a_mask_that_decays_saves_nothing_until_it_is_binary(plain):
    run = nmsim.train(plain, recipe="mdgf-linear", pattern="1:4", steps=1000)
    stages = {part.span.stage: part for part in run.segments}
    assert list(stages) == ["dense", "decay", "sparse"]
    assert stages["decay"].step == stages["dense"].step == run.dense
    assert [stages[stage].span.steps for stage in stages] == [50, 650, 300]
    assert share(run) == pytest.approx(1 - 0.3 * 0.75 / 3, rel=1e-12)


def test_structure_decay_saves_by_stage(plain):
    step = nmsim.train(plain, recipe="sdgf-stepwise", pattern="1:4", steps=1000)
    # 5% dense, then 85% in thirds of 3:4, 2:4 and 1:4, then 10% at 1:4; the thirds are whole steps.
    lengths = {part.masks: part.span.steps for part in step.segments}
    assert lengths == {
        "dense": 50, "weight 3:4": 283, "weight 2:4": 283, "weight 1:4": 384
    }  # fmt: skip
    saved = (283 * 0.25 + 283 * 0.5 + 384 * 0.75) / 3000
    assert share(step) == pytest.approx(1 - saved, rel=1e-12)
    wide = nmsim.train(plain, recipe="sdgf-geometric", pattern="1:2", steps=1000)
    assert share(wide) == pytest.approx(1 - 0.95 * 0.5 / 3, rel=1e-12)


def test_pretrained_recipes_spend_half_of_the_run_dense(plain):
    for name, phases in (("asp", 1), ("transposable-pretrained", 2)):
        run = nmsim.train(plain, recipe=name, steps=10)
        assert [part.span.steps for part in run.segments] == [5, 5]
        assert share(run) == pytest.approx(1 - phases / 12, rel=0.001)


def test_sums_are_those_of_the_steps(plain):
    run = nmsim.train(plain, recipe="asp", steps=9)
    document = training_document(run)
    dense = training_step(Point(plain, compare=False))
    sparse = training_step(Point(plain, recipe="asp", compare=False))
    assert run.dense == dense
    total = document["total"]
    assert total["dense_time_s"] == pytest.approx(9e-6 * dense.time_us)
    assert total["time_s"] == pytest.approx(1e-6 * (4 * dense.time_us + 5 * sparse.time_us))
    assert total["dram_bytes"] == 4 * dense.dram_bytes + 5 * sparse.dram_bytes
    assert sparse.mask_us > dense.mask_us == 0
    assert total["mask_share"] == pytest.approx(5e-6 * sparse.mask_us / total["time_s"])
    assert total["speedup"] == pytest.approx(total["dense_time_s"] / total["time_s"])
    assert sum(part["time_share"] for part in document["segments"]) == pytest.approx(1)
    assert list(run.frame()["steps"]) == [4, 5]


def test_a_state_is_simulated_once(plain, monkeypatch):
    asked = []

    def counted(point):
        asked.append(point.recipe)
        return training_step(point)

    monkeypatch.setattr(training, "training_step", counted)
    run_training(Point(plain, recipe="mdgf-exponential", pattern="1:4"), 1000, "test")
    assert len(asked) == 3  # the dense run, the masked state, and one dense state for two segments


def test_dense_steps_run_in_the_machines_own_format(plain):
    chosen = recipe(WEIGHT, formats={"forward": "int4"}, schedule={"dense": 0.5})
    run = nmsim.train(plain, recipe=chosen, steps=2)
    before, after = run.segments
    assert before.step == run.dense
    assert (
        after.step.dram_bytes
        < nmsim.train(plain, recipe="asp", steps=2).segments[1].step.dram_bytes
    )
    # Without a mask the format alone tells the steps apart.
    narrow = nmsim.train(plain, recipe=chosen, pattern="dense", steps=2).segments
    assert narrow[0].step == run.dense
    assert narrow[1].step.dram_bytes < run.dense.dram_bytes
    scheme = nmsim.train(plain, recipe="inference-weights+activations-b", steps=2)
    assert [part.masks for part in scheme.segments] == [
        "weight dense, activation 4:8", "weight 2:4, activation 4:8"
    ]  # fmt: skip


def test_a_run_says_what_number_formats_it_fell_back_to():
    own = {"recipe": "transposable+mvue-8bit", "fidelity": "analytical", "steps": 1}
    run = nmsim.train("resnet18", hardware="a100-sxm4-80gb", **own)
    assert run.segments[0].step.formats == "forward int8, backward bf16, update bf16"


def test_weights_are_stored_with_their_metadata(plain):
    elements = 4 * 32 * 64
    found = nmsim.train(plain, recipe="asp", steps=1).inference
    assert (found.parameters, found.parameters_kept) == (elements, elements // 2)
    assert found.dense_bits == 16 * elements
    assert found.value_bits == 16 * elements // 2
    assert found.metadata_bits == 2 * elements // 2
    assert found.flops_dense == 2 * 16 * elements
    assert found.flops == 16 * elements
    narrow = recipe(WEIGHT, formats={"forward": "int8"})
    assert nmsim.train(plain, recipe=narrow, steps=1).inference.value_bits == 8 * elements // 2


@pytest.mark.parametrize(
    ("pattern", "gflops"),
    [("dense", 34.71), ("2:4", 23.61), ("1:4", 18.06), ("1:8", 15.29), ("1:16", 13.90),
     ("1:32", 13.20), ("1:128", 12.69)],
)  # fmt: skip
def test_inference_flops_are_those_of_table_18(pattern, gflops, tmp_path):
    """Bambhaniya et al. (2025), table 18: ViT-Base, 196 tokens, feed-forward layers pruned.

    The paper adds parts that it has rounded to 0.01.
    """
    fields = ("tokens", "queries", "keys")
    layers = [
        {name: 196 if name in fields and value == 197 else value
         for name, value in layer.model_dump().items()}
        for layer in load_model("vit-b16").layers
        if layer.name.startswith("encoder.")
    ]  # fmt: skip
    path = tmp_path / "vit.yaml"
    path.write_text(json.dumps({"layers": layers}), encoding="utf-8")
    assert validate(Network, {"layers": layers}, "test")
    point = {"steps": 1, "fidelity": "analytical", "pattern": pattern}
    found = nmsim.train(str(path), recipe="mdgf-exponential-ff", **point).inference
    assert found.flops / 1e9 == pytest.approx(gflops, abs=0.01)


def test_what_cannot_be_trained_is_refused(plain, tmp_path, command):
    for steps in (0, 10**15 + 1):
        with pytest.raises(SpecError, match=rf"steps is {steps}, expected 1 to 1e\+15"):
            nmsim.train(plain, steps=steps)
    with pytest.raises(NmsimError, match="sdgf-stepwise expects M / N of 2, 4, 8"):
        nmsim.train(plain, steps=9, recipe="sdgf-stepwise", pattern="3:4")
    trace = tmp_path / "t.safetensors"
    assert command("trace", "record", plain, "--out", trace)[0] == 0
    with pytest.raises(SpecError, match="a trace holds masks of one step"):
        nmsim.train(str(trace), steps=1)


def test_the_command_prints_writes_and_redraws(plain, tmp_path, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    folder = tmp_path / "out"
    arguments = ("train", plain, "--recipe", "mdgf-linear", "--pattern", "1:4", "--batch", 2)
    status, shown, _ = command(*arguments, "--epochs", 2, "--samples", 101, "--out", folder)
    assert status == 0
    assert "batch 2, 102 steps" in shown
    assert "decay" in shown
    document = json.loads(command(*arguments, "--steps", 102, "--format", "json")[1])
    stored = read_training(folder)
    assert stored["segments"] == document["segments"]
    assert stored["total"] == document["total"]
    assert stored["manifest"]["kind"] == "train"
    table = command(*arguments, "--steps", 102, "--format", "csv")[1]
    assert table == (folder / "segments.csv").read_text(encoding="utf-8")
    before = (folder / "index.html").read_text(encoding="utf-8")
    assert "pruned weights fade out" in before
    (folder / "index.html").unlink()
    assert command("report", folder)[0] == 0
    assert (folder / "index.html").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected one of --steps and --epochs"),
        (("--steps", 1, "--epochs", 1), "expected one of --steps and --epochs"),
        (("--epochs", 1), "expected --samples too"),
        (("--epochs", -1, "--samples", 9), "expected a number above 0"),
        (("--steps", 1, "--samples", 9), "expected with --epochs alone"),
        (("--steps", 0), "steps is 0"),
    ],
)
def test_the_command_says_what_is_wrong_with_its_steps(plain, command, options, message):
    status, out, err = command("train", plain, *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_stored_run_that_is_none_is_refused(tmp_path):
    (tmp_path / "training.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(SpecError, match="expected a training run"):
        read_training(tmp_path)
    (tmp_path / "training.json").write_text("{", encoding="utf-8")
    with pytest.raises(SpecError, match="not JSON"):
        read_training(tmp_path)


@pytest.mark.parametrize(
    ("part", "field", "value", "said"),
    [
        ("manifest", "command", 3, "manifest.command"),
        ("total", "flops", None, "total.flops"),
        ("inference", "value_bits", "many", "inference.value_bits"),
        ("segments", "step_us", None, r"segments\[0\].step_us"),
        ("segments", "stage", "dark", "a known stage"),
    ],
)
def test_a_damaged_run_is_refused_by_field(plain, tmp_path, part, field, value, said):
    write_training(tmp_path, training_document(nmsim.train(plain, recipe="asp", steps=2)))
    document = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))
    assert read_training(tmp_path) == document
    owner = document[part][0] if part == "segments" else document[part]
    owner[field] = value
    (tmp_path / "training.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(SpecError, match=f"{said} is missing or of another kind"):
        read_training(tmp_path)


def test_counts_beyond_64_bits_are_stored_exactly(plain, tmp_path):
    run = training_document(nmsim.train(plain, recipe="asp", steps=10**15))
    write_training(tmp_path, run)
    assert read_training(tmp_path)["total"]["flops"] == run["total"]["flops"] > 2**63


def test_the_docs_name_every_recipe_of_the_catalog():
    for name in RECIPES:
        assert f"`{name}`" in DOCS, name


@pytest.mark.parametrize(("pattern", "stated"), SAVED)
def test_the_docs_state_the_flops_that_schedules_save(pattern, stated):
    names = ("sr-ste", "asp", "mdgf-linear", "mdgf-exponential-ff", "sdgf-stepwise",
             "sdgf-geometric")  # fmt: skip
    for name, text in zip(names, stated.split(" | "), strict=True):
        own = {"recipe": name, "pattern": pattern, "fidelity": "analytical", "batch": 1}
        run = nmsim.train("vit-b16", hardware="systolic-128x128-flexible", steps=1000, **own)
        assert f"{share(run):.3f}" == text, name


def test_the_docs_state_two_patterns():
    assert [pattern for pattern, _ in SAVED] == ["1:8", "1:16"]
