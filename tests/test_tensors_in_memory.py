"""Tensors in memory, whoever made them, are what a file of them would be."""

import numpy as np
import pytest

import nmsim
from nmsim.arrays import as_array
from nmsim.errors import NmsimError

RNG = np.random.default_rng(3)
WEIGHTS = {
    "layer1.0.conv1.weight": RNG.normal(size=(64, 64, 3, 3)).astype(np.float32),
    "layer1.0.conv2.weight": RNG.normal(size=(64, 64, 3, 3)).astype(np.float32),
}
RUN = {
    "recipe": "asp",
    "layers": "layer1.0.conv*",
    "hardware": "systolic-128x128-intersecting",
    "phases": "forward",
}


class Tensor:
    """Behaves as a tensor of torch does: on a device, with a gradient, in a format of its own."""

    def __init__(self, values, *, narrow=False, held=True):
        self.values, self.narrow, self.held = values, narrow, held

    def detach(self):
        return self

    def cpu(self):
        return self

    def float(self):
        return Tensor(self.values)

    def __array__(self, dtype=None, copy=None):
        if not self.held:
            raise NotImplementedError("Cannot copy out of meta tensor; no data!")
        if self.narrow:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return np.array(self.values, dtype)


@pytest.fixture(scope="module")
def of_a_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.npz"
    np.savez(path, **WEIGHTS)
    return nmsim.simulate("resnet18", tensors=path, **RUN)


@pytest.mark.parametrize("narrow", [None, False, True])
def test_they_have_the_rows_of_a_file(of_a_file, narrow):
    given = WEIGHTS if narrow is None else {n: Tensor(w, narrow=narrow) for n, w in WEIGHTS.items()}
    found = nmsim.simulate("resnet18", tensors=given, **RUN)
    assert found.rows.equals(of_a_file.rows)
    assert found.manifest["tensors"] == "tensors in memory"


def test_their_masks_are_of_these_values_and_of_what_they_are_now():
    own = {name: values.copy() for name, values in WEIGHTS.items()}
    first = nmsim.simulate("resnet18", tensors=own, **RUN)["macs_useful"].tolist()
    own["layer1.0.conv1.weight"][0, 0] = np.nan
    with pytest.raises(NmsimError, match=r"tensors in memory: layer1.0.conv1.weight\[0, 0, 0, 0\]"):
        nmsim.simulate("resnet18", tensors=own, **RUN)
    own["layer1.0.conv1.weight"][0, 0] = 0
    assert nmsim.simulate("resnet18", tensors=own, **RUN)["macs_useful"].tolist() == first


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "tensors in memory: unknown tensor 'layer1.0.conv1.weight'"),
        ({**WEIGHTS, 3: 1}, "tensors: 3 is no name"),
        ({"layer1.0.conv1.weight": [[1, 2], [3]]}, "tensors: layer1.0.conv1.weight are no array"),
        ({"layer1.0.conv1.weight": Tensor(None, held=False)}, "no data!"),
        ({"layer1.0.conv1.weight": np.ones((64, 64))}, "is 64 x 64, expected 64 x 64 x 3 x 3"),
    ],
)
def test_what_cannot_be_is_one_line(given, said):
    with pytest.raises(NmsimError) as refused:
        nmsim.simulate("resnet18", tensors=given, **RUN)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_formats_that_numpy_lacks_are_widened():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    narrow = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    assert as_array(narrow).tolist() == [1.5, -2.0]
    assert as_array(Tensor(np.float32([1.5]), narrow=True)).dtype == np.float32
    values = Tensor(WEIGHTS["layer1.0.conv1.weight"].reshape(64, -1))
    kept = nmsim.prune(values, "2:4").mask
    assert (kept == nmsim.prune(values.values, "2:4").mask).all()
