"""Are a recorded step's tensors those that were multiplied, and its zeros the trace's masks?"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import nmsim  # noqa: E402
from nmsim.network.tensors.files import TensorFile  # noqa: E402
from nmsim.run.trace import check  # noqa: E402


class Small(nn.Module):
    """A convolutional network of two convolutions and two linear layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 32, 3, stride=2)
        self.hidden, self.head = nn.Linear(32 * 9, 512), nn.Linear(512, 256)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.second(torch.relu(self.first(x)))), 1)
        return self.head(torch.relu(self.hidden(x.flatten(1))))


def transposable(weight):
    """Two of four along both axes of each 4 x 4 tile: a checkerboard of pairs."""
    rows, columns = weight.shape
    tile = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1], [0, 1, 1, 0]], bool)
    return torch.from_numpy(np.tile(tile, (rows // 4, columns // 4)))


@pytest.fixture(scope="module")
def recorded():
    torch.manual_seed(0)
    model = Small()
    with torch.no_grad():
        pairs = torch.tensor([True, True, False, False]).repeat(4)
        model.second.weight *= pairs[None, :, None, None]  # along channels, two of four
        for layer in (model.hidden, model.head):
            layer.weight *= transposable(layer.weight)
    x = torch.randn(4, 3, 8, 8)
    kept = {}
    model.head.register_full_backward_hook(lambda m, i, o: kept.update(gradient=o[0]))
    model.hidden.register_forward_hook(lambda m, i, o: kept.update(activation=i[0]))
    step = lambda: F.cross_entropy(model(x), torch.arange(4)).backward()
    return nmsim.torch.record(step, model, mode="tensors"), model, x, kept


def test_values_are_those_that_hooks_see(recorded):
    found, model, x, kept = recorded
    same = np.testing.assert_array_equal
    same(found.values["first.activation"], x)
    for name in ("first", "second", "hidden", "head"):
        same(found.values[f"{name}.weight"], model.get_submodule(name).weight.detach())
    same(found.values["hidden.activation"], kept["activation"].detach())
    same(found.values["head.gradient"], kept["gradient"])


def test_gradients_and_activations_make_the_weights_gradient(recorded):
    found, model, *_ = recorded
    for name in ("hidden", "head"):
        made = found.values[f"{name}.gradient"].T @ found.values[f"{name}.activation"]
        np.testing.assert_allclose(made, model.get_submodule(name).weight.grad, atol=1e-6)


def test_a_tensor_file_is_read_where_tensors_are_asked_for(recorded, tmp_path):
    found, *_ = recorded
    found.save(tmp_path / "step.safetensors")
    source, network = TensorFile(tmp_path / "step.safetensors"), found.network
    for tensor in ("weight", "activation", "gradient"):
        source.check(network.layers, tensor, 1)


def test_a_trace_has_the_zeros_as_masks_and_promises_where_they_keep_the_pattern(recorded):
    found, model, *_ = recorded
    masks = {(one.gemm.layer, one.gemm.phase): one.b for one in found.trace("2:4").gemms}
    promised = {key for key, mask in masks.items() if not mask.is_dense and mask.fits}
    linear = {(layer, phase) for layer in ("hidden", "head") for phase in ("forward", "backward")}
    assert promised == {*linear, ("second", "forward")}
    head = model.head.weight.detach().numpy() != 0
    np.testing.assert_array_equal(masks["head", "forward"].bits(), head)
    np.testing.assert_array_equal(masks["head", "backward"].bits(), head.T)
    kernel = np.moveaxis(model.second.weight.detach().numpy() != 0, 1, -1)
    np.testing.assert_array_equal(masks["second", "forward"].bits(), kernel.reshape(32, -1))


def test_a_trace_checks_and_gains_in_backward_on_both_engines(recorded, tmp_path):
    recorded[0].trace("2:4").save(tmp_path / "step.safetensors")
    trace = check(tmp_path / "step.safetensors")
    for fidelity in ("analytical", "cycle"):
        table = nmsim.simulate(trace, hardware="systolic-128x128-2to4", fidelity=fidelity)
        linear = table[table["layer"].isin(["hidden", "head"])].set_index(["layer", "phase"])
        assert (linear["speedup"].xs("backward", level="phase") > 1.2).all()
        assert (linear["speedup"].xs("update", level="phase") == 1).all()


def test_masks_of_ones_own_take_the_place_of_zeros(recorded):
    found, model, *_ = recorded
    own = np.zeros(model.head.weight.shape, bool)
    own[:, ::4] = True
    masks = {
        (one.gemm.layer, one.gemm.phase): one.b
        for one in found.trace("1:4", masks={"head": own}).gemms
    }
    assert masks["head", "forward"].kept == own.sum()
    assert masks["head", "forward"].fits
    with pytest.raises(nmsim.NmsimError, match="'heads'; did you mean 'head'"):
        found.trace("1:4", masks={"heads": own})


def test_a_tensor_on_meta_has_no_values_to_record():
    model = nn.Linear(8, 8, device="meta")
    step = lambda: model(torch.empty(2, 8, device="meta")).sum().backward()
    with pytest.raises(nmsim.NmsimError, match="a tensor on meta has no values"):
        nmsim.torch.record(step, model, mode="tensors")


def test_the_gradient_of_a_layer_fed_by_data_is_had_from_its_update():
    model, x = nn.Linear(8, 12, bias=False), torch.randn(5, 8)
    step = lambda: model(x).square().sum().backward()
    found = nmsim.torch.record(step, model, mode="tensors")
    np.testing.assert_allclose(found.values["weight.gradient"], 2 * model(x).detach())
