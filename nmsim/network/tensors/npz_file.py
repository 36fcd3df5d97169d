"""Tensors of an npz file: arrays of numpy in a zip archive."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nmsim.errors import SpecError
from nmsim.network.tensors.archive import Archive, Held, Rows, named_shape

__all__ = ["open_npz"]

_MOST_DEFLATED = 1032
"""Bytes that one of a deflated stream can stand for (RFC 1951: 258 for two bits)."""


def open_npz(path: Path) -> Archive:
    """What an npz file holds; of each array it has been seen to hold as much as that claims."""
    with zipfile.ZipFile(path) as archive:
        held = dict(_members(path, archive))

    def load(key: str, _rows: Rows = None) -> NDArray[Any]:
        with np.load(path) as archive:
            array: NDArray[Any] = archive[key]
        return array

    return Archive(path, held, load)


def _members(path: Path, archive: zipfile.ZipFile) -> Iterator[tuple[str, Held]]:
    """The arrays of an npz file; one that claims more than it can hold is refused."""
    there = path.stat().st_size
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
        found = Held(str(dtype), shape)
        packed = min(info.compress_size, there)
        most = packed if info.compress_type == zipfile.ZIP_STORED else _MOST_DEFLATED * packed
        bytes_held = min(info.file_size, most)
        if dtype.hasobject or begins + found.size * dtype.itemsize > bytes_held:
            raise SpecError(
                f"{path}: {name} is {named_shape(shape)} of {dtype}, more than the file holds of it"
            )
        yield name, found
