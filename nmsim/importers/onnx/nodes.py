"""What is read of an ONNX graph, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Graph", "Node", "Shape"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operation.

    Parameters
    ----------
    op
        With its domain, if that is not ONNX' own: "com.microsoft.FusedMatMul".
    name
        Its own; empty: it has none.
    inputs, outputs
        Names of tensors; empty: one that is left out.
    attributes
        Integers, lists of integers and texts among them.
    inner
        Operations of all graphs within it, as of branches.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    inner: tuple[str, ...] = ()

    @property
    def called(self) -> str:
        """What it is called in messages: its operation, and its name or what it makes."""
        return f"{self.op} {self.name or next(iter(self.outputs), '')!r}"


@dataclass(frozen=True)
class Graph:
    """Operations in their order, and what is known of their tensors.

    Parameters
    ----------
    nodes
        In the order of the file, each behind those that it reads.
    shapes, types
        Of tensors, where they are known; types of their elements by ONNX' names, in lower case.
    constants
        Tensors that are in the file, by name.
    inputs
        Tensors that are given, in order.
    batch
        Size of the first axis of the first of them.
    """

    nodes: tuple[Node, ...]
    shapes: Mapping[str, Shape]
    types: Mapping[str, str]
    constants: frozenset[str]
    inputs: tuple[str, ...]
    batch: int
