"""Tensors from files: safetensors as checkpoints are published, npz, or those of ``torch.save``.

What a file holds is known from its header, so that it is matched with a network before anything
runs; no number in a header decides what is allocated, until the file has been seen to hold as much.
"""

import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from nmsim.errors import NmsimError, ShapeError, SpecError, reason
from nmsim.files import once_per_content, rests_on
from nmsim.network.operand import FileLayout, HasTensors, TensorName
from nmsim.network.tensors import spans
from nmsim.network.tensors.archive import Archive, Rows, named_shape
from nmsim.network.tensors.names import Names, Part, Wanted, renamed
from nmsim.network.tensors.npz_file import open_npz
from nmsim.network.tensors.packed import SCALES, refuse_words, scaled, unpacked
from nmsim.network.tensors.safetensors_file import open_safetensors
from nmsim.network.tensors.sharded import is_index, of_folder, of_index
from nmsim.network.tensors.torch_file import is_torch, open_torch

__all__ = ["TensorFile"]


@dataclass(frozen=True)
class TensorFile:
    """Tensors of a file or folder, named ``<layer>.<tensor>`` or as checkpoints name them.

    A convolution's tensors are laid out as PyTorch does (weight OIHW, of a transposed one IOHW,
    activation and gradient NCHW, with as many dimensions as it has), so that a saved ``state_dict``
    can be read as it is; all others have features last. ``nmsim.network.tensors.names`` says what
    else a weight may be called, ``nmsim.network.tensors.packed`` which packed forms are read. Of
    identical blocks all are checked, and the first one's tensors are read.

    Parameters
    ----------
    path
        A file, an index of several, or a folder.
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

    path: Path
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

    def note(self, layer: HasTensors, tensor: TensorName) -> str:
        """What is to be said of a layer of several blocks: whose tensor stands for all."""
        blocks = _blocks(layer, tensor)
        if len(blocks) == 1:
            return ""
        return f"the {tensor} of block {blocks[0]} stands for those of {len(blocks)}"

    def check(self, layers: Iterable[HasTensors], tensor: TensorName, batch: int) -> None:
        """Refuse a file that lacks a tensor of these layers, or has another in its place.

        Another shape, a value that is not finite, or one that two layers would both read.
        """
        read: dict[str, list[tuple[str, Part]]] = {}
        for layer, block in ((one, block) for one in layers for block in _blocks(one, tensor)):
            owner = _called(layer, tensor, block)
            for part in self.parts(layer, tensor, batch, block):
                for other, theirs in read.setdefault(part.key, []):
                    if other != owner and part.overlaps(theirs):
                        raise SpecError(
                            f"{self.path}: {part.key} would be the {tensor} of {other} and of "
                            f"{owner}, expected one, by tensor_names"
                        )
                read[part.key].append((owner, part))
        with _refusing(self.path):
            for key in read:
                _refuse_not_finite(self.path, self.tensor_names, key)

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
            blocks = _blocks(layer, tensor)
            for source, block in product((self, self.masks), blocks):
                with suppress(SpecError, ShapeError):
                    parts = source.parts(layer, tensor, batch, block)
                    found |= dict.fromkeys(part.key for part in parts)
        beside = [key + end for key in found for end in (*SCALES, "_zero_point")]
        return [*found, *(key for key in beside if key in held)]

    def blocks(
        self, layer: HasTensors, tensor: TensorName, batch: int, block: int = 0
    ) -> Iterator[NDArray[Any]]:
        """A tensor as consecutive blocks along its first axis, channels last.

        Parameters
        ----------
        block
            Of which of the blocks that the layer stands for, from 0 on.
        """
        shape, layout = layer.shape(tensor, batch), layer.in_file(tensor, batch)
        number = _blocks(layer, tensor)[block]
        with _refusing(self.path):
            parts = self.parts(layer, tensor, batch, number)
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

    def parts(
        self, layer: HasTensors, tensor: TensorName, batch: int, block: int
    ) -> tuple[Part, ...]:
        """Where the file has a layer's tensor, in the layer's shape.

        Raises
        ------
        SpecError, ShapeError
            if it does not have it, or in another shape.
        """
        shape, layout = layer.shape(tensor, batch), layer.in_file(tensor, batch)
        stored = layout.shape if layout else shape
        name = _called(layer, tensor, block)
        archive, names = self._opened
        try:
            parts = names.parts(Wanted(name, tensor, stored, self.as_masks))
        except NmsimError as error:
            refuse_words(archive, name)
            raise type(error)(f"{self.path}: {error}") from error
        has = _shape_of(archive, parts)
        batched = len(has) > 2 and has[-1] == shape[-1] and math.prod(has) == math.prod(shape)
        if has != stored and (layout or not batched):
            expected = named_shape(stored)
            raise ShapeError(
                f"{self.path}: {parts[0].key} is {named_shape(has)}, expected {expected}"
            )
        return parts

    @property
    def _opened(self) -> "_Opened":
        with _refusing(self.path):
            return _opened(self.path, self.tensor_names)


def _blocks(layer: HasTensors, tensor: TensorName) -> range:
    """Numbers of the blocks that have a tensor of their own."""
    first = layer.first_block
    return range(first, first + (layer.repeat if "*" in layer.owner(tensor) else 1))


def _called(layer: HasTensors, tensor: TensorName, block: int) -> str:
    return layer.owner(tensor).replace("*", str(block))


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


# ---- opening


class _Opened(NamedTuple):
    archive: Archive
    names: Names


@once_per_content
def _opened(path: Path, rules: tuple[str, ...]) -> _Opened:
    archive = unpacked(_raw(path))
    return _Opened(archive, Names(archive.held, renamed(archive.held, rules)))


def _raw(path: Path) -> Archive:
    rests_on(path)
    if path.is_dir():
        return of_folder(path, _raw)
    if is_index(path):
        return of_index(path, _raw)
    if is_torch(path):
        return open_torch(path)
    with _refusing(path):
        return open_npz(path) if path.suffix == ".npz" else open_safetensors(path)


@once_per_content
def _refuse_not_finite(path: Path, rules: tuple[str, ...], key: str) -> None:
    """Refuse a tensor with a NaN or an infinity, naming the first one."""
    archive = _opened(path, rules).archive
    shape = archive.held[key].shape
    if not math.prod(shape):
        raise SpecError(f"{path}: {key} is {named_shape(shape)}, expected numbers in it")
    start = 0
    for count in spans(shape or (1,)):
        rows: Rows = slice(start, start + count) if shape else None
        values = scaled(archive, key, rows)
        if values.dtype.kind not in "fiub":
            raise SpecError(f"{path}: {key} is {values.dtype}, expected real numbers")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            at = np.unravel_index(int(np.argmin(np.isfinite(values))), values.shape)
            place = ", ".join(map(str, (int(at[0]) + start, *map(int, at[1:]))))
            raise SpecError(f"{path}: {key}[{place}] is {values[at]}, expected finite numbers")
        start += count


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """What is no file of tensors, or a truncated one, is refused in one line."""
    try:
        yield
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({reason(error)})") from error
    except (
        *(SafetensorError, zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, TypeError),
        *(EOFError, KeyError, NotImplementedError, RuntimeError, zlib.error),
    ) as error:
        if isinstance(error, NmsimError):
            raise
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise SpecError(
            f"{path}: expected tensors in safetensors, npz or of torch.save ({why})"
        ) from error
