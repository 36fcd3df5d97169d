"""Files: read once for each content that they have, and written whole or not at all.

What is computed from files (``once_per_content``) is remembered with their stamps, and computed
anew when one of them has another. What is computed from that in turn (``remembered``) is forgotten
then, all of it: an edit is rare, and nobody need know what rests on which file.
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from errno import EISDIR
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

from nmsim.errors import SpecError

__all__ = [
    "forget",
    "once_per_content",
    "remembered",
    "rested_on",
    "rests_on",
    "write_file",
    "write_folder",
]

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

_MOST = 1024
_SETTLED_NS = 50_000_000
"""Beyond the tick of a file system's clock: two edits within one leave the same time."""


class _Stamp(NamedTuple):
    """What tells one content of a file or folder from the next without reading it."""

    changed_ns: int
    size: int
    inode: int


_ABSENT = _Stamp(0, -1, -1)
_UNSETTLED = _Stamp(0, -1, -2)
_Stamps = dict[Path, _Stamp]

_seen: _Stamps = {}
_resting: ContextVar[_Stamps | None] = ContextVar("stamps of what is being computed", default=None)


def _stamp_of(path: Path) -> _Stamp:
    """The stamp of a file or folder as it is now; if it is another than last time, all forget."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a third of the time of Path.stat
        now = _Stamp(found.st_mtime_ns, found.st_size, found.st_ino)
    except (OSError, ValueError):
        now = _ABSENT
    before = _seen.get(path)
    if before != now:
        if before is not None:
            forget()
        settled = abs(time.time_ns() - now.changed_ns) > _SETTLED_NS
        _seen[path] = now if settled else _UNSETTLED
    return now


def rests_on(path: Path) -> None:
    """Say, before it is read, that what is being computed depends on a file or folder."""
    _stamp_of(path)
    stamps = _resting.get()
    if stamps is not None:
        stamps.setdefault(path, _seen[path])


def rested_on(function: Callable[[], R]) -> tuple[R, tuple[Path, ...]]:
    """What a function gives, and the files and folders that it rests on, remembered or not."""
    stamps: _Stamps = {}
    token = _resting.set(stamps)
    try:
        result = function()
    finally:
        _resting.reset(token)
        _hand_on(stamps)
    return result, tuple(stamps)


def once_per_content(function: Callable[P, R]) -> Callable[P, R]:
    """Remember results of a function for as long as the files that it rests on stay as they are.

    Its arguments are hashable, its results are shared: nobody may change them. An exception is not
    remembered, nor is what a file says that was written just now.
    """
    known: dict[Any, tuple[R, _Stamps]] = {}

    @wraps(function)
    def call(*args: P.args, **given: P.kwargs) -> R:
        key = (args, tuple(given.items()))
        if key in known:
            result, stamps = known[key]
            if all(_stamp_of(path) == then for path, then in stamps.items()):
                _hand_on(stamps)
                return result
        token = _resting.set(stamps := {})
        try:
            result = function(*args, **given)
        finally:
            _resting.reset(token)
            _hand_on(stamps)
        if len(known) >= _MOST:
            known.pop(next(iter(known)), None)
        known[key] = result, stamps
        return result

    return call


def _hand_on(stamps: _Stamps) -> None:
    """What rests on a result rests on its files too."""
    above = _resting.get()
    if above is not None:
        above.update({path: then for path, then in stamps.items() if path not in above})


_REMEMBERED: list[Any] = []


def forget() -> None:
    """Forget all that is ``remembered``: something that it rests on is another one now."""
    for cached in _REMEMBERED:
        cached.cache_clear()


def remembered(maxsize: int) -> Callable[[F], F]:
    """Remember results of a function, as ``lru_cache`` does, until a file is seen to have changed.

    For what is asked so often that even to look at files would take too long: ``once_per_content``
    is asked before, for the machine or the network that it is computed for.
    """

    def remember(function: F) -> F:
        cached = lru_cache(maxsize)(function)
        _REMEMBERED.append(cached)
        return cast("F", cached)

    return remember


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it to ``path``.

    Raises
    ------
    SpecError
        if the file system refuses (no such folder, not writable, full); nothing is left behind.
    """
    aside: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        aside = Path(name)
        aside.chmod(0o666 & ~_umask())
        write(aside)
        aside.replace(path)
    except OSError as error:
        raise SpecError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if aside is not None:
            aside.unlink(missing_ok=True)


def write_folder(folder: Path, contents: Mapping[str, str | bytes]) -> None:
    """Write several files into a folder: all are written aside before the first is renamed.

    The folder is made if need be, and removed again if it was made and the writing failed. Files of
    other names that it holds are left alone.

    Raises
    ------
    SpecError
        if the file system refuses.
    """
    made: list[Path] = []
    aside: dict[Path, Path] = {}
    try:
        for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
            missing.mkdir()
            made.append(missing)
        for name, content in contents.items():
            target = folder / name
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
            aside[target] = Path(temporary)
            with os.fdopen(handle, "wb") as file:
                file.write(content if isinstance(content, bytes) else _encoded(content))
            aside[target].chmod(0o666 & ~_umask())
        for target in aside:
            if target.is_dir():
                raise IsADirectoryError(EISDIR, f"{target.name} is a directory")
        for target, temporary_path in aside.items():
            temporary_path.replace(target)
        made.clear()
    except OSError as error:
        raise SpecError(f"{folder}: cannot be written ({error.strerror or error})") from error
    finally:
        for leftover in aside.values():
            leftover.unlink(missing_ok=True)
        for empty in reversed(made):
            empty.rmdir()


def _encoded(text: str) -> bytes:
    """A name on the command line may hold bytes that are no text in any encoding."""
    return text.encode("utf-8", "backslashreplace")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
