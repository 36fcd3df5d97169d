"""Tensors from a file: safetensors as checkpoints are published, or npz.

What a file holds is known from its header, so that it is matched with a network before anything
runs; no number in a header decides what is allocated, until the file has been seen to hold as much.
"""

import json
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from nmsim.errors import ShapeError, SpecError, reason
from nmsim.network.operand import HasTensors, TensorName
from nmsim.network.tensors import spans
from nmsim.registry import unknown_name

__all__ = ["TensorFile"]


@dataclass(frozen=True)
class TensorFile:
    """Tensors of a safetensors or npz file, named ``<layer>.<tensor>``.

    A convolution's tensors are laid out as PyTorch does (weight OIHW, of a transposed one IOHW,
    activation and gradient NCHW, with as many dimensions as it has), so that a saved ``state_dict``
    can be read as it is; all others have features last. A weight may also be called
    ``<layer>_weight`` (packed projections) or ``<layer>`` (experts). Of identical blocks it is the
    first one's tensors that are read. Of safetensors bfloat16 and both formats of 8-bit floating
    point are read, too; a scale beside a tensor (``_scale``, ``_scale_inv``) multiplies it, whole,
    by rows or by blocks.

    Raises
    ------
    SpecError
        if the file cannot be read or lacks a tensor.
    ShapeError
        if a tensor is not of the layer's shape.
    """

    path: Path

    @property
    def name(self) -> str:
        """What a manifest calls it."""
        return str(self.path)

    def check(self, layers: Iterable[HasTensors], tensor: TensorName, batch: int) -> None:
        """Refuse a file that lacks a tensor of these layers, or has one of another shape."""
        with _open(self.path) as file:
            for layer in layers:
                self._key(file, layer, tensor, batch)

    def blocks(self, layer: HasTensors, tensor: TensorName, batch: int) -> Iterator[NDArray[Any]]:
        """A tensor as consecutive blocks along its first axis, channels last."""
        shape, layout = layer.shape(tensor, batch), layer.in_file(tensor, batch)
        with _open(self.path) as file:
            key = self._key(file, layer, tensor, batch)
            array = _scaled(file, key)
        if layout:
            array = array.reshape(layout.split).transpose(layout.order)
        array = array.reshape(shape)
        start = 0
        for rows in spans(shape):
            yield np.ascontiguousarray(array[start : start + rows])
            start += rows

    def _key(self, file: "_File", layer: HasTensors, tensor: TensorName, batch: int) -> str:
        """What the file calls a tensor that it has, in the layer's shape."""
        key, *others = _keys(layer, tensor)
        key = next((other for other in others if other in file.held), key)
        if key not in file.held:
            raise SpecError(f"{self.path}: {unknown_name('tensor', key, file.held)}")
        shape, layout, has = (
            layer.shape(tensor, batch),
            layer.in_file(tensor, batch),
            file.held[key].shape,
        )
        stored = layout.shape if layout else shape
        batched = len(has) > 2 and has[-1] == shape[-1] and math.prod(has) == math.prod(shape)
        if has != stored and (layout or not batched):
            raise ShapeError(f"{self.path}: {key} is {_sizes(has)}, expected {_sizes(stored)}")
        return key


def _keys(layer: HasTensors, tensor: TensorName) -> list[str]:
    """What a file may call a tensor of a layer, the usual name first."""
    owner = layer.owner(tensor).replace("*", str(layer.first_block))
    others = [f"{owner}_{tensor}", owner] if tensor == "weight" else []
    return [f"{owner}.{tensor}", *others]


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"


class _Held(NamedTuple):
    """A tensor in a file: its type as the file spells it, its shape, and where it begins."""

    dtype: str
    shape: tuple[int, ...]
    offset: int = 0


class _File:
    """What a file holds, and each tensor as an array: of npz, or of safetensors."""

    def __init__(self, path: Path, held: Mapping[str, _Held]) -> None:
        self.path, self.held = path, held

    def read(self, key: str) -> NDArray[Any]:
        """A tensor of an npz file, whose member has been seen to hold as much."""
        with np.load(self.path) as archive:
            array: NDArray[Any] = archive[key]
        return array


class _Safetensors(_File):
    def read(self, key: str) -> NDArray[Any]:
        """A tensor; floating point that numpy lacks is widened."""
        dtype, shape, offset = self.held[key]
        if dtype not in _TYPES:
            raise SpecError(
                f"{self.path}: {key} is {dtype}, expected one of {', '.join(sorted(_TYPES))}"
            )
        stored = np.dtype(_TYPES[dtype])
        words = np.fromfile(self.path, stored, count=math.prod(shape), offset=offset)
        return _widened(words, dtype).reshape(shape)


_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "F8_E4M3": "u1",
    "F8_E5M2": "u1",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
"""Types of safetensors that are read, as numpy stores them."""


def _widened(words: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Values in a type that numpy has: bfloat16 is the upper half of float32, E5M2 of float16."""
    if dtype == "BF16":
        return (words.astype(np.uint32) << np.uint32(16)).view(np.float32)
    if dtype == "F8_E5M2":
        halves = words.astype(np.uint16) << np.uint16(8)
        return halves.view(np.float16).astype(np.float32)
    if dtype == "F8_E4M3":
        values: NDArray[np.float32] = _e4m3()[words]
        return values
    return words


def _e4m3() -> NDArray[np.float32]:
    """The value of every byte as E4M3 (Micikevicius et al., arXiv:2209.05433): no infinity."""
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    size = np.where(exponent > 0, (8 + mantissa) * 2.0 ** (exponent - 10.0), mantissa * 2.0**-9)
    size[(exponent == 15) & (mantissa == 7)] = np.nan
    return np.where(byte < 128, size, -size).astype(np.float32)


def _scaled(file: _File, key: str) -> NDArray[Any]:
    """A tensor times the scale that stands beside it, if one does."""
    array = file.read(key)
    beside = next((key + end for end in ("_scale", "_scale_inv") if key + end in file.held), None)
    if beside is None:
        return array
    scale = np.atleast_1d(file.read(beside).astype(np.float32))
    if scale.size == 1:
        return array * scale.reshape(())
    if scale.ndim == 1:
        scale = scale[:, None]
    blocks = [-(-size // has) for size, has in zip(array.shape, scale.shape, strict=False)]
    if scale.ndim != array.ndim or any(
        -(-size // of) != has
        for size, of, has in zip(array.shape, blocks, scale.shape, strict=False)
    ):
        raise ShapeError(
            f"{file.path}: {beside} is {_sizes(file.held[beside].shape)}, expected one number, "
            f"one a row or one a block of {_sizes(array.shape)}"
        )
    for axis, (size, of) in enumerate(zip(array.shape, blocks, strict=True)):
        scale = np.repeat(scale, of, axis=axis).take(range(size), axis=axis)
    return array * scale


@contextmanager
def _open(path: Path) -> Iterator[_File]:
    """What a file holds, by its header; refused in one line if it is none, or truncated."""
    try:
        yield _opened(path)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({reason(error)})") from error
    except (SafetensorError, zipfile.BadZipFile, ValueError, TypeError, EOFError) as error:
        if isinstance(error, ShapeError | SpecError):
            raise
        raise SpecError(
            f"{path}: expected tensors in safetensors or npz ({str(error).splitlines()[0]})"
        ) from error


def _opened(path: Path) -> _File:
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            return _File(path, dict(_members(path, archive)))
    with safe_open(path, framework="numpy"):  # header and length of the file agree
        pass
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    held = {
        name: _Held(one["dtype"], tuple(one["shape"]), 8 + length + one["data_offsets"][0])
        for name, one in header.items()
    }
    return _Safetensors(path, held)


def _members(path: Path, archive: zipfile.ZipFile) -> Iterator[tuple[str, _Held]]:
    """The arrays of an npz file; one that claims more than it holds is refused."""
    for info in archive.infolist():
        with archive.open(info) as file:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read(file)
            begins = file.tell()
        name = info.filename.removesuffix(".npy")
        if dtype.hasobject or begins + math.prod(shape) * dtype.itemsize > info.file_size:
            raise SpecError(
                f"{path}: {name} is {_sizes(shape)} of {dtype}, more than the file holds of it"
            )
        yield name, _Held(str(dtype), shape)
