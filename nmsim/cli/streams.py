"""The streams of a command: what is printed, what is told, and what if the caller closed them."""

import io
import os
import sys
from contextlib import suppress

__all__ = ["discard_stdout", "open_streams", "tell", "tell_if_possible", "write"]


def write(text: str) -> None:
    """Print a text to stdout, ended by a new line."""
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")


def tell(text: str) -> None:
    """Print a line to stderr."""
    sys.stderr.write(f"{text}\n")


def tell_if_possible(text: str) -> None:
    """Print a last line to stderr; the status says what it would, where nothing can be written."""
    with suppress(OSError):
        tell(text)


def open_streams() -> None:
    """Print anything in UTF-8; what no encoding has (a file's name may) is escaped.

    A stream that the caller has closed is None.
    """
    if sys.stdout is None:
        sys.stdout = io.StringIO()
    if sys.stderr is None:
        sys.stderr = io.StringIO()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def discard_stdout() -> None:
    """What is buffered for a reader that has gone, or for a full disk, is not tried again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
