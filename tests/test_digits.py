"""Masks of a training step are those that nmsim records, and what the committed files say."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from random_step import random_step
from safetensors.numpy import save_file

from nmsim.network.catalog import load_model
from nmsim.network.layer import Conv, Linear
from nmsim.pattern import Pattern
from nmsim.recipes.recipe import load_recipe
from nmsim.report.simulation import simulate
from nmsim.run.point import Point
from nmsim.run.trace import check
from traces.mask_statistics import (
    DRAWS,
    errors_of_update,
    halves,
    survivors,
    transposed_fit,
    untied,
)
from traces.pruned_layer import PrunedLayer
from traces.recording import disagreements, record_step, step_tensors

ROOT = Path(__file__).parents[1]
TRACES = ROOT / "traces"
NETWORKS = ("digits-cnn", "digits-vit")
RECIPES = ("asp", "transposable+mvue", "fst", "sdgp", "mvue", "greedy")
PROVENANCE = {
    "nmsim", "model", "recipe", "pattern", "batch", "seed", "phases", "layers", "model_source",
    "recipe_source", "tensors", "command", "training",
}  # fmt: skip


def recipe_path(name):
    beside = TRACES / f"{name}.yaml"
    return beside if beside.is_file() else name


def pruned_step(network, recipe, pattern, batch, seed):
    """Random tensors of a step and the masks that it multiplies with."""
    seen = random_step(network.layers, batch, seed)
    for layer in network.layers:
        if not isinstance(layer, Conv | Linear):
            continue
        of = seen[layer.name]
        pruned = PrunedLayer(layer, recipe, Pattern.parse(pattern), batch, seed)
        for phase, mask in pruned.weight_masks(of["weight"]).items():
            of[f"weight {phase}"] = mask if phase == "forward" else mask.T
        backward = pruned.backward_gradient(of["gradient"])
        if backward is not None:
            of["gradient backward"] = backward.mask
        gradient, columns = pruned.update_operands(of["gradient"], of["columns"])
        of["gradient update"], of["activation update"] = gradient.mask.T, columns.mask.T
    return seen


@pytest.mark.parametrize("pattern", ["2:4", "1:8"])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_trace_has_the_masks_that_the_step_multiplies_with(name, recipe, pattern, tmp_path):
    model, chosen = TRACES / f"{name}.yaml", load_recipe(recipe_path(recipe))
    network = load_model(model)
    seen = pruned_step(network, chosen, pattern, 4, 11)
    tensors = tmp_path / "tensors.safetensors"
    save_file(step_tensors(network.layers, seen), tensors)
    point = Point(model, recipe=recipe_path(recipe), pattern=pattern, batch=4, seed=11,
                  tensors=tensors, lowering="columns")  # fmt: skip
    gemms = record_step(point, tmp_path / "step.safetensors", {}, "random")
    assert disagreements(gemms, seen) == []


def test_a_mask_that_differs_in_one_element_is_noticed(tmp_path):
    model = TRACES / "digits-cnn.yaml"
    network = load_model(model)
    seen = pruned_step(network, load_recipe("transposable+mvue"), "2:4", 4, 3)
    tensors = tmp_path / "tensors.safetensors"
    save_file(step_tensors(network.layers, seen), tensors)
    point = Point(model, recipe="transposable+mvue", batch=4, seed=3, tensors=tensors,
                  lowering="columns")  # fmt: skip
    gemms = tuple(point.sparse_gemms())
    changed = seen["conv2"]["gradient update"].copy()
    changed[5, 7] ^= True
    seen["conv2"]["gradient update"] = changed
    assert disagreements(gemms, seen) == ["gradient of conv2, update"]
    other = tuple(replace(point, seed=4).sparse_gemms())
    assert len(disagreements(other, seen)) > 2


def test_fst_moves_the_gradient_of_a_dropped_column_onto_the_kept_one():
    layer = next(x for x in load_model(TRACES / "digits-cnn.yaml").layers if x.name == "conv3")
    rng = np.random.default_rng(5)
    pruned = PrunedLayer(layer, load_recipe("fst"), Pattern(2, 4), samples=3)
    gradient, columns = rng.normal(size=(48, 6)), rng.normal(size=(48, 10))
    a, b = pruned.update_operands(gradient, columns)
    expected = sum(np.outer(gradient[t] + gradient[t + 1], columns[t]) for t in range(0, 48, 2))
    np.testing.assert_allclose(a.values.T @ b.values, expected, rtol=1e-12)


def test_fst_moves_nothing_from_one_sample_to_another():
    layer = load_model(TRACES / "digits-cnn.yaml").layers[-1]  # one column a sample
    rng = np.random.default_rng(5)
    pruned = PrunedLayer(layer, load_recipe("fst"), Pattern(2, 4), samples=8)
    gradient, columns = rng.normal(size=(8, 10)), rng.normal(size=(8, 256))
    a, b = pruned.update_operands(gradient, columns)
    expected = gradient[::2].T @ columns[::2]
    np.testing.assert_allclose(a.values.T @ b.values, expected, rtol=1e-12)


def test_asp_multiplies_with_the_same_weights_in_backward():
    layer = load_model(TRACES / "digits-vit.yaml").layers[1]
    pruned = PrunedLayer(layer, load_recipe("asp"), Pattern(2, 4), samples=3)
    masks = pruned.weight_masks(np.random.default_rng(1).normal(size=(192, 64)))
    assert np.array_equal(masks["forward"], masks["backward"])
    assert masks["forward"].mean() == 0.5
    apart = replace(pruned, recipe=load_recipe("fst")).weight_masks(
        np.random.default_rng(1).normal(size=(192, 64))
    )
    assert not np.array_equal(apart["forward"], apart["backward"])


def test_sdgp_rescales_by_sample_and_map():
    layer = next(x for x in load_model(TRACES / "digits-cnn.yaml").layers if x.name == "conv3")
    pruned = PrunedLayer(layer, load_recipe("sdgp"), Pattern(2, 4), samples=2)
    gradient = np.random.default_rng(2).normal(size=(32, 64))
    done = pruned.backward_gradient(gradient)
    kept, whole = (np.abs(v).reshape(2, 16, 64).sum(axis=1) for v in (done.values, gradient))
    assert (kept > 0).mean() > 0.9
    np.testing.assert_allclose(kept[kept > 0], whole[kept > 0], rtol=2e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_committed_trace_is_whole_small_and_says_where_it_comes_from(name):
    path = TRACES / f"{name}-step.safetensors"
    trace = check(path)  # every digest, shape and group
    assert path.stat().st_size < 300_000
    assert set(trace.provenance) == PROVENANCE
    said = trace.provenance["training"]
    assert {"data", "network", "training_seed", "step", "test_accuracy", "libraries"} <= set(said)
    assert trace.provenance["model"] == name
    assert trace.provenance["recipe"] == "transposable+mvue"
    batch = trace.provenance["batch"]
    network = load_model(TRACES / f"{name}.yaml")
    # Recorded before GEMMs said how operands are gathered, and when backward was made of columns.
    sizes = [replace(work.gemm, a_elements=None, b_elements=None) for work in trace.gemms]
    nowhere = dict.fromkeys(("a_windows", "b_windows", "a_elements", "b_elements"))
    assert sizes == [replace(g, **nowhere) for g in network.gemms(batch, lowering="columns")]
    for work in trace.gemms:
        masked = {"forward": work.b, "backward": work.b, "update": work.a}[work.gemm.phase]
        assert masked.is_dense == (work.gemm.kind == "matmul")
        if not masked.is_dense:
            assert str(masked.pattern) == "2:4"
            assert masked.broken_groups() == 0
            assert 0 < masked.bits().mean() <= 0.56  # a short last group may keep all


@pytest.mark.parametrize("fidelity", ["cycle", "analytical"])
@pytest.mark.parametrize("hardware", ["systolic-128x128-2to4", "a100-sxm4-80gb"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_committed_trace_runs_on_both_engines(name, hardware, fidelity):
    table = simulate(TRACES / f"{name}-step.safetensors", hardware=hardware, fidelity=fidelity)
    assert set(table["phase"]) == {"forward", "backward", "update"}
    weighted = table[table["kind"] != "matmul"]
    assert (weighted["macs_useful"] < 0.6 * weighted["macs_dense"]).all()
    assert (table["cycles"] > 0).all()


def test_survivors_are_counted_as_a_product_of_masks(tmp_path):
    network = load_model(TRACES / "digits-cnn.yaml")
    seen = random_step(network.layers, 2, 8)
    tensors = tmp_path / "tensors.safetensors"
    save_file(step_tensors(network.layers, seen), tensors)
    model, recipe = TRACES / "digits-cnn.yaml", TRACES / "every-operand.yaml"
    point = Point(model, recipe=recipe, pattern="2:4", batch=2, tensors=tensors, layers="conv3",
                  phases=("update",))  # fmt: skip
    found = survivors(point, seen)["update"]
    (work,) = point.sparse_gemms()
    a, b = work.a.bits(), work.b.bits()
    x, g = seen["conv3"]["columns"].T != 0, seen["conv3"]["gradient"].T != 0
    groups = a.shape[0] * b.shape[0] * a.shape[1] // 4
    assert found["pairs"] == groups
    assert found["mean"] == pytest.approx((a.astype(int) @ b.T.astype(int)).sum() / groups)
    both = ((a & g).astype(int) @ (b & x).T.astype(int)).sum() / groups
    assert found["non_zero"] == pytest.approx(both)
    assert found["non_zero"] < found["mean"]
    assert found["expected"] == pytest.approx(1.0)


def test_masks_of_zeros_agree_until_ties_are_broken():
    zeros = {"x": np.zeros((512, 16), np.float32)}
    assert transposed_fit([zeros["x"]], "2:4") == 0.5  # the same two columns in every row
    drawn = untied(zeros, 1)
    assert transposed_fit([drawn["x"]], "2:4") == pytest.approx(11 / 16, abs=0.03)
    assert 0 < drawn["x"].max() < 1e-19
    kept = {"x": np.array([0.0, 2.0, -3.0], np.float32)}
    assert untied(kept, 1)["x"][1:].tolist() == [2.0, -3.0]


def test_random_tensors_fit_as_often_as_chance_has_it():
    matrix = np.random.default_rng(4).normal(size=(4096, 64))
    assert transposed_fit([matrix], "2:4") == pytest.approx(11 / 16, abs=0.005)
    assert halves([matrix]) == pytest.approx(36 / 70, abs=0.01)
    assert halves([np.tile([4.0, 3, 0, 0, 2, 1, 0, 0], (8, 1))]) == 1.0
    assert halves([np.tile([4.0, 3, 2, 0, 1, 0, 0, 0], (8, 1))]) == 0.0


def test_errors_of_update_tell_bias_from_variance():
    rng = np.random.default_rng(6)
    gradient, columns = rng.normal(size=(256, 12)), rng.normal(size=(256, 20)) + 1.0
    found = errors_of_update([gradient], [columns], "2:4")
    assert found["mvue, mean"] == pytest.approx(found["mvue"] / math.sqrt(DRAWS), rel=0.15)
    kept = np.abs(gradient.T).reshape(12, -1, 4)
    kept = (kept >= np.sort(kept, axis=2)[..., 2:3]).reshape(12, 256)
    exact = gradient.T @ columns
    error = (gradient.T * kept) @ columns - exact
    assert found["greedy"] == pytest.approx(np.linalg.norm(error) / np.linalg.norm(exact))


def test_the_readme_states_what_was_measured():
    text = (TRACES / "README.md").read_text(encoding="utf-8")
    runs = json.loads((ROOT / "reports/digits/training.json").read_text())["runs"]
    for network, label in (("digits-cnn", "CNN"), ("digits-vit", "ViT")):
        last = [r["masks"][-1]["retained"] for r in runs
                if r["network"] == network and r["recipe"] == "dense"]  # fmt: skip
        (row,) = re.findall(rf"^\| {label} \|(.*)\|$", text, re.MULTILINE)
        stated = [float(cell) for cell in row.split("|")]
        names = ("4:8", "2:4", "transposable 4:8", "transposable 2:4", "sequential 4:8")
        assert stated == [round(float(np.mean([one[n] for one in last])), 3) for n in names]


def test_the_network_is_what_torch_computes():
    torch = pytest.importorskip("torch")
    networks = pytest.importorskip("traces.digits_networks")
    functional = torch.nn.functional
    network = networks.made("digits-cnn", 3)
    network.prune(load_recipe("dense"), Pattern(2, 4), 5)
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    y = x.reshape(5, 1, 8, 8)
    for name, stride in (("conv1", 1), ("conv2", 2), ("conv3", 1)):
        layer = network.gemms[name]
        shape = layer.layer.shape("weight", 1)
        weight = layer.weight.reshape(shape).permute(0, 3, 1, 2)
        y = functional.relu(functional.conv2d(y, weight, layer.bias, stride, 1))
    fc = network.gemms["fc"]
    expected = functional.linear(functional.max_pool2d(y, 2).flatten(1), fc.weight, fc.bias)
    torch.testing.assert_close(network(x), expected)
    chosen = [network.gemms[name].weight for name in ("conv1", "conv2", "conv3", "fc")]
    wanted = torch.autograd.grad(expected.square().sum(), chosen)
    network.start_step(0, make_masks=False, see=False)
    found = torch.autograd.grad(network(x).square().sum(), chosen)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
