"""Recipes by layer: globs, layers left dense, number formats, masks that no hardware may use."""

import numpy as np
import pytest

from nmsim.cli.commands.describe import describe, schema
from nmsim.errors import RecipeError, SpecError
from nmsim.formats import FORMATS, format_bits
from nmsim.gemm import PHASES, Gemm
from nmsim.machines import load_hardware
from nmsim.machines.gpu.schema import in_format
from nmsim.machines.width import in_own_width
from nmsim.network.catalog import MODELS, Network, load_model
from nmsim.network.layers.layer_fields import WeightedSpec
from nmsim.network.tensors import Synthetic
from nmsim.pattern import Pattern
from nmsim.recipes.masking import Setting, sparse_gemms
from nmsim.recipes.recipe import RECIPES, Recipe, load_recipe
from nmsim.run.memory import memory_footprint
from nmsim.run.point import Point, rows
from nmsim.spec import validate

NETWORK = validate(
    Network,
    {
        "layers": [
            {"name": "stem", "type": "linear", "in_features": 16, "out_features": 24, "tokens": 8},
            {"name": "block.ff", "type": "linear", "in_features": 24, "out_features": 16,
             "tokens": 8, "repeat": 2},
            {"name": "block.q", "type": "linear", "in_features": 16, "out_features": 16,
             "tokens": 8},
            {"name": "product", "type": "matmul", "m": 8, "n": 8, "k": 16},
            {"name": "head", "type": "linear", "in_features": 16, "out_features": 8, "tokens": 8},
        ]
    },
    "test",
)  # fmt: skip


def recipe(*operands, **fields):
    document = {"name": "own", "summary": "s", "source": "t", "operands": list(operands)}
    return validate(Recipe, document | fields, "test")


def offer(role="weight", phases=("forward",), pruner="magnitude", **fields):
    return {"role": role, "phases": list(phases), "pruner": pruner, **fields}


def works(chosen, network=NETWORK, pattern="2:4"):
    setting = Setting(chosen, Pattern.parse(pattern), Synthetic(), 1)
    return {(w.gemm.layer, w.gemm.phase): w for w in sparse_gemms(network.layers, setting)}


def patterns(chosen, phase="forward", **options):
    found = works(chosen, **options)
    return {layer: str(work.b.pattern) for (layer, p), work in found.items() if p == phase}


def test_the_first_offer_that_matches_a_layer_wins():
    chosen = recipe(
        offer(pattern="1:8", layers="*.ff"),
        offer(pattern="1:4", layers=["*.q", "*.ff"]),
        offer(phases=["forward", "backward"], pruner="transposable", layers="block.*"),
        offer(pattern="2:4", layers=["head"]),
    )
    expected = {"stem": "dense", "block.ff": "1:8", "block.q": "1:4", "head": "2:4"}
    assert patterns(chosen) == {**expected, "product": "dense"}
    # the third offer still holds in backward, which the first two do not name
    backward = patterns(chosen, "backward")
    assert backward["block.ff"] == backward["block.q"] == "2:4"
    assert backward["head"] == "dense"


def test_an_offer_that_no_layer_can_reach_is_refused():
    for first, later in (("*", "a*"), (["a", "b"], "b"), ("a", ["a"])):
        with pytest.raises(SpecError, match="two masks are offered for the weight in forward"):
            recipe(offer(layers=first), offer(layers=later))
    recipe(offer(layers="a"), offer(layers=["a", "b"]))
    recipe(offer(layers="*"), offer(phases=["backward"]))


def test_a_row_says_when_no_offer_names_its_layer():
    found = works(recipe(offer(layers="head")))
    assert found["stem", "forward"].note == "the recipe names no operand of this layer"
    assert found["stem", "update"].note == ""
    assert found["head", "forward"].note == ""
    assert works(load_recipe("dense"))["stem", "forward"].note == ""
    assert works(load_recipe("asp"), pattern="dense")["stem", "forward"].note == ""


def test_first_last_and_named_layers_are_left_dense():
    ends = recipe(offer(), leave_dense={"first": True, "last": True})
    assert patterns(ends) == {
        "stem": "dense", "block.ff": "2:4", "block.q": "2:4", "product": "dense", "head": "dense"
    }  # fmt: skip
    assert works(ends)["head", "forward"].note == "left dense by the recipe"
    named = recipe(offer(), leave_dense={"layers": ["block.*"]})
    assert patterns(named)["stem"] == "2:4"
    assert patterns(named)["block.q"] == "dense"


def test_layers_of_repeated_blocks_and_bare_gemms_are_no_ends():
    bert = load_model("bert-base")
    left = load_recipe("mvue-1to2").leave_dense.names(bert.layers)
    assert left == {"pooler.dense"}
    assert load_recipe("mvue-1to2").leave_dense.names(load_model("resnet18").layers) == {
        "conv1", "fc"
    }  # fmt: skip
    (row,) = rows(Point([Gemm(64, 64, 64)], recipe="inference-weights+activations"))
    assert (row["a_pattern"], row["b_pattern"]) == ("4:8", "2:4")


def test_mixed_patterns_stand_where_the_paper_has_them():
    found = patterns(load_recipe("mdgf-exponential-ff+qkv"), network=load_model("vit-b16"))
    block = "encoder.layers.encoder_layer_*."
    assert {layer: pattern for layer, pattern in found.items() if pattern != "dense"} == {
        f"{block}mlp.0": "1:8", f"{block}mlp.3": "1:8", f"{block}self_attention.in_proj": "1:4"
    }  # fmt: skip
    bert = patterns(load_recipe("mdgf-exponential-ff"), network=load_model("bert-base"))
    assert [layer for layer, pattern in bert.items() if pattern != "dense"] == [
        "encoder.layer.*.intermediate.dense", "encoder.layer.*.output.dense"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "feed_forward", "projections", "masked"),
    [
        ("mdgf-exponential-ff-1to4+qk-1to4", "1:4", "1:4", "qk"),
        ("mdgf-exponential-ff-1to8+qk-1to4", "1:8", "1:4", "qk"),
        ("mdgf-exponential-ff-1to8+qk-1to8", "1:8", "1:8", "qk"),
        ("mdgf-exponential-ff-1to8+qkv-1to8", "1:8", "1:8", "qkv"),
        ("mdgf-exponential-ff+qkv", "1:8", "1:4", "qkv"),
    ],
)
def test_a_mix_masks_the_projections_that_its_row_of_the_paper_names(
    name, feed_forward, projections, masked
):
    found = patterns(load_recipe(name), network=load_model("t5-base"))
    of = {layer: pattern for layer, pattern in found.items() if pattern != "dense"}
    ends = {layer.rpartition(".")[2]: pattern for layer, pattern in of.items()}
    assert ends == dict.fromkeys(masked, projections) | dict.fromkeys(("wi", "wo"), feed_forward)
    assert len(of) == 3 * len(masked) + 4  # three attentions, two stacks of feed-forward layers


def test_queries_and_keys_need_layers_of_their_own():
    with pytest.raises(RecipeError, match=r"matches no layer"):
        patterns(load_recipe("mdgf-exponential-ff-1to8+qk-1to4"), network=load_model("vit-b16"))


FEED_FORWARD = {
    "bert-large": {"intermediate.dense", "output.dense"},
    "deepseek-v3": {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "mlp.gate",
                    "mlp.experts.gate_up_proj", "mlp.experts.down_proj",
                    "mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj",
                    "mlp.shared_experts.down_proj"},
    "encoder-decoder": {"MlpBlock_0.Dense_0", "MlpBlock_0.Dense_1"},
    "gpt-j-6b": {"mlp.fc_in", "mlp.fc_out"},
    "gpt2": {"mlp.c_fc", "mlp.c_proj"},
    "llama-3-8b": {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
    "t5-base": {"layer.1.DenseReluDense.wi", "layer.1.DenseReluDense.wo",
                "layer.2.DenseReluDense.wi", "layer.2.DenseReluDense.wo"},
    "transformer": {"linear1", "linear2"},
    "wav2vec2-base": {"feed_forward.intermediate_dense", "feed_forward.output_dense"},
    "whisper-small-encoder": {"fc1", "fc2"},
}  # fmt: skip
"""Names of the feed-forward layers behind the number of their block."""


@pytest.mark.parametrize(("name", "expected"), FEED_FORWARD.items())
def test_feed_forward_layers_are_known_by_their_names(name, expected):
    offers = load_recipe("mdgf-exponential-ff").operands
    layers = [x for x in load_model(name).layers if isinstance(x, WeightedSpec)]
    named = [x.name for x in layers if any(offer.names(x.name) for offer in offers)]
    assert {one.partition("*.")[2] for one in named} == expected


@pytest.mark.parametrize("name", ["unstructured-weights", "unstructured-gradients"])
def test_masks_without_structure_gain_nothing_and_say_why(name):
    for hardware in ("systolic-128x128-2to4", "a100-sxm4-80gb", "systolic-128x128-intersecting"):
        point = Point(
            "resnet18", hardware=hardware, recipe=name, pattern="1:8", layers="layer4.1.conv2"
        )
        for row in rows(point):
            assert row["speedup"] == 1
            assert row["macs_useful"] == row["macs_dense"]
            pruned = any(row["phase"] in offer.phases for offer in load_recipe(name).operands)
            assert ("12.50% kept, which no N:M hardware can use" in row["note"]) is pruned


def test_an_intersecting_array_gains_from_an_unstructured_mask_that_is_offered():
    chosen = recipe(offer(pruner="unstructured", allow_unfit=True))
    works = [Gemm(64, 32, 256)]
    (row,) = rows(
        Point(works, hardware="systolic-128x128-intersecting", recipe=chosen, pattern="1:8")
    )
    assert row["speedup"] > 1


def test_formats_reach_weighted_layers_of_their_phase():
    chosen = recipe(offer(), formats={"forward": "int4"}, leave_dense={"last": True})
    found = works(chosen)
    assert found["stem", "forward"].number_format == "int4"
    assert found["stem", "update"].number_format == ""
    assert found["head", "forward"].number_format == ""
    assert found["product", "forward"].number_format == ""


def test_a_narrow_format_halves_an_arrays_operand_bytes_and_no_cycle():
    point = {"model": [Gemm(256, 128, 512)], "recipe": recipe(formats={"forward": "int8"})}
    slow = {"dram.gbps": 100}
    wide, narrow = (
        next(rows(Point(hardware="systolic-128x128", overrides=slow, **(point | changed))))
        for changed in ({"recipe": "dense"}, {})
    )
    assert narrow["compute_cycles"] == wide["compute_cycles"]
    for column in ("dram_read_bytes", "sram_read_bytes"):
        assert 2 * narrow[column] == wide[column]
    assert narrow["dram_write_bytes"] == wide["dram_write_bytes"]
    assert (wide["number_format"], narrow["number_format"]) == ("16-bit", "int8")
    assert narrow["note"] == "int8 in memory and buffers, multiplied as 16-bit"
    assert (wide["speedup"], narrow["dense_cycles"]) == (1, wide["cycles"])
    assert narrow["speedup"] == wide["cycles"] / narrow["cycles"] > 1  # fewer stalls
    assert (narrow["format_speedup"], wide["format_speedup"]) == (narrow["speedup"], None)


def test_a_gpu_runs_a_format_at_its_own_rate_and_says_when_it_has_none():
    works = [Gemm(4096, 4096, 4096)]
    a100 = load_hardware("a100-sxm4-80gb")
    times = {}
    for wanted in ("bf16", "int8", "fp8"):
        point = Point(
            works, hardware=a100, recipe=recipe(formats={"forward": wanted}), fidelity="analytical"
        )
        times[wanted] = next(rows(point))
    assert times["int8"]["time_us"] < 0.7 * times["bf16"]["time_us"]
    assert times["int8"]["number_format"] == "int8"
    assert times["fp8"]["time_us"] == times["bf16"]["time_us"]
    assert times["fp8"]["number_format"] == "bf16"
    assert times["fp8"]["note"] == "the GPU has no fp8 and runs bf16"


@pytest.mark.parametrize("name", ["h100-sxm", "h200", "v100"])
def test_a_gpu_without_a_format_or_a_library_for_it_runs_its_own(name):
    gpu = load_hardware(name)
    assert in_format(gpu, "int4") == (gpu, gpu.dtype, f"the GPU has no int4 and runs {gpu.dtype}")
    served = gpu.model_copy(
        update={"libraries": [one.model_copy(update={"dtypes": ()}) for one in gpu.libraries]}
    )
    assert in_format.__wrapped__(served, "int4").name == gpu.dtype
    unserved = gpu.model_copy(
        update={"libraries": [one.model_copy(update={"dtypes": ("fp8",)}) for one in gpu.libraries]}
    )
    assert in_format.__wrapped__(unserved, "fp16").note.startswith("the GPU has no fp16")


def test_formats_wider_than_an_array_run_as_its_own():
    array = load_hardware("tpu-v1")
    ran = in_own_width(array, "fp16")
    assert ran.machine == array
    assert (ran.name, ran.note) == ("8-bit", "fp16 does not fit the array and runs as 8-bit")
    assert in_own_width(array) == (array, "8-bit", "")
    assert in_own_width(array, "int8") == (array, "int8", "")


def test_selectors_keep_their_width_whatever_is_in_memory():
    works = [Gemm(128, 128, 128)]
    narrow = recipe(offer(), formats={"forward": "int8"})
    own, other = (next(rows(Point(works, recipe=chosen))) for chosen in ("asp", narrow))
    assert own["selector_mux2"] == other["selector_mux2"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"formats": {"forward": "int3"}}, "formats.forward is 'int3'"),
        ({"formats": {"fprop": "int8"}}, "formats.fprop"),
        ({"leave_dense": {"frist": True}}, "did you mean 'first'"),
        ({"schedule": {"dense": 0.7, "finetune": 0.7}}, "shares of one run"),
        ({"schedule": {"sparsify": "mdgf-liner"}}, "did you mean 'mdgf-linear'"),
        (
            {"schedule": {"sparsify": "mdgf-linear", "options": {"k": 2}}},
            r"'mdgf-linear': unknown option 'k' \(known: beta\)",
        ),
        (
            {"schedule": {"sparsify": "sdgf-geometric", "options": {"k": 2.5}}},
            "expected a power of two",
        ),
        ({"schedule": {"sparsify": "mdgf-linear", "options": {"beta": -1}}}, "a rate above 0"),
        (
            {"schedule": {"sparsify": "mdgf-exponential", "options": {"beta": 1, "cutoff": 2}}},
            "a factor from 0 to 1",
        ),
        ({"schedule": {"dense": 0.5, "roles": ["gradient"]}}, "roles: gradient, of which"),
        ({"schedule": {"sparsify": "mdgf-exponential"}}, "expected a cutoff"),
        ({"schedule": {"finetune": 0.1}}, "a schedule that sparsifies before it"),
    ],
)
def test_what_a_recipe_cannot_say_is_refused_in_one_line(fields, message):
    with pytest.raises(SpecError, match=message) as error:
        recipe(offer(), **fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": []}, "layers: expected a glob"),
        ({"phases": ["forward", "forward"]}, "phases: expected each once"),
        ({"withheld": True, "allow_unfit": True}, "is offered or it is not"),
    ],
)
def test_an_offer_that_contradicts_itself_is_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        recipe(offer(**fields))


@pytest.mark.parametrize(
    "chosen",
    [recipe(offer(layers=["*.mlpp.*"]), offer()), recipe(leave_dense={"layers": "*.mlpp.*"})],
)
def test_globs_that_match_no_layer_are_refused(chosen):
    for run in (
        lambda: next(rows(Point("vit-tiny", recipe=chosen))),
        lambda: memory_footprint("vit-tiny", recipe=chosen),
    ):
        with pytest.raises(
            RecipeError, match=r"layers: \*\.mlpp\.\* matches no layer \(they are p"
        ):
            run()


def test_a_layer_that_is_not_asked_for_is_named_all_the_same():
    chosen = recipe(offer(layers="*.mlp.*"))
    table = list(rows(Point("vit-tiny", recipe=chosen, layers="patch_embed.proj")))
    assert {row["note"] for row in table if row["phase"] == "forward"} == {
        "the recipe names no operand of this layer"
    }


def test_feed_forward_and_qkv_layers_are_named_in_every_transformer():
    chosen = load_recipe("mdgf-exponential-ff+qkv")
    for name in MODELS:
        if not any(layer.type == "attention" for layer in load_model(name).layers):
            continue
        chosen.check_names(load_model(name).layers)


def test_shown_recipes_say_layers_formats_and_schedules():
    shown = dict(describe("recipes", "inference-weights+activations-b"))
    assert shown["left dense"] == "the last layer"
    assert shown["number formats"] == "int4 in forward"
    assert shown["training run"] == "50% without masks of the weight, then 50% at their patterns"
    mixed = describe("recipes", "mdgf-exponential-ff+qkv")
    assert any("1:4, in forward of layers *.query" in text for _, text in mixed)
    assert "65% mdgf-exponential, cutoff = 0.01" in dict(mixed)["training run"]
    for field in ("leave_dense", "formats", "schedule", "withheld", "layers"):
        assert f'"{field}"' in schema("recipe")


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_of_the_catalog_names_every_phase_that_its_summary_does(name):
    chosen = load_recipe(name)
    offered = {phase for each in chosen.operands for phase in each.phases}
    said = {phase for phase in PHASES if phase in chosen.summary}
    assert said <= offered


def test_strategies_prune_what_equation_4_says():
    for name, backward, update in (
        ("wg", "weight", "gradient"),
        ("wx", "weight", "activation"),
        ("gg", "gradient", "gradient"),
        ("gx", "gradient", "activation"),
    ):
        offers = [(o.phases[0], o.role) for o in load_recipe(name).operands]
        assert offers == [("forward", "weight"), ("backward", backward), ("update", update)]
        own = [PHASES, *[(work.a, work.b) for work in works(load_recipe(name)).values()]]
        assert sum(not (a.is_dense and b.is_dense) for a, b in own[1:]) == 4 * 3


def test_bidirectional_masks_are_two_choices_of_the_same_weights():
    layer = NETWORK.layers[0]
    setting = Setting(load_recipe("bidirectional"), Pattern(2, 4), Synthetic(), 1)
    forward, backward, update = sparse_gemms([layer], setting)
    assert forward.b.broken_groups() == backward.b.broken_groups() == 0
    assert (forward.b.bits() != backward.b.bits().T).any()
    assert np.count_nonzero(backward.b.bits()) == forward.b.bits().size / 2
    assert update.a.is_dense
    assert update.b.is_dense


def test_a_format_is_as_wide_as_its_name_says():
    assert {name: format_bits(name) for name in FORMATS} == {
        name: int(name.lstrip("abcdefghijklmnopqrstuvwxyz")) for name in FORMATS
    }


def test_a_library_of_sparse_kernels_alone_serves_no_format():
    whole = load_hardware("a100-sxm4-80gb")
    assert in_format(whole, "int8").name == "int8"
    sparse = tuple(library for library in whole.libraries if library.sparse)
    assert any("int8" in library.dtypes or not library.dtypes for library in sparse)
    assert in_format(whole.model_copy(update={"libraries": sparse}), "int8").name == whole.dtype


# ---- rules by which tools choose layers


def told(model, recipe, phase="forward", **fields):
    """Layers with a mask, and the notes of the others, of a network's phase."""
    works = list(Point(model, recipe=recipe, phases=(phase,), batch=1, **fields).sparse_gemms())
    masked = {w.gemm.layer for w in works if not (w.a.is_dense and w.b.is_dense)}
    return masked, {w.gemm.layer: w.note for w in works if w.gemm.layer not in masked}


def test_apex_passes_over_a_stem_of_three_channels_and_so_promises_less_than_two():
    masked, dense = told("resnet50", "asp")
    assert len(masked) == 53
    why = "left dense by the recipe: inputs of a group: 3, expected a multiple of 16"
    assert dense == {"conv1": why}
    point = Point("resnet50", recipe="asp", hardware="ideal", batch=1, phases=("forward",))
    found = list(rows(point))
    dense, useful = (sum(row[name] for row in found) for name in ("macs_dense", "macs_useful"))
    assert round(dense / useful, 3) == 1.944


def test_apex_passes_over_depthwise_transposed_and_odd_layers():
    _, mobile = told("mobilenet-v2", "asp")
    assert "inputs of a group: 1, expected a multiple of 16" in mobile["features.2.conv.1.0"]
    _, unet = told("unet", "asp")
    assert unet["up.0.upconv"] == (
        "left dense by the recipe: of linear, conv alone, not of conv_transposed"
    )
    masked, words = told("gpt2", "asp")
    assert words["lm_head"] == "left dense by the recipe: outputs: 50257, expected a multiple of 8"
    assert "transformer.h.*.mlp.c_fc" in masked
    assert "lm_head" in told("llama-3-8b", "asp")[0]


def test_one_shot_pruning_of_language_models_leaves_what_is_in_no_block():
    for recipe in ("sparsegpt", "wanda"):
        masked, dense = told("llama-3-8b", recipe)
        assert len(masked) == 7
        assert dense["lm_head"] == "left dense by the recipe: of layers in blocks alone"
        assert told("llama-3-8b", recipe, "backward")[0] == set()


def test_sparse_training_tools_prune_mlps_by_one_mask_in_both_directions():
    for recipe in ("torchao", "xformers"):
        for phase in ("forward", "backward"):
            masked, dense = told("vit-b16", recipe, phase)
            assert masked == {f"encoder.layers.encoder_layer_*.mlp.{number}" for number in (0, 3)}
            why = "left dense by the recipe: its rule does not name this layer"
            assert dense["heads.head"] == why
        assert told("vit-b16", recipe, "update")[0] == set()
    for phase in ("forward", "update"):
        masked, _ = told("vit-b16", "torchao-activations", phase)
        assert masked == {"encoder.layers.encoder_layer_*.mlp.3"}


RULED = [name for name in RECIPES if any(one.where for one in load_recipe(name).operands)]


@pytest.mark.parametrize("name", [name for name in RULED if name != "torchao-activations"])
def test_gemms_that_are_given_are_pruned_as_asked(name):
    (work,) = Point([Gemm(12, 20, 28)], recipe=name).sparse_gemms()
    assert {str(work.a.pattern), str(work.b.pattern)} == {"dense", "2:4"}


def test_offers_that_a_rule_passes_over_are_as_if_they_were_not_there():
    where = {"types": ["linear"], "but": ["*.out*"], "inputs": 64}
    both = recipe(offer(pattern="1:4", where=where), offer(pattern="2:4"))
    found = {
        w.gemm.layer.rsplit("_*.")[-1]: str(w.b.pattern)
        for w in Point("vit-b16", recipe=both, phases=("forward",), batch=1).sparse_gemms()
    }
    assert (found["conv_proj"], found["mlp.0"]) == ("2:4", "1:4")
    assert found["self_attention.out_proj"] == "2:4"


def test_memory_knows_that_a_rule_passes_a_layer_over():
    kept = {
        one.layer: one
        for one in memory_footprint("resnet50", recipe="asp", batch=1, hardware="ideal").layers
    }
    assert (kept["conv1"].metadata, kept["conv1"].masks) == (0, 0)
    assert kept["layer1.0.conv1"].masks == 64 * 64 / 8
