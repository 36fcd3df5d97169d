"""Under which conditions a time was measured: columns of a table, or phrases of an older note.

``conditions`` is what the clock did: ``free`` (it starts at its highest and comes down under load),
``sustained`` (long work had brought it down already) or ``locked`` (it stood still). ``host_us`` is
what the host adds to every time, ``floor_us`` the shortest time that a timer can show.
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["CONDITIONS", "clocks", "floors"]

CONDITIONS = ("free", "sustained", "locked")

_BACK_TO_BACK = re.compile(r"host[- ]?(side|timer)|back[- ]to[- ]back", re.IGNORECASE)

_FLOOR = re.compile(r"floor\D{0,20}?([0-9.]+)(?:\s*(?:-|to)\s*([0-9.]+))?\s*us")

T = TypeVar("T")


def clocks(columns: Mapping[str, list[str]], rows: int) -> list[str]:
    """What the clock did in each row: a word of ``CONDITIONS``, or what stands there instead.

    Earlier versions of ``nmsim measure`` wrote several words into the column: the clock was free.
    A table without the column says it, if at all, in its note: a host's timer, or launches back to
    back, are long work.
    """
    if "conditions" in columns:
        return _each(columns["conditions"], _word)
    return _each(columns.get("note", [""] * rows), _clock_of_note)


def floors(columns: Mapping[str, list[str]], rows: int) -> list[str]:
    """The shortest time that each row's timer can show, as text; "" where none is told."""
    if "floor_us" in columns:
        return columns["floor_us"]
    return _each(columns.get("note", [""] * rows), _floor_of_note)


def _each(texts: list[str], read: Callable[[str], T]) -> list[T]:
    known = {text: read(text) for text in set(texts)}
    return [known[text] for text in texts]


def _word(text: str) -> str:
    words = text.split()
    return words[0].lower() if len(words) == 1 else "free"


def _clock_of_note(note: str) -> str:
    return "sustained" if _BACK_TO_BACK.search(note) else "free"


def _floor_of_note(note: str) -> str:
    """The largest time that a note's "floor" names."""
    found = _FLOOR.search(note)
    return found[2] or found[1] if found else ""
