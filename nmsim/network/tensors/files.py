"""Tensors from files: safetensors as checkpoints are published, npz, or those of ``torch.save``.

What a file holds is known from its header, so that it is matched with a network before anything
runs; no number in a header decides what is allocated, until the file has been seen to hold as much.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import NmsimError, ShapeError, SpecError
from nmsim.network.operand import FileLayout, HasTensors, TensorName
from nmsim.network.tensors import spans
from nmsim.network.tensors.archive import Archive, named_shape
from nmsim.network.tensors.memory import InMemory
from nmsim.network.tensors.names import Part, Wanted
from nmsim.network.tensors.opening import Opened, opened, refuse_not_finite, refusing
from nmsim.network.tensors.packed import SCALES, refuse_words, scaled
from nmsim.registry import unknown_name

__all__ = ["TensorFile"]


@dataclass(frozen=True)
class TensorFile:
    """Tensors of a file or folder, named ``<layer>.<tensor>`` or as checkpoints name them.

    A convolution's tensors are laid out as PyTorch does (weight OIHW, of a transposed one IOHW,
    activation and gradient NCHW, with as many dimensions as it has), so that a saved ``state_dict``
    can be read as it is; all others have features last. ``nmsim.network.tensors.names`` says what
    else a weight may be called, ``nmsim.network.tensors.packed`` which packed forms are read.
    Layers stand for one block each (``nmsim.network.unrolled``).

    Parameters
    ----------
    path
        A file, an index of several, a folder, or tensors in memory.
    tensor_names
        Rules ``GLOB=NAME`` by which its tensors have other names.
    as_masks
        Weights are read as masks: those beside them where there are any.

    Raises
    ------
    SpecError
        if a file cannot be read, lacks a tensor, or has one that is not finite.
    ShapeError
        if a tensor is not of the layer's shape.
    """

    path: Path | InMemory
    tensor_names: tuple[str, ...] = ()
    as_masks: bool = False

    @property
    def name(self) -> str:
        """What a manifest calls it."""
        return str(self.path)

    @property
    def masks(self) -> "TensorFile":
        """The masks that stand beside its weights, and the weights that have none."""
        return replace(self, as_masks=True)

    def check(self, layers: Iterable[HasTensors], tensor: TensorName, batch: int) -> None:
        """Refuse a file that lacks a tensor of these layers, or has another in its place.

        Another shape, a value that is not finite, or one that two layers would both read.
        """
        read: dict[str, list[tuple[str, Part]]] = {}
        for layer in layers:
            owner = layer.owner(tensor)
            for part in self.parts(layer, tensor, batch):
                for other, theirs in read.setdefault(part.key, []):
                    if other != owner and part.overlaps(theirs):
                        raise SpecError(
                            f"{self.path}: {part.key} would be the {tensor} of {other} and of "
                            f"{owner}, expected one, by tensor_names"
                        )
                read[part.key].append((owner, part))
        with refusing(self.path):
            for key in read:
                refuse_not_finite(self.path, self.tensor_names, key)

    @property
    def held(self) -> Iterable[str]:
        """The names of its tensors."""
        return self._opened.archive.held

    def owned(self, layer: HasTensors, tensors: Iterable[TensorName], batch: int) -> list[str]:
        """The names of a layer's tensors and of what stands beside them, masks and scales.

        Of those that are asked for, which the file may lack.
        """
        held, found = self._opened.archive.held, dict[str, None]()
        for tensor in tensors:
            for source in (self, self.masks):
                with suppress(SpecError, ShapeError):
                    parts = source._found(layer, tensor, batch)  # noqa: SLF001
                    found |= dict.fromkeys(part.key for part in parts)
        beside = [key + end for key in found for end in (*SCALES, "_zero_point")]
        return [*found, *(key for key in beside if key in held)]

    def blocks(self, layer: HasTensors, tensor: TensorName, batch: int) -> Iterator[NDArray[Any]]:
        """A tensor as consecutive blocks along its first axis, channels last."""
        shape, layout = layer.shape(tensor, batch), layer.in_file(tensor, batch)
        with refusing(self.path):
            parts = self.parts(layer, tensor, batch)
            archive = self._opened.archive
            straight = layout is None and len(shape) == 2
            if straight and archive.held[parts[0].key].shape[1:] == shape[1:]:
                for part in parts:
                    yield from _rows(archive, part)
                return
            whole = np.concatenate([_all(archive, part) for part in parts])
            array = _laid_out(whole, layout, shape)
        start = 0
        for rows in spans(shape):
            yield np.ascontiguousarray(array[start : start + rows])
            start += rows

    def parts(self, layer: HasTensors, tensor: TensorName, batch: int) -> tuple[Part, ...]:
        """Where the file has a layer's tensor, in the layer's shape.

        Raises
        ------
        SpecError, ShapeError
            if it does not have it, or in another shape.
        """
        if found := self._found(layer, tensor, batch):
            return found
        archive, names = self._opened
        name = layer.owner(tensor)
        refuse_words(archive, name)
        if hint := names.hint(name):
            raise SpecError(f"{self.path}: no tensor is {name}.{tensor}; {hint}")
        raise SpecError(f"{self.path}: {unknown_name('tensor', f'{name}.{tensor}', names.known)}")

    def _found(self, layer: HasTensors, tensor: TensorName, batch: int) -> tuple[Part, ...]:
        """The same, or nothing where it does not have it."""
        shape, layout = layer.shape(tensor, batch), layer.in_file(tensor, batch)
        stored = layout.shape if layout else shape
        archive, names = self._opened
        try:
            parts = names.parts(Wanted(layer.owner(tensor), tensor, stored, self.as_masks))
        except NmsimError as error:
            raise type(error)(f"{self.path}: {error}") from error
        has = _shape_of(archive, parts) if parts else stored
        batched = len(has) > 2 and has[-1] == shape[-1] and math.prod(has) == math.prod(shape)
        if has != stored and (layout or not batched):
            more = f" and {len(parts) - 1} more are" if len(parts) > 1 else " is"
            raise ShapeError(
                f"{self.path}: {parts[0].key}{more} {named_shape(has)}, "
                f"expected {named_shape(stored)}"
            )
        return parts

    @property
    def _opened(self) -> Opened:
        with refusing(self.path):
            return opened(self.path, self.tensor_names)


def _shape_of(archive: Archive, parts: tuple[Part, ...]) -> tuple[int, ...]:
    """The shape of parts together; of the first alone if the others do not continue it."""
    shapes = []
    for part in parts:
        shape = archive.held[part.key].shape
        shape = shape[::-1] if part.turned else shape
        if part.rows is not None:
            shape = (len(part.rows), *shape[1:])
        shapes.append(shape)
    first = shapes[0]
    if len(shapes) > 1 and all(shape and shape[1:] == first[1:] for shape in shapes):
        return (sum(shape[0] for shape in shapes), *first[1:])
    return first


def _rows(archive: Archive, part: Part) -> Iterator[NDArray[Any]]:
    """A part of two axes as consecutive blocks of rows, none of which is held for long."""
    if part.turned:
        yield np.ascontiguousarray(_all(archive, part))
        return
    shape = archive.held[part.key].shape
    rows = range(shape[0]) if part.rows is None else part.rows
    first = rows.start
    for count in spans((len(rows), *shape[1:])):
        yield scaled(archive, part.key, slice(first, first + count))
        first += count


def _all(archive: Archive, part: Part) -> NDArray[Any]:
    array = scaled(archive, part.key)
    array = array.T if part.turned else array
    return array if part.rows is None else array[part.rows.start : part.rows.stop]


def _laid_out(
    array: NDArray[Any], layout: FileLayout | None, shape: tuple[int, ...]
) -> NDArray[Any]:
    if layout:
        array = array.reshape(layout.split).transpose(layout.order)
    return array.reshape(shape)
