"""Masks of operands: pruned along K of their phase, from one tensor, and only when asked for."""

from dataclasses import replace

import numpy as np
import pytest

from nmsim import machines
from nmsim.errors import RecipeError
from nmsim.machines import load_hardware
from nmsim.network.catalog import Network, load_model
from nmsim.network.lowering import Lowering
from nmsim.network.tensors import Synthetic
from nmsim.pattern import Pattern
from nmsim.pruning import prune
from nmsim.recipes.masking import Setting, sparse_gemms
from nmsim.recipes.recipe import Recipe, load_recipe
from nmsim.spec import validate

LAYERS = [
    {"name": "plain", "type": "conv", "in_channels": 8, "out_channels": 12, "kernel": 3,
     "padding": 1, "input_size": [5, 6]},
    {"name": "grouped", "type": "conv", "in_channels": 16, "out_channels": 8, "kernel": [2, 3],
     "stride": 2, "groups": 2, "input_size": 7},
    {"name": "pointwise", "type": "conv", "in_channels": 8, "out_channels": 6, "kernel": 1,
     "input_size": 4},
    {"name": "full", "type": "linear", "in_features": 20, "out_features": 9, "tokens": 7},
]  # fmt: skip
BATCH = 2


def network():
    return validate(Network, {"layers": LAYERS}, "test")


def recipe(*offers):
    return validate(Recipe, {"summary": "s", "source": "t", "operands": list(offers)}, "test")


def offer(role, *phases, pruner="magnitude", **fields):
    return {"role": role, "phases": list(phases), "pruner": pruner, **fields}


def setting(chosen, pattern="2:4", seed=0):
    """Backward as columns: its operands are the matrices that forward and update have, turned."""
    pattern = Pattern.parse(pattern)
    return Setting(chosen, pattern, Synthetic(seed), BATCH, seed, Lowering.parse("columns"))


def tensor(layer, name):
    return np.concatenate(list(Synthetic(0).blocks(layer, name, BATCH)))


def copies_of(layer):
    return getattr(layer, "groups", 1)


def weight_matrix(layer):
    """copies x outputs x inputs, as the layer multiplies it."""
    w = tensor(layer, "weight")
    return w.reshape(copies_of(layer), w.shape[0] // copies_of(layer), -1)


def gradient_matrix(layer):
    """copies x T x outputs."""
    g = tensor(layer, "gradient")
    return np.moveaxis(g.reshape(-1, copies_of(layer), g.shape[-1] // copies_of(layer)), 1, 0)


def only(chosen, phase):
    return {
        work.gemm.layer: work
        for work in sparse_gemms(network().layers, setting(chosen), phases=[phase])
    }


@pytest.mark.parametrize("layer", network().layers, ids=lambda layer: layer.name)
def test_weights_are_pruned_along_inputs_in_forward_and_outputs_in_backward(layer):
    w = weight_matrix(layer)
    forward = only(recipe(offer("weight", "forward")), "forward")[layer.name]
    np.testing.assert_array_equal(
        forward.b.bits(), prune(w, "2:4").mask.reshape(forward.b.rows, -1)
    )
    turned = np.ascontiguousarray(np.swapaxes(w, 1, 2))
    backward = only(recipe(offer("weight", "backward")), "backward")[layer.name]
    np.testing.assert_array_equal(
        backward.b.bits(), prune(turned, "2:4").mask.reshape(backward.b.rows, -1)
    )
    assert forward.a.is_dense
    assert backward.a.is_dense


@pytest.mark.parametrize("layer", network().layers, ids=lambda layer: layer.name)
def test_gradients_are_pruned_along_outputs_in_backward_and_samples_in_update(layer):
    g = gradient_matrix(layer)
    backward = only(recipe(offer("gradient", "backward")), "backward")[layer.name]
    np.testing.assert_array_equal(
        backward.a.bits(), prune(g, "2:4").mask.reshape(backward.a.rows, -1)
    )
    turned = np.ascontiguousarray(np.swapaxes(g, 1, 2))
    update = only(recipe(offer("gradient", "update")), "update")[layer.name]
    np.testing.assert_array_equal(
        update.a.bits(), prune(turned, "2:4").mask.reshape(update.a.rows, -1)
    )


def test_an_image_is_pruned_per_pixel_and_then_seen_through_windows():
    layer = network().layers[0]
    work = only(recipe(offer("activation", "forward")), "forward")["plain"]
    image = tensor(layer, "activation")
    pixels = np.pad(prune(image, "2:4").mask, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = [
        pixels[b, y : y + 3, x : x + 3].reshape(-1)
        for b in range(BATCH)
        for y in range(5)
        for x in range(6)
    ]
    np.testing.assert_array_equal(work.a.bits(), windows)
    assert work.a.broken_groups() == 0


def test_columns_are_pruned_along_samples_in_update():
    layer = network().layers[0]
    work = only(recipe(offer("activation", "update")), "update")["plain"]
    image = np.pad(tensor(layer, "activation"), ((0, 0), (1, 1), (1, 1), (0, 0)))
    columns = np.array(
        [
            image[b, y : y + 3, x : x + 3].reshape(-1)
            for b in range(BATCH)
            for y in range(5)
            for x in range(6)
        ]
    )
    np.testing.assert_array_equal(work.b.bits(), prune(columns.T.copy(), "2:4").mask)


def test_channels_that_groups_do_not_divide_run_dense_and_say_so():
    layers = validate(Network, {"layers": [{**LAYERS[0], "in_channels": 6}]}, "test").layers
    chosen = recipe(offer("activation", "forward"))
    (work,) = sparse_gemms(layers, setting(chosen), phases=["forward"])
    assert work.a.is_dense
    assert "runs dense" in work.note


def test_one_mask_in_two_phases_is_refused_unless_it_is_allowed_to_break():
    with pytest.raises(RecipeError, match="of its groups break 2:4"):
        only(recipe(offer("weight", "forward", "backward")), "backward")
    unfit = recipe(offer("weight", "forward", "backward", allow_unfit=True))
    forward, backward = only(unfit, "forward")["full"], only(unfit, "backward")["full"]
    np.testing.assert_array_equal(backward.b.bits(), forward.b.bits().T)
    assert backward.b.broken_groups() > 0
    assert "groups break 2:4" in backward.note


def test_about_seven_tenths_of_transposed_groups_happen_to_fit():
    """P(at most 2 of 4 independent halves) = 11/16."""
    layers = validate(
        Network,
        {"layers": [{"name": "l", "type": "linear", "in_features": 512, "out_features": 512}]},
        "test",
    ).layers
    unfit = recipe(offer("weight", "forward", "backward", allow_unfit=True))
    _, work, _ = sparse_gemms(layers, setting(unfit))
    fitting = 1 - work.b.broken_groups() / work.b.groups
    # 65,536 groups, four standard errors: a false alarm in 16,000 runs.
    assert abs(fitting - 11 / 16) < 4 * np.sqrt(11 / 16 * 5 / 16 / 65_536)


@pytest.mark.parametrize(
    ("offers", "message"),
    [
        ([offer("weight", "update")], "weight is no operand of the update GEMM"),
        ([offer("activation", "backward")], "activation is no operand of the backward GEMM"),
        ([offer("gradient", "forward")], "gradient is no operand of the forward GEMM"),
        ([offer("weight", "forward"), offer("weight", "forward")], "two masks"),
        ([offer("weight", "forward", pruner="magnitud")], "did you mean 'magnitude'"),
        ([offer("weight")], "phases"),
    ],
)
def test_recipes_that_cannot_be(offers, message):
    with pytest.raises(Exception, match=message):
        recipe(*offers)


def test_bits_are_made_only_where_the_hardware_depends_on_them(monkeypatch):
    drawn = []
    draw = Synthetic.blocks

    def spy(self, layer, tensor, batch):
        drawn.append((layer.name, tensor))
        return draw(self, layer, tensor, batch)

    monkeypatch.setattr(Synthetic, "blocks", spy)
    machine = load_hardware("systolic-128x128-2to4")
    covered = [Pattern.parse(p) for p in ("2:4", "1:4", "2:8")]
    for pattern in covered:
        chosen = replace(setting(load_recipe("sr-ste")), pattern=pattern)
        for work in sparse_gemms(load_model("resnet18").layers, chosen):
            machines.simulate(machine, work)
            assert work.macs_useful <= work.gemm.macs
    assert drawn == []
    for work in sparse_gemms(network().layers, setting(load_recipe("sr-ste"), "4:8")):
        machines.simulate(machine, work)
    assert set(drawn) == {(layer["name"], "weight") for layer in LAYERS}


@pytest.mark.parametrize(
    "chosen",
    [
        *map(load_recipe, ("asp", "transposable", "mvue", "fst", "sdgp")),
        recipe(offer("activation", "forward", "update", allow_unfit=True)),
    ],
    ids=lambda chosen: chosen.name or "activation",
)
def test_images_of_a_sample_are_masked_as_samples_are(chosen):
    def works(images, batch):
        fields = {"name": "c", "type": "conv", "in_channels": 8, "out_channels": 12, "kernel": 3,
                  "padding": 1, "input_size": [5, 7], "images": images}  # fmt: skip
        layers = validate(Network, {"layers": [fields]}, "test").layers
        return list(sparse_gemms(layers, replace(setting(chosen), batch=batch)))

    for ours, theirs in zip(works(images=3, batch=2), works(images=1, batch=6), strict=True):
        assert (ours.gemm, ours.k, ours.note) == (theirs.gemm, theirs.k, theirs.note)
        np.testing.assert_array_equal(ours.a.words, theirs.a.words)
        np.testing.assert_array_equal(ours.b.words, theirs.b.words)


@pytest.mark.parametrize("name", ["transposable", "mvue", "fst", "sdgp"])
def test_tensors_that_come_in_many_blocks_are_masked_as_one(name, monkeypatch):
    def masks():
        works = sparse_gemms(network().layers, setting(load_recipe(name)))
        return [(work.a.words, work.b.words) for work in works]

    at_once = masks()
    monkeypatch.setattr("nmsim.network.tensors._BLOCK_ELEMENTS", 100)
    monkeypatch.setattr("nmsim.recipes.masking._BLOCK_ELEMENTS", 50)
    for ours, theirs in zip(masks(), at_once, strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])


@pytest.mark.parametrize("pruner", ["magnitude", "random"])
def test_layers_that_share_a_weight_share_its_mask(pruner):
    layers = [
        {"name": "a", "type": "linear", "in_features": 16, "out_features": 12},
        {"name": "b", "type": "linear", "in_features": 16, "out_features": 12, "tokens": 3,
         "weight_of": "a"},
        {"name": "c", "type": "linear", "in_features": 16, "out_features": 12},
    ]  # fmt: skip
    shared = validate(Network, {"layers": layers}, "test").layers
    chosen = setting(recipe(offer("weight", "forward", pruner=pruner)))
    a, b, c = (work.b.words for work in sparse_gemms(shared, chosen, phases=["forward"]))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_a_layer_more_changes_no_other_layer():
    chosen = setting(recipe(offer("weight", "forward", pruner="random")))
    alone = list(sparse_gemms(network().layers[1:2], chosen, phases=["forward"]))
    among = list(sparse_gemms(network().layers, chosen, phases=["forward"]))
    np.testing.assert_array_equal(alone[0].b.words, among[1].b.words)
    other = list(sparse_gemms(network().layers[1:2], replace(chosen, seed=1), phases=["forward"]))
    assert (other[0].b.words != alone[0].b.words).any()


def test_useful_macs_are_the_pairs_of_bits():
    chosen = recipe(offer("weight", "forward"), offer("activation", "forward"))
    for work in sparse_gemms(network().layers, setting(chosen), phases=["forward"]):
        g = work.gemm
        a = work.a.bits().reshape(g.count, g.m, g.k).astype(int)
        b = work.b.bits().reshape(g.count, g.n, g.k).astype(int)
        assert work.macs_useful == np.einsum("cmk,cnk->", a, b)


def test_unfit_masks_of_groups_are_turned_copy_by_copy():
    unfit = recipe(offer("weight", "forward", "backward", allow_unfit=True))
    forward, backward = only(unfit, "forward")["grouped"], only(unfit, "backward")["grouped"]
    copies = forward.b.bits().reshape(2, forward.gemm.n, -1)
    np.testing.assert_array_equal(
        backward.b.bits().reshape(2, backward.gemm.n, -1), np.swapaxes(copies, 1, 2)
    )


def test_groups_of_channels_count_per_copy():
    """12 channels in 2 groups: 6 a copy, which groups of 4 do not divide."""
    layers = validate(
        Network,
        {"layers": [{**LAYERS[1], "in_channels": 12, "out_channels": 8}]},
        "test",
    ).layers
    chosen = recipe(offer("activation", "forward"))
    (work,) = sparse_gemms(layers, setting(chosen), phases=["forward"])
    assert work.a.is_dense
    pointwise = validate(Network, {"layers": [{**LAYERS[2], "in_channels": 6}]}, "test").layers
    (work,) = sparse_gemms(pointwise, setting(chosen), phases=["forward"])
    assert work.a.kept == work.a.rows * 4  # 2 of 4, and the 2 of a short group


def test_strided_pixels_of_one_tap_keep_their_own_groups_when_they_are_turned():
    """Six channels a pixel, a group of four and one of two: K of update runs over pixels."""
    strided = {**LAYERS[2], "in_channels": 6, "stride": 2}
    layers = validate(Network, {"layers": [strided]}, "test").layers
    chosen = recipe(offer("activation", "forward", "update", allow_unfit=True))
    implicit = replace(setting(chosen), lowering=Lowering.parse("implicit"))
    forward, update = (
        next(iter(sparse_gemms(layers, implicit, phases=[phase])))
        for phase in ("forward", "update")
    )
    assert not forward.a.is_dense
    np.testing.assert_array_equal(update.b.bits(), forward.a.bits().T)


def test_padding_is_not_kept():
    work = only(recipe(offer("activation", "forward")), "forward")["plain"]
    assert work.a.kept == work.a.bits().sum() < work.a.rows * work.a.k // 2


def test_attention_products_run_dense():
    chosen = recipe(offer("activation", "forward"), offer("gradient", "update"))
    works = sparse_gemms(load_model("bert-base").layers, setting(chosen))
    products = [work for work in works if work.gemm.kind == "attention"]
    assert len(products) == 6
    assert all(work.a.is_dense and work.b.is_dense for work in products)


@pytest.mark.parametrize(("pattern", "lowest"), [("4:8", "1:2"), ("6:8", "3:4"), ("1:2", None)])
def test_a_mask_that_looks_at_no_value_obeys_its_pattern_in_lowest_terms(pattern, lowest):
    """FST keeps every other column of the activation, whatever the pattern is called."""
    works = sparse_gemms(
        network().layers[3:],
        Setting(load_recipe("fst"), Pattern.parse(pattern), Synthetic(), BATCH),
        phases=["update"],
    )
    found = [one.tighter for work in works for one in (work.a, work.b) if not one.indexed]
    assert len(found) == 1
    assert found[0] == (lowest and Pattern.parse(lowest))
