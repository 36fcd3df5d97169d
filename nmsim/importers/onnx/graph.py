"""The graph of an ONNX model, read by the library: axes bound to sizes, shapes inferred.

Values of large tensors are not needed and not kept: they go before shapes are inferred.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from math import prod
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import Error as ProtobufError
from onnx import inliner, shape_inference

from nmsim.errors import NmsimError, SpecError, reason
from nmsim.importers.onnx.nodes import Graph, Node, Shape
from nmsim.registry import unknown_name

__all__ = ["read_graph"]

_SMALL = 1024
"""Elements of a tensor whose values may be sizes."""

_MOST = 1 << 31

_WRONG = (
    ProtobufError,
    shape_inference.InferenceError,
    *(RuntimeError, ValueError, TypeError, LookupError, AttributeError),
)
"""What the library raises of a file that is no model, or of a graph that does not fit together."""


def read_graph(path: Path, sizes: Mapping[str, int]) -> Graph:
    """The operations of a model and the shapes of their tensors.

    Raises
    ------
    SpecError
        naming the file, and an axis without a size.
    """
    try:
        return _read(path, sizes)
    except NmsimError:
        raise
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({reason(error)})") from error
    except _WRONG as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise SpecError(f"{path}: not an ONNX model that can be read ({why})") from error


def _read(path: Path, sizes: Mapping[str, int]) -> Graph:
    model = onnx.load_model_from_string(path.read_bytes())
    if model.functions:
        model = inliner.inline_local_functions(model)
    if not model.graph.node:
        raise SpecError(f"{path}: an ONNX model without operations, expected layers in its graph")
    _bind(path, model.graph, sizes)
    given = tuple(_text(one.name) for one in _given(model.graph))
    constants = frozenset(_text(one.name) for one in model.graph.initializer)
    _forget_values(model.graph)
    inferred: Any = shape_inference.infer_shapes(model, data_prop=True)
    return _graph(inferred.graph, given, constants)


def _given(graph: Any) -> list[Any]:
    """The inputs that are not in the file: old models list initialisers as inputs too."""
    own = {one.name for one in graph.initializer}
    return [one for one in graph.input if one.name not in own]


def _bind(path: Path, graph: Any, sizes: Mapping[str, int]) -> None:
    """Give every axis of the inputs a size, and forget shapes that were made without them."""
    names: set[str] = set()
    for given in _given(graph):
        for number, axis in enumerate(given.type.tensor_type.shape.dim):
            if axis.HasField("dim_value"):
                size = axis.dim_value
            else:
                name = _text(axis.dim_param) or f"{_text(given.name)}.{number}"
                names.add(name)
                size = sizes.get(name, 0 if number else 1)
                if not size:
                    raise SpecError(
                        f"{path}: axis {name!r} of input {given.name!r} has no size: bind it, "
                        f"nmsim import {path.name} --bind {name}=SIZE --out FILE.yaml"
                    )
            if not 1 <= size <= _MOST:
                raise SpecError(
                    f"{path}: axis {number} of input {given.name!r} is {size}, "
                    f"expected 1 to {_MOST}"
                )
            axis.dim_value = size
    for name in sizes:
        if name not in names:
            raise SpecError(f"{path}: --bind: {unknown_name('axis', name, names)}")
    del graph.value_info[:]
    for made in graph.output:
        made.type.tensor_type.ClearField("shape")


def _forget_values(graph: Any) -> None:
    """Turn large tensors of the file into inputs of their shape."""
    listed = {one.name for one in graph.input}
    kept = []
    for tensor in graph.initializer:
        if prod(tensor.dims) <= _SMALL and tensor.data_location != onnx.TensorProto.EXTERNAL:
            kept.append(deepcopy(tensor))
        elif tensor.name not in listed:
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(info)
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _graph(graph: Any, given: tuple[str, ...], constants: frozenset[str]) -> Graph:
    infos = (*graph.input, *graph.value_info, *graph.output)
    shapes = {_text(one.name): shape for one in infos if (shape := _shape(one.type)) is not None}
    shapes |= {_text(one.name): tuple(one.dims) for one in graph.initializer}
    types = {_text(one.name): _type(one.type.tensor_type.elem_type) for one in infos}
    types |= {_text(one.name): _type(one.data_type) for one in graph.initializer}
    first = shapes.get(given[0], ()) if given else ()
    nodes = tuple(map(_node, graph.node))
    return Graph(nodes, shapes, types, constants, given, first[0] if first else 1)


def _type(number: int) -> str:
    """What ONNX calls a type of elements, in lower case; "": it is not known."""
    known = onnx.TensorProto.DataType
    return known.Name(number).lower() if number and number in known.values() else ""


def _shape(type_: Any) -> Shape | None:
    """The shape of a tensor's type; None if a size of it is not known."""
    if not type_.tensor_type.HasField("shape"):
        return None
    axes = type_.tensor_type.shape.dim
    if not all(axis.HasField("dim_value") and axis.dim_value >= 0 for axis in axes):
        return None
    return tuple(axis.dim_value for axis in axes)


def _node(node: Any) -> Node:
    op, domain = _text(node.op_type), _text(node.domain)
    called = op if domain in ("", "ai.onnx") else f"{domain}.{op}"
    attributes = {_text(one.name): _value(one) for one in node.attribute}
    inputs, outputs = tuple(map(_text, node.input)), tuple(map(_text, node.output))
    return Node(called, _text(node.name), inputs, outputs, attributes, tuple(_inner(node)))


def _text(name: str | bytes) -> str:
    """A name; what is no UTF-8 the library gives as it stands in the file."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def _value(attribute: Any) -> Any:
    if attribute.type == onnx.AttributeProto.INT:
        return attribute.i
    if attribute.type == onnx.AttributeProto.INTS:
        return tuple(attribute.ints)
    if attribute.type == onnx.AttributeProto.STRING:
        return attribute.s.decode("utf-8", "replace")
    return None


def _inner(node: Any) -> Iterator[str]:
    """Operations of the graphs that a node holds, as of branches and loops."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for one in graph.node:
                yield _text(one.op_type)
                yield from _inner(one)
