"""Values and metadata as PyTorch's semi-structured tensors have them: there and back."""

import numpy as np
import pytest

import nmsim
from nmsim.errors import NmsimError
from nmsim.exporters.semi_structured import semi_structured
from nmsim.network.tensors.opening import opened

RNG = np.random.default_rng(5)
SHAPES = {"float16": (64, 128), "float32": (32, 96), "int8": (48, 256)}


def pruned(dtype, pattern=None):
    values = RNG.integers(-100, 100, SHAPES[dtype]).astype(dtype)
    return nmsim.prune(values, pattern or ("1:2" if dtype == "float32" else "2:4"), "magnitude")


@pytest.mark.parametrize("dtype", SHAPES)
def test_what_is_packed_is_read_again(dtype, tmp_path):
    values, mask = pruned(dtype)
    found = semi_structured(values, mask)
    np.savez(tmp_path / "w.npz", **{"fc.weight.packed": found.packed, "fc.weight.meta": found.meta})
    archive = opened(tmp_path / "w.npz", ()).archive
    assert (archive.read("fc.weight") == np.where(mask, values, 0)).all()


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_torch_reads_them(dtype):
    torch = pytest.importorskip("torch")
    semi = pytest.importorskip("torch.sparse._semi_structured_conversions")
    values, mask = pruned(dtype)
    found = semi_structured(values, mask)
    packed, meta = (torch.from_numpy(np.ascontiguousarray(one)) for one in found)
    dense = semi.sparse_semi_structured_to_dense_cutlass(packed, meta)
    assert (dense.numpy() == values).all()
    own = semi.sparse_semi_structured_from_dense_cutlass(torch.from_numpy(values))
    assert (own[0].numpy() == found.packed).all()
    assert (own[1].numpy().reshape(-1) == found.meta.reshape(-1)).all()


def test_groups_that_keep_fewer_are_filled_with_zeros():
    values, mask = pruned("float16", "1:4")
    found = semi_structured(values, mask)
    assert np.count_nonzero(found.packed) == np.count_nonzero(values)
    assert found.packed.sum(dtype=np.float64) == values.sum(dtype=np.float64)


@pytest.mark.parametrize(
    ("shape", "mask", "said"),
    [
        ((32, 64), np.ones((32, 64), bool), "row 0, columns 0 to 3"),
        ((33, 64), np.zeros((33, 64), bool), "expected multiples of 32 x 64"),
        ((32, 64), np.zeros((32, 32), bool), "expected both rows x K"),
        ((64,), np.zeros(64, bool), "expected both rows x K"),
        ((0, 64), np.zeros((0, 64), bool), "expected multiples"),
    ],
)
def test_what_no_tensor_core_takes_is_refused(shape, mask, said):
    with pytest.raises(NmsimError) as refused:
        semi_structured(np.ones(shape, np.float16), mask)
    assert said in str(refused.value) or "keeps 4" in str(refused.value)
    assert "\n" not in str(refused.value)
