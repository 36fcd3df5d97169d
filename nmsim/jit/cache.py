"""Compiled kernels on disk: a convenience, without which everything works and takes longer.

One folder a module, named by the module, the Python version and a hash of all that its kernels are
compiled from; in it one file a kernel and signature. numba's own cache keeps an index that
processes may write at the same time, looks for edits in one file only, and raises whatever a
damaged file makes ``pickle`` raise; this one checks a file by its hash before it is unpickled,
removes it if it is damaged, and says in one line on stderr if it could not be used.

A module keeps the folders that were used last, as many as there may be versions of Python or
branches side by side. To remove one that another process uses does no harm: what that does not find
it compiles, and a folder that is gone it makes anew.
"""

import hashlib
import os
import pickle
import platform
import shutil
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba
import numba.core.caching
import numba.core.compiler
import numba.core.config
import numba.core.serialize
import numpy as np

from nmsim.files.kept import places, writable_folder
from nmsim.jit.closure import Unknown, closure_hash

__all__ = ["KernelCache", "Store", "cache_folder", "shared_store"]

_CONFIG: Any = numba.core.config
_CompileResult: Any = numba.core.compiler.CompileResult
_dumps: Any = numba.core.serialize.dumps

_KEPT = 4
_DIGEST = hashlib.sha256().digest_size


def cache_folder() -> Path | None:
    """Folder for the compiled kernels of all modules.

    In ``NUMBA_CACHE_DIR`` if set, else beside the package, else (the package is read-only) in the
    user's cache folder; None if none of them can be written.
    """
    return writable_folder("kernels", _CONFIG.CACHE_DIR)


def _setting() -> str:
    """What shapes compiled code beside its source, the processor and the version of Python."""
    packages = [numba.__version__, version("llvmlite"), np.__version__]
    without = ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")
    flags = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith("NUMBA_") and name not in without
    ]
    return " ".join([*packages, platform.machine(), *flags])


def _packed(payload: tuple[Any, ...]) -> bytes:
    data: bytes = _dumps(payload)
    return hashlib.sha256(data).digest() + data


def _unpacked(packed: bytes) -> tuple[Any, ...]:
    """What was packed; nothing is unpickled that has another hash."""
    digest, data = packed[:_DIGEST], packed[_DIGEST:]
    if hashlib.sha256(data).digest() != digest:
        raise ValueError("its content has another hash")
    payload: tuple[Any, ...] = pickle.loads(data)  # noqa: S301 - as it was written
    return payload


class Store:
    """Files of compiled kernels in one folder; says once what goes wrong, and never raises it.

    Parameters
    ----------
    folder
        Of all modules (``cache_folder``); None: nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._told = False
        self._writes = folder is not None

    def tell(self, text: str) -> None:
        """Print a line to stderr, the first time only."""
        if not self._told and sys.stderr is not None:
            sys.stderr.write(f"nmsim: {text}\n")
        self._told = True

    def module_folder(self, function: Callable[..., Any]) -> Path | None:
        """Folder of a function's module and all that it is compiled from; marked as used now.

        None if nothing is kept, or it cannot be told what the function is compiled from.
        """
        if "<" in function.__qualname__:  # made by another function, perhaps from its variables
            return None
        if self.folder is None:
            tried = ", ".join(map(str, places(_CONFIG.CACHE_DIR)))
            self.tell(f"kernels are compiled anew in every run: none of {tried} can be written")
            return None
        try:
            digest = hashlib.sha256(f"{_setting()} {closure_hash(function)}".encode()).hexdigest()
        except Unknown:  # a notebook, a file edited under a running process: not worth a line
            return None
        group = f"{function.__module__}.{sys.implementation.cache_tag}"
        folder = self.folder / f"{group}-{digest[:16]}"
        with suppress(OSError):
            os.utime(folder)
        return folder

    def load(self, path: Path, rebuild: Callable[..., Any]) -> Any:
        """What was saved in a file, rebuilt; None if there is none, or it is damaged."""
        try:
            packed = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.tell(f"kernels are compiled anew: {error}")
            return None
        try:
            return rebuild(*_unpacked(packed))
        except Exception as error:  # noqa: BLE001 - whatever it is, the kernel can be compiled
            self.tell(f"compiled kernel {path} is damaged ({error}): removed, and compiled anew")
            with suppress(OSError):
                path.unlink()
            return None

    def save(self, path: Path, reduce: Callable[[], Any]) -> None:
        """Write a file aside, then rename it; after a failure nothing more is written."""
        if not self._writes:
            return
        aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}")
        try:
            packed = _packed(reduce())
            self._make(path.parent)
            aside.write_bytes(packed)
            aside.replace(path)
        except Exception as error:  # noqa: BLE001 - whatever it is, the kernel is compiled
            self._writes = False
            self.tell(f"compiled kernels are not kept: {error}")
        finally:
            with suppress(OSError):
                aside.unlink()

    def _make(self, folder: Path) -> None:
        """Make a module's folder, and remove those of it that were not used for longest."""
        if folder.is_dir() or self.folder is None:
            return
        folder.mkdir(parents=True)
        group = folder.name.rpartition("-")[0]
        versions = [old for old in self.folder.iterdir() if old.name.rpartition("-")[0] == group]
        old = sorted(versions, key=_used)[:-_KEPT]
        # Version 0.1 had one folder for all sources, beside the one for all modules.
        for gone in [*old, *self.folder.parent.glob("kernels-*")]:
            shutil.rmtree(gone, ignore_errors=True)


def _used(folder: Path) -> int:
    """When a folder was used last; long ago if another process has just removed it."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=1)
def shared_store() -> Store:
    """The store of this process, found when the first kernel is called."""
    return Store(cache_folder())


class KernelCache(numba.core.caching.NullCache):
    """What numba asks for compiled versions of a kernel, and tells of new ones.

    Parameters
    ----------
    function
        In Python.
    caller
        Who calls these versions: those for Python and for kernels differ.
    """

    def __init__(self, function: Callable[..., Any], caller: str) -> None:
        self._function = function
        self._caller = caller

    @cached_property
    def _folder(self) -> Path | None:
        return shared_store().module_folder(self._function)

    @property
    def cache_path(self) -> str | None:
        """Folder that holds what is compiled of the kernel's module; None if nothing is kept."""
        return None if self._folder is None else str(self._folder)

    def _path(self, folder: Path, sig: Any, codegen: Any) -> Path:
        code = self._function.__code__
        overload = hashlib.sha256(f"{sig} {codegen.magic_tuple()}".encode()).hexdigest()
        name = f"{code.co_name}-{code.co_firstlineno}-{self._caller}-{overload[:16]}.kernel"
        return folder / name

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The compiled version for a signature; None if it has to be compiled."""
        target_context.refresh()
        if self._folder is None:
            return None
        path = self._path(self._folder, sig, target_context.codegen())
        rebuild = partial(_CompileResult._rebuild, target_context)  # noqa: SLF001 - as numba does
        return shared_store().load(path, rebuild)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a version that was just compiled."""
        if self._folder is not None and not data.library.has_dynamic_globals:
            path = self._path(self._folder, sig, data.codegen)
            shared_store().save(path, data._reduce)  # noqa: SLF001 - as numba does
