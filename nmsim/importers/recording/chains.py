"""What stands before a layer and what follows it (``before``, ``then``), read off a step's nodes.

Behind each layer there is a trunk, along the nodes that make as many elements; what branches off it
is of the layer that reads the branch. Tensors of two layers are joined behind the one that ran
last, unless they are put side by side or gate one another for one reader: then before that.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nmsim.importers.recording.between import Node
from nmsim.network.operations import OPERATIONS

__all__ = ["Chains", "chains_of"]


class Chains(NamedTuple):
    """What stands beside layers.

    Parameters
    ----------
    before, then
        Of a product by its number, of a table by the first of its names.
    readers
        Of a product the one that reads the end of what follows it.
    inputs
        What made the first operand of a product, as a layer says it; none where no word does.
    unknown
        Names of operations that no word stands for.
    """

    before: dict[int | str, tuple[str, ...]]
    then: dict[int | str, tuple[str, ...]]
    readers: dict[int, int]
    inputs: dict[int, str]
    unknown: tuple[str, ...]


_TOLD_BY = {
    "rsqrt": "rms_norm",
    "tanh": "gelu",
    "erf": "gelu",
    "sigmoid": "silu",
    "exp": "silu",
    "softplus": "silu",
    "neg": "rotary",
    "view_as_complex": "rotary",
    "add p": "bias",
    "mul p": "layer_scale",
    "add c": "sum",
    "cat p": "concat",
    "cat c": "concat",
    "masked_fill c": "sum",
    "where c": "sum",
    "mean": "mean",
    "sum": "mean",
}
"""Functions by which what is done to one tensor's elements is known."""

_PARTS = {
    "rms_norm": ("pow", "mean", "add", "mul", "mul p", "sub", "square", "add p", "sqrt"),
    "gelu": ("pow", "mul", "add", "div"),
    "silu": ("mul", "add", "div", "log", "exp"),
    "rotary": ("mul c", "mul", "cat", "cat c", "add", "stack", "view_as_real", "sub", "add c"),
}
"""Functions that are parts of what another one tells."""

_SCALES = ("mul", "div", "mul c", "div c")
_MOVES = frozenset(
    (
        *("slice", "select", "cat", "stack", "roll", "constant_pad_nd", "index", "index_select"),
        *("gather", "flip", "narrow", "copy", "as_strided", "unfold", "pixel_shuffle", "clone"),
        *("slice_scatter", "index c", "gather c", "index_select c", "unbind", "split", "copy c"),
    )
)
"""Functions that move elements."""


def _names(functions: Sequence[str]) -> tuple[list[str], list[str]]:
    """Operations that functions of one tensor's elements are, and those that nothing stands for."""
    told = [_TOLD_BY[one] for one in functions if one in _TOLD_BY]
    parts = {part for name in told for part in _PARTS.get(name, ())}
    left = [one for one in functions if one not in parts]
    words = ("scaling" if one in _SCALES else _TOLD_BY.get(one) for one in left)
    known = (*_TOLD_BY, *_MOVES, *_SCALES, "add", "sub")
    return list(dict.fromkeys(filter(None, words))), [one for one in left if one not in known]


@dataclass
class _Graph:
    """Nodes with their readers, and with the one input whose layer each is beside."""

    nodes: Sequence[Node]

    def __post_init__(self) -> None:
        self.readers: dict[int, list[int]] = defaultdict(list)
        self.maker: dict[int, int] = {}
        self.primary: dict[int, int] = {}
        self.children: dict[int, list[int]] = defaultdict(list)
        for at, node in enumerate(self.nodes):
            self._enter(at, node)
        for at, node in enumerate(self.nodes):
            if not node.made and self._lives(at) and at in self.primary:
                self.children[self.primary[at]].append(at)

    def _enter(self, at: int, node: Node) -> None:
        for one in node.inputs:
            self.readers[one].append(at)
        if node.made:
            self.maker[at] = at
            return
        known = [one for one in node.inputs if one in self.maker]
        if known:
            same = [one for one in known if self.nodes[one].elements == node.elements]
            self.primary[at] = max(same or known, key=lambda one: self.maker[one])
            self.maker[at] = self.maker[self.primary[at]]

    def _lives(self, at: int) -> bool:
        """Whether something reads it; what PyTorch has a name for ran anyhow."""
        node = self.nodes[at]
        if node.elements == 1:  # the number that a step ends in
            return False
        if node.kind == "elements":
            return any(self.nodes[one].kind != "elements" for one in self.readers[at])
        return node.kind != "silu" or not self._gates(at)

    def _gates(self, at: int) -> bool:
        """Whether an activation does nothing but weigh another layer's result."""
        readers = self.readers[at]
        return len(readers) == 1 and self.nodes[readers[0]].kind == "gate"

    def trunk(self, at: int) -> list[int]:
        """Nodes that follow one another behind a node."""
        found: list[int] = []
        while self.children[at]:
            at = max(self.children[at], key=lambda one: (self.nodes[one].elements, -one))
            found.append(at)
        return found

    def branches(self, trunk: Sequence[int]) -> Iterator[list[int]]:
        """Chains that begin beside a trunk."""
        for at in trunk:
            for child in self.children[at]:
                if child not in trunk:
                    branch = [child, *self.trunk(child)]
                    yield branch
                    yield from self.branches(branch)

    def reader(self, chain: Sequence[int]) -> Node | None:
        """The first product that reads the end of a chain."""
        found = (self.nodes[one] for one in self.readers[chain[-1]])
        return next((one for one in found if one.kind == "product"), None)

    def words(self, at: int) -> list[str]:
        """The operations of a node, without their ratios."""
        node = self.nodes[at]
        if node.kind == "elements":
            return _names(node.functions)[0]
        if node.kind == "sum" and self._goes_on(at):
            return ["residual"]
        if node.kind == "gate" and any(self._activates(one) for one in node.inputs):
            return ["swiglu"]
        return [node.kind] if node.kind in OPERATIONS else []

    def _goes_on(self, at: int) -> bool:
        """Whether one of the tensors of a sum is read by others too."""
        return any(len(self.readers[one]) > 1 for one in self.nodes[at].inputs)

    def _activates(self, at: int) -> bool:
        return self.nodes[at].kind in ("silu", "gelu") and self._gates(at)

    def written(self, chain: Sequence[int], given: int) -> tuple[str, ...]:
        """A chain as a network's YAML writes it."""
        found: list[str] = []
        for at in chain:
            made = self.nodes[at].elements
            words = self.words(at)
            found += [*words[:-1], f"{words[-1]}{_ratio(given, made)}"] if words else []
            given = made if words else given
        return tuple(found)


def _ratio(given: int, made: int) -> str:
    if given == made or not made or not given:
        return ""
    sign, ratio = ("/", given / made) if made < given else ("*", made / given)
    return f"{sign}{ratio:.0f}" if ratio % 1 == 0 else f"{sign}{ratio:.6f}".rstrip("0")


_MADE = {
    "relu": "relu",
    "gelu": "gelu",
    "swiglu": "swiglu",
    "rms_norm": "norm",
    "layer_norm": "norm",
    "batch_norm": "norm",
}
"""What a layer says of its input, by the operation that made it."""

_TO_READER = ("concat", "swiglu", "gate")


def chains_of(nodes: Sequence[Node]) -> Chains:
    """What stands before and behind the layers of a step."""
    graph = _Graph(nodes)
    before: dict[int | str, tuple[str, ...]] = {}
    then: dict[int | str, tuple[str, ...]] = {}
    readers: dict[int, int] = {}
    inputs: dict[int, str] = {}
    for at, node in enumerate(nodes):
        if not node.made:
            continue
        whole = graph.trunk(at)
        own, handed = _parted(graph, whole)
        key = node.call if node.kind == "product" else node.names[0]
        then.setdefault(key, graph.written(own, node.elements))
        if node.call >= 0 and node.inputs and (words := graph.words(node.inputs[0])):
            inputs[node.call] = _MADE.get(words[-1], "")
        if node.before:
            before[node.call] = node.before
        if (next_one := graph.reader([at, *own])) is not None:
            readers[node.call] = next_one.call
        for chain in (handed, *graph.branches([at, *whole])):
            reader = graph.reader(chain) if chain else None
            if reader is not None and reader.call not in before:
                first = nodes[graph.primary[chain[0]]].elements
                joined = any(word in _TO_READER for word in graph.words(chain[0]))
                given = nodes[chain[0]].elements if joined else first
                before[reader.call] = graph.written(chain, given)
    unknown = [name for at, node in enumerate(nodes) for name in _unknown(graph, at, node)]
    return Chains(before, then, readers, inputs, tuple(dict.fromkeys(unknown)))


def _parted(graph: _Graph, trunk: list[int]) -> tuple[list[int], list[int]]:
    """A trunk up to where it joins others for one reader alone, and the rest."""
    for place, at in enumerate(trunk):
        if any(word in _TO_READER for word in graph.words(at)):
            readers = graph.readers[trunk[-1]]
            alone = len(readers) == 1 and graph.nodes[readers[0]].kind == "product"
            return (trunk[:place], trunk[place:]) if alone else (trunk, [])
    return trunk, []


def _unknown(graph: _Graph, at: int, node: Node) -> list[str]:
    if node.made or at not in graph.primary or at not in graph.children[graph.primary[at]]:
        return []
    if node.kind == "elements":
        return [one.partition(" ")[0] for one in _names(node.functions)[1]]
    return [] if node.kind in OPERATIONS else [node.kind]
