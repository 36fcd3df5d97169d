"""Are the layers of an ONNX model those that it was made of, or refused by name?"""

import random
import re
import sys

import pytest

from nmsim.errors import NmsimError
from nmsim.importing import import_document
from nmsim.network.catalog import Network, load_model
from nmsim.network.layer import lowered
from nmsim.spec import validate

onnx = pytest.importorskip("onnx")
from mutated_files import CHECKPOINTS, FILES, answered, mutated  # noqa: E402
from onnx_models import attention, convolutions, model, node, weight  # noqa: E402


@pytest.fixture
def layers(tmp_path):
    """Layers of a model by name, of axes bound to sizes."""

    def read(data, **sizes):
        path = tmp_path / "m.onnx"
        path.write_bytes(data)
        _, found = import_document(path, "", sizes)
        network = validate(Network, found.content, str(path))
        return network, {layer["name"]: layer for layer in found.content["layers"]}, found.told

    return read


def forward(network, batch):
    every = (one.gemm for layer in network.layers for one in lowered(layer, batch))
    return [(g.layer, g.m, g.n, g.k, g.count) for g in every if g.phase == "forward"]


def test_windows_are_the_models_own(layers):
    network, found, told = layers(convolutions(), N=2, W=48)
    assert (network.batch, list(found)) == (2, ["stem", "dw", "up", "fc", "head"])
    assert found["stem"] == {
        "name": "stem",
        "type": "conv",
        "in_channels": 3,
        "out_channels": 16,
        "kernel": [3, 3],
        "stride": [2, 2],
        "padding": [1, 1],
        "input_size": [32, 48],
        "input": "data",
    }
    assert (found["dw"]["groups"], found["dw"]["dilation"]) == (16, [1, 2])
    assert (found["dw"]["padding"], found["dw"]["input"]) == ([[0, 1], 1], "relu")
    assert found["up"]["output_padding"] == [1, 1]
    assert network.layers[2].output_size == (30, 44)
    assert forward(network, 2)[-2:] == [("fc", 2, 10, 8, 1), ("head", 2, 7, 10, 1)]
    assert re.search("3 operations without two matrices: Relu 1, GlobalAveragePool 1", told[0])


def test_attention_is_products_of_activations(layers):
    network, found, _ = layers(attention(), batch=3, T=10)
    assert list(found) == ["q", "k", "v", "attn.MatMul", "attn.MatMul_1", "out"]
    assert forward(network, 3) == [
        *((name, 30, 32, 32, 1) for name in "qkv"),
        ("attn.MatMul", 10, 10, 8, 12),
        ("attn.MatMul_1", 10, 8, 10, 12),
        ("out", 30, 32, 32, 1),
    ]
    assert found["attn.MatMul_1"]["input"] == "softmax"


def test_a_weight_on_the_left_and_one_used_twice(layers):
    nodes = [
        node("MatMul", "w x", "a"),
        node("Relu", "a", "b"),
        node("MatMul", "w b", "c"),
        node("Gemm", "c v", "y", transA=1),
    ]
    data = model(nodes, [("x", [8, 5])], [weight("w", 8, 8), weight("v", 8, 4)])
    network, found, _ = layers(data)
    assert found["w#2"]["weight_of"] == "w"
    assert [(g.in_features, g.out_features) for g in network.layers] == [(8, 8), (8, 8), (8, 4)]


PER_DIMENSION = ("kernel", "stride", "padding", "dilation", "input_size")


@pytest.mark.parametrize("name", ["mobilenet-v2", "deeplabv3-resnet50", "densenet121"])
def test_convolutions_of_a_network_are_what_they_were(layers, name):
    """Each convolution of a catalog network, written to ONNX and read again, field by field."""
    wanted = [one for one in load_model(name).layers if one.type == "conv"]
    nodes, inputs, weights = [], [], []
    for one in wanted:
        sides = [side if isinstance(side, tuple) else (side, side) for side in one.each("padding")]
        pads = [before for before, _ in sides] + [after for _, after in sides]
        inputs.append((f"x{one.name}", [3, one.in_channels, *one.image]))
        weights.append(weight(f"{one.name}.weight", one.out_channels, one.inputs, *one.window))
        nodes.append(
            node(
                *("Conv", f"x{one.name} {one.name}.weight", f"y{one.name}"),
                strides=one.each("stride"),
                dilations=one.each("dilation"),
                group=one.groups,
                pads=pads,
            )
        )
    network, _, _ = layers(model(nodes, inputs, weights))
    assert [one.name for one in network.layers] == [one.name for one in wanted]
    for found, one in zip(network.layers, wanted, strict=True):
        for field in ("in_channels", "out_channels", "groups", "output_size"):
            assert getattr(found, field) == getattr(one, field), (one.name, field)
        for field in PER_DIMENSION:
            assert found.each(field) == one.each(field), (one.name, field)
    assert forward(network, 3) == [
        (g.layer, g.m, g.n, g.k, g.count)
        for one in wanted
        for g in (own.gemm for own in lowered(one, 3))
        if g.phase == "forward"
    ]


@pytest.mark.parametrize(
    ("auto", "stride", "padding", "output"),
    [("SAME_UPPER", 2, [[0, 1]], 8), ("SAME_LOWER", 2, [[1, 0]], 8), ("VALID", 2, None, 7)],
)
def test_automatic_padding_is_worked_out(layers, auto, stride, padding, output):
    nodes = [node("Conv", "x w", "y", auto_pad=auto, strides=[stride])]
    network, found, _ = layers(model(nodes, [("x", [1, 4, 16])], [weight("w", 2, 4, 3)]))
    assert found["w"].get("padding") == padding
    assert network.layers[0].output_size == (output,)


def test_an_output_shape_says_the_padding(layers):
    nodes = [node("ConvTranspose", "x w", "y", strides=[2], output_shape=[15])]
    network, _, _ = layers(model(nodes, [("x", [1, 4, 8])], [weight("w", 4, 2, 3)]))
    assert network.layers[0].output_size == (15,)


T = onnx.TensorProto


def typed(nodes, given, weights):
    """A model of tensors of one size each, by their types: those given, and those of the file."""
    inputs = [onnx.helper.make_tensor_value_info(name, of, [3, 8]) for name, of in given.items()]
    held = [T(name=name, dims=shape, data_type=of) for name, (of, *shape) in weights.items()]
    last = onnx.helper.make_empty_tensor_value_info(nodes[-1].output[0])
    graph = onnx.helper.make_graph(nodes, "g", inputs, [last], held)
    opsets = [onnx.helper.make_opsetid("", 21)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


PLAIN = [node("MatMul", "x w", "y")]
QDQ = [
    node("QuantizeLinear", "x s z", "q"),
    node("DequantizeLinear", "q s z", "d"),
    node("DequantizeLinear", "w s", "v"),
    node("Transpose", "v", "t", perm=[1, 0]),
    node("MatMul", "d t", "y"),
]
UNPACKED = [node("DequantizeLinear", "w s", "v"), node("MatMul", "x v", "y")]
ALONE = [*QDQ[:2], node("MatMul", "d w", "y")]
QUANTISED = [node("QLinearMatMul", "x s z w s z s z", "y")]
INTEGERS = [node("MatMulInteger", "x w", "y")]
SCALE, ZERO = (T.FLOAT, 1), (T.INT8, 1)


@pytest.mark.parametrize(
    ("nodes", "x", "w", "format_"),
    [
        (PLAIN, T.FLOAT, T.FLOAT, None),
        (PLAIN, T.FLOAT16, T.FLOAT16, "fp16"),
        (PLAIN, T.BFLOAT16, T.BFLOAT16, "bf16"),
        (QDQ, T.FLOAT, T.INT8, "int8"),
        (UNPACKED, T.FLOAT, T.INT8, "w8a16"),
        (UNPACKED, T.FLOAT, T.INT4, "w4a16"),
        (UNPACKED, T.FLOAT, T.FLOAT8E4M3FN, "w8a16"),
        (ALONE, T.FLOAT, T.FLOAT, None),
        (QUANTISED, T.INT8, T.INT8, "int8"),
        (INTEGERS, T.UINT8, T.INT8, "int8"),
    ],
)
def test_a_product_has_the_number_format_of_its_operands(layers, nodes, x, w, format_):
    data = typed(nodes, {"x": x}, {"w": (w, 8, 8), "s": SCALE, "z": ZERO})
    network, found, _ = layers(data)
    assert found["w"].get("number_format") == format_
    (layer,) = network.layers
    in_phases = tuple(layer.runs_in(phase) for phase in ("forward", "update"))
    assert in_phases == (format_ or "", format_ if format_ in ("fp16", "bf16") else "")


@pytest.mark.parametrize(
    ("nodes", "x", "w", "why"),
    [
        (PLAIN, T.DOUBLE, T.DOUBLE, "MatMul 'y' multiplies double, expected one of float, float16"),
        (QDQ, T.FLOAT, T.INT4, "MatMul 'y' multiplies int8 by int4, which no number format has"),
        (INTEGERS, T.INT8, T.INT32, "MatMulInteger 'y' multiplies int32, expected one of"),
    ],
)
def test_a_type_that_no_number_format_has_is_refused_by_name(layers, nodes, x, w, why):
    with pytest.raises(NmsimError, match=re.escape(why)):
        layers(typed(nodes, {"x": x}, {"w": (w, 8, 8), "s": SCALE, "z": ZERO}))


def test_integer_convolutions_are_convolutions(layers):
    nodes = [node("QLinearConv", "x s z w s z s z", "y", pads=[1, 1, 1, 1], name="c")]
    image = onnx.helper.make_tensor_value_info("x", T.INT8, [2, 4, 6, 5])
    held = [T(name="w", dims=(8, 4, 3, 3), data_type=T.INT8)]
    held += [T(name="s", dims=(1,), data_type=T.FLOAT), T(name="z", dims=(1,), data_type=T.INT8)]
    last = onnx.helper.make_empty_tensor_value_info("y")
    graph = onnx.helper.make_graph(nodes, "g", [image], [last], held)
    opsets = [onnx.helper.make_opsetid("", 21)]
    data = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    network, found, _ = layers(data)
    assert (found["w"]["padding"], found["w"]["number_format"]) == ([1, 1], "int8")
    assert forward(network, 2) == [("w", 2 * 30, 8, 36, 1)]


@pytest.mark.parametrize(
    ("nodes", "named"),
    [
        ([node("Einsum", "x w", "y", equation="bi,ij->bj", name="e1")], "Einsum 'e1' multiplies"),
        ([node("Fused", "x w", "y", domain="own")], "own.Fused 'y' has two matrices"),
        ([node("MatMul", "x cube", "y")], "MatMul 'y' has a weight of (3, 8, 8)"),
        (
            [node("Unknown", "x", "a", domain="own"), node("MatMul", "a w", "y")],
            "no shape is known",
        ),
        ([node("Relu", "x", "y")], "without matrix products"),
    ],
)
def test_what_is_no_layer_is_refused_by_name(layers, nodes, named):
    data = model(nodes, [("x", [1, 8])], [weight("w", 8, 8), weight("cube", 3, 8, 8)])
    with pytest.raises(NmsimError, match=re.escape(named)):
        layers(data)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"\x08\x07", "an ONNX model without operations"),
        (convolutions(1, 8).replace(b"Relu", b"Re\xfeu"), "shape is known"),
        (b"\x08\x07\x3a\x7f", "not an ONNX model that can be read"),
    ],
)
def test_what_is_no_model_is_refused(layers, data, named):
    with pytest.raises(NmsimError, match=named):
        layers(data)


def test_axes_without_a_size_are_named(layers):
    with pytest.raises(NmsimError, match="axis 'W' of input 'x' has no size: bind it"):
        layers(convolutions())
    with pytest.raises(NmsimError, match="unknown axis 'H'"):
        layers(convolutions(), H=3, W=48)


def test_sizes_are_bound_on_the_command_line(command, tmp_path):
    (tmp_path / "m.onnx").write_bytes(attention())
    arguments = ("import", tmp_path / "m.onnx", "--out", tmp_path / "m.yaml", "--bind")
    assert "--bind 'T': expected NAME=SIZE" in command(*arguments, "T")[2]
    assert command(*arguments, "T=7")[0] == 0
    assert "tokens: 7" in (tmp_path / "m.yaml").read_text()


def test_without_the_library_a_line_says_what_to_install(command, tmp_path, monkeypatch):
    (tmp_path / "m.onnx").write_bytes(b"\x08\x07")
    monkeypatch.delitem(sys.modules, "nmsim.importers.onnx.graph", raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    status, _, err = command("simulate", tmp_path / "m.onnx")
    assert (status, err.count("\n")) == (2, 1)
    assert "an ONNX model" in err
    assert "pip install 'nmsim[onnx]'" in err


@pytest.mark.parametrize("number", range(60))
def test_a_damaged_file_is_answered_or_refused_in_a_line(tmp_path, number):
    draw = random.Random(number)
    name = draw.choice(sorted(set(FILES) - set(CHECKPOINTS)))
    path = tmp_path / name
    path.write_bytes(mutated(FILES[name], draw))
    assert answered(path) in {"", "machine"} or answered(path).endswith("GEMMs")
