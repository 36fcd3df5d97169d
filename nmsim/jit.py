"""How numba is used: one place for flags, for the compile cache and for threads.

Kernels take scalars and arrays and return arrays. They release the GIL, so that row blocks run on
threads (``map_blocks``); numba's own ``parallel=True`` is not used: it triples compile time.

The cache folder carries a hash of every source file of the package in its name, because numba does
not notice an edit in a file that a cached kernel merely imports (numba issue 1833).
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numba.core.config

__all__ = ["cache_folder", "kernel", "map_blocks", "uncounted_kernel"]

F = TypeVar("F", bound=Callable[..., Any])

_PACKAGE = Path(__file__).parent
_CONFIG: Any = numba.core.config
_njit: Any = numba.njit  # its signature leaves out the option to count no references


def _sources_hash() -> str:
    digest = hashlib.sha256(f"numba {numba.__version__}".encode())
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _user_cache() -> Path:
    if "XDG_CACHE_HOME" in os.environ:
        return Path(os.environ["XDG_CACHE_HOME"])
    if sys.platform == "win32" and "LOCALAPPDATA" in os.environ:
        return Path(os.environ["LOCALAPPDATA"])
    home = Path("~").expanduser()
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def cache_folder() -> Path | None:
    """Folder for compiled kernels, named by a hash of all sources.

    ``NUMBA_CACHE_DIR`` if set, else beside the package, else (the package is read-only) in the
    user's cache folder; None if none of them can be written.
    """
    bases = [_PACKAGE / "__pycache__", _user_cache() / "nmsim"]
    if _CONFIG.CACHE_DIR:
        bases.insert(0, Path(_CONFIG.CACHE_DIR) / "nmsim")
    name = f"kernels-{_sources_hash()}"
    return next((base / name for base in bases if _writable(base / name)), None)


_CACHE = cache_folder()


@contextmanager
def _numba_cache_at(folder: Path) -> Iterator[None]:
    # numba picks a kernel's cache folder when it is decorated; other packages keep theirs.
    before = _CONFIG.CACHE_DIR
    _CONFIG.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        _CONFIG.CACHE_DIR = before


def _compile(function: F, **flags: bool) -> F:
    flags["nogil"] = True
    if _CACHE is None:
        return cast("F", _njit(error_model="numpy", **flags)(function))
    with _numba_cache_at(_CACHE):
        return cast("F", _njit(error_model="numpy", cache=True, **flags)(function))


def kernel(function: F) -> F:
    """Compile with numba: no GIL, no Python objects, IEEE arithmetic, cached by source hash."""
    return _compile(function)


def uncounted_kernel(function: F) -> F:
    """Compile like ``kernel``, but without reference counts: for small functions called very often.

    Such a function allocates nothing, copies no slices and calls only its like. Counting the arrays
    of a tuple at every call can take most of the time of functions of a few instructions.
    """
    return _compile(function, _nrt=False)


def map_blocks(work: Callable[[int, int], None], rows: int, block: int) -> None:
    """Call ``work(start, stop)`` for every block of rows, on as many threads as numba may use.

    The blocks do not depend on the number of threads, so neither do seeded results.
    """
    spans = [(start, min(start + block, rows)) for start in range(0, rows, block)]
    threads = min(_CONFIG.NUMBA_NUM_THREADS, len(spans))
    if threads <= 1:
        for span in spans:
            work(*span)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, *span) for span in spans]:
            done.result()
