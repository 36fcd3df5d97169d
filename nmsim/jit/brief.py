"""Kernels run as Python, as long as that takes less time than to load numba.

A GEMM of a few folds takes some milliseconds in Python, numba hundreds to load. How long one takes
is not known beforehand; so calls of kernels are counted, and there are so many of them in a thread.
The numbers are the same: kernels do IEEE arithmetic in the order in which it is written.
"""

from collections.abc import Callable
from threading import local
from typing import Any

import numpy as np

__all__ = ["TooLong", "run", "running", "spend"]

_CALLS = 32768
"""Some 80 ms of calls: a third of what it takes to load numba."""


class TooLong(Exception):
    """No calls are left: what was begun is to be run compiled, from its beginning."""


class _Patience(local):
    """Calls that are left to a thread, and whether it runs a kernel as Python."""

    calls = _CALLS
    running = False


_patience = _Patience()


def running() -> bool:
    """Whether this thread is in a kernel that runs as Python."""
    return _patience.running


def spend() -> None:
    """Count a call of a kernel by one that runs as Python.

    Raises
    ------
    TooLong
        if there have been too many.
    """
    _patience.calls -= 1
    if _patience.calls <= 0:
        raise TooLong


def run(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """What a kernel gives, run as Python; of overflow and division by zero nothing is said.

    Raises
    ------
    TooLong
        if it calls too many kernels.
    """
    if _patience.calls <= 0:
        raise TooLong
    _patience.running = True
    try:
        with np.errstate(all="ignore"):
            return function(*args)
    finally:
        _patience.running = False
