"""Memory of a step against closed forms, by part, recipe and machine."""

import pytest

import nmsim
from nmsim.errors import NmsimError
from nmsim.machines import load_hardware
from nmsim.network.catalog import load_model
from nmsim.run.memory import memory_footprint

T, I, O = 24, 64, 32  # noqa: E741 - the names of the lowering


@pytest.fixture
def kept(tmp_path):
    """A function from recipe and machine to the totals of a linear layer."""
    path = tmp_path / "linear.yaml"
    path.write_text(
        f"layers: [{{name: fc, type: linear, in_features: {I}, out_features: {O}, tokens: {T}}}]"
    )

    def total(recipe, hardware="ideal", **more):
        own = {"batch": 1, "hardware": hardware, **more}
        return memory_footprint(path, recipe=recipe, **own).total()["recipe"]

    return total


def own(tmp_path, *operands):
    path = tmp_path / "own.yaml"
    path.write_text("summary: s\nsource: s\noperands:\n" + "".join(f"  - {o}\n" for o in operands))
    return path


def test_a_dense_step_by_hand(kept):
    assert kept("dense", batch=2) == {
        "weights": 2 * I * O,
        "metadata": 0,
        "masks": 0,
        "masters": 4 * I * O,
        "gradients": 2 * I * O,
        "optimizer": 4 * I * O,
        "activations": 2 * 2 * T * I,
        "cache": 0,
        "workspace": 2 * 2 * T * (I + O),
        "all": 12 * I * O + 4 * T * I + 4 * T * (I + O),
    }


@pytest.mark.parametrize(
    ("pattern", "share"), [("2:4", 9 / 16), ("4:8", 19 / 32), ("1:4", 9 / 32), ("1:16", 5 / 64)]
)
def test_packed_weights_keep_n_of_m_and_their_metadata(kept, pattern, share):
    found = kept("transposable", pattern=pattern)
    assert found["weights"] + found["metadata"] == share * 2 * I * O
    assert found["masks"] == I * O / 8


def test_hardware_that_reads_along_k_needs_a_layout_for_each_phase(kept):
    a100 = load_hardware("a100-sxm4-80gb", masks="always")
    for hardware in (a100, "systolic-128x128-2to4"):
        found = kept("transposable", hardware)
        assert found["weights"] + found["metadata"] == 9 / 8 * 2 * I * O
    # Two masks of their own are two copies anywhere, and none outlives the step.
    for hardware in ("ideal", a100):
        found = kept("fst", hardware)
        assert found["weights"] == 2 * I * O
        assert found["masks"] == 0


def test_masks_are_kept_for_later_steps_and_phases(kept, tmp_path):
    assert kept("asp")["masks"] == I * O / 8
    fresh = own(
        tmp_path, "{role: weight, phases: [forward, backward], pruner: transposable-greedy}"
    )
    assert kept(fresh)["masks"] == I * O / 8
    once = own(tmp_path, "{role: weight, phases: [forward], pruner: magnitude}")
    assert kept(once)["masks"] == 0
    twice = own(tmp_path, "{role: weight, phases: [forward], pruner: magnitude, refresh: 2}")
    assert kept(twice)["masks"] == I * O / 8


def test_a_phase_that_runs_dense_needs_dense_weights(kept):
    found = kept("asp")
    assert found["weights"] + found["metadata"] == (9 / 16 + 1) * 2 * I * O
    # 4:8 is beyond 2:4 hardware.
    assert kept("transposable", "a100-sxm4-80gb", pattern="4:8")["weights"] == 2 * I * O


def test_fixed_activations_are_halved_without_metadata(kept):
    assert kept("fst")["activations"] == T * I
    assert kept("fst")["metadata"] == I * O * 2 / 8
    assert kept("mvue")["activations"] == 2 * T * I
    assert kept("mvue")["workspace"] == 2 * T * (I + O) + 9 / 16 * 2 * T * O


def test_what_im2col_repeats_is_kept_as_pixels(tmp_path):
    found = memory_footprint("resnet18", recipe="fst", hardware="ideal", batch=4)
    dense = {layer.layer: layer for layer in found.dense}
    for layer in found.layers:
        whole = dense[layer.layer].activations
        # 3 x 3 windows see a pixel up to nine times: half of the columns are more than the image.
        assert (layer.activations < whole) == (layer.layer == "fc"), layer.layer
        # A shortcut reads what its block does, which is kept there.
        assert (whole == 0) == ("downsample" in layer.layer)
    # A 1 x 1 window of stride 2 sees a quarter of the pixels, with a mask and without.
    path = tmp_path / "strided.yaml"
    path.write_text(
        "layers: [{name: s, type: conv, in_channels: 64, out_channels: 128, kernel: 1, stride: 2, "
        "input_size: 56}]"
    )
    found = memory_footprint(path, recipe="fst", hardware="ideal", batch=4)
    assert found.dense[0].activations == 4 * 64 * 28 * 28 * 2
    assert found.layers[0].activations == found.dense[0].activations / 2


def test_optimizers_and_widths(kept):
    for optimizer, states in (("sgd", 0), ("momentum", 1), ("adam", 2)):
        assert kept("dense", optimizer=optimizer)["optimizer"] == states * 4 * I * O
    wide = kept("transposable", load_hardware("ideal", operand_bits=32))
    assert wide["masters"] == 0
    # The dense copy is the master, and 34 of 64 bits are packed.
    assert wide["weights"] + wide["metadata"] == (1 + 17 / 32) * 4 * I * O


def test_a_network_adds_up_and_repeats_count(kept):
    network = load_model("bert-base")
    found = memory_footprint("bert-base", batch=2)
    total = found.total()
    assert total["dense"] == total["recipe"]
    assert total["recipe"]["weights"] == 2 * network.weights
    attention = next(layer for layer in found.layers if layer.layer.endswith("attention.self"))
    tokens, heads, features, blocks = 128, 12, 64, 12
    inputs = heads * (3 * tokens * features + tokens * tokens) * blocks
    assert attention.activations == 2 * 2 * inputs
    assert attention.weights == attention.masters == attention.optimizer == 0
    words = next(layer for layer in found.layers if layer.layer.endswith("word_embeddings"))
    assert (words.weights, words.activations, words.workspace) == (2 * 30522 * 768, 0, 0)


def test_repeated_blocks_keep_masks_each_and_share_a_workspace(tmp_path):
    path = tmp_path / "blocks.yaml"
    path.write_text(
        f"layers: [{{name: fc, type: linear, in_features: {I}, out_features: {O}, tokens: {T}, "
        f"repeat: 3}}, {{name: head, type: linear, in_features: {O}, out_features: 8, "
        f"tokens: {T}}}]"
    )
    total = memory_footprint(path, recipe="asp", hardware="ideal", batch=1).total()["recipe"]
    assert total["masks"] == (3 * I * O + O * 8) / 8
    assert total["workspace"] == 2 * T * (I + O)


def test_data_needs_no_gradient_and_no_backward_weights():
    found = memory_footprint("resnet18", recipe="sr-ste", hardware="ideal", batch=3)
    first = found.layers[0]
    # 147 elements a row: 36 groups keep 72, the last three keep two.
    assert first.weights == 64 * 74 * 2
    assert first.workspace == 3 * 64 * 112 * 112 * 2


def test_a_withheld_mask_packs_nothing(kept, tmp_path):
    weight = "role: weight, phases: [forward, backward], pruner: transposable"
    withheld = kept(own(tmp_path, f"{{{weight}, withheld: true}}"))
    assert (withheld["weights"], withheld["metadata"]) == (kept("dense")["weights"], 0)


def test_what_is_no_network_or_optimizer_is_refused(tmp_path):
    with pytest.raises(NmsimError, match="gemm:4x4x4: expected a network"):
        memory_footprint("gemm:4x4x4")
    with pytest.raises(NmsimError, match="unknown optimizer 'adma'; did you mean 'adam'"):
        nmsim.memory_footprint("resnet18", optimizer="adma")
    path = own(tmp_path, "{role: weight, phases: [forward], pruner: magnitude, pattern: dense}")
    assert memory_footprint("resnet18", recipe=path).total()["ratio"]["all"] == 1
