"""Layers of an ONNX graph: which operation is which layer, and what its sizes are.

An operation with a tensor of the file as its matrix is a layer with that weight, which it is called
by; one of two activations is a product. Operations without two matrices are counted and left out.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

from nmsim.errors import SpecError
from nmsim.importers.onnx.nodes import Graph, Node, Shape
from nmsim.importers.onnx.number_formats import number_format, stored_types
from nmsim.importing import Imported, Unused

__all__ = ["network_of"]

Layer = dict[str, Any]

_REFUSED = frozenset(("Einsum", "LSTM", "GRU", "RNN", "Attention", "DeformConv", "Scan"))
"""Operations that multiply matrices, and that are no layer here."""

_QUANTISED = {
    "QLinearConv": (0, 3),
    "ConvInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "MatMulInteger": (0, 1),
}
"""Operations on integers, and which of their inputs are the two operands."""

_SAME_VALUES = frozenset(
    (
        *("Identity", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Dropout", "Cast"),
        *("Slice", "Split", "Concat", "Pad", "MaxPool", "Gather", "Expand", "Tile"),
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
    )
)
"""Operations behind which values are distributed as before."""

_MADE_BY = {
    "Relu": "relu",
    "Gelu": "gelu",
    "Erf": "gelu",
    "Softmax": "softmax",
    "LayerNormalization": "norm",
    "RMSNormalization": "norm",
    "BatchNormalization": "norm",
    "GroupNormalization": "norm",
    "InstanceNormalization": "norm",
}

_MOST_NAMED = 6


def network_of(path: Path, graph: Graph) -> Imported:
    """The fields of a network's YAML with the layers of a graph.

    Raises
    ------
    SpecError
        naming an operation on two matrices that is no layer, or of which no shape is known.
    """
    reader = _Reader(path, graph)
    layers = list(reader.layers())
    if not layers:
        raise SpecError(f"{path}: an ONNX model without matrix products, expected layers")
    document = {
        "summary": f"{path.stem}, an ONNX model",
        "source": f"imported from {path.name}, an ONNX model; layers called by their weights",
        "batch": graph.batch,
        "layers": layers,
    }
    return Imported(document, (*reader.told, *reader.names.told))


@dataclass
class _Reader:
    """What is known of a graph while its operations are gone through in order."""

    path: Path
    graph: Graph
    names: Unused = field(default_factory=Unused)
    left: Counter[str] = field(default_factory=Counter)
    origins: dict[str, str] = field(default_factory=dict)
    made_by: dict[str, str] = field(default_factory=dict)
    weights: dict[tuple[Any, ...], str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.origins.update({name: name for name in self.graph.constants})
        self.made_by.update(dict.fromkeys(self.graph.inputs, "data"))
        self.types = stored_types(self.graph)

    @property
    def told(self) -> tuple[str, ...]:
        """How many operations were left out, in a line."""
        if not self.left:
            return ()
        most = [f"{op} {often}" for op, often in self.left.most_common(_MOST_NAMED)]
        more = ", ..." * (len(self.left) > _MOST_NAMED)
        count = sum(self.left.values())
        return (f"{self.path}: {count} operations without two matrices: {', '.join(most)}{more}",)

    def layers(self) -> Iterator[Layer]:
        """The layers, one for each operation that is one."""
        for node in self.graph.nodes:
            self._follow(node)
            if node.outputs and node.outputs[0] in self.origins:
                continue  # made of tensors of the file alone
            if node.op in _LAYERS:
                plain = replace(node, inputs=_operands(node))
                layer = _LAYERS[node.op](self, plain) | {"number_format": self.format(plain)}
                yield {name: value for name, value in layer.items() if value is not None}
                continue
            self._check_left_out(node)
            self.left[node.op] += 1

    def _follow(self, node: Node) -> None:
        """Hand on what is known of a node's inputs to what it makes."""
        inputs = [name for name in node.inputs if name]
        fixed = [self.origins[name] for name in inputs if name in self.origins]
        if len(fixed) == len(inputs) and not node.inner and (inputs or node.op == "Constant"):
            origin = fixed[0] if fixed else (node.name or next(iter(node.outputs), ""))
            self.origins.update(dict.fromkeys(node.outputs, origin))
            return
        made = _MADE_BY.get(node.op, "linear")
        learned = [name for name in inputs if name in self.origins and len(self.known(name)) > 1]
        varying = [name for name in inputs if name not in self.origins]
        from_data = all(self.made_by.get(name) == "data" for name in varying)
        if from_data and not learned:
            made = "data"
        elif node.op in _SAME_VALUES and varying:
            made = self.made_by.get(varying[0], "linear")
            made = "embedding" if made == "data" else made
        self.made_by.update(dict.fromkeys(node.outputs, made))

    def known(self, name: str) -> Shape:
        """A tensor's shape; none if it is not known."""
        return self.graph.shapes.get(name, ())

    def _check_left_out(self, node: Node) -> None:
        if node.op in _REFUSED or any(op in _LAYERS or op in _REFUSED for op in node.inner):
            raise self.fault(node, "multiplies matrices, and is no layer that nmsim reads")
        matrices = [name for name in node.inputs if len(self.known(name)) > 1]
        if "." in node.op and len(matrices) > 1:
            raise self.fault(node, "has two matrices, and is no operation of ONNX itself")

    def fault(self, node: Node, problem: str) -> SpecError:
        """An error that names the file and the operation."""
        return SpecError(f"{self.path}: {node.called} {problem}")

    def shape(self, node: Node, number: int) -> Shape:
        """Shape of an operand; SpecError if it is left out or not known."""
        name = node.inputs[number] if number < len(node.inputs) else ""
        found = self.graph.shapes.get(name)
        if found is None or 0 in found:
            raise self.fault(node, f"reads {name!r}, of which no shape is known")
        return found

    def format(self, node: Node) -> str | None:
        """The number format of a product; None: the machine's own."""
        by_weight = sorted(node.inputs[:2], key=lambda name: name in self.origins)
        activation, other = (self.types.get(name, "") for name in by_weight)
        try:
            found = number_format(activation, other, weight=by_weight[1] in self.origins)
        except SpecError as error:
            raise self.fault(node, str(error)) from error
        return found or None

    def per_sample(self, node: Node, rows: int) -> int:
        """So many rows of a sample; SpecError if samples do not have as many each."""
        if rows % self.graph.batch:
            raise self.fault(
                node, f"has {rows} rows, expected a multiple of {self.graph.batch}, the samples"
            )
        return rows // self.graph.batch

    def named(self, node: Node, weight: str, kind: tuple[Any, ...]) -> Layer:
        """A layer's name, by its weight, and whose weight it has if that was met before."""
        origin = self.origins.get(weight, "")
        if not origin or origin.startswith("onnx::"):
            origin = node.name.strip("/").replace("/", ".") or node.outputs[0]
            origin = origin.removesuffix(f".{node.op}") if weight else origin
        whole = origin.removesuffix("_quantized").removesuffix(".weight")
        name = self.names.of(whole or node.op)
        key = (self.origins.get(weight), *kind)
        first = self.weights.setdefault(key, name) if weight else name
        return {"name": name, "weight_of": first if first != name else None}

    def input(self, name: str) -> str:
        """What made an operand."""
        return self.made_by.get(name, "linear")


def _operands(node: Node) -> tuple[str, ...]:
    """A layer's inputs, the two that it multiplies first."""
    which = _QUANTISED.get(node.op)
    return node.inputs if which is None else tuple(node.inputs[at] for at in which)


def _conv(reader: _Reader, node: Node) -> Layer:
    return _convolution(reader, node, transposed=False)


def _conv_transposed(reader: _Reader, node: Node) -> Layer:
    return _convolution(reader, node, transposed=True)


def _convolution(reader: _Reader, node: Node, *, transposed: bool) -> Layer:
    image, weight = reader.shape(node, 0), reader.shape(node, 1)
    if node.inputs[1] not in reader.origins:
        raise reader.fault(node, "multiplies two activations, expected a weight of the file")
    window = _Window.of(reader, node, image, weight)
    groups = node.attributes.get("group") or 1
    inputs, outputs = (image[1], weight[1] * groups if transposed else weight[0])
    own = weight[0] if transposed else weight[1] * groups
    if own != inputs:
        raise reader.fault(node, f"has {inputs} channels, expected the {own} of its weight")
    extra = window.output_padding if transposed and any(window.output_padding) else None
    images = reader.per_sample(node, image[0])
    return {
        **reader.named(node, node.inputs[1], ("conv", weight)),
        "type": "conv_transposed" if transposed else "conv",
        "in_channels": inputs,
        "out_channels": outputs,
        "kernel": list(window.kernel),
        "stride": _unless(window.stride, 1),
        "padding": window.padding(transposed=transposed),
        "dilation": _unless(window.dilation, 1),
        "groups": groups if groups > 1 else None,
        "output_padding": None if extra is None else list(extra),
        "input_size": list(window.size),
        "images": images if images > 1 else None,
        "input": reader.input(node.inputs[0]),
    }


def _unless(values: Shape, usual: int) -> list[int] | None:
    return None if all(value == usual for value in values) else list(values)


@dataclass(frozen=True)
class _Window:
    """A window over an image, a value for each dimension."""

    size: Shape
    kernel: Shape
    stride: Shape
    dilation: Shape
    pads: Shape
    auto: str
    output_padding: Shape
    output_shape: Shape

    @classmethod
    def of(cls, reader: _Reader, node: Node, image: Shape, weight: Shape) -> "_Window":
        size, kernel = image[2:], weight[2:]
        dimensions = len(size)
        if not 1 <= dimensions <= 3 or len(kernel) != dimensions:
            raise reader.fault(node, f"has {dimensions} dimensions, expected 1 to 3, as its window")

        def each(name: str, usual: int, count: int = dimensions) -> Shape:
            found = node.attributes.get(name) or (usual,) * count
            if not isinstance(found, tuple) or len(found) != count or min(found) < 0:
                raise reader.fault(node, f"has {name} {found}, expected {count} of 0 or more")
            return found

        shape = node.attributes.get("output_shape") or ()
        if shape:
            shape = each("output_shape", 0)
        auto = node.attributes.get("auto_pad") or "NOTSET"
        stride, dilation = each("strides", 1), each("dilations", 1)
        pads, more = each("pads", 0, 2 * dimensions), each("output_padding", 0)
        return cls(size, kernel, stride, dilation, pads, auto, more, shape)

    def padding(self, *, transposed: bool) -> list[Any] | None:
        """Pixels before and after along each dimension, a number where they are as many."""
        sides = list(self._whole(transposed=transposed))
        if not any(map(any, sides)):
            return None
        return [before if before == after else [before, after] for before, after in sides]

    def _whole(self, *, transposed: bool) -> Iterator[tuple[int, int]]:
        half = len(self.size)
        for axis in range(half):
            if self.auto in ("NOTSET", "") and not (transposed and self.output_shape):
                yield self.pads[axis], self.pads[half + axis]
                continue
            total = 0 if self.auto == "VALID" else self._total(axis, transposed=transposed)
            less, more = total // 2, total - total // 2
            yield (more, less) if self.auto == "SAME_LOWER" else (less, more)

    def _total(self, axis: int, *, transposed: bool) -> int:
        size, stride = self.size[axis], self.stride[axis]
        reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        if not transposed:
            return max(0, (-(-size // stride) - 1) * stride + reach - size)
        wanted = self.output_shape[axis] if self.output_shape else size * stride
        return max(0, stride * (size - 1) + self.output_padding[axis] + reach - wanted)


def _gemm(reader: _Reader, node: Node) -> Layer:
    a, b = reader.shape(node, 0), reader.shape(node, 1)
    if len(a) != 2 or len(b) != 2:
        raise reader.fault(node, f"multiplies {a} by {b}, expected two matrices")
    a = a[::-1] if node.attributes.get("transA") else a
    b = b[::-1] if node.attributes.get("transB") else b
    return _product(reader, node, a, b)


def _matmul(reader: _Reader, node: Node) -> Layer:
    a, b = reader.shape(node, 0), reader.shape(node, 1)
    if not a or not b:
        raise reader.fault(node, f"multiplies {a} by {b}, expected vectors or matrices")
    return _product(reader, node, (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b)


def _product(reader: _Reader, node: Node, a: Shape, b: Shape) -> Layer:
    """A layer of a product, A of ... x M x K by B of ... x K x N."""
    (*_, m, k), (*_, own, n) = a, b
    if k != own:
        raise reader.fault(node, f"multiplies {a} by {b}, which do not fit")
    lead = _broadcast(reader, node, a[:-2], b[:-2])
    first, second = (name in reader.origins for name in node.inputs[:2])
    if not first and not second:
        heads = reader.per_sample(node, prod(lead)) if lead else 1
        product = {"type": "matmul", "m": m, "n": n, "k": k, "heads": heads if heads > 1 else None}
        made = reader.input(node.inputs[0])
        return {**reader.named(node, "", ()), **product, "input": made}
    weight, shape, rows = (node.inputs[1], b, m) if second else (node.inputs[0], a, n)
    if prod(shape[:-2]) != 1:
        raise reader.fault(node, f"has a weight of {shape}, expected one matrix")
    out = n if second else m
    whole, samples = prod(lead) * rows, reader.graph.batch
    batched = whole % samples == 0
    return {
        **reader.named(node, weight, ("linear", k, out)),
        "type": "linear",
        "in_features": k,
        "out_features": out,
        "tokens": whole // samples if batched else whole,
        "batched": None if batched else False,
        "input": reader.input(node.inputs[0 if second else 1]),
    }


def _broadcast(reader: _Reader, node: Node, a: Shape, b: Shape) -> Shape:
    """The axes before the matrices' own, each as long as the longer of two."""
    length = max(len(a), len(b))
    a, b = (1,) * (length - len(a)) + a, (1,) * (length - len(b)) + b
    if any(one != other and 1 not in (one, other) for one, other in zip(a, b, strict=True)):
        raise reader.fault(node, f"multiplies {a} copies by {b}, which do not fit")
    return tuple(map(max, a, b))


_LAYERS: Mapping[str, Callable[[_Reader, Node], Layer]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transposed,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "QLinearConv": _conv,
    "ConvInteger": _conv,
    "QLinearMatMul": _matmul,
    "MatMulInteger": _matmul,
}
