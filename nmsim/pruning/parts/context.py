"""What a pruner may ask for beside the values: whose they are, and what was seen of the layer.

A pruner names what it wants as keyword-only parameters: ``layer``, ``role`` and ``step``; of the
samples that meet the matrix along K ``samples`` themselves, their ``norms`` or their ``gram``; of
the shape of the values ``gradients``, ``scores`` and ``previous``, the mask before this one. With a
default it runs without; its other keyword-only parameters are options.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nmsim.errors import ShapeError

__all__ = ["ALONG_K", "CONTEXT", "LIKE_VALUES", "Context", "Samples", "checked"]

Floats = NDArray[np.float64]

ALONG_K = ("samples", "norms", "gram")
"""What a pruner may want of the samples: samples x K, K, and K x K."""

LIKE_VALUES = ("gradients", "scores", "previous")
"""What a pruner may want that has the shape of the values."""

CONTEXT = ("layer", "role", "step", *ALONG_K, *LIKE_VALUES)
"""The names by which a pruner asks for something."""


@dataclass(frozen=True)
class Samples:
    """What meets a matrix along K: rows of as many values, of calibration data or drawn.

    Parameters
    ----------
    blocks
        Gives them from the first on whenever it is called, as blocks of samples x K.
    """

    blocks: Callable[[], Iterable[ArrayLike]]

    @classmethod
    def of(cls, samples: ArrayLike) -> "Samples":
        """Samples that are in memory: any leading shape, K last."""
        return cls(lambda: [np.asarray(samples)])

    def _blocks(self) -> Iterator[Floats]:
        width = 0
        for one in self.blocks():
            block = np.asarray(one, np.float64)
            if block.ndim < 2 or (width and block.shape[-1] != width):
                wanted = width or "K"
                raise ShapeError(f"samples of shape {block.shape}: expected samples x {wanted}")
            width = block.shape[-1]
            yield block.reshape(-1, width)
        if not width:
            raise ShapeError("no calibration samples: expected one block or more")

    @cached_property
    def samples(self) -> Floats:
        """All of them, held at once: samples x K."""
        return np.concatenate(list(self._blocks()))

    @cached_property
    def norms(self) -> Floats:
        """Euclidean norm of every column over all samples: K."""
        return np.sqrt(_sum(np.einsum("sk,sk->k", block, block) for block in self._blocks()))

    @cached_property
    def gram(self) -> Floats:
        """Sum of x x^T over all samples: K x K."""
        return _sum(block.T @ block for block in self._blocks())


def _sum(parts: Iterator[Floats]) -> Floats:
    total = next(parts)
    for part in parts:
        total += part
    return total


@dataclass(frozen=True)
class Context:
    """What is known of a matrix beside its values; None: it is not.

    Parameters
    ----------
    layer, role
        Whose it is, and what it is to the layer: "weight".
    step
        Training steps before this one.
    activations
        What meets it along K.
    gradients, scores
        Of every element of the values: of the loss, and what it is worth by anybody's measure.
    previous
        The mask before this one.
    """

    layer: str = ""
    role: str = "weight"
    step: int | None = None
    activations: Samples | None = None
    gradients: NDArray[Any] | None = None
    scores: NDArray[Any] | None = None
    previous: NDArray[np.bool_] | None = None

    def of(self, name: str) -> Any:
        """What a pruner asks for by a name of ``CONTEXT``; None if it is not known."""
        if name in ALONG_K:
            return None if self.activations is None else getattr(self.activations, name)
        return getattr(self, name)


def checked(given: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    """What is given to a pruner by name, as float64 arrays; of the values' shape as rows x K.

    Raises
    ------
    ShapeError
        for what has another shape than values of this one ask for, naming both.
    """
    k = shape[-1]
    expected = {"norms": (k,), "gram": (k, k), **dict.fromkeys(LIKE_VALUES, shape)}
    return {name: _shaped(name, value, expected.get(name), k) for name, value in given.items()}


def _shaped(name: str, value: Any, expected: tuple[int, ...] | None, k: int) -> Any:
    if value is None or name not in (*ALONG_K, *LIKE_VALUES):
        return value
    array = np.asarray(value, np.bool_ if name == "previous" else np.float64)
    if name == "samples" and array.ndim > 1 and array.shape[-1] == k:
        return array.reshape(-1, k)
    if array.shape != expected:
        sizes = " x ".join(map(str, expected)) if expected else f"samples x {k}"
        raise ShapeError(f"{name} of shape {array.shape}: expected {sizes}")
    return array.reshape(-1, k) if name in LIKE_VALUES and k else array
