"""Small ONNX models, made by the library: how they are made says what their layers are."""

import onnx
from onnx import TensorProto, helper


def weight(name, *shape):
    """A tensor of the file without its values: no importer looks at them."""
    return onnx.TensorProto(name=name, dims=shape, data_type=onnx.TensorProto.FLOAT)


def model(nodes, inputs, weights, functions=(), **info):
    """The bytes of a model; inputs as pairs of a name and its axes, sizes or names."""
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, axes) for n, axes in inputs]
    last = nodes[-1].output[0]
    made = [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", given, made, list(weights))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    whole = helper.make_model(
        graph, opset_imports=opsets, functions=list(functions), ir_version=8, **info
    )
    return whole.SerializeToString()


def node(op, inputs, outputs, **attributes):
    """One operation; tensors as texts with blanks between them."""
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def convolutions(batch="N", width="W"):
    """A small network of windows: strided, depthwise and dilated, transposed; then two linears."""
    nodes = [
        node("Conv", "x stem.weight", "c", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("Conv", "r dw.weight", "d", group=16, pads=[0, 1, 1, 1], dilations=[1, 2]),
        node(
            *("ConvTranspose", "d up.weight", "u"),
            strides=[2, 2],
            output_padding=[1, 1],
            pads=[1, 1, 1, 1],
        ),
        node("GlobalAveragePool", "u", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f fc.weight fc.bias", "y", transB=1),
        node("Transpose", "head.weight", "t", perm=[1, 0]),
        node("MatMul", "y t", "z"),
    ]
    weights = [
        weight("stem.weight", 16, 3, 3, 3),
        weight("dw.weight", 16, 1, 3, 3),
        weight("up.weight", 16, 8, 3, 3),
        weight("fc.weight", 10, 8),
        weight("fc.bias", 10),
        weight("head.weight", 7, 10),
    ]
    return model(nodes, [("x", [batch, 3, 32, width])], weights)


def attention(batch="batch", tokens="T"):
    """One attention of 4 heads of 8 on T tokens, as exporters write it, by shapes at run time."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [4], [0, -1, 4, 8])
    back = helper.make_tensor("back", TensorProto.INT64, [3], [0, -1, 32])
    nodes = []
    for name in "qkv":
        perm = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
        nodes += [
            node("MatMul", f"x {name}.weight", f"{name}0"),
            node("Reshape", f"{name}0 shape", f"{name}1"),
            node("Transpose", f"{name}1", f"{name}2", perm=perm),
        ]
    nodes += [
        node("MatMul", "q2 k2", "s", name="/attn/MatMul"),
        node("Softmax", "s", "p"),
        node("MatMul", "p v2", "o0", name="/attn/MatMul_1"),
        node("Transpose", "o0", "o1", perm=[0, 2, 1, 3]),
        node("Reshape", "o1 back", "o2"),
        node("MatMul", "o2 onnx::MatMul_7", "y", name="/out/MatMul"),
    ]
    weights = [weight(f"{name}.weight", 32, 32) for name in "qkv"]
    weights += [weight("onnx::MatMul_7", 32, 32), shape, back]
    return model(nodes, [("x", [batch, tokens, 32])], weights)


def opened(data):
    """A model to be changed, and its bytes made anew."""
    return onnx.load_model_from_string(data)
