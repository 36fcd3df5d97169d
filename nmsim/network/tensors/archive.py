"""What a file of tensors holds, by names and shapes, whichever format it is in."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Archive", "Held", "Rows", "named_shape"]


Rows = slice | None
"""Some of a tensor's rows, one after the other; None: all."""


class Held(NamedTuple):
    """A tensor in a file: its type as the file spells it, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Archive:
    """What a file holds, known from its headers, and each tensor as an array.

    Parameters
    ----------
    path
        As messages name it.
    held
        Its tensors by name; the file has been seen to hold as much as they say.
    load
        Reads one of them, or some of its rows where a file can be read so; else all of it.
    """

    path: Any
    held: Mapping[str, Held]
    load: Callable[[str, Rows], NDArray[Any]]

    def read(self, key: str, rows: Rows = None) -> NDArray[Any]:
        """A tensor, or rows of it, in its shape; floating point that numpy lacks is widened.

        Parameters
        ----------
        rows
            From where to where along its first axis; None: all.
        """
        shape = self.held[key].shape
        wanted = shape if rows is None else (len(range(*rows.indices(shape[0]))), *shape[1:])
        array = np.asarray(self.load(key, rows))
        if rows is not None and array.size != math.prod(wanted):
            array = array.reshape(shape)[rows]
        return array.reshape(wanted)


def named_shape(shape: tuple[int, ...]) -> str:
    """A shape for people: "3 x 4"."""
    return " x ".join(map(str, shape)) or "one number"
