"""Tensors that stand in memory, by the names that a file would have for them."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from nmsim.arrays import as_array
from nmsim.errors import SpecError
from nmsim.network.tensors.archive import Archive, Held, Rows

__all__ = ["InMemory"]


class InMemory:
    """A ``state_dict``, or arrays by name, in the place of a file; it stands for itself alone.

    Parameters
    ----------
    tensors
        Arrays or tensors of torch, jax, ml_dtypes by name.

    Raises
    ------
    SpecError
        if a name is no text.
    """

    def __init__(self, tensors: Mapping[str, Any]) -> None:
        if wrong := [name for name in tensors if not isinstance(name, str)]:
            raise SpecError(f"tensors: {wrong[0]!r} is no name, expected a text such as fc.weight")
        self._tensors = dict(tensors)
        self.known: dict[Any, Any] = {}  # what was found out of it, by what was asked

    def __str__(self) -> str:
        """What messages and manifests call it."""
        return "tensors in memory"

    @cached_property
    def archive(self) -> Archive:
        """What it holds."""
        arrays = {name: as_array(one, f"tensors: {name}") for name, one in self._tensors.items()}
        held = {name: Held(str(one.dtype), one.shape) for name, one in arrays.items()}

        def load(key: str, rows: Rows) -> NDArray[Any]:
            return arrays[key] if rows is None else arrays[key][rows]

        return Archive(self, held, load)
