"""Loading numba, when the first kernel is called, without what no kernel of ours needs.

numba asks while it loads whether scipy's linear algebra is there, by loading it: a tenth of a
second and more. That it is there we know, as scipy is a dependency. So the question is answered by
an empty module, which is gone when numba is loaded: a kernel that multiplies matrices has it.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

__all__ = ["is_loaded", "no_garbage", "with_numba"]

_ASKED = "scipy.linalg.cython_blas"


@lru_cache(maxsize=1)
def with_numba() -> ModuleType:
    """The module `nmsim.jit.dispatch`, and numba with it."""
    with no_garbage(), _no_linear_algebra():
        import_module("numba.np.arraymath")
        return import_module("nmsim.jit.dispatch")


def is_loaded() -> bool:
    """Whether a kernel has been called that needed numba."""
    return "nmsim.jit.dispatch" in sys.modules


@contextmanager
def no_garbage() -> Iterator[None]:
    """For what makes many objects that stay, as imports do: to look for garbage takes long."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def _no_linear_algebra() -> Iterator[None]:
    if _ASKED in sys.modules or "numba" in sys.modules or find_spec("scipy") is None:
        yield
        return
    sys.modules[_ASKED] = stands_in = ModuleType(_ASKED)
    try:
        yield
    finally:
        if sys.modules.get(_ASKED) is stands_in:
            del sys.modules[_ASKED]
