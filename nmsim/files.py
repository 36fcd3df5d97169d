"""Files that are written whole or not at all: aside first, then renamed."""

import os
import tempfile
from collections.abc import Callable, Mapping
from errno import EISDIR
from pathlib import Path

from nmsim.errors import SpecError

__all__ = ["write_file", "write_folder"]


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


def write_folder(folder: Path, contents: Mapping[str, str]) -> None:
    """Write several text files into a folder: all are written aside before the first is renamed.

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
        for name, text in contents.items():
            target = folder / name
            handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
            aside[target] = Path(temporary)
            with os.fdopen(handle, "wb") as file:
                # A name on the command line may hold bytes that are no text in any encoding.
                file.write(text.encode("utf-8", "backslashreplace"))
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
