"""What networks say between their GEMMs: against published counts, by hand, and what is refused."""

import pytest

from nmsim.errors import SpecError
from nmsim.machines import load_hardware
from nmsim.machines.step import Calling
from nmsim.network.catalog import MODELS, load_model
from nmsim.network.operations import chain_of
from nmsim.report import Room, render_training
from nmsim.result import totals
from nmsim.run.memory import memory_footprint
from nmsim.run.point import Point, rows
from nmsim.run.training import train, training_document
from nmsim.step.chains import Style, chain_works
from nmsim.step.elementwise import Means, beside, elementwise_columns

ARRAY = load_hardware("systolic-128x128-2to4")
A100 = load_hardware("a100-sxm4-80gb")
KNOWN = ARRAY.elementwise
BY_HAND = 1000.0


# ---- what the networks of the catalog say

_PARAMETERS = {
    "batch_norm": ("norm", 2),
    "layer_norm": ("norm", 2),
    "rms_norm": ("norm", 1),
    "bias": ("bias", 1),
    "conv_bias": ("bias", 1),
}
"""What an operation's parameters are called in published counts, and how many a feature has."""

_APART = {
    ("deepseek-v3", "norm"): 61 * 64,  # of 576 features of kv_a, 512 are normalised
    ("qwen3-4b", "norm"): 36 * (32 + 8 - 2) * 128,  # one scale for the heads of a kind
    ("t5-base", "norm"): -768,  # the embedding is looked up for the decoder, too
    ("mask-rcnn-r50-fpn", "bias"): 768,  # a transposed convolution, as a linear layer of 4 times
}
"""Where counts differ, and why: features that an operation runs on and parameters that it has."""


def features(layer, where):
    names = ("out_channels", "out_features") if where == "then" else ("in_channels", "in_features")
    found = (getattr(layer, name) for name in (*names, "features") if hasattr(layer, name))
    return next(found)


def parameters(network):
    """Parameters of norms and biases that the chains of a network's layers imply."""
    found = {"norm": 0, "bias": 0}
    for layer in network.declared:
        for where in ("before", "then"):
            for made in chain_of(getattr(layer, where)):
                if made.name in _PARAMETERS:
                    kind, each = _PARAMETERS[made.name]
                    own = kind == "norm" or not getattr(layer, "weight_of", "")
                    found[kind] += own * each * features(layer, where) * layer.repeat
    return found


@pytest.mark.parametrize("name", list(MODELS))
def test_norms_and_biases_that_a_network_says_have_the_published_parameters(name):
    network = load_model(name)
    found = parameters(network)
    assert any(layer.before or layer.then for layer in network.declared)
    for kind, word in (("norm", "norm"), ("bias", "bias")):
        told = [
            one.count
            for one in (network.published.elsewhere if network.published else ())
            if word in one.what.lower() and "choice" not in one.what
        ]
        if told:
            off = found[kind] - sum(told)
            assert off == _APART.get((name, kind), 0), (kind, found, told)


@pytest.mark.parametrize("name", list(MODELS))
def test_a_shared_input_has_one_owner_and_every_network_has_a_loss_or_makes_features(name):
    layers = {layer.name: layer for layer in load_model(name).declared}
    for layer in layers.values():
        owner = getattr(layer, "input_of", "")
        assert not owner or not layers[owner].input_of
    makes_features = {
        "bert-base",
        "bert-large",
        "sam-vit-h",
        "whisper-small-encoder",
        "wav2vec2-base",
    }
    last = {one.name for layer in layers.values() for one in chain_of(layer.then)}
    assert ("loss" in last) != (name in makes_features)


# ---- what a layer may say


def network(tmp_path, *layers):
    path = tmp_path / "own.yaml"
    path.write_text("layers:\n" + "".join(f"  - {{{one}}}\n" for one in layers))
    return path


FC = "type: linear, in_features: 8, out_features: 8, tokens: 4"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("then: relu", "expected a list of operations"),
        ("then: [rleu]", "rleu"),
        ("then: [relu/]", "expected an operation, such as relu, max_pool/4"),
        ("then: [max_pool/0]", "expected a number above 0"),
        ("input_of: nobody", "input_of"),
        ("input_of: b", "expected another layer with an input of its own"),
    ],
)
def test_what_a_layer_cannot_say_is_refused_in_one_line(tmp_path, more, message):
    path = network(tmp_path, f"name: a, {FC}", f"name: b, {FC}, {more}")
    with pytest.raises(SpecError, match=message) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_a_shared_input_is_of_the_same_elements(tmp_path):
    path = network(tmp_path, f"name: a, {FC}", f"name: b, {FC}0, input_of: a")
    with pytest.raises(SpecError, match="of the same elements"):
        load_model(path)


def test_a_shared_input_is_kept_once(tmp_path):
    apart = network(tmp_path, f"name: a, {FC}", f"name: b, {FC}")
    one = memory_footprint(apart, batch=1, hardware="ideal").total()["dense"]["activations"]
    shared = network(tmp_path, f"name: a, {FC}", f"name: b, {FC}, input_of: a")
    found = memory_footprint(shared, batch=1, hardware="ideal").total()["dense"]["activations"]
    assert 2 * found == one == 2 * 4 * 8 * 2


# ---- chains by hand: bytes of 1,000 elements


def works(chain, fusion="none", *, autocast=False, stream=False, trains=True, width=2.0, **more):
    calling = Calling(fusion=fusion, autocast=autocast)
    style = Style(KNOWN, calling, 2.0, 2.0, stream=stream, trains=trains)
    return chain_works(chain_of(chain), BY_HAND, style, width, **more)


def moved(found):
    return [
        (sum(one.read for one in way) / BY_HAND, sum(one.written for one in way) / BY_HAND)
        for way in (found.forward, found.backward)
    ]


@pytest.mark.parametrize(
    ("chain", "eager", "fused"),
    [
        # Sums first; back, the ReLU's mask is made again of the batch norm's input.
        (["batch_norm", "relu"], [(6, 4), (12, 4)], [(4, 2), (8, 2)]),
        # What goes on beside is read and its gradient written: no mask can be made again.
        (
            ["batch_norm", "sum", "relu"],
            [(2 * (2 + 2 + 1), 6), (2 * (4 + 2), 4)],
            [(6, 2), (10, 4)],
        ),
        # What goes on behind a norm is written, too; its gradient is added up and written once.
        (["residual", "layer_norm"], [(6, 4), (8, 4)], [(4, 4), (6, 4)]),
        # A bias is in the GEMM; back, its sum reads what the GELU's gradient is written for.
        (["bias", "gelu"], [(2, 2), (6, 2)], [(2, 2), (4, 2)]),
        (["relu", "max_pool/4"], [(4, 2.5), (4.5, 4)], [(2, 0.5), (2.5, 2)]),
        (["relu", "layer_norm"], [(4, 4), (8, 4)], [(2, 2), (4, 2)]),
        # All of the ReLU's result is there before any of the batch norm's.
        (["relu", "batch_norm"], [(6, 4), (12, 4)], [(4, 4), (8, 2)]),
        (["dropout"], [(2, 3), (3, 2)], [(2, 3), (3, 2)]),
        ([], [(0, 0), (0, 0)], [(0, 0), (0, 0)]),
    ],
)
def test_bytes_of_chains_by_hand(chain, eager, fused):
    assert moved(works(chain)) == eager
    assert moved(works(chain, "chains")) == fused


def test_inference_has_no_sums_no_loss_and_no_way_back():
    found = works(["batch_norm", "relu", "dropout"], trains=False)
    assert moved(found)[0] == (4, 4)
    assert works(["loss"], trains=False).forward == ()
    done = works(["batch_norm", "residual", "relu"], "epilogues", trains=False)
    assert moved(done)[0] == (2, 0)  # the residual, read by the convolution's epilogue
    assert [one.launches for one in done.forward] == [0]
    rest = works(["batch_norm", "relu", "max_pool/4"], "epilogues", trains=False)
    assert moved(rest)[0] == (2, 0.5)


def test_autocast_widens_norms_and_what_joins_blocks_and_casts_for_gemms():
    # Cast 2 to 4, norm in 4; its result is cast for the GEMM that it feeds.
    found = works(["layer_norm"], autocast=True, stream=True, feeds=True)
    assert [(one.what, one.read, one.written) for one in found.forward] == [
        ("cast", 2000, 4000), ("layer_norm", 4000, 4000), ("cast", 4000, 2000),
    ]  # fmt: skip
    # A sum of 16 and 32 bits is of 32; of a network without wide norms it is of 16.
    assert moved(works(["residual"], autocast=True, stream=True))[0] == (6, 4)
    assert moved(works(["residual"], autocast=True))[0] == (4, 2)
    # Fused, nothing is cast on its own: read once in 16 and once in 32 bits, written in 32 and 16.
    fused = works(["residual", "layer_norm"], "chains", autocast=True, stream=True)
    assert moved(fused)[0] == (6, 6)


# ---- a step of them


def charged(hardware, path, phase, layer=None, **more):
    machine = load_hardware(hardware, **more)
    layers = load_model(path).layers
    found = beside(Means.of(machine), layers, 1)
    gemms = [one.gemm for one in (layer or layers[-1]).lower(1) if one.gemm.phase == phase]
    columns = elementwise_columns(machine, found, gemms[:1])
    return {name: values[0] for name, values in columns.items()}


def test_a_shared_input_s_gradients_are_added_and_its_norm_is_made_once(tmp_path):
    path = network(
        tmp_path,
        f"name: a, {FC}, then: [layer_norm]",
        f"name: q, {FC}, input: norm",
        f"name: k, {FC}, input: norm, input_of: q, repeat: 1",
    )
    backward = charged(ARRAY, path, "backward")
    assert backward["elementwise_work"].startswith("gradients added ")
    assert backward["elementwise_bytes"] == 3 * 32 * 2
    assert charged(ARRAY, path, "forward")["elementwise_bytes"] == 0
    made = sum(row["elementwise_work"].count("layer_norm") for row in run(path))
    assert made == 2  # forward and backward


def run(path, hardware=ARRAY, **more):
    own = {"batch": 1, "fidelity": "analytical", **more}
    return list(rows(Point(path, hardware=hardware, **own)))


def test_an_embedding_is_charged_to_the_layer_behind_it(tmp_path):
    path = tmp_path / "words.yaml"
    path.write_text(
        "sequence: 16\nlayers:\n"
        "  - {name: words, type: embedding, entries: 100, features: 8, then: [layer_norm]}\n"
        "  - {name: fc, type: linear, in_features: 8, out_features: 4, input: norm}\n"
    )
    found = {row["phase"]: row for row in run(path)}
    rows_of, table = 16 * 8 * 2, 100 * 8
    assert found["forward"]["elementwise_bytes"] == rows_of * (2 + 2)
    # The gradient of the table is as large as the table.
    assert found["backward"]["elementwise_bytes"] == rows_of * (3 + 2) + 2 * table
    assert found["update"]["elementwise_bytes"] == (table + 32) * (2 * 4 * 2 + 2 + 2)


def test_an_image_s_layer_has_its_way_back_in_update(tmp_path):
    path = network(
        tmp_path,
        "name: c, type: conv, in_channels: 4, out_channels: 8, kernel: 1, input_size: 4, "
        "input: data, then: [relu]",
    )
    found = {row["phase"]: row for row in run(path)}
    assert set(found) == {"forward", "update"}
    assert found["update"]["elementwise_work"].startswith("relu ")


def test_channels_first_turns_images_of_each_convolution(tmp_path):
    path = network(
        tmp_path,
        "name: c, type: conv, in_channels: 4, out_channels: 8, kernel: 1, input_size: 8, "
        "then: [relu]",
        "name: d, type: conv, in_channels: 8, out_channels: 8, groups: 8, kernel: 3, padding: 1, "
        "input_size: 8, then: [relu]",
    )
    last, first = (
        run(path, load_hardware(A100, layout=layout))
        for layout in ("channels_last", "channels_first")
    )
    for one, other in zip(last, first, strict=True):
        more = other["elementwise_bytes"] - one["elementwise_bytes"]
        images = 2 * 2 * 64 * (4 + 8) if one["layer"] == "c" else 0  # there and back, 16 bits
        assert more == images


def test_the_host_keeps_a_short_step_waiting(tmp_path):
    path = network(tmp_path, f"name: a, {FC}, then: [bias, gelu]")
    eager = load_hardware(A100, stack="pytorch")
    found = run(path, eager)
    total = totals(found)["all"]
    operations = sum(row["elementwise_launches"] for row in found)
    assert total["elementwise_launches"] == operations
    host = 3 * 22 + operations * 8.6
    assert sum(row["host_us"] for row in found) == pytest.approx(host)
    assert total["step_us"] == pytest.approx(max(host, total["step_us"] - total["host_wait_us"]))
    assert total["host_wait_us"] > 0
    graphs = totals(run(path, load_hardware(A100, stack="compiled")))["all"]
    assert graphs["host_wait_us"] == 0
    assert graphs["step_us"] < total["step_us"]


def test_a_training_run_is_of_whole_steps_and_tells_its_gemms_apart(tmp_path):
    path = network(
        tmp_path,
        "name: a, type: linear, in_features: 1024, out_features: 1024, tokens: 2048, then: [gelu]",
    )
    own = {"hardware": ARRAY, "recipe": "asp", "batch": 1, "fidelity": "analytical"}
    whole, gemms = (
        training_document(train(path, steps=4, elementwise=estimate, **own))
        for estimate in (True, False)
    )
    total = whole["total"]
    assert total["gemms_speedup"] > total["speedup"] > 1
    assert 0 < total["elementwise_share"] < 1
    assert gemms["total"]["elementwise_share"] is None
    assert gemms["total"]["speedup"] > total["speedup"]
    segment = whole["segments"][-1]
    beside = segment["step_us"] - segment["gemms_us"] - segment["mask_us"]
    assert segment["elementwise_us"] == pytest.approx(beside)
    shown = [
        "".join(map(str, table.columns[1].cells)) for table in render_training(whole, Room())[2:]
    ]
    assert "of all steps, an estimate," in shown[0]
    assert "with masks" in str(list(render_training(gemms, Room())[2].columns[1].cells))


def test_who_generates_has_weights_in_16_bits_and_casts_nothing():
    eager = load_hardware(A100, stack="pytorch")
    for scenario, casts in (("infer", True), ("prefill", False), ("decode", False)):
        found = run("gpt2", eager, scenario=scenario, layers="*mlp*", tokens=8)
        assert any("cast" in row["elementwise_work"] for row in found) == casts


def test_fusion_moves_fewer_bytes_by_fewer_kernels():
    one, other = (
        totals(run("resnet18", load_hardware(A100, stack=stack), layers="layer2*", batch=64))["all"]
        for stack in ("pytorch", "compiled")
    )
    for name in ("elementwise_bytes", "elementwise_launches", "elementwise_us"):
        assert 1.3 * other[name] < one[name], name


def test_a_network_that_says_nothing_is_taken_by_its_inputs(tmp_path):
    path = network(tmp_path, f"name: a, {FC}, input: gelu")
    found = {row["phase"]: row for row in run(path)}
    assert found["forward"]["elementwise_bytes"] == 2 * 32 * 2
    said = network(tmp_path, f"name: a, {FC}, input: gelu, then: [bias]")
    assert {row["phase"]: row for row in run(said)}["forward"]["elementwise_bytes"] == 0


def test_gemms_by_size_have_nothing_beside_them_and_no_estimate_can_be_asked_off():
    (row,) = rows(Point("gemm:64x64x64", hardware=ARRAY, fidelity="analytical"))
    assert row["elementwise_us"] is row["host_us"] is None
    found = run("resnet18", layers="layer1.0*", elementwise=False)
    assert totals(found)["all"]["elementwise_us"] is None


def test_eager_products_of_attention_copy_their_heads_each_way(tmp_path):
    """Queries, keys, values and results, 2 bytes of 3 samples, 8 tokens, heads of 4 and 16."""
    path = tmp_path / "heads.yaml"
    path.write_text(
        "sequence: 8\nlayers:\n"
        "  - {name: a, type: attention, heads: 4, kv_heads: 2, head_dim: 16}\n"
    )
    own = {"batch": 3, "layers": "a"}
    eager = {"stack": "pytorch", "fused_attention": False}
    found = {row["phase"]: row for row in run(path, load_hardware(A100, **eager), **own)[::-1]}
    queries, keys, scores = 3 * 8 * 4 * 16 * 2, 3 * 8 * 16 * 2, 3 * 4 * 8 * 8
    copies = 2 * queries + 2 * 2 * keys + 2 * queries + 2 * 4 * keys
    # Scores: scaled in 16 bits, cast, softmax in 32, cast back.
    assert found["forward"]["elementwise_bytes"] == copies + scores * (4 + 6 + 8 + 6)
    assert "heads" in found["backward"]["elementwise_work"]
    for other in ({"stack": "pytorch"}, {"stack": "best", "fused_attention": False}):
        told = [row["elementwise_work"] for row in run(path, load_hardware(A100, **other), **own)]
        assert not any("heads" in one for one in told)


def test_causal_attention_adds_its_mask_to_the_scores_and_nothing_on_the_way_back(tmp_path):
    path = tmp_path / "causal.yaml"
    path.write_text(
        "sequence: 8\nlayers:\n"
        "  - {name: a, type: attention, heads: 4, head_dim: 16, causal: true}\n"
        "  - {name: b, type: attention, heads: 4, head_dim: 16}\n"
    )
    found = {
        (row["layer"], row["phase"]): row["elementwise_bytes"]
        for row in run(path, ARRAY)
        if row["elementwise_bytes"]
    }
    scores = 4 * 8 * 8 * ARRAY.operand_bits // 8
    assert found["a", "forward"] - found["b", "forward"] == 2 * scores
    assert found["a", "backward"] == found["b", "backward"]
