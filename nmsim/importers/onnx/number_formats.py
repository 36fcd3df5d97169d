"""Number formats of an ONNX graph: in which operands are multiplied, quantised ones followed.

A quantised tensor that is made a float again right before a product (QuantizeLinear and
DequantizeLinear, as tools write them) is what hardware multiplies. float32 is what exporters write
unless told otherwise: it is taken for the machine's own format.
"""

from collections.abc import Mapping

from nmsim.errors import SpecError
from nmsim.importers.onnx.nodes import Graph

__all__ = ["number_format", "stored_types"]

_FORMATS = {
    "float": "",
    "float16": "fp16",
    "bfloat16": "bf16",
    **dict.fromkeys(("float8e4m3fn", "float8e4m3fnuz", "float8e5m2", "float8e5m2fnuz"), "fp8"),
    **dict.fromkeys(("int8", "uint8"), "int8"),
    **dict.fromkeys(("int4", "uint4"), "int4"),
    "float4e2m1": "fp4",
}
"""Types of elements by ONNX' names, and the number format that they are multiplied in."""

_FLOATS = ("", "fp16", "bf16")
_UNPACKED = {"int8": "w8a16", "fp8": "w8a16", "int4": "w4a16", "fp4": "w4a16"}
"""What a float times a weight in such a format is: the weight is unpacked on the way."""

_MOVED = ("Identity", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze")


def stored_types(graph: Graph) -> Mapping[str, str]:
    """Types of tensors, of dequantised ones that from which they were made."""
    found = dict(graph.types)
    narrow: set[str] = set()
    for node in graph.nodes:
        source = next(iter(node.inputs), "")
        if node.op == "DequantizeLinear" or (node.op in _MOVED and source in narrow):
            narrow |= set(node.outputs)
            found |= dict.fromkeys(node.outputs, found.get(source, ""))
    return found


def number_format(activation: str, other: str, *, weight: bool) -> str:
    """The number format of a product of two types; "": the machine's own.

    Parameters
    ----------
    activation, other
        Types of what is multiplied; empty: not known.
    weight
        Whether the other one is a weight.

    Raises
    ------
    SpecError
        saying which types no format has.

    Examples
    --------
    >>> number_format("float16", "float16", weight=True)
    'fp16'
    >>> number_format("float", "int4", weight=True)
    'w4a16'
    """
    for one in (activation, other):
        if one and one not in _FORMATS:
            raise SpecError(f"multiplies {one}, expected one of {', '.join(_FORMATS)}")
    a, b = _FORMATS.get(activation, ""), _FORMATS.get(other, "")
    if a == b:
        return a
    if weight and a in _FLOATS and b in _UNPACKED:
        return _UNPACKED[b]
    if (a in _FLOATS) != (b in _FLOATS):
        return a if a in _FLOATS else b
    raise SpecError(f"multiplies {activation} by {other}, which no number format has both of")
