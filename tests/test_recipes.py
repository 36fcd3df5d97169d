"""The papers' recipes: which phases gain, from which masks."""

import numpy as np
import pytest
from tiers import fast_every

from nmsim import machines
from nmsim.errors import NmsimError, RecipeError, SpecError
from nmsim.gemm import PHASES
from nmsim.machines import load_hardware
from nmsim.network.catalog import Network, load_model
from nmsim.network.lowering import Lowering
from nmsim.network.tensors import Rectified, Synthetic
from nmsim.pattern import Pattern
from nmsim.pruning import prune
from nmsim.pruning.fixed import fixed_positions
from nmsim.recipes.masking import Setting, sparse_gemms
from nmsim.recipes.recipe import Recipe, load_recipe
from nmsim.run import trace
from nmsim.run.point import Point, rows
from nmsim.spec import validate

GAINS = {
    "dense": (),
    "asp": ("forward",),
    "transposable": ("forward", "backward"),
    "mvue": ("update",),
    "transposable+mvue": PHASES,
    "fst": PHASES,
    "sdgp": ("backward",),
}
BATCH = 3


def setting(recipe, pattern="2:4", lowering="columns"):
    """Backward as columns, unless it is said: its operands are forward's matrices, turned."""
    chosen, how = load_recipe(recipe), Lowering.parse(lowering)
    return Setting(chosen, Pattern.parse(pattern), Synthetic(), BATCH, lowering=how)


def layers_of(*layers):
    return validate(Network, {"layers": list(layers)}, "test").layers


ODD = layers_of(
    {"name": "odd", "type": "conv", "in_channels": 8, "out_channels": 12, "kernel": 3,
     "padding": 1, "input_size": 7},
    {"name": "grouped", "type": "conv", "in_channels": 16, "out_channels": 24, "kernel": 3,
     "input_size": 5, "groups": 2},
)  # fmt: skip


@pytest.mark.parametrize("recipe", fast_every(list(GAINS), 2))
def test_a_recipe_gains_in_its_phases_alone(recipe):
    gained = dict.fromkeys(PHASES, (0, 0))
    for row in rows(Point(model="resnet18", recipe=recipe, batch=4, layers="layer[34]*")):
        dense, cycles = gained[row["phase"]]
        gained[row["phase"]] = dense + row["dense_cycles"], cycles + row["cycles"]
        if row["phase"] not in GAINS[recipe]:
            assert row["speedup"] == 1, row
        assert row["macs_useful"] <= row["macs_issued"] <= row["cycles"] * 128 * 128
    for phase in GAINS[recipe]:
        dense, cycles = gained[phase]
        assert 1.2 < dense / cycles <= 2, phase


def test_transposable_weights_are_one_mask_in_both_phases():
    for layer in (*ODD, load_model("resnet18").layers[7]):
        forward, backward, _ = sparse_gemms([layer], setting("transposable"))
        g = forward.gemm
        f = forward.b.bits().reshape(g.count, g.n, g.k)
        b = backward.b.bits().reshape(g.count, g.k, g.n)
        np.testing.assert_array_equal(b, np.swapaxes(f, 1, 2))
        assert forward.b.broken_groups() == backward.b.broken_groups() == 0


def test_transposable_weights_are_optimal_copy_by_copy():
    layer = ODD[1]
    forward, _, _ = sparse_gemms([layer], setting("transposable"))
    w = np.concatenate(list(Synthetic().blocks(layer, "weight", BATCH)))
    expected = prune(w.reshape(2, 12, -1), "2:4", "transposable").mask
    np.testing.assert_array_equal(forward.b.bits(), expected.reshape(24, -1))


def test_fst_prunes_weights_apart_and_every_other_column_of_each_sample():
    forward, backward, update = sparse_gemms(ODD[:1], setting("fst"))
    w = np.concatenate(list(Synthetic().blocks(ODD[0], "weight", BATCH))).reshape(12, -1)
    np.testing.assert_array_equal(forward.b.bits(), prune(w, "2:4").mask)
    np.testing.assert_array_equal(backward.b.bits(), prune(w.T.copy(), "2:4").mask)
    kept = update.b.bits()
    assert kept.shape == (72, BATCH * 50)
    np.testing.assert_array_equal(kept, np.tile(np.arange(50) % 2 == 0, (72, BATCH)))
    assert update.b.broken_groups() == 0
    assert "padded from 147 to 150" in update.note
    assert update.macs_useful == 12 * 72 * BATCH * 25


def test_fixed_masks_need_no_metadata():
    machine = load_hardware("systolic-128x128-2to4")
    _, _, fixed = sparse_gemms(ODD[:1], setting("fst"))
    _, _, drawn = sparse_gemms(ODD[:1], setting("mvue"))
    for fidelity in machines.FIDELITIES:
        assert machines.simulate(machine, fixed, fidelity).metadata_bytes == 0
        assert machines.simulate(machine, drawn, fidelity).metadata_bytes > 0
    run = machines.simulate(machine, fixed)
    assert run.macs_issued == 12 * 72 * Pattern(2, 4).stored(150)


def test_an_even_sample_is_not_padded():
    (layer,) = layers_of(
        {"name": "even", "type": "conv", "in_channels": 4, "out_channels": 4, "kernel": 1,
         "input_size": 6}
    )  # fmt: skip
    _, _, update = sparse_gemms([layer], setting("fst"))
    assert update.k == update.gemm.k == 36 * BATCH
    assert update.note == ""


def test_samples_of_one_column_are_not_padded_each():
    """Every other of the batch's samples is kept, not one of each and as many zeros."""
    (layer,) = layers_of({"name": "l", "type": "linear", "in_features": 8, "out_features": 4})
    _, _, update = sparse_gemms([layer], setting("fst"))
    assert update.k == update.gemm.k == BATCH
    assert update.b.bits().sum(axis=1).tolist() == [-(-BATCH // 2)] * 8


def test_traces_keep_what_recipes_pad_and_do_not_index(tmp_path):
    path = tmp_path / "t.safetensors"
    trace.record(path, sparse_gemms(ODD, setting("fst")), {})
    direct = list(sparse_gemms(ODD, setting("fst")))
    machine = load_hardware("systolic-128x128-2to4")
    for one, other in zip(direct, trace.check(path).gemms, strict=True):
        assert machines.simulate(machine, one) == machines.simulate(machine, other)
        assert one.macs_useful == other.macs_useful


def test_mvue_draws_by_seed():
    _, _, one = sparse_gemms(ODD[:1], setting("mvue"))
    _, _, same = sparse_gemms(ODD[:1], setting("mvue"))
    other = Setting(load_recipe("mvue"), Pattern(2, 4), Synthetic(), BATCH, seed=1)
    _, _, different = sparse_gemms(ODD[:1], other)
    np.testing.assert_array_equal(one.a.words, same.a.words)
    assert (one.a.words != different.a.words).any()


def test_activations_can_be_rectified_before_pruning():
    (layer,) = layers_of(
        {"name": "l", "type": "linear", "in_features": 16, "out_features": 4, "tokens": 5,
         "input": "norm"}
    )  # fmt: skip
    chosen = validate(
        Recipe,
        {"summary": "s", "source": "t", "operands": [
            {"role": "activation", "phases": ["forward"], "pruner": "magnitude", "relu": True}]},
        "test",
    )  # fmt: skip
    forward, *_ = sparse_gemms([layer], Setting(chosen, Pattern(2, 4), Synthetic(), BATCH))
    x = np.concatenate(list(Rectified(Synthetic()).blocks(layer, "activation", BATCH)))
    assert (x >= 0).all()
    assert (x == 0).any()
    np.testing.assert_array_equal(forward.a.bits(), prune(x, "2:4").mask)


def offers(*operands):
    return validate(
        Recipe, {"name": "own", "summary": "s", "source": "t", "operands": list(operands)}, "test"
    )


def offer(role, *phases, pruner="magnitude", **fields):
    return {"role": role, "phases": list(phases), "pruner": pruner, **fields}


def masked(chosen, layer, phase, pattern="2:4", batch=BATCH):
    columns = Lowering.parse("columns")
    own = Setting(chosen, Pattern.parse(pattern), Synthetic(), batch, lowering=columns)
    (work,) = sparse_gemms([layer], own, phases=[phase])
    return work


@pytest.mark.parametrize("pattern", ["2:4", "3:8", "1:4"])
def test_fixed_masks_start_alike_in_every_sample_under_any_pattern(pattern):
    chosen = Pattern.parse(pattern)
    work = masked(offers(offer("activation", "update", pruner="fixed")), ODD[0], "update", pattern)
    period = chosen.group // np.gcd(chosen.keep, chosen.group)
    columns = -(-49 // period) * period
    sample = np.resize(fixed_positions(chosen), columns)
    sample[49:] = False
    np.testing.assert_array_equal(work.b.bits(), np.tile(sample, (72, BATCH)))
    assert work.b.broken_groups() == 0


def test_fixed_masks_of_gradients_and_tokens():
    gradient = masked(offers(offer("gradient", "update", pruner="fixed")), ODD[0], "update")
    assert gradient.a.bits().shape == (12, BATCH * 50)
    (linear,) = layers_of(
        {"name": "l", "type": "linear", "in_features": 6, "out_features": 4, "tokens": 5}
    )
    tokens = masked(offers(offer("activation", "update", pruner="fixed")), linear, "update")
    np.testing.assert_array_equal(tokens.b.bits(), np.tile(np.arange(6) % 2 == 0, (6, BATCH)))
    (full,) = layers_of({"name": "f", "type": "linear", "in_features": 6, "out_features": 4})
    flat = masked(offers(offer("activation", "update", pruner="fixed")), full, "update", batch=6)
    assert (flat.k, flat.note) == (6, "")


def test_a_fixed_mask_of_weights_runs_along_their_outputs():
    work = masked(offers(offer("weight", "backward", pruner="fixed")), ODD[0], "backward")
    assert work.k == work.gemm.k == 12
    np.testing.assert_array_equal(work.b.bits(), np.tile(np.arange(12) % 2 == 0, (72, 1)))


def test_what_a_fixed_mask_cannot_share_is_refused():
    both = offers(
        offer("activation", "update", pruner="fixed"), offer("gradient", "update", pruner="mvue")
    )
    with pytest.raises(RecipeError, match="which no second mask is made for"):
        masked(both, ODD[0], "update")
    with pytest.raises(SpecError, match="offer one per phase"):
        offers(offer("activation", "update", "forward", pruner="fixed"))


def test_an_images_transposable_mask_does_not_fit_through_windows():
    pixels = offers(offer("activation", "forward", "update", pruner="transposable"))
    with pytest.raises(RecipeError, match="of its groups break 2:4"):
        masked(pixels, ODD[0], "update")
    columns = offers(offer("activation", "update", "forward", pruner="transposable"))
    assert masked(columns, ODD[0], "forward").a.broken_groups() == 0


def test_a_mask_without_structure_is_refused_unless_it_is_allowed():
    with pytest.raises(RecipeError, match="obeys no pattern"):
        masked(offers(offer("weight", "forward", pruner="unstructured")), ODD[0], "forward")
    allowed = offers(offer("weight", "forward", pruner="unstructured", allow_unfit=True))
    work = masked(allowed, ODD[0], "forward")
    assert not work.b.fits
    assert "obeys no pattern" in work.note


def test_an_offers_own_pattern_and_options_are_used():
    work = masked(offers(offer("weight", "forward", pattern="1:4")), ODD[0], "forward")
    assert work.b.pattern == Pattern(1, 4)
    w = np.concatenate(list(Synthetic().blocks(ODD[0], "weight", BATCH))).reshape(12, -1)
    exact = {"pruner": "transposable", "options": {"exact": True}}
    work = masked(offers(offer("weight", "forward", **exact)), ODD[0], "forward")
    expected = prune(w, "2:4", "transposable", exact=True).mask
    np.testing.assert_array_equal(work.b.bits(), expected)
    assert (expected != prune(w, "2:4", "transposable").mask).any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pruner": "sdgp", "options": {"pre": "block"}}, "did you mean 'per'"),
        ({"pruner": "sdgp", "options": {"per": "tile"}}, "expected one of map, block"),
        ({"pruner": "mvue-approx", "pattern": "8:16"}, "expected M of at most 8"),
        ({"relu": True}, "relu is for activations"),
    ],
)
def test_options_are_checked_whether_or_not_bits_are_made(fields, message):
    with pytest.raises(NmsimError, match=message):
        masked(offers(offer("gradient", "backward", **fields)), ODD[0], "backward")


def test_gradients_are_masked_of_pruned_weights_alone():
    with pytest.raises(SpecError, match="masks_gradient is for weights, not for the gradient"):
        offers(offer("gradient", "backward", pruner="mvue", masks_gradient=True))
    document = {
        "summary": "s",
        "source": "s",
        "leave_dense": {"first": True},
        "operands": [{"role": "weight", "phases": ["forward"], "pruner": "magnitude"}],
    }
    validate(Recipe, document, "a recipe")
    document["operands"][0]["masks_gradient"] = True
    with pytest.raises(SpecError, match="expected no leave_dense beside it"):
        validate(Recipe, document, "a recipe")


def test_two_offers_of_one_role_draw_apart():
    chosen = offers(
        offer("gradient", "backward", pruner="random"), offer("gradient", "update", pruner="random")
    )
    (layer,) = layers_of(
        {"name": "l", "type": "linear", "in_features": 8, "out_features": 16, "tokens": 16}
    )
    backward = masked(chosen, layer, "backward", batch=1).a.bits()
    assert (backward != masked(chosen, layer, "update", batch=1).a.bits()).any()


def test_columns_in_many_blocks_are_those_in_one(monkeypatch):
    chosen = offers(offer("activation", "update"))
    whole = masked(chosen, ODD[0], "update").b.bits()
    monkeypatch.setattr("nmsim.recipes.masking._BLOCK_ELEMENTS", 500)
    np.testing.assert_array_equal(masked(chosen, ODD[0], "update").b.bits(), whole)


def test_tiles_restart_at_every_group_of_a_convolution():
    """10 outputs a group: tiles of 4 rows must not reach into the next group."""
    (layer,) = layers_of(
        {"name": "g", "type": "conv", "in_channels": 8, "out_channels": 20, "kernel": 3,
         "input_size": 5, "groups": 2}
    )  # fmt: skip
    work = masked(load_recipe("transposable"), layer, "forward")
    w = np.concatenate(list(Synthetic().blocks(layer, "weight", BATCH))).reshape(2, 10, -1)
    np.testing.assert_array_equal(
        work.b.bits(), prune(w, "2:4", "transposable").mask.reshape(20, -1)
    )


def test_only_padded_columns_are_irregular():
    (bare,) = layers_of(
        {"name": "b", "type": "conv", "in_channels": 8, "out_channels": 4, "kernel": 3,
         "input_size": 5}
    )  # fmt: skip
    chosen = offers(offer("activation", "forward"))
    assert masked(chosen, bare, "forward").a.regular
    assert not masked(chosen, ODD[0], "forward").a.regular


def test_a_layer_runs_in_the_number_format_that_its_file_says_under_every_recipe():
    network = validate(
        Network,
        {"layers": [
            {"name": "a", "type": "linear", "in_features": 8, "out_features": 8,
             "number_format": "bf16"},
            {"name": "b", "type": "linear", "in_features": 8, "out_features": 8,
             "number_format": "int8"},
            {"name": "c", "type": "linear", "in_features": 8, "out_features": 8},
            {"name": "m", "type": "matmul", "m": 8, "n": 8, "k": 8, "number_format": "fp16"},
        ]},
        "test",
    )  # fmt: skip
    fields = {"summary": "s", "source": "s", "leave_dense": {"layers": ["b"]}}
    offer = {"role": "weight", "pruner": "magnitude", "phases": ["forward"]}
    formats = {"forward": "int4", "backward": "fp8"}
    recipe = Recipe(name="r", operands=[offer], formats=formats, **fields)
    setting = Setting(recipe, Pattern(2, 4), Synthetic())
    found = {}
    for work in sparse_gemms(network.layers, setting):
        found.setdefault(work.gemm.layer, []).append(work.number_format)
    assert found == {
        "a": ["bf16", "bf16", "bf16"],
        "b": ["int8", "", ""],
        "c": ["int4", "fp8", ""],
        "m": ["fp16", "fp16", "fp16"],
    }
