"""The sources that a kernel is compiled from: its own module and all that this imports, in turn.

numba writes what a kernel calls, and the constants that it reads, into its machine code, but looks
for an edit in the kernel's own file only (numba issue 1833). Imports are read from the text rather
than from ``sys.modules``, which does not say who imported what. They are followed within the
package, and within the top-level package of a kernel from elsewhere.
"""

import ast
import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.util import resolve_name
from pathlib import Path
from typing import Any, NamedTuple

from nmsim.files.kept import kept

__all__ = ["Unknown", "closure_hash", "files_of"]

_PACKAGE = __name__.partition(".")[0]

_STARTED_NS = time.time_ns()
"""About when the process has read the sources."""


class Unknown(Exception):
    """What a kernel is compiled from cannot be told, so that it must not be cached."""


class _Place(NamedTuple):
    """Where a module lies: its file, and where its submodules are looked for."""

    file: str | None
    search: list[str] | None


def _place(name: str) -> _Place:
    """Find a module without importing it, by the ``__path__`` that its package has now."""
    module = sys.modules.get(name)
    if module is not None:
        return _Place(getattr(module, "__file__", None), getattr(module, "__path__", None))
    parent = name.rpartition(".")[0]
    search = _place(parent).search if parent else None
    spec = None if parent and search is None else PathFinder.find_spec(name, search)
    return _Place(None, None) if spec is None else _Place(spec.origin, _submodules(spec))


def _submodules(spec: Any) -> list[str] | None:
    found: list[str] | None = spec.submodule_search_locations
    return found


@lru_cache(maxsize=1024)
def _source(file: str) -> bytes:
    """Read a source as it was when this process started."""
    path = Path(file)
    try:
        if path.stat().st_mtime_ns > _STARTED_NS:
            raise Unknown(f"{file} was edited since the process started")
        return path.read_bytes()
    except OSError as error:
        raise Unknown(f"{file}: {error}") from error


@lru_cache(maxsize=1024)
def _imports(file: str, package: str) -> tuple[str, ...]:
    """Names of all modules that a file may import: ``from a import b`` may mean ``a.b``."""
    source = _source(file)
    try:
        found = kept(_HOW, source, lambda: _statements(source))
    except (SyntaxError, ValueError) as error:
        raise Unknown(f"{file}: {error}") from error
    return tuple(
        name for level, module, names in found for name in _named(level, module, names, package)
    )


_HOW = f"imports {sys.version}"


def _statements(source: bytes) -> list[list[Any]]:
    """Of every import in a source: dots before it, the module (None: of a bare one), its names."""
    nodes = list(ast.walk(ast.parse(source)))
    bare = [n for n in nodes if isinstance(n, ast.Import)]
    from_ = [n for n in nodes if isinstance(n, ast.ImportFrom)]
    return [
        *([0, None, [alias.name for alias in n.names]] for n in bare),
        *([n.level, n.module or "", [alias.name for alias in n.names]] for n in from_),
    ]


def _named(level: int, module: str | None, names: list[str], package: str) -> Iterator[str]:
    if module is None:
        yield from names
        return
    source = resolve_name("." * level + module, package)
    yield source
    yield from (f"{source}.{name}" for name in names)


def files_of(module: str, file: str, package: str) -> dict[str, str]:
    """Files of the closure of a module, by the modules' names.

    Parameters
    ----------
    module, file, package
        Its name, its source, and the package that its relative imports start from.

    Raises
    ------
    Unknown
        if one of them cannot be read, or has changed since it was imported.
    """
    followed = {_PACKAGE, module.partition(".")[0]}
    files = {module: file}
    left = [(file, package)]
    while left:
        for name in _imports(*left.pop()):
            if name in files or name.partition(".")[0] not in followed:
                continue
            place = _place(name)
            if place.file is not None:
                files[name] = place.file
                left.append((place.file, name if place.search else name.rpartition(".")[0]))
    return files


@lru_cache(maxsize=1024)
def _hash(module: str, file: str, package: str) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files_of(module, file, package).items()):
        source = _source(path)
        digest.update(f"{name} {len(source)} ".encode() + source)
    return digest.hexdigest()


def closure_hash(function: Callable[..., Any]) -> str:
    """Hash of all sources that kernels of a function's module may be compiled from.

    Raises
    ------
    Unknown
        if one of them cannot be read, or has changed since it was imported.
    """
    package = function.__globals__.get("__package__") or ""
    return _hash(function.__module__, function.__code__.co_filename, package)
