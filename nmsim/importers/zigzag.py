"""Workloads of ZigZag and Stream: YAML lists of loops over an equation.

What a file means is what ZigZag makes of it (KULeuven-MICAS/zigzag, ``docs/source/workload.rst``
and ``zigzag/parser/workload_validator.py``): ``O[b][k]+=W[k][c]*I[b][c]`` over ``loop_sizes``, an
operand whose ``operand_source`` is its own layer is a constant, a relation ``ix=2*ox+1*fx`` has the
stride and the dilation of a window. Which dimension is which follows from the operands that have
it, whatever it is called.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from nmsim.errors import SpecError
from nmsim.importing import IMPORTERS, Imported, Importer, Unused
from nmsim.spec import Spec, read_list, validate

__all__ = ["read_workload"]

_KEYS = (rb"operator_type", rb"equation", rb"loop_sizes")
_OPERAND = r"(\w+)((?:\[\w+\])+)"
_EQUATION = re.compile(rf"{_OPERAND}\+?={_OPERAND}([*+]){_OPERAND}")
_RELATION = re.compile(r"(\w+)=(?:(\d+)\*)?(\w+)\+(?:(\d+)\*)?(\w+)")
_FORMATS = {(8, 8): "int8", (4, 4): "int4", (8, 16): "w8a16", (4, 16): "w4a16", (16, 16): ""}
"""Number formats by the bits of the weight (or the other operand) and of the activation."""

_LONGEST = 1 << 31

Size = Annotated[int, Field(ge=1, le=1 << 31)]
Pixels = Annotated[int, Field(ge=0, le=1 << 31)]
Sides = Annotated[list[Pixels], Field(min_length=2, max_length=2)]


class _Loops(Spec):
    """A layer as a file says it."""

    id: int
    name: str | None = None
    operator_type: str
    equation: str
    dimension_relations: tuple[str, ...] = ()
    loop_dims: tuple[str, ...]
    loop_sizes: tuple[Size, ...]
    operand_precision: dict[str, int]
    operand_source: dict[str, int] = Field(default_factory=dict)
    pr_loop_dims: tuple[str, ...] | None = None
    pr_loop_sizes: tuple[Size, ...] | None = None
    padding: tuple[Sides, ...] | None = None


def _knows(head: bytes) -> bool:
    return all(re.search(rb"^[ \t-]*" + key + rb"[ \t]*:", head, re.MULTILINE) for key in _KEYS)


def read_workload(path: Path) -> Imported:
    """The fields of a network's YAML that a workload stands for.

    Raises
    ------
    SpecError
        naming the layer and what no layer of a network says.
    """
    read = [_read(path, number, one) for number, one in enumerate(read_list(path))]
    names, left, layers = Unused(), Counter[str](), []
    batches = {one.sizes.get("b", 1) for one in read if one.multiplies}
    if len(batches) > 1:
        raise SpecError(f"{path}: B is {' and '.join(map(str, sorted(batches)))}, expected one")
    for one in read:
        if one.multiplies:
            layers.append({"name": names.of(one.name), **one.layer()})
        else:
            left[one.loops.operator_type] += 1
    if not layers:
        raise SpecError(f"{path}: a workload of ZigZag without products, expected one layer")
    document = {
        "summary": f"{path.stem}, a workload of ZigZag",
        "source": f"imported from {path.name}, a workload of ZigZag",
        "batch": max(batches),
        "layers": layers,
    }
    return Imported(document, (*_told(path, read, left), *names.told))


def _told(path: Path, read: list["_Equation"], left: Counter[str]) -> Iterator[str]:
    if left:
        most = ", ".join(f"{what} {often}" for what, often in left.most_common())
        yield f"{path}: {sum(left.values())} operations without two matrices: {most}"
    if any(one.multiplies and one.relations and not one.loops.pr_loop_sizes for one in read):
        yield f"{path}: no pr_loop_sizes: inputs are as large as outputs need, padding included"
    if any(one.multiplies and not one.number_format for one in read):
        yield f"{path}: operands of 16 bits run in the machine's own number format"
    yield f"{path}: precisions of O and O_final are the machine's"


def _read(path: Path, number: int, document: Any) -> "_Equation":
    where = f"{path}: [{number}]"
    if not isinstance(document, Mapping):
        raise SpecError(f"{where}: expected a layer, id, operator_type, equation and so on")
    return _Equation.of(where, validate(_Loops, document, where))


@dataclass(frozen=True)
class _Relation:
    """Where a window stands: image = stride . output + dilation . tap, by their dimensions."""

    image: str
    stride: int
    output: str
    dilation: int
    tap: str


@dataclass(frozen=True)
class _Equation:
    """A layer's dimensions by the operands that have them; an image's are those of its windows."""

    where: str
    loops: _Loops
    sizes: Mapping[str, int]
    relations: tuple[_Relation, ...]
    out: frozenset[str]
    a: frozenset[str]
    b: frozenset[str]
    names: tuple[str, str]
    product: bool

    @classmethod
    def of(cls, where: str, loops: _Loops) -> "_Equation":
        """Read an equation; the activation is A, the weight or a second activation B."""
        match = _EQUATION.fullmatch("".join(loops.equation.split()))
        if match is None:
            raise SpecError(
                f"{where}.equation is {loops.equation[:60]!r}, expected O[..]+=W[..]*I[..]"
            )
        sizes = _sizes(where, loops)
        order = _names(match[2])
        relations = tuple(
            sorted(
                (_relation(where, text, sizes) for text in loops.dimension_relations),
                key=lambda one: order.index(one.output) if one.output in order else len(order),
            )
        )
        found = {match[name]: _dimensions(match[name + 1], relations) for name in (1, 3, 6)}
        for of in found.values():
            if unknown := sorted(of - set(sizes)):
                raise SpecError(f"{where}: dimension {unknown[0]} is in no loop_dims")
        names = (match[6], match[3]) if match[3] == "W" or match[6] == "I" else (match[3], match[6])
        product = match[5] == "*"
        a, b = (found[name] for name in names)
        return cls(where, loops, sizes, relations, found[match[1]], a, b, names, product)

    @property
    def name(self) -> str:
        """The layer's name, or what ZigZag calls one without."""
        return self.loops.name or f"Layer{self.loops.id}"

    @property
    def multiplies(self) -> bool:
        """Whether it is a product of two matrices: a pooling has taps alone in its weight."""
        return self.product and bool(self.b - {one.tap for one in self.relations})

    @property
    def _constant(self) -> bool:
        """Whether B is a weight: it comes from no other layer."""
        return self.loops.operand_source.get(self.names[1], self.loops.id) == self.loops.id

    @property
    def number_format(self) -> str:
        """That of its operands' precisions; "": the machine's own."""
        bits = self.loops.operand_precision
        a, b = (bits.get(name) for name in self.names)
        if (b, a) not in _FORMATS:
            raise SpecError(
                f"{self.where}.operand_precision: {self.names[0]} has {a} bits and {self.names[1]} "
                f"{b}, which no number format has"
            )
        return _FORMATS[b, a]  # type: ignore[index]  # it is known

    def layer(self) -> dict[str, Any]:
        """The fields of a network's layer, without its name."""
        form = {"number_format": self.number_format} if self.number_format else {}
        several = {one for one, size in self.sizes.items() if size > 1}
        if alone := sorted(several - (self.out & (self.a | self.b)) - (self.a & self.b)):
            raise SpecError(f"{self.where}: dimension {alone[0]} is of one operand alone")
        if "b" in several - self.out:  # which a network counts as its samples
            raise SpecError(f"{self.where}: dimension b is summed over, expected it in the output")
        found = self._convolution() if self._windowed else self._matrices()
        return {**found, **form}

    @property
    def _windowed(self) -> bool:
        """Whether windows do more than a matrix does."""
        return any(self.sizes[one.output] > 1 or self.sizes[one.tap] > 1 for one in self.relations)

    def _size(self, dimensions: frozenset[str]) -> int:
        return prod(self.sizes[one] for one in dimensions)

    def _matrices(self) -> dict[str, Any]:
        copies = self.out & self.a & self.b
        m, n = self._size(self.out - self.b - {"b"}), self._size(self.out - self.a)
        k, heads = self._size((self.a & self.b) - self.out), self._size(copies - {"b"})
        if not self._constant:
            return {"type": "matmul", "m": m, "n": n, "k": k, "heads": heads, "input": "linear"}
        if "b" in copies:
            raise SpecError(f"{self.where}: a weight for each of B, expected one for all")
        if heads == 1:
            sizes = {"in_features": k, "out_features": n, "tokens": m}
            return {"type": "linear", **sizes, "input": self._made_by}
        channels = {"in_channels": heads * k, "out_channels": heads * n, "groups": heads}
        image = {"kernel": 1, "input_size": [m, 1], "input": self._made_by}
        return {"type": "conv", **channels, **image}

    @property
    def _made_by(self) -> str:
        source = self.loops.operand_source.get(self.names[0], self.loops.id)
        return "data" if source == self.loops.id else "linear"

    def _convolution(self) -> dict[str, Any]:
        if not self._constant or "b" in self.b:
            raise SpecError(f"{self.where}: a window over two activations, expected a weight")
        taps, places = ({getattr(one, of) for one in self.relations} for of in ("tap", "output"))
        groups = self._size(self.out & self.a & self.b)
        images = self._size(self.out - self.b - places - {"b"})
        padded = [self._image(one) for one in self.relations]
        found: dict[str, Any] = {
            "type": "conv",
            "in_channels": groups * self._size((self.a & self.b) - self.out - taps),
            "out_channels": groups * self._size(self.out - self.a),
            "kernel": [self.sizes[one.tap] for one in self.relations],
            "stride": [one.stride for one in self.relations],
            "dilation": [one.dilation for one in self.relations],
            "padding": [list(sides) for _, sides in padded],
            "groups": groups,
            "images": images,
            "input_size": [size for size, _ in padded],
            "input": self._made_by,
        }
        ones = [1] * len(padded)
        usual = {"stride": ones, "dilation": ones, "groups": 1, "images": 1}
        usual["padding"] = [[0, 0]] * len(padded)
        return {name: value for name, value in found.items() if value != usual.get(name)}

    def _image(self, one: _Relation) -> tuple[int, tuple[int, int]]:
        """Size of an image along a dimension, and its padding, held to the outputs that it says."""
        reach = (self.sizes[one.tap] - 1) * one.dilation + 1
        outputs = self.sizes[one.output]
        needed = (outputs - 1) * one.stride + reach
        loops, dims = self.loops, [name.lower() for name in self.loops.pr_loop_dims or ()]
        if one.image not in dims:
            return needed, (0, 0)
        at = dims.index(one.image)
        before, after = loops.padding[at] if loops.padding else (0, 0)
        size = needed - before - after if loops.pr_loop_sizes is None else loops.pr_loop_sizes[at]
        found = (size + before + after - reach) // one.stride + 1
        if size < 1 or found != outputs:
            raise SpecError(
                f"{self.where}: {one.image} of {size} padded by {before} and {after} has {found} "
                f"outputs, expected {outputs}, its {one.output}"
            )
        return size, (before, after)


def _sizes(where: str, loops: _Loops) -> dict[str, int]:
    """Sizes of dimensions by name; lists that belong together are as long."""
    images = loops.pr_loop_dims or ()
    for name, other, of in (
        ("loop_sizes", loops.loop_sizes, loops.loop_dims),
        ("pr_loop_sizes", loops.pr_loop_sizes or images, images),
        ("padding", loops.padding or images, images),
    ):
        if len(other) != len(of):
            raise SpecError(f"{where}.{name}: {len(other)} values of {len(of)} dimensions")
    return dict(zip(map(str.lower, loops.loop_dims), loops.loop_sizes, strict=True))


def _names(text: str) -> list[str]:
    return text.lower()[1:-1].split("][")


def _dimensions(text: str, relations: tuple[_Relation, ...]) -> frozenset[str]:
    """Dimensions of an operand, those of windows in the place of an image's."""
    windows = {one.image: (one.output, one.tap) for one in relations}
    return frozenset(part for name in _names(text) for part in windows.get(name, (name,)))


def _relation(where: str, text: str, sizes: Mapping[str, int]) -> _Relation:
    match = _RELATION.fullmatch("".join(text.split()).lower())
    if match is None:
        raise SpecError(f"{where}.dimension_relations: {text[:40]!r}, expected ix=2*ox+1*fx")
    image, stride, output, dilation, tap = match.groups()
    for name in (output, tap):
        if name not in sizes:
            raise SpecError(f"{where}: dimension {name} is in no loop_dims")
    steps = [int((number or "1")[:12]) for number in (stride, dilation)]
    if not all(1 <= step <= _LONGEST for step in steps):
        raise SpecError(f"{where}.dimension_relations: {text[:40]!r}, expected steps of 1 or more")
    return _Relation(image, steps[0], output, steps[1], tap)


IMPORTERS.add(
    "zigzag",
    Importer(
        "zigzag",
        "a workload of ZigZag or Stream",
        "network",
        _knows,
        lambda path, _: read_workload(path),
    ),
)
