"""Tensors: seeded by layer and role, distributed as their docstring says, or read from a file."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import nmsim
from nmsim.errors import NmsimError
from nmsim.network.catalog import Network, load_model
from nmsim.network.tensors import Synthetic
from nmsim.network.tensors.files import TensorFile
from nmsim.spec import validate

CONV, LINEAR = validate(
    Network,
    {"layers": [
        {"name": "c", "type": "conv", "in_channels": 16, "out_channels": 8, "kernel": 3,
         "input_size": 12},
        {"name": "l", "type": "linear", "in_features": 64, "out_features": 32, "tokens": 50,
         "input": "gelu"},
    ]},
    "test",
).layers  # fmt: skip


def whole(source, layer, tensor, batch=4):
    return np.concatenate(list(source.blocks(layer, tensor, batch)))


GATED = LINEAR.model_copy(update={"input": "swiglu"})


@pytest.mark.parametrize("tensor", ["weight", "activation", "gradient"])
@pytest.mark.parametrize("layer", [CONV, LINEAR, GATED], ids=["conv", "linear", "gated"])
def test_the_same_seed_draws_the_same_tensor_in_blocks_of_any_size(layer, tensor, monkeypatch):
    drawn = whole(Synthetic(3), layer, tensor)
    assert drawn.shape == layer.shape(tensor, 4)
    assert drawn.dtype == np.float32
    monkeypatch.setattr("nmsim.network.tensors._BLOCK_ELEMENTS", 100)
    np.testing.assert_array_equal(whole(Synthetic(3), layer, tensor), drawn)
    assert (whole(Synthetic(4), layer, tensor) != drawn).any()


def test_weights_are_normal_with_the_layers_fan_in():
    layer = load_model("resnet18").layers[10]
    w = whole(Synthetic(), layer, "weight")
    fan_in = w[0].size
    assert w.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.01)
    assert abs(w.mean()) < 5 * w.std() / np.sqrt(w.size)


def test_activations_have_their_non_linearity_channels_and_neighbours():
    x = whole(Synthetic(), CONV, "activation", 32)
    assert (x >= 0).all()
    assert 0.4 < (x == 0).mean() < 0.6
    scales = x.std(axis=(0, 1, 2))
    assert scales.max() > 1.5 * scales.min()
    across = np.corrcoef(x[:, :-1, :, 0].ravel(), x[:, 1:, :, 0].ravel())[0, 1]
    apart = np.corrcoef(x[..., 0].ravel(), x[..., 1].ravel())[0, 1]
    assert across > 0.4
    assert abs(apart) < 0.1
    assert whole(Synthetic(), LINEAR, "activation").min() > -1


def test_gradients_are_log_normal_with_random_sign():
    g = whole(Synthetic(), CONV, "gradient", 64)
    logs = np.log(np.abs(g))
    assert logs.std() == pytest.approx(2, rel=0.02)
    assert abs((g > 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(g.size)


def test_a_gated_activation_is_its_gate_times_its_branch():
    gated = LINEAR.model_copy(update={"input": "swiglu", "tokens": 5000})
    x = whole(Synthetic(), gated, "activation")
    assert abs(x.mean()) < 5 * x.std() / np.sqrt(x.size)
    # E[(g . sigmoid(g))^2] of a gate that is normal with each channel's own deviation s
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    gains = whole(Synthetic(), gated.model_copy(update={"input": "linear"}), "activation").std(0)
    gate = gains[:, None] * nodes
    expected = ((gate / (1 + np.exp(-gate))) ** 2) @ (weights / weights.sum())
    np.testing.assert_allclose(x.var(axis=0), expected, rtol=0.15)


def test_a_shared_weight_is_one_tensor():
    lender = LINEAR
    borrower = LINEAR.model_copy(update={"name": "other", "weight_of": lender.name, "tokens": 7})
    source = Synthetic(5)
    np.testing.assert_array_equal(
        whole(source, borrower, "weight"), whole(source, lender, "weight")
    )
    ours, theirs = (whole(source, x, "gradient", 1)[:7] for x in (borrower, lender))
    assert (ours != theirs).any()


@pytest.fixture
def stored(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        "c.weight": rng.normal(size=(8, 16, 3, 3)).astype(np.float32),
        "c.activation": rng.normal(size=(4, 16, 12, 12)).astype(np.float32),
        "l.weight": rng.normal(size=(32, 64)).astype(np.float32),
        "l.activation": rng.normal(size=(4, 50, 64)).astype(np.float32),
    }
    save_file(tensors, tmp_path / "t.safetensors")
    np.savez(tmp_path / "t.npz", **tensors)
    return tmp_path, tensors


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_files_are_laid_out_as_pytorch_does(stored, suffix):
    folder, tensors = stored
    source = TensorFile(folder / f"t.{suffix}")
    np.testing.assert_array_equal(
        whole(source, CONV, "weight"), tensors["c.weight"].transpose(0, 2, 3, 1)
    )
    np.testing.assert_array_equal(
        whole(source, CONV, "activation"), tensors["c.activation"].transpose(0, 2, 3, 1)
    )
    np.testing.assert_array_equal(
        whole(source, LINEAR, "activation"), tensors["l.activation"].reshape(200, 64)
    )


def test_what_a_file_lacks_is_named(stored, tmp_path):
    folder, _ = stored
    source = TensorFile(folder / "t.npz")
    with pytest.raises(NmsimError, match=r"t\.npz: unknown tensor 'c\.gradient'"):
        whole(source, CONV, "gradient")
    with pytest.raises(NmsimError, match=r"c\.activation is 4 x 16 x 12 x 12, expected 2 x 16"):
        whole(source, CONV, "activation", 2)
    (tmp_path / "bad.safetensors").write_bytes(b"not tensors at all")
    with pytest.raises(NmsimError, match=r"bad\.safetensors: expected tensors"):
        whole(TensorFile(tmp_path / "bad.safetensors"), CONV, "weight")


BLOCKS = validate(
    Network,
    {"layers": [
        {"name": "h.*.attn.in_proj", "type": "linear", "in_features": 4, "out_features": 6,
         "repeat": 3, "first_block": 2},
        {"name": "h.*.mlp", "type": "experts", "experts": 2, "per_token": 1, "in_features": 4,
         "out_features": 3, "repeat": 3, "first_block": 2},
        {"name": "h.*.fc", "type": "linear", "in_features": 4, "out_features": 5, "repeat": 2},
    ]},
    "test",
).at(block_by_block=True)  # fmt: skip


def test_a_checkpoints_names_of_blocks_packed_projections_and_experts_are_found(tmp_path):
    path = tmp_path / "state.safetensors"
    rng = np.random.default_rng(1)
    stored = {
        f"h.{block}.{name}": rng.normal(size=shape).astype(np.float32)
        for block in range(5)
        for name, shape in [
            ("attn.in_proj_weight", (6, 4)), ("mlp", (2, 3, 4)), ("fc.weight", (5, 4))
        ]
    }  # fmt: skip
    save_file(stored, path)
    keys = (
        *("h.0.fc.weight", "h.1.fc.weight", "h.2.attn.in_proj_weight", "h.2.mlp"),
        *("h.3.attn.in_proj_weight", "h.3.mlp", "h.4.attn.in_proj_weight", "h.4.mlp"),
    )
    for layer, key in zip(BLOCKS, keys, strict=True):
        found = whole(TensorFile(path), layer, "weight")
        np.testing.assert_array_equal(found, stored[key].reshape(-1, 4))
    del stored["h.2.mlp"]
    save_file(stored, path)
    with pytest.raises(NmsimError, match=r"unknown tensor 'h\.2\.mlp\.weight'"):
        whole(TensorFile(path), BLOCKS[3], "weight")


# ---- files as checkpoints are published


def written(path, tensors, cut=0):
    """A safetensors file of arrays of bytes, each with a type and a shape of its own."""
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        words = np.ascontiguousarray(values).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [len(data), len(data) + len(words)],
        }
        data += words
    text = json.dumps(header).encode()
    path.write_bytes((len(text).to_bytes(8, "little") + text + data)[: -cut or None])
    return path


ONE = validate(
    Network,
    {"layers": [{"name": "fc", "type": "linear", "in_features": 4, "out_features": 3}]},
    "test",
).layers[0]  # fmt: skip
WEIGHT = np.array([[1, -2.5, 0, 448], [0.015625, 3, -0.5, 1], [2, -1, 0.25, 8]], np.float32)


def bf16(values):
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def e4m3(values):
    """Bytes by hand: sign, four bits of exponent with a bias of 7, three of the fraction."""
    fraction, exponent = np.frexp(np.abs(values))
    bits = (exponent + 6).astype(int) * 8 + np.round((2 * fraction - 1) * 8).astype(int)
    return np.where(values == 0, 0, bits + 128 * (values < 0)).astype(np.uint8)


def e5m2(values):
    return (values.astype(np.float16).view(np.uint16) >> 8).astype(np.uint8)


@pytest.mark.parametrize(
    ("dtype", "words"), [("BF16", bf16), ("F8_E4M3", e4m3), ("F8_E5M2", e5m2), ("F32", np.array)]
)
def test_checkpoints_are_read_in_the_types_that_they_have(tmp_path, dtype, words):
    values = WEIGHT.copy()
    if dtype == "F8_E5M2":
        values[0, 3] = 512
    path = written(tmp_path / "t.safetensors", {"fc.weight": (dtype, [3, 4], words(values))})
    np.testing.assert_array_equal(whole(TensorFile(path), ONE, "weight"), values)


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("fc.weight_scale", np.float32(0.5)),
        ("fc.weight_scale", np.array([1, 2, 4], np.float32)),
        ("fc.weight_scale_inv", np.array([[1], [2], [4]], np.float32)),
        ("fc.weight_scale_inv", np.array([[1, 2], [3, 4]], np.float32)),
    ],
)
def test_a_scale_beside_a_tensor_multiplies_it_whole_by_rows_or_by_blocks(tmp_path, name, scale):
    stored = {
        "fc.weight": ("F8_E4M3", [3, 4], e4m3(WEIGHT)),
        name: ("F32", list(scale.shape), scale),
    }
    factors = scale.reshape(-1, 1) if scale.ndim == 1 else scale
    if scale.shape == (2, 2):
        factors = np.kron(scale, np.ones((2, 2), np.float32))[:3]
    found = whole(TensorFile(written(tmp_path / "t.safetensors", stored)), ONE, "weight")
    np.testing.assert_array_equal(found, WEIGHT * factors)
    wrong = {**stored, name: ("F32", [5], np.ones(5, np.float32))}
    with pytest.raises(NmsimError, match=r"_scale(_inv)? is 5, expected one number, one a row"):
        whole(TensorFile(written(tmp_path / "u.safetensors", wrong)), ONE, "weight")


def lying(path):
    """An npz file of some bytes whose array claims a million million numbers."""
    with zipfile.ZipFile(path, "w") as archive, archive.open("fc.weight.npy", "w") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
        )
    return path


REFUSED = {
    "truncated": (
        lambda p: written(p / "t.safetensors", GOOD, cut=3),
        "t.safetensors: expected tensors in safetensors, npz or of torch.save (",
    ),
    "another shape": (
        lambda p: written(p / "t.safetensors", {"fc.weight": ("F32", [4, 3], WEIGHT)}),
        "fc.weight is 4 x 3, expected 3 x 4",
    ),
    "names": (
        lambda p: written(p / "t.safetensors", {"model.other.weight": GOOD["fc.weight"]}),
        "unknown tensor 'fc.weight'",
    ),
    "claims": (lambda p: lying(p / "t.npz"), "more than the file holds of it"),
    "no file of tensors": (
        lambda p: Path(__file__),
        "expected tensors in safetensors, npz or of torch.save",
    ),
    "packed": (
        lambda p: written(p / "t.safetensors", {"fc.weight": ("F4", [3, 4], WEIGHT[:, :2])}),
        "t.safetensors: ",
    ),
}
GOOD = {"fc.weight": ("F32", [3, 4], WEIGHT)}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_is_matched_before_anything_runs_though_no_bit_is_needed(tmp_path, what):
    (tmp_path / "one.yaml").write_text(
        "layers: [{name: fc, type: linear, in_features: 4, out_features: 3}]"
    )
    model, options = tmp_path / "one.yaml", {"recipe": "transposable", "hardware": "ideal"}
    good = written(tmp_path / "good.safetensors", GOOD)
    assert len(nmsim.simulate(model, tensors=good, **options)) == 3
    make, said = REFUSED[what]
    with pytest.raises(NmsimError) as refused:
        nmsim.simulate(model, tensors=make(tmp_path), **options)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
