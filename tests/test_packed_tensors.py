"""Packed checkpoints against plain readings of their layouts: bit masks, halves, files of torch."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from nmsim.errors import MissingExtra, NmsimError
from nmsim.network.catalog import Network
from nmsim.network.tensors.files import TensorFile
from nmsim.pruning import prune
from nmsim.run.point import Point
from nmsim.spec import validate

ROWS, K = 64, 128


def layer_of(rows=ROWS, k=K):
    fields = {"name": "fc", "type": "linear", "in_features": k, "out_features": rows}
    return validate(Network, {"layers": [fields]}, "test").layers[0]


def read(path, rows=ROWS, k=K):
    return np.concatenate(list(TensorFile(path).blocks(layer_of(rows, k), "weight", 1)))


def sparse(rows=ROWS, k=K, pattern="2:4", seed=0, fewer=5):
    values = prune(np.random.default_rng(seed).normal(size=(rows, k)), pattern).values
    values.reshape(-1)[np.flatnonzero(values)[:fewer]] = 0
    return values.astype(np.float32)


# ---- bit masks, as compressed-tensors


def bitmask(values, kept=None):
    """Kept values in order and a bit for each element, by plain loops over the format."""
    kept = values != 0 if kept is None else kept
    rows, k = values.shape
    octets = np.zeros((rows, -(-k // 8)), np.uint8)
    compressed = []
    for row in range(rows):
        for column in range(k):
            if kept[row, column]:
                octets[row, column // 8] |= 1 << column % 8
                compressed.append(values[row, column])
    return np.array(compressed, values.dtype), octets


@pytest.mark.parametrize("k", [128, 20])
@pytest.mark.parametrize("prefix", ["fc.weight", "fc"])
def test_a_bit_mask_and_its_values_are_a_weight(tmp_path, prefix, k):
    values = sparse(k=k)
    compressed, octets = bitmask(values)
    stored = {
        f"{prefix}.compressed": compressed,
        f"{prefix}.bitmask": octets,
        f"{prefix}.shape": np.array([[ROWS], [k]], np.int64),
        f"{prefix}.row_offsets": np.zeros(ROWS, np.int64),
    }
    save_file(stored, tmp_path / "w.safetensors")
    np.testing.assert_array_equal(read(tmp_path / "w.safetensors", k=k), values)
    assert list(TensorFile(tmp_path / "w.safetensors").held) == ["fc.weight"]


def test_the_two_of_four_of_a_bit_mask_may_be_zeros_and_have_a_scale(tmp_path):
    values = sparse()
    kept = prune(np.abs(values) + 1e-9, "2:4").mask  # two of each four, whatever they are
    kept |= values != 0
    compressed, octets = bitmask(values, kept)
    stored = {
        "fc.weight.compressed": compressed.reshape(ROWS, K // 2),
        "fc.weight.bitmask": octets,
        "fc.weight_scale": np.full((ROWS, 1), 2, np.float32),
    }
    save_file(stored, tmp_path / "w.safetensors")
    np.testing.assert_array_equal(read(tmp_path / "w.safetensors"), 2 * values)


def _fewer(stored):
    stored["fc.weight.compressed"] = stored["fc.weight.compressed"][:-1]


def _other_shape(stored):
    stored["fc.weight.shape"] = np.array([ROWS, 2 * K], np.int64)


def _huge(stored):
    stored["fc.weight.shape"] = np.array([1 << 40, 1 << 40], np.int64)


def _negative(stored):
    stored["fc.weight.shape"] = np.array([-1, K], np.int64)


def _floats(stored):
    stored["fc.weight.bitmask"] = stored["fc.weight.bitmask"].astype(np.float32)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_fewer, "values, expected 4091: as many as fc.weight.bitmask has bits"),
        (_other_shape, "fc.weight.bitmask is 64 x 16 of U8, expected bytes, a bit an element"),
        (_huge, "expected bytes, a bit an element of 1099511627776 x 1099511627776"),
        (_negative, "expected bytes, a bit an element of -1 x 128"),
        (_floats, "fc.weight.bitmask is 64 x 16 of F32"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(tmp_path, change, said):
    compressed, octets = bitmask(sparse())
    stored = {
        "fc.weight.compressed": compressed,
        "fc.weight.bitmask": octets,
        "fc.weight.shape": np.array([ROWS, K], np.int64),
    }
    change(stored)
    save_file(stored, tmp_path / "w.safetensors")
    with pytest.raises(NmsimError) as refused:
        read(tmp_path / "w.safetensors")
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["fc.weight_packed", "fc.qweight", "fc.B_24"])
def test_packed_integers_of_four_bits_are_refused_by_name(tmp_path, name):
    save_file({name: np.zeros((8, 8), np.int32)}, tmp_path / "w.safetensors")
    with pytest.raises(NmsimError, match=f"{name} is packed integers of four bits"):
        read(tmp_path / "w.safetensors")


def test_a_zero_point_is_taken_off_before_the_scale_multiplies(tmp_path):
    values = np.random.default_rng(0).integers(-128, 128, (ROWS, K)).astype(np.int8)
    zero = np.arange(ROWS, dtype=np.int8)[:, None]
    stored = {
        "fc.weight": values,
        "fc.weight_scale": np.full((ROWS, 1), 0.5, np.float32),
        "fc.weight_zero_point": zero,
    }
    save_file(stored, tmp_path / "w.safetensors")
    expected = (values.astype(np.float32) - zero) * np.float32(0.5)
    np.testing.assert_array_equal(read(tmp_path / "w.safetensors"), expected)


def test_scales_of_blocks_go_with_the_rows_that_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("nmsim.network.tensors._BLOCK_ELEMENTS", 5 * K)
    rng = np.random.default_rng(0)
    values = rng.integers(-128, 128, (ROWS, K)).astype(np.int8)
    scale = rng.random((4, 2)).astype(np.float32)
    stored = {"fc.weight": values, "fc.weight_scale_inv": scale}
    save_file(stored, tmp_path / "w.safetensors")
    expected = values * np.kron(scale, np.ones((16, 64), np.float32))
    np.testing.assert_array_equal(read(tmp_path / "w.safetensors"), expected)


# ---- torch


def torch_or_skip():
    torch = pytest.importorskip("torch")
    from torch.sparse import SparseSemiStructuredTensorCUTLASS as Halves  # noqa: PLC0415
    from torch.sparse._semi_structured_conversions import (  # noqa: PLC0415
        sparse_semi_structured_from_dense_cutlass as halved,
    )

    return torch, Halves, halved


@pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructuredTensor")
@pytest.mark.parametrize(
    ("dtype", "pattern"),
    [("float16", "2:4"), ("bfloat16", "2:4"), ("int8", "2:4"), ("float32", "1:2")],
)
def test_semi_structured_tensors_of_torch_are_decoded(tmp_path, dtype, pattern):
    torch, halves, halved = torch_or_skip()
    values = torch.tensor(np.round(10 * sparse(96, 256, pattern))).to(getattr(torch, dtype))
    packed, meta = halved(values)
    whole = halves(values.shape, packed, meta, None, None, None)
    torch.save({"fc.weight": whole, "fc.bias": torch.zeros(96)}, tmp_path / "w.pt")
    expected = values.to(torch.float32).numpy()
    np.testing.assert_array_equal(read(tmp_path / "w.pt", 96, 256), expected)
    from safetensors.torch import save_file as save  # noqa: PLC0415

    save({"fc.weight.packed": packed, "fc.weight.meta": meta}, tmp_path / "w.safetensors")
    np.testing.assert_array_equal(read(tmp_path / "w.safetensors", 96, 256), expected)


@pytest.mark.parametrize("within", ["", "state_dict", "model"])
@pytest.mark.parametrize("old", [False, True])
def test_files_of_torch_are_read(tmp_path, within, old):
    torch, *_ = torch_or_skip()
    values = torch.tensor(sparse()).to(torch.bfloat16)
    state = {"module.fc.weight": values, "step": 3}
    held = {within: state, "epoch": 1} if within else state
    torch.save(held, tmp_path / "w.pth", _use_new_zipfile_serialization=not old)
    np.testing.assert_array_equal(read(tmp_path / "w.pth"), values.to(torch.float32).numpy())


class Harmful:
    """What a pickle may run when it is read."""

    def __reduce__(self):
        return print, ("harm",)


def test_a_file_of_torch_runs_nothing(tmp_path, capsys):
    torch, *_ = torch_or_skip()
    torch.save({"fc.weight": Harmful()}, tmp_path / "w.pt")
    with pytest.raises(NmsimError, match=r"torch\.load\(weights_only=True\) refuses it"):
        read(tmp_path / "w.pt")
    torch.save([1, 2], tmp_path / "w.pt")
    with pytest.raises(NmsimError, match="holds a list, expected tensors by name"):
        read(tmp_path / "w.pt")
    assert "harm" not in capsys.readouterr().out


@pytest.mark.parametrize("head", [b"\x80\x02}q\x00.", b"PK"])
def test_without_torch_one_line_says_what_converts_a_file(tmp_path, monkeypatch, head):
    import sys  # noqa: PLC0415
    import zipfile  # noqa: PLC0415

    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "w.bin"
    path.write_bytes(head)
    if head == b"PK":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w/data.pkl", b"\x80\x02}q\x00.")
    with pytest.raises(MissingExtra) as refused:
        read(path)
    said = str(refused.value)
    assert said.startswith(
        f"{path}: of torch.save; measuring, recording, or reading a file of torch.save"
    )
    assert "safetensors.torch.save_file(torch.load(FILE, weights_only=True), NEW)" in said
    assert len(said.splitlines()) == 1


def test_an_index_of_files_of_torch_is_read(tmp_path):
    torch, *_ = torch_or_skip()
    values = sparse()
    torch.save({"fc.weight": torch.tensor(values)}, tmp_path / "pytorch_model-1.bin")
    index = {"weight_map": {"fc.weight": "pytorch_model-1.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    np.testing.assert_array_equal(read(tmp_path), values)


def test_a_released_model_keeps_the_mask_that_it_was_released_with(tmp_path):
    values = sparse()
    compressed, octets = bitmask(values)
    stored = {"model.fc.weight.compressed": compressed, "model.fc.weight.bitmask": octets}
    save_file(stored, tmp_path / "w.safetensors")
    (tmp_path / "one.yaml").write_text(
        f"layers: [{{name: fc, type: linear, in_features: {K}, out_features: {ROWS}}}]"
    )
    options = {"recipe": "given", "tensors": tmp_path / "w.safetensors", "phases": ("forward",)}
    work = next(Point(tmp_path / "one.yaml", batch=1, **options).sparse_gemms())
    assert (work.b.bits() == (values != 0)).all()
