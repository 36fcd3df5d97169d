"""Tensors of a safetensors file, in the types that checkpoints are published in."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from nmsim.errors import SpecError
from nmsim.network.tensors.archive import Archive, Held, Rows

__all__ = ["open_safetensors"]

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
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
"""Types of safetensors that are read, as numpy stores them."""


def open_safetensors(path: Path) -> Archive:
    """What a safetensors file holds; its header and its length have been seen to agree."""
    with safe_open(path, framework="numpy"):
        pass
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    held = {name: Held(one["dtype"], tuple(one["shape"])) for name, one in header.items()}
    starts = {name: 8 + length + one["data_offsets"][0] for name, one in header.items()}

    def load(key: str, rows: Rows = None) -> NDArray[Any]:
        dtype, shape = held[key]
        if dtype not in _TYPES:
            raise SpecError(
                f"{path}: {key} is {dtype}, expected one of {', '.join(sorted(_TYPES))}"
            )
        first, count, stored = 0, held[key].size, np.dtype(_TYPES[dtype])
        if rows is not None and shape and shape[0]:
            start, stop, _ = rows.indices(shape[0])
            row = count // shape[0]
            first, count = start * row, (stop - start) * row
        at = starts[key] + first * stored.itemsize
        words = np.fromfile(path, stored, count=count, offset=at)
        return _widened(words, dtype)

    return Archive(path, held, load)


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
