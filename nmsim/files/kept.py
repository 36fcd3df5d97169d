"""What takes long to work out of a text, kept on disk: a convenience, without which all works.

To parse YAML and Python takes longer than most that a command does. What came of a text is kept as
JSON in a file named by a hash of the text and of how it was read, so that an edited file has
another; nothing is kept that JSON gives back otherwise (a date, a key that is a number, NaN, a list
that stands in two places). A
damaged file is removed and written anew; a folder that cannot be written, or a full disk, is not
worth a line: the text is there.
"""

import hashlib
import json
import os
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["kept", "places", "writable_folder"]

_PACKAGE = Path(__file__).parent.parent
_MOST = 2048
"""Files in the folder, at most; of more the quarter that was used longest ago is removed."""


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
        probe = folder / f".probe-{uuid.uuid4().hex}"
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def places(told: str = "") -> list[Path]:
    """Where the caches of nmsim may stand, first choice first.

    Parameters
    ----------
    told
        The folder for numba's cache, if the user named one: ours stand in it, too.
    """
    bases = [_PACKAGE / "__pycache__", _user_cache() / "nmsim"]
    return [Path(told) / "nmsim", *bases] if told else bases


def writable_folder(name: str, told: str = "") -> Path | None:
    """The folder of a cache in the first of `places` that can be written; None if none can."""
    return next((base / name for base in places(told) if _writable(base / name)), None)


@lru_cache(maxsize=1)
def _folder() -> Path | None:
    """Of this process, found when the first text is read."""
    return writable_folder("texts", os.environ.get("NUMBA_CACHE_DIR", ""))


def kept(how: str, text: bytes, work: Callable[[], Any]) -> Any:
    """What a function makes of a text, taken from disk if it was made of the same one before.

    Parameters
    ----------
    how
        Names the function and whatever its result depends on beside the text, such as versions.
    text
        What it reads.
    work
        The function; whatever it raises is raised, and made anew the next time.
    """
    folder = _folder()
    if folder is None:
        return work()
    path = folder / f"{hashlib.sha256(how.encode() + bytes(1) + text).hexdigest()}.json"
    with suppress(OSError, ValueError):
        return _read(path)
    made = work()
    _write(path, made)
    return made


def _read(path: Path) -> Any:
    """What a file holds, marked as used now; OSError if it is not there, ValueError if damaged."""
    digest, _, data = path.read_bytes().partition(b"\n")
    if hashlib.sha256(data).hexdigest().encode() != digest:
        with suppress(OSError):
            path.unlink()
        raise ValueError("its content has another hash")
    with suppress(OSError):
        os.utime(path)
    return json.loads(data)


def _is_tree(made: Any) -> bool:
    """Whether no list or mapping stands in two places: written out, aliases of aliases explode."""
    seen, open_to = set(), [made]
    while open_to:
        one = open_to.pop()
        if not isinstance(one, dict | list | tuple):
            continue
        if id(one) in seen:
            return False
        seen.add(id(one))
        open_to += one.values() if isinstance(one, dict) else one
    return True


def _write(path: Path, made: Any) -> None:
    """Write a file aside, then rename it; nothing is left behind if it cannot be."""
    if not _is_tree(made):
        return
    try:
        data = json.dumps(made, allow_nan=False, separators=(",", ":")).encode()
        if json.loads(data) != made:
            return
    except (TypeError, ValueError, RecursionError):
        return
    aside = path.with_name(f"{path.stem}.{uuid.uuid4().hex[:12]}")
    with suppress(OSError):
        try:
            aside.write_bytes(hashlib.sha256(data).hexdigest().encode() + b"\n" + data)
            _make_room(path.parent)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def _make_room(folder: Path) -> None:
    files = list(folder.iterdir())
    if len(files) <= _MOST:
        return
    for old in sorted(files, key=_used)[: _MOST // 4]:
        with suppress(OSError):
            old.unlink()


def _used(path: Path) -> int:
    """When a file was used last; long ago if another process has just removed it."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
