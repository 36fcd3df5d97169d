"""Under which conditions a time was measured: columns of a table, or phrases of an older note.

``conditions`` is what the clock did: ``free`` (it starts at its highest and comes down under load),
``sustained`` (long work had brought it down already) or ``locked`` (it stood still). ``host_us`` is
what the host adds to every time, ``floor_us`` the shortest time that a timer can show. How fast a
GPU was that day, which no table says, shows in GEMMs that two have in common (``runs``).
"""

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["CONDITIONS", "clocks", "floors", "runs"]

CONDITIONS = ("free", "sustained", "locked")

OTHER_RUN = 0.03
"""Mean difference of log time by which two tables of the same GEMMs are not of one run: the noise
of two runs under the same conditions averages out over their common GEMMs."""

COMMON = 30
"""GEMMs that two tables must have in common for that to be judged."""

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


def runs(
    sizes: NDArray[np.float64], times: NDArray[np.float64], table: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The run that each table is of, and how slow that run is.

    Parameters
    ----------
    sizes, times, table
        Rows x 4 (M, N, K and copies), and of each row its time and its table's number.

    Returns
    -------
    intp array, float64 array
        By table: 0, or a number of its own if it differs from tables of run 0; and the mean of log
        time beyond theirs, over GEMMs in common, 0 of run 0.
    """
    count = int(table.max(initial=0)) + 1
    found, slower = np.zeros(count, np.intp), np.zeros(count)
    known = _by_size(sizes, times, table == 0)
    for number in range(1, count):
        own = _by_size(sizes, times, table == number)
        both = [size for size in own if size in known]
        differs = np.array([np.log(own[size] / known[size]) for size in both])
        if len(both) >= COMMON and abs(differs.mean()) > OTHER_RUN:
            found[number], slower[number] = found.max() + 1, differs.mean()
        else:
            known |= own
    return found, slower


def _by_size(
    sizes: NDArray[np.float64], times: NDArray[np.float64], own: NDArray[np.bool_]
) -> dict[tuple[float, ...], float]:
    return dict(zip(map(tuple, sizes[own].tolist()), times[own].tolist(), strict=True))
