"""How numba is used: one place for flags, for the compile cache and for threads.

Kernels take scalars and arrays and return arrays. They release the GIL, so that row blocks run on
threads (``map_blocks``); numba's own ``parallel=True`` is not used: it triples compile time.

What takes numba long to compile, and is therefore written as loops: ``a[:] = b`` (its error
messages, two seconds), ``np.sort``, and reductions of arrays.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import numba.core.config

from nmsim.jit.dispatch import Compiled

__all__ = ["compiled", "compiled_uncounted", "map_blocks"]

F = TypeVar("F", bound=Callable[..., Any])

_CONFIG: Any = numba.core.config


def _compile(function: F, **flags: bool) -> F:
    if _CONFIG.DISABLE_JIT:
        return function
    options = {"nopython": True, "nogil": True, "error_model": "numpy", **flags}
    return cast("F", Compiled(function, targetoptions=options))


def compiled(function: F) -> F:
    """Compile with numba when called: no GIL, no Python objects, IEEE arithmetic, cached."""
    return _compile(function)


def compiled_uncounted(function: F) -> F:
    """Compile like ``compiled``, but without reference counts: for small ones called very often.

    Such a function allocates nothing, copies no slices and calls only its like. Counting the arrays
    of a tuple at every call can take most of the time of functions of a few instructions.
    """
    return _compile(function, _nrt=False)


def map_blocks(work: Callable[[int, int], None], rows: int, block: int) -> None:
    """Call ``work(start, stop)`` for every block of rows, on as many threads as numba may use.

    The blocks do not depend on the number of threads, so neither do seeded results.
    """
    spans = [(start, min(start + block, rows)) for start in range(0, rows, block)]
    threads = min(_CONFIG.NUMBA_NUM_THREADS, len(spans))
    if threads <= 1:
        for span in spans:
            work(*span)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, *span) for span in spans]:
            done.result()
