"""Checkpoints under the names that they are published by, on the catalog's networks."""

import importlib
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import nmsim
from nmsim.cli import app
from nmsim.errors import NmsimError, ShapeError, SpecError
from nmsim.network.catalog import MODELS, load_model
from nmsim.network.tensors.files import TensorFile
from nmsim.network.tensors.names import renamed
from nmsim.run.point import Point

RNG = np.random.default_rng(0)


def shrunk(name, folder):
    """The catalog's network with its own names, widths divided by sixteen and two blocks."""
    text = MODELS.path(name).read_text()
    text = re.sub(
        r"((?:in_|out_)?features|entries|(?:in|out)_channels): (\d+)",
        lambda found: f"{found[1]}: {max(1, int(found[2]) // 16)}",
        text,
    )
    text = re.sub(r"repeat: \d+", "repeat: 2", text)
    text = re.sub(r"published:\n(  .*\n)*", "", text)
    text = text.replace("in_channels: 1,", "in_channels: 3,")
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def drawn(shapes):
    return {name: RNG.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def llama(prefix="model.", head=True):
    shapes = {f"{prefix}embed_tokens.weight": (8016, 256), f"{prefix}norm.weight": (256,)}
    for block in range(2):
        at = f"{prefix}layers.{block}"
        shapes |= {f"{at}.self_attn.{x}_proj.weight": (256, 256) for x in "qo"}
        shapes |= {f"{at}.self_attn.{x}_proj.weight": (64, 256) for x in "kv"}
        shapes |= {f"{at}.mlp.{x}_proj.weight": (896, 256) for x in ("gate", "up")}
        shapes |= {f"{at}.mlp.down_proj.weight": (256, 896)}
    return drawn(shapes | ({"lm_head.weight": (8016, 256)} if head else {}))


def bert(prefix="bert."):
    shapes = {f"{prefix}embeddings.word_embeddings.weight": (1907, 48)}
    for block in range(2):
        at = f"{prefix}encoder.layer.{block}"
        shapes |= {f"{at}.attention.self.{x}.weight": (48, 48) for x in ("query", "key", "value")}
        shapes |= {f"{at}.attention.output.dense.weight": (48, 48)}
        shapes |= {f"{at}.intermediate.dense.weight": (192, 48)}
        shapes |= {f"{at}.output.dense.weight": (48, 192)}
        shapes |= {f"{at}.output.LayerNorm.gamma": (48,)}
    shapes |= {f"{prefix}pooler.dense.weight": (48, 48)}
    shapes |= {"cls.predictions.transform.dense.weight": (48, 48)}
    return drawn(shapes)


def gpt2(prefix="", transposed=True):
    shapes = {f"{prefix}wte.weight": (3141, 48), f"{prefix}wpe.weight": (64, 48)}
    for block in range(2):
        at = f"{prefix}h.{block}"
        both = {"attn.c_attn": (144, 48), "attn.c_proj": (48, 48), "mlp.c_fc": (192, 48),
                "mlp.c_proj": (48, 192)}  # fmt: skip
        shapes |= {
            f"{at}.{name}.weight": shape[::-1] if transposed else shape
            for name, shape in both.items()
        }
    return drawn(shapes)


def vit_torchvision():
    shapes = {"conv_proj.weight": (48, 3, 16, 16), "heads.head.weight": (62, 48)}
    for block in range(2):
        at = f"encoder.layers.encoder_layer_{block}"
        shapes |= {f"{at}.self_attention.in_proj_weight": (144, 48)}
        shapes |= {f"{at}.self_attention.out_proj.weight": (48, 48)}
        shapes |= {f"{at}.mlp.0.weight": (192, 48), f"{at}.mlp.3.weight": (48, 192)}
    return drawn(shapes)


def vit_transformers():
    shapes = {
        "vit.embeddings.patch_embeddings.projection.weight": (48, 3, 16, 16),
        "classifier.weight": (62, 48),
    }
    for block in range(2):
        at = f"vit.encoder.layer.{block}"
        names = [f"attention.attention.{x}" for x in ("query", "key", "value")]
        names.append("attention.output.dense")
        shapes |= {f"{at}.{name}.weight": (48, 48) for name in names}
        shapes |= {f"{at}.intermediate.dense.weight": (192, 48)}
        shapes |= {f"{at}.output.dense.weight": (48, 192)}
    return drawn(shapes)


ENCODER = "encoder.layers.encoder_layer_*"
VIT_NAMES = (
    f"vit.encoder.layer.*.attention.attention.*={ENCODER}.self_attention.*",
    f"vit.encoder.layer.*.attention.output.dense.*={ENCODER}.self_attention.out_proj.*",
    f"vit.encoder.layer.*.intermediate.dense.*={ENCODER}.mlp.0.*",
    f"vit.encoder.layer.*.output.dense.*={ENCODER}.mlp.3.*",
    "vit.embeddings.patch_embeddings.projection.*=conv_proj.*",
    "classifier.*=heads.head.*",
)


def timm():
    shapes = {"patch_embed.proj.weight": (12, 3, 16, 16), "head.weight": (1, 12)}
    for block in range(2):
        at = f"blocks.{block}"
        shapes |= {f"{at}.attn.qkv.weight": (36, 12), f"{at}.attn.proj.weight": (12, 12)}
        shapes |= {f"{at}.mlp.fc1.weight": (48, 12), f"{at}.mlp.fc2.weight": (12, 48)}
    return drawn(shapes)


def values(path, layer, rules=()):
    source = TensorFile(path, rules)
    return np.concatenate(list(source.blocks(layer, "weight", 1)))


PUBLISHED = {
    "llama": ("llama-3-8b", llama(), ()),
    "llama with another prefix": ("llama-3-8b", llama("language_model.model."), ()),
    "llama without its prefix": ("llama-3-8b", llama(""), ()),
    "llama with a tied head": ("llama-3-8b", llama(head=False), ()),
    "bert": ("bert-base", bert(), ()),
    "bert without a prefix": ("bert-base", bert(""), ()),
    "gpt-2 of the hub": ("gpt2", gpt2(), ()),
    "gpt-2 saved": ("gpt2", gpt2("transformer."), ()),
    "gpt-2 with linear layers": ("gpt2", gpt2("transformer.", transposed=False), ()),
    "vit of torchvision": ("vit-b16", vit_torchvision(), ()),
    "vit of transformers": ("vit-b16", vit_transformers(), VIT_NAMES),
    "vit of timm": ("vit-tiny", timm(), ()),
}


@pytest.mark.parametrize("what", PUBLISHED)
def test_a_published_checkpoint_runs_on_the_network_of_the_catalog(tmp_path, what):
    model, tensors, rules = PUBLISHED[what]
    save_file(tensors, tmp_path / "model.safetensors")
    options = {"recipe": "unstructured-weights", "hardware": "ideal", "phases": ("forward",)}
    found = nmsim.simulate(
        shrunk(model, tmp_path),
        tensors=tmp_path / "model.safetensors",
        tensor_names=rules,
        batch=1,
        tokens=None,
        **options,
    )
    assert len(found) >= 4


def held(model, tensors, tmp_path, name, rules=(), block=0):
    """A layer's weight in a block as it is read of a checkpoint."""
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    return values(path, in_its_block(shrunk(model, tmp_path), name, block), rules)


def in_its_block(model, name, block):
    layers = load_model(model).at(block_by_block=True)
    return next(one for one in layers if one.name == name.replace("*", str(block)))


@pytest.mark.parametrize("block", [0, 1])
def test_conv1d_is_turned_and_linear_is_not(tmp_path, block):
    for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
        layer, key = f"transformer.h.*.{name}", f"h.{block}.{name}.weight"
        stored = gpt2()
        found = held("gpt2", stored, tmp_path, layer, block=block)
        np.testing.assert_array_equal(found, stored[key].T)
        plain = gpt2(transposed=False)
        np.testing.assert_array_equal(held("gpt2", plain, tmp_path, layer, block=block), plain[key])


def test_packed_projections_are_taken_apart_and_put_together(tmp_path):
    stored, at = llama(), "model.layers.1.self_attn"
    q, k, v = (stored.pop(f"{at}.{x}_proj.weight") for x in "qkv")
    stored[f"{at}.qkv_proj.weight"] = np.concatenate([q, k, v])
    gate, up = (stored.pop(f"model.layers.1.mlp.{x}_proj.weight") for x in ("gate", "up"))
    stored["model.layers.1.mlp.gate_up_proj.weight"] = np.concatenate([gate, up])
    for name, wanted in (("q", q), ("k", k), ("v", v)):
        layer = f"model.layers.*.self_attn.{name}_proj"
        np.testing.assert_array_equal(held("llama-3-8b", stored, tmp_path, layer, block=1), wanted)
    for name, wanted in (("gate", gate), ("up", up)):
        layer = f"model.layers.*.mlp.{name}_proj"
        np.testing.assert_array_equal(held("llama-3-8b", stored, tmp_path, layer, block=1), wanted)
    vit = vit_transformers()
    layer = "encoder.layers.encoder_layer_*.self_attention.in_proj"
    found = held("vit-b16", vit, tmp_path, layer, VIT_NAMES, block=1)
    apart = [
        f"vit.encoder.layer.1.attention.attention.{x}.weight" for x in ("query", "key", "value")
    ]
    np.testing.assert_array_equal(found, np.concatenate([vit[key] for key in apart]))
    stored[f"{at}.qkv_proj.weight"] = np.concatenate([q[:100], k])
    with pytest.raises(NmsimError, match=r"qkv_proj\.weight is 164 x 256, expected 192 x 256"):
        held("llama-3-8b", stored, tmp_path, "model.layers.*.self_attn.v_proj", block=1)
    stored[f"{at}.qkv_proj.weight"] = np.concatenate([q, k])
    save_file(stored, tmp_path / "model.safetensors")
    point = Point(shrunk("llama-3-8b", tmp_path), recipe="asp", batch=1,
                  tensors=tmp_path / "model.safetensors")  # fmt: skip
    with pytest.raises(
        NmsimError, match=r"qkv_proj\.weight would be the weight of .*q_proj and of"
    ):
        list(point.sparse_gemms())


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_heads_one_after_the_other_are_taken_apart(tmp_path, kv_heads):
    """As GPT-NeoX, BLOOM and Falcon view them: groups x (queries + 2) x rows of a head."""
    stored, heads, size = {}, 4, 8
    layers = [
        f"{{name: m.*.{x}_proj, type: linear, in_features: 32, out_features: {out}, repeat: 2}}"
        for x, out in (("q", heads * size), ("k", kv_heads * size), ("v", kv_heads * size))
    ]
    model = tmp_path / "m.yaml"
    model.write_text(f"layers: [{', '.join(layers)}]")
    for block in range(2):
        rows = RNG.normal(size=((heads + 2 * kv_heads) * size, 32)).astype(np.float32)
        stored[f"n.{block}.attention.query_key_value.weight"] = rows
    path = tmp_path / "w.safetensors"
    save_file(stored, path)
    rules = (f"n.*.attention.query_key_value.weight=m.*.qkv[{size}].weight",)
    for block in range(2):
        rows = stored[f"n.{block}.attention.query_key_value.weight"]
        viewed = rows.reshape(kv_heads, heads // kv_heads + 2, size, 32)
        wanted = {"q": viewed[:, :-2], "k": viewed[:, -2], "v": viewed[:, -1]}
        for name, part in wanted.items():
            found = values(path, in_its_block(model, f"m.*.{name}_proj", block), rules)
            np.testing.assert_array_equal(found, part.reshape(-1, 32))
    found = nmsim.simulate(model, tensors=path, tensor_names=rules, recipe="asp", hardware="ideal")
    assert found.manifest["tensors_unused"] == 0
    for wrong in (5, 3 * size):
        rule = f"n.*.attention.query_key_value.weight=m.*.qkv[{wrong}].weight"
        with pytest.raises(ShapeError, match=f"32 x 32 are no queries, .* of {wrong} rows"):
            values(path, in_its_block(model, "m.*.q_proj", 1), (rule,))
    with pytest.raises(SpecError, match=r"no tensor is m\.1\.v_proj\.weight; n\.0\..* packs it in"):
        values(path, in_its_block(model, "m.*.v_proj", 1))


@pytest.mark.parametrize("names", [("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2")])
def test_experts_one_by_one_are_put_together(tmp_path, names):
    gate, up, down = names
    at = "model.layers.1.block_sparse_moe.experts"
    shapes = {f"{at}.{e}.{name}.weight": (896, 256) for e in range(8) for name in (gate, up)}
    shapes |= {f"{at}.{e}.{down}.weight": (256, 896) for e in range(8)}
    stored, rules = drawn(shapes), ("*.block_sparse_moe.*=*.mlp.*",)
    both = [stored[f"{at}.{e}.{name}.weight"] for e in range(8) for name in (gate, up)]
    layer = "model.layers.*.mlp.experts.gate_up_proj"
    found = held("mixtral-8x7b", stored, tmp_path, layer, rules, block=1)
    np.testing.assert_array_equal(found, np.concatenate(both))
    layer = "model.layers.*.mlp.experts.down_proj"
    found = held("mixtral-8x7b", stored, tmp_path, layer, rules, block=1)
    downs = [stored[f"{at}.{e}.{down}.weight"] for e in range(8)]
    np.testing.assert_array_equal(found, np.concatenate(downs))
    del stored[f"{at}.7.{down}.weight"]
    with pytest.raises(
        NmsimError, match=r"experts\.0\..* and 6 more are 1792 x 896, expected 2048"
    ):
        held("mixtral-8x7b", stored, tmp_path, layer, rules, block=1)


def test_masks_stand_beside_the_parts_of_a_projection_and_are_turned_as_it_is(tmp_path):
    stored, at = vit_transformers(), "vit.encoder.layer.0.attention.attention"
    masks = {f"{at}.{x}.mask": RNG.random((48, 48)) < 0.5 for x in ("query", "key", "value")}
    save_file(stored | masks, tmp_path / "w.safetensors")
    layers = load_model(shrunk("vit-b16", tmp_path)).at(block_by_block=True)
    packed = next(one for one in layers if one.name.endswith("in_proj"))
    file = TensorFile(tmp_path / "w.safetensors", VIT_NAMES).masks
    found = np.concatenate(list(file.blocks(packed, "weight", 1)))
    np.testing.assert_array_equal(found, np.concatenate(list(masks.values())))
    mask = RNG.random((48, 144)) < 0.5
    save_file(gpt2() | {"h.1.attn.c_attn.mask": mask}, tmp_path / "w.safetensors")
    turned = in_its_block(shrunk("gpt2", tmp_path), "transformer.h.*.attn.c_attn", 1)
    file = TensorFile(tmp_path / "w.safetensors").masks
    (found,) = file.blocks(turned, "weight", 1)
    np.testing.assert_array_equal(found, mask.T)


def test_parts_and_experts_of_other_shapes_are_refused(tmp_path):
    stored, at = vit_transformers(), "vit.encoder.layer.0.attention.attention"
    stored[f"{at}.key.weight"] = RNG.normal(size=(48, 24)).astype(np.float32)
    layer = "encoder.layers.encoder_layer_*.self_attention.in_proj"
    with pytest.raises(ShapeError, match="and 2 more are 48 x 48, expected 144 x 48"):
        held("vit-b16", stored, tmp_path, layer, VIT_NAMES)
    layer = "model.layers.*.mlp.experts.down_proj"
    for wrong in ((8, 896, 256), (8, 128, 896), (4, 256, 896)):
        stored = drawn({"model.layers.0.mlp.experts.down_proj": wrong})
        with pytest.raises(ShapeError, match="expected 2048 x 896"):
            held("mixtral-8x7b", stored, tmp_path, layer)
    stored = drawn({"model.layers.0.mlp.experts.down_proj": (8, 256, 896)})
    found = held("mixtral-8x7b", stored, tmp_path, layer)
    np.testing.assert_array_equal(found, next(iter(stored.values())).reshape(2048, 896))


def test_a_head_that_shares_the_embedding_is_read_from_it(tmp_path):
    stored = llama(head=False)
    found = held("llama-3-8b", stored, tmp_path, "lm_head")
    np.testing.assert_array_equal(found, stored["model.embed_tokens.weight"])
    stored = gpt2()
    np.testing.assert_array_equal(held("gpt2", stored, tmp_path, "lm_head"), stored["wte.weight"])
    stored["lm_head.weight"] = stored.pop("wte.weight")
    found = held("gpt2", stored, tmp_path, "lm_head")
    np.testing.assert_array_equal(found, stored["lm_head.weight"])


def test_what_could_be_two_tensors_is_refused(tmp_path):
    stored = bert("a.") | bert("b.")
    with pytest.raises(SpecError, match=r"may be a\.encoder.* or b\.encoder.*by tensor_names"):
        held("bert-base", stored, tmp_path, "encoder.layer.*.output.dense")
    rules = ("b.*=*",)
    found = held("bert-base", stored, tmp_path, "encoder.layer.*.output.dense", rules)
    np.testing.assert_array_equal(found, stored["b.encoder.layer.0.output.dense.weight"])
    (tmp_path / "two.yaml").write_text(
        "layers:\n"
        "  - {name: x.fc, type: linear, in_features: 48, out_features: 48}\n"
        "  - {name: y.fc, type: linear, in_features: 48, out_features: 48}\n"
    )
    save_file(drawn({"fc.weight": (48, 48)}), tmp_path / "fc.safetensors")
    point = Point(tmp_path / "two.yaml", recipe="asp", tensors=tmp_path / "fc.safetensors")
    with pytest.raises(SpecError, match=r"fc\.weight would be the weight of x\.fc and of y\.fc"):
        list(point.sparse_gemms())


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("model.*", "expected GLOB=NAME with as many"),
        ("model.b=", "expected GLOB=NAME with as many"),
        ("=model.b", "expected GLOB=NAME with as many"),
        ("model.*=x", "expected GLOB=NAME with as many"),
        ("*.*.*.*.*=*.*.*.*.*", "four at most"),
        ("nothing.*=*", "matches no tensor"),
        ("*.weight=weight", "as many"),
        ("layers.*.a=*", "layers.0.a and layers.1.a are both"),
    ],
)
def test_rules_that_are_none_are_refused(rule, said):
    keys = ["layers.0.a", "layers.1.a", "model.b"] if "layers" not in rule else ["layers.0.a"]
    if "both" in said:
        with pytest.raises(SpecError, match="are both x"):
            renamed(["layers.0.a", "layers.0.b"], ["layers.0.a=x", "layers.0.b=x"])
        return
    with pytest.raises(SpecError, match=re.escape(said) if "both" not in said else said):
        renamed(keys, [rule])


# ---- several files


def sharded(folder, tensors, shards=3):
    folder.mkdir(exist_ok=True)
    places = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        own = dict(list(tensors.items())[number::shards])
        save_file(own, folder / name)
        places |= dict.fromkeys(own, name)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder, index


@pytest.mark.parametrize("given", ["", "model.safetensors.index.json"])
def test_shards_are_read_as_one_by_their_index_or_folder(tmp_path, given):
    stored = llama()
    folder, _ = sharded(tmp_path / "shards", stored)
    down = in_its_block(shrunk("llama-3-8b", tmp_path), "model.layers.*.mlp.down_proj", 1)
    found = values(folder / given, down)
    np.testing.assert_array_equal(found, stored["model.layers.1.mlp.down_proj.weight"])
    (folder / "model.safetensors.index.json").unlink()
    if not given:
        np.testing.assert_array_equal(values(folder, down), values(folder / given, down))


def _outside(folder, index):
    index["weight_map"]["lm_head.weight"] = "../other.safetensors"


def _absent(folder, index):
    index["weight_map"]["lm_head.weight"] = "model-00009-of-00003.safetensors"


def _elsewhere(folder, index):
    index["weight_map"]["other.weight"] = "model-00001-of-00003.safetensors"


def _cut(folder, index):
    path = folder / "model-00002-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-5])


def _no_map(folder, index):
    index["weight_map"] = [1]


BROKEN = {
    _outside: "'../other.safetensors', expected a file beside the index",
    _absent: "expected a file beside the index",
    _elsewhere: "other.weight is not in model-00001-of-00003.safetensors",
    _cut: "model-00002-of-00003.safetensors: expected tensors in safetensors, npz or of torch.save",
    _no_map: "weight_map: expected an object of tensors and their files",
}


@pytest.mark.parametrize("change", BROKEN, ids=lambda one: one.__name__)
def test_shards_that_do_not_fit_their_index_are_refused(tmp_path, change):
    folder, index = sharded(tmp_path / "shards", llama())
    change(folder, index)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    model = shrunk("llama-3-8b", tmp_path)
    with pytest.raises(NmsimError) as refused:
        list(Point(model, recipe="asp", tensors=folder).sparse_gemms())
    assert BROKEN[change] in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_folder_without_tensors_or_with_one_twice_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"expected model\.safetensors\.index\.json or files"):
        TensorFile(tmp_path)._opened  # noqa: B018
    for name in ("a", "b"):
        save_file(drawn({"x.weight": (2, 2)}), tmp_path / f"{name}.safetensors")
    with pytest.raises(SpecError, match=r"x\.weight is in a\.safetensors and b\.safetensors"):
        TensorFile(tmp_path)._opened  # noqa: B018
    for name in ("a", "b"):
        Path(tmp_path / f"{name}.safetensors.index.json").write_text("{")
    with pytest.raises(SpecError, match="expected one index of tensors"):
        TensorFile(tmp_path)._opened  # noqa: B018


# ---- what is said of a file


@pytest.mark.parametrize(
    ("bad", "block", "said"),
    [
        (np.nan, 0, r"encoder\.layer\.0\.output\.dense\.weight\[3, 7\] is nan, expected finite"),
        (np.inf, 1, r"encoder\.layer\.1\.output\.dense\.weight\[3, 7\] is inf, expected finite"),
    ],
)
def test_a_value_that_is_not_finite_refuses_the_run_though_no_bit_is_needed(
    tmp_path, bad, block, said
):
    stored = bert("")
    stored[f"encoder.layer.{block}.output.dense.weight"][3, 7] = bad
    save_file(stored, tmp_path / "w.safetensors")
    with pytest.raises(SpecError, match=said):
        nmsim.simulate(
            shrunk("bert-base", tmp_path),
            recipe="sparsegpt",
            tensors=tmp_path / "w.safetensors",
            hardware="ideal",
            batch=1,
        )


def test_a_manifest_says_whose_values_were_read_and_counts_what_nobody_uses(tmp_path):
    stored = bert()
    save_file(stored, tmp_path / "w.safetensors")
    model = shrunk("bert-base", tmp_path)
    options = {"recipe": "sparsegpt", "hardware": "ideal", "batch": 1, "phases": ("forward",)}
    about = nmsim.simulate(model, tensors=tmp_path / "w.safetensors", **options).manifest
    said = about["layer_values"]
    assert said["encoder.layer.0.output.dense"] == said["encoder.layer.1.output.dense"] == "read"
    assert said["pooler.dense"] == said["embeddings.word_embeddings"] == "not needed"
    unused = {name for name in stored if "LayerNorm" in name or name.startswith("cls.")}
    assert about["tensors_unused"] == len(unused) == 3
    drawn = nmsim.simulate(model, **options).manifest
    assert drawn["layer_values"]["encoder.layer.*.output.dense"] == "synthetic"
    assert "tensors_unused" not in drawn


def test_tensors_are_listed_with_their_layers_and_those_that_nobody_uses(tmp_path, capsys):
    stored = bert()
    stored["bert.pooler.dense.mask"] = np.ones((48, 48), np.float32)
    save_file(stored, tmp_path / "w.safetensors")
    model, tensors = shrunk("bert-base", tmp_path), str(tmp_path / "w.safetensors")
    simulated = CliRunner().invoke(
        app, ["simulate", str(model), "--tensors", tensors, "--recipe", "asp", "--list-tensors"]
    )
    shown = " ".join(simulated.output.split()) + capsys.readouterr().out
    assert "pooler.dense read: bert.pooler.dense.weight, bert.pooler.dense.mask" in shown
    assert "embeddings.position_embeddings not needed: -" in shown
    assert "3 tensors that nobody uses:" in shown
    assert "cls.predictions.transform.dense.weight" in shown
    refused = CliRunner().invoke(app, ["simulate", str(model), "--list-tensors"])
    assert "expected --tensors" in str(refused.exception)


def test_a_matrix_is_read_some_rows_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("nmsim.network.tensors._BLOCK_ELEMENTS", 96)
    stored = bert("")
    layer = "encoder.layer.*.intermediate.dense"
    key = "encoder.layer.0.intermediate.dense.weight"
    np.testing.assert_array_equal(held("bert-base", stored, tmp_path, layer), stored[key])
    own = in_its_block(tmp_path / "bert-base.yaml", layer, 0)
    pieces = list(TensorFile(tmp_path / "model.safetensors").blocks(own, "weight", 1))
    assert [len(piece) for piece in pieces] == [2] * 96


@pytest.mark.parametrize("number", range(40))
def test_a_damaged_checkpoint_gives_its_own_mask_or_is_refused_in_a_line(tmp_path, number):
    pytest.importorskip("onnx")
    campaign = importlib.import_module("mutated_files")
    draw = random.Random(number)
    (tmp_path / "one.yaml").write_text(campaign.ONE)
    shard = {"fc.weight": RNG.random((8, 16), np.float32), "fc.bias": np.zeros(8, np.float32)}
    shard["fc.weight"][:, ::2] = 0
    save_file(shard, tmp_path / campaign.SHARD)
    name = draw.choice(sorted(campaign.CHECKPOINTS))
    path = tmp_path / f"0-{name}"
    path.write_bytes(campaign.FILES[name])
    assert campaign.answered(path).endswith("kept")
    path.write_bytes(campaign.mutated(campaign.FILES[name], draw))
    assert campaign.answered(path).partition(" ")[2] in ("", "kept")
