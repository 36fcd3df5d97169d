"""Kernels as numba's dispatchers: one version for Python, another for the kernels that call it.

Most kernels are called by kernels only. Compiled for these, one needs no wrapper that unpacks
Python's tuples of arrays, which can take longer to compile than the kernel. And it is compiled for
the types of its arguments only: left to itself, numba compiles a function again for every constant
that some caller passes.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numba.core.config
import numba.core.registry
from numba.core import types

from nmsim.jit.cache import KernelCache

__all__ = ["CONFIG", "Compiled", "made"]

CONFIG: Any = numba.core.config
"""numba's settings, environment variables first."""

_unliteral: Any = types.unliteral


class _Called(numba.core.registry.CPUDispatcher):
    """The version of a kernel that other kernels call, without a wrapper for Python."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        options = {**options, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        super().__init__(function, targetoptions=options)
        self._cache = KernelCache(function, "called")

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """How numba types a call: a constant is a number like any other."""
        plain = tuple(_unliteral(arg) for arg in args)
        return super().get_call_template(
            plain, {name: _unliteral(arg) for name, arg in kws.items()}
        )


class Compiled(numba.core.registry.CPUDispatcher):
    """A kernel as Python calls it; a kernel that calls it gets its other version."""

    def __init__(self, function: Callable[..., Any], targetoptions: dict[str, Any]) -> None:
        super().__init__(function, targetoptions={**targetoptions, "no_cfunc_wrapper": True})
        self._cache = KernelCache(function, "python")
        self._options = targetoptions

    @cached_property
    def _called(self) -> _Called:
        return _Called(self.py_func, self._options)

    @property
    def _numba_type_(self) -> Any:
        return types.Dispatcher(self._called)


def made(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """A function compiled as options say; itself where numba is told not to compile."""
    return function if CONFIG.DISABLE_JIT else Compiled(function, targetoptions=options)
