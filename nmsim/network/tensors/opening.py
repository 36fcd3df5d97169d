"""Files of tensors opened, whichever format they are in, once for each content that they have."""

import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError

from nmsim.errors import NmsimError, SpecError, reason
from nmsim.files import once_per_content, rests_on
from nmsim.network.tensors import spans
from nmsim.network.tensors.archive import Archive, Rows, named_shape
from nmsim.network.tensors.memory import InMemory
from nmsim.network.tensors.names import Names, renamed
from nmsim.network.tensors.npz_file import open_npz
from nmsim.network.tensors.packed import scaled, unpacked
from nmsim.network.tensors.safetensors_file import open_safetensors
from nmsim.network.tensors.sharded import is_index, of_folder, of_index
from nmsim.network.tensors.torch_file import is_torch, open_torch

__all__ = ["Opened", "opened", "refuse_not_finite", "refusing"]


class Opened(NamedTuple):
    """What files hold, and by which names it is looked for."""

    archive: Archive
    names: Names


def opened(path: Path | InMemory, rules: tuple[str, ...]) -> Opened:
    """What a file, an index or a folder holds, with other names by rules ``GLOB=NAME``.

    Of a file once for each content; of tensors in memory, whose owner may change them, for each
    run.

    Raises
    ------
    NmsimError
        for what is no tensors, or parts of it that do not fit together.
    """
    if not isinstance(path, InMemory):
        return _opened(path, rules)
    if rules not in path.known:
        path.known[rules] = _named(path.archive, rules)
    found: Opened = path.known[rules]
    return found


@once_per_content
def _opened(path: Path, rules: tuple[str, ...]) -> Opened:
    return _named(_raw(path), rules)


def _named(raw: Archive, rules: tuple[str, ...]) -> Opened:
    archive = unpacked(raw)
    return Opened(archive, Names(archive.held, renamed(archive.held, rules)))


def _raw(path: Path) -> Archive:
    rests_on(path)
    if path.is_dir():
        return of_folder(path, _raw)
    if is_index(path):
        return of_index(path, _raw)
    if is_torch(path):
        return open_torch(path)
    with refusing(path):
        return open_npz(path) if path.suffix == ".npz" else open_safetensors(path)


def refuse_not_finite(path: Path | InMemory, rules: tuple[str, ...], key: str) -> None:
    """Refuse a tensor with a NaN or an infinity, naming the first one."""
    if isinstance(path, InMemory):
        _refuse(path, opened(path, rules).archive, key)
    else:
        _refuse_in_file(path, rules, key)


@once_per_content
def _refuse_in_file(path: Path, rules: tuple[str, ...], key: str) -> None:
    _refuse(path, opened(path, rules).archive, key)


def _refuse(path: Path | InMemory, archive: Archive, key: str) -> None:
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
def refusing(path: object) -> Iterator[None]:
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
