"""Lowering: GEMMs of a training step, against convolutions done the slow way."""

import numpy as np
import pytest

from nmsim.errors import ShapeError, SpecError
from nmsim.gemm import Gemm
from nmsim.mask.words import pack, unpack
from nmsim.network.catalog import Network, load_model
from nmsim.network.im2col import column_bits, column_values, tap_bits
from nmsim.network.layer import Bare, Linear, Matmul
from nmsim.network.lowering import Lowering
from nmsim.spec import validate

COLUMNS = Lowering.parse("columns")

CONVS = [
    {"in_channels": 6, "out_channels": 10, "kernel": 3, "input_size": [7, 9]},
    {"in_channels": 4, "out_channels": 6, "kernel": [3, 2], "stride": 2, "padding": 1,
     "input_size": [8, 5], "groups": 2},
    {"in_channels": 5, "out_channels": 5, "kernel": 3, "padding": 2, "dilation": 2,
     "stride": [1, 3], "input_size": 11, "groups": 5},
    {"in_channels": 3, "out_channels": 4, "kernel": 1, "stride": 2, "input_size": 6},
    {"in_channels": 40, "out_channels": 2, "kernel": 3, "input_size": 4, "groups": 2},
]  # fmt: skip


def conv(**fields):
    return validate(Network, {"layers": [{"name": "c", "type": "conv", **fields}]}, "test").layers[
        0
    ]


def direct_windows(layer, image):
    """Windows of a batch of NHWC images by slicing: sample, y, x, tap y, tap x, channel."""
    (sy, sx), (py, px), (dy, dx) = map(layer.each, ("stride", "padding", "dilation"))
    kh, kw = layer.window
    padded = np.pad(image, ((0, 0), (py, py), (px, px), (0, 0)))
    oh, ow = layer.output_size
    out = np.zeros((image.shape[0], oh, ow, kh, kw, image.shape[3]), image.dtype)
    for y in range(oh):
        for x in range(ow):
            top, left = y * sy, x * sx
            out[:, y, x] = padded[:, top : top + dy * kh : dy, left : left + dx * kw : dx][
                :, :kh, :kw
            ]
    return out


@pytest.mark.parametrize("fields", CONVS)
def test_columns_are_the_windows(fields):
    layer = conv(**fields)
    image = np.random.default_rng(1).normal(size=(2, *layer.image, layer.in_channels))
    image = image.astype(np.float32)
    seen = direct_windows(layer, image)
    t, g = int(np.prod(seen.shape[:3])), layer.groups
    channels = layer.in_channels // g
    by_copy = np.moveaxis(seen.reshape(t, -1, g, channels), 2, 0).reshape(g, t, -1)
    w = layer.windows(2)
    features = np.empty((g * by_copy.shape[2], t), np.float32)
    column_values(image.reshape(-1, layer.in_channels), w, g, 0, features)
    np.testing.assert_array_equal(features.reshape(g, -1, t), np.swapaxes(by_copy, 1, 2))
    bits = image.reshape(-1, layer.in_channels) > 0
    np.testing.assert_array_equal(
        column_bits(pack(bits), w, g), pack(by_copy.reshape(g * t, -1) > 0)
    )


@pytest.mark.parametrize(("channels", "pitch"), [(3, 4), (64, 64), (130, 136)])
def test_a_weights_mask_is_read_tap_by_tap(channels, pitch):
    """Two copies of five rows at three taps, of which two are read, the last one first."""
    bits = np.random.default_rng(channels).random((2, 3, 5, channels)) < 0.5
    found = unpack(tap_bits(pack(bits.reshape(30, -1)), (2, 0), 3, 2, channels, pitch), 2 * pitch)
    padded = np.pad(bits, [(0, 0)] * 3 + [(0, pitch - channels)])
    wanted = np.concatenate([padded[:, 2], padded[:, 0]], axis=2)
    np.testing.assert_array_equal(found, wanted.reshape(10, -1))


@pytest.mark.parametrize("fields", CONVS)
def test_three_gemms_of_a_convolution(fields):
    layer, batch = conv(**fields), 3
    oh, ow = layer.output_size
    kh, kw = layer.window
    t, g = batch * oh * ow, layer.groups
    i, o = kh * kw * layer.in_channels // g, layer.out_channels // g
    gemms = {x.gemm.phase: x.gemm for x in layer.lower(batch, COLUMNS)}
    sizes = {phase: (x.m, x.n, x.k, x.count) for phase, x in gemms.items()}
    assert sizes == {
        "forward": (t, o, i, g),
        "backward": (t, i, o, g),
        "update": (o, i, t, g),
    }
    # Distinct pixels behind the windows, counted on an image of its own indices.
    index = 1 + np.arange(np.prod(layer.image)).reshape(1, *layer.image, 1)
    seen = np.unique(direct_windows(layer, index))
    pixels = len(seen[seen > 0]) * batch * layer.in_channels // g
    assert gemms["forward"].a_elements == gemms["update"].b_elements == pixels


def test_scatter_is_nothing_where_columns_are_pixels():
    pointwise = conv(in_channels=8, out_channels=4, kernel=1, input_size=5)
    assert pointwise.lower(2, COLUMNS)[1].gemm.scatter_elements == 0
    window = conv(in_channels=8, out_channels=4, kernel=3, input_size=5)
    assert window.lower(2, COLUMNS)[1].gemm.scatter_elements == 2 * (9 * 72 + 25 * 8)


def test_operands_say_which_axis_k_runs_along():
    forward, backward, update = Linear(
        name="l", type="linear", in_features=5, out_features=7, tokens=3
    ).lower(2)
    assert [(x.a.tensor, x.a.transposed, x.b.tensor, x.b.transposed) for x in
            (forward, backward, update)] == [
        ("activation", False, "weight", False),
        ("gradient", False, "weight", True),
        ("gradient", True, "activation", True),
    ]  # fmt: skip
    assert [(x.gemm.m, x.gemm.n, x.gemm.k) for x in (forward, backward, update)] == [
        (6, 7, 5), (6, 5, 7), (7, 5, 6)
    ]  # fmt: skip


def test_a_matmul_has_two_input_gradients():
    layer = Matmul(name="qk", type="matmul", m=5, n=7, k=3, heads=4)
    assert [
        (x.gemm.phase, x.gemm.gradient_of, x.gemm.m, x.gemm.n, x.gemm.k, x.gemm.count)
        for x in layer.lower(2)
    ] == [
        ("forward", "", 5, 7, 3, 8),
        ("backward", "a", 5, 3, 7, 8),
        ("backward", "b", 7, 3, 5, 8),
    ]


def test_data_need_no_gradient():
    fed = conv(in_channels=3, out_channels=4, kernel=3, input_size=8, input="data")
    assert [x.gemm.phase for x in fed.lower(1)] == ["forward", "update"]
    embedded = Linear(name="e", type="linear", in_features=4, out_features=4, input="embedding")
    assert len(embedded.lower(1)) == 3


def test_images_of_a_sample_are_samples_of_its_tensors():
    fields = {"in_channels": 8, "out_channels": 12, "kernel": 3, "padding": 1, "input_size": [5, 7]}
    regions, plain = conv(**fields, images=3), conv(**fields)
    assert [x.gemm for x in regions.lower(2)] == [x.gemm for x in plain.lower(6)]
    for tensor in ("activation", "weight", "gradient"):
        assert regions.shape(tensor, 2) == plain.shape(tensor, 6)
    assert regions.windows(2) == plain.windows(6)


def test_a_transposed_convolution_without_overlap_is_a_linear_layer_on_pixels():
    pixels, channels, outputs, window = 6, 5, 3, 2
    rng = np.random.default_rng(2)
    x = rng.normal(size=(pixels, channels))
    w = rng.normal(size=(channels, outputs, window, window))
    dy = rng.normal(size=(pixels, window, window, outputs))
    y, dx, dw = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape)
    for p, c, o, i, j in np.ndindex(pixels, channels, outputs, window, window):
        y[p, i, j, o] += x[p, c] * w[c, o, i, j]
        dx[p, c] += dy[p, i, j, o] * w[c, o, i, j]
        dw[c, o, i, j] += dy[p, i, j, o] * x[p, c]

    def rows(weight):
        return np.moveaxis(weight, (2, 3), (0, 1)).transpose(0, 1, 3, 2).reshape(-1, channels)

    layer = Linear(
        name="up", type="linear", in_features=channels, out_features=4 * outputs, tokens=pixels
    )
    matrices = {"activation": x, "weight": rows(w), "gradient": dy.reshape(pixels, -1)}
    expected = {"forward": y.reshape(pixels, -1), "backward": dx, "update": rows(dw)}
    for lowered in layer.lower(1):
        a, b = (
            matrices[operand.tensor].T if operand.transposed else matrices[operand.tensor]
            for operand in (lowered.a, lowered.b)
        )
        g = lowered.gemm
        assert (a.shape, b.shape) == ((g.m, g.k), (g.n, g.k))
        np.testing.assert_allclose(a @ b.T, expected[g.phase], atol=1e-12)


@pytest.mark.parametrize("batch", [0, -1, 1.5, "2"])
def test_a_batch_is_a_positive_integer(batch):
    with pytest.raises(ShapeError, match="batch is"):
        load_model("resnet18").gemms(batch)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"groups": 4, "in_channels": 6}, "in_channels is 6, expected a multiple of groups"),
        ({"kernel": 12}, "larger than the padded input"),
        ({"stride": 0}, r"layers\[0\].stride"),
        ({"input_size": -3}, r"layers\[0\].input_size"),
        ({"colour": 3}, "unknown field 'layers"),
    ],
)
def test_what_cannot_be_is_refused(fields, message):
    with pytest.raises(SpecError, match=message):
        conv(**{"in_channels": 8, "out_channels": 4, "kernel": 3, "input_size": 8, **fields})


def test_a_bare_gemm_is_its_own_layer():
    gemm = Gemm(4, 5, 6, count=2, phase="update")
    bare = Bare(gemm)
    assert [x.gemm for x in bare.lower(1)] == [gemm]
    assert bare.shape("gradient", 1) == (6, 8)
    assert bare.shape("activation", 1) == (6, 10)


def test_a_transposed_convolution_may_have_its_name_of_pytorch(tmp_path):
    path = tmp_path / "up.yaml"
    for name in ("conv_transpose", "conv_transposed"):
        path.write_text(
            f"layers:\n- {{name: c, type: {name}, in_channels: 3, out_channels: 64, kernel: 4, "
            "stride: 2, padding: 1, input_size: 16}\n"
        )
        gemms = load_model(path).gemms(batch=1)
        assert sum(one.macs for one in gemms if one.phase == "forward") == 16 * 16 * 4 * 4 * 3 * 64
    path.write_text(path.read_text().replace("conv_transposed", "conv_turned"))
    with pytest.raises(SpecError, match=r"layers\[0\].type is 'conv_turned': expected one of"):
        load_model(path)
