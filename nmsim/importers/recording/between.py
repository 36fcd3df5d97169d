"""What a step does between its products: norms, activations, sums, from tensor to tensor.

Operations on the elements of one tensor are gathered into one, whatever PyTorch makes of them: a
norm of roots and means, a gelu of powers. What joins tensors of two makers, and what has a name of
its own, is a node by itself.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nmsim.importers.recording.identity import COPIES, Marks

__all__ = ["Between", "Node"]

NAMED = {
    "relu": "relu",
    "hardtanh": "relu",
    "threshold": "relu",
    "leaky_relu": "relu",
    "gelu": "gelu",
    "silu": "silu",
    "hardswish": "silu",
    "elu": "silu",
    "mish": "silu",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "loss",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "layer_norm",
    "_fused_rms_norm": "rms_norm",
    "native_batch_norm": "batch_norm",
    "_native_batch_norm_legit": "batch_norm",
    "_native_batch_norm_legit_no_training": "batch_norm",
    "_batch_norm_with_update": "batch_norm",
    "_batch_norm_no_update": "batch_norm",
    "cudnn_batch_norm": "batch_norm",
    "native_dropout": "dropout",
    "max_pool2d_with_indices": "max_pool",
    "max_pool3d_with_indices": "max_pool",
    "avg_pool2d": "mean",
    "avg_pool3d": "mean",
    "_adaptive_avg_pool2d": "mean",
    "_adaptive_avg_pool3d": "mean",
    "upsample_nearest2d": "upsample",
    "upsample_bilinear2d": "upsample",
    "upsample_bicubic2d": "upsample",
    "mse_loss": "loss",
    "binary_cross_entropy_with_logits": "loss",
}
"""Operations of PyTorch that are one of a network's by themselves."""

_SHAPED = re.compile(r"^new_|_like$|^empty|^resize")
"""Operations that read of a tensor its shape alone."""

_NOISE = "noise"

_JOINS = {"add": "sum", "sub": "sum", "mul": "gate", "div": "gate", "cat": "concat"}
"""Operations of tensors that two layers made."""


@dataclass(frozen=True)
class Node:
    """A product, a table that is looked up, or what was done between.

    Parameters
    ----------
    kind
        ``product``, ``lookup``, ``elements`` (of one tensor), or the name of an operation.
    elements
        That it makes.
    inputs
        Nodes that it reads.
    functions
        Of ``elements``: what was done, in order of its first time; a parameter beside as ``add p``.
    call
        Of a product its number.
    before
        Of an attention whose scores nobody sees: what is done to them.
    names
        Of the parameter that is looked up.
    shape
        Of a table: entries, features and how many rows were looked up.
    """

    kind: str
    elements: int
    inputs: tuple[int, ...] = ()
    functions: tuple[str, ...] = ()
    call: int = -1
    before: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    shape: tuple[int, int, int] = (0, 0, 0)

    @property
    def made(self) -> bool:
        """Whether a layer made it."""
        return self.kind in ("product", "lookup")


@dataclass
class Between:
    """Nodes of a step so far; which of them a tensor is from, its mark says."""

    marks: Marks
    nodes: list[Node] = field(default_factory=list)

    def product(
        self,
        call: int,
        operands: Iterable[Any],
        output: Any,
        before: tuple[str, ...] = (),
    ) -> None:
        """Note a product of tensors, or a part of one operation."""
        inputs = tuple(dict.fromkeys(one for one in map(self._of, operands) if one >= 0))
        self._put(Node("product", output.numel(), inputs, call=call, before=before), output)

    def biased(self, output: Any, kind: str) -> None:
        """Note that a product adds a bias to its own result."""
        self._put(Node(kind, output.numel(), (self._of(output),)), output)

    def ran(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Note an operation that multiplies no matrices."""
        plain = name.rstrip("_")
        if not outputs or plain in COPIES or _SHAPED.search(plain):
            return
        output = outputs[0]
        if plain == "bernoulli":  # what a dropout weighs elements by
            self.marks.put(output, replace(self.marks.of(output), made_by=_NOISE))
        if plain == "embedding":
            self._lookup(inputs, output)
            return
        found = tuple(dict.fromkeys(one for one in map(self._of, inputs) if one >= 0))
        if not found or (plain not in NAMED and self._is_view(inputs, output, name)):
            return
        if plain in NAMED:
            self._put(Node(NAMED[plain], output.numel(), found), output)
        elif len({self._root(one) for one in found}) > 1:
            self._put(Node(_JOINS.get(plain, plain), output.numel(), found), output)
        else:
            self._put(self._of_elements(plain, inputs, found, output), output)

    def _of_elements(
        self, name: str, inputs: Sequence[Any], found: Sequence[int], output: Any
    ) -> Node:
        """What was done to the elements of one tensor, and this besides."""
        done = [one for node in found for one in self._done(node)]
        beside = [one for one in inputs if self._of(one) < 0]
        own = name
        if any(self._noise(one) for one in beside):
            return Node("dropout", output.numel(), (found[0],))
        if any(self._parameter(one) for one in beside):
            own = f"{name} p"
        elif any(one.dim() > 0 and one.numel() > 1 for one in beside):
            own = f"{name} c"
        functions = tuple(dict.fromkeys((*done, own)))
        return Node("elements", output.numel(), (self._root(found[0]),), functions)

    def _done(self, node: int) -> tuple[str, ...]:
        return self.nodes[node].functions

    def _root(self, node: int) -> int:
        one = self.nodes[node]
        return one.inputs[0] if one.kind == "elements" else node

    def _lookup(self, inputs: Sequence[Any], output: Any) -> None:
        table, rows = inputs[0], inputs[1].numel()
        names = self.marks.names_of(table)
        if names:
            shape = (table.shape[0], table.shape[1], rows)
            self._put(Node("lookup", output.numel(), names=names, shape=shape), output)

    def _is_view(self, inputs: Sequence[Any], output: Any, name: str) -> bool:
        return not name.endswith("_") and any(self.marks.shared(one, output) for one in inputs)

    def _parameter(self, tensor: Any) -> bool:
        mark = self.marks.met(tensor)
        return mark is not None and mark.parameter

    def _noise(self, tensor: Any) -> bool:
        mark = self.marks.met(tensor)
        return mark is not None and mark.made_by == _NOISE

    def _of(self, tensor: Any) -> int:
        mark = self.marks.met(tensor)
        return -1 if mark is None or mark.parameter else mark.node

    def _put(self, node: Node, output: Any) -> None:
        self.nodes.append(node)
        mark = self.marks.of(output)
        self.marks.put(output, replace(mark, node=len(self.nodes) - 1))
