"""How numba is used: one place for flags, for the compile cache and for threads.

Kernels take scalars and arrays and return arrays. They release the GIL, so that row blocks run on
threads (``map_blocks``); numba's own ``parallel=True`` is not used: it triples compile time.

What takes numba long to compile, and is therefore written as loops: ``a[:] = b`` (its error
messages, two seconds), ``np.sort``, and reductions of arrays.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, TypeVar, cast

from nmsim.jit.loading import with_numba

if TYPE_CHECKING:
    from nmsim.jit.dispatch import Compiled

__all__ = ["Formula", "Kernel", "compiled", "compiled_uncounted", "formula", "map_blocks"]

F = TypeVar("F", bound=Callable[..., Any])


class Kernel:
    """A function that numba compiles when it is called, from Python or by another that it compiles.

    Until then numba is not loaded, which takes longer than most that is done without a kernel.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self._options = options
        update_wrapper(self, function)

    @cached_property
    def dispatcher(self) -> "Compiled":
        """The function as numba has it; itself where NUMBA_DISABLE_JIT is set."""
        made: Compiled = with_numba().made(vars(self)["__wrapped__"], self._options)
        return made

    def __call__(self, *args: Any) -> Any:
        """Run it, compiled for the types of its arguments."""
        return self.dispatcher(*args)

    @property
    def _numba_type_(self) -> Any:
        dispatcher: Any = self.dispatcher
        return dispatcher._numba_type_


class Formula(Kernel):
    """A function of numbers: compiled where a kernel calls it, and Python where Python does.

    Python's integers have no largest, so that one formula serves counts beyond 64 bits, too.
    """

    def __call__(self, *args: Any) -> Any:
        """Run it as it is written."""
        return vars(self)["__wrapped__"](*args)


_OPTIONS = {"nopython": True, "nogil": True, "error_model": "numpy"}


def _compile(function: F, **flags: bool) -> F:
    return cast("F", Kernel(function, {**_OPTIONS, **flags}))


def formula(function: F) -> F:
    """Compile for kernels as ``compiled_uncounted`` does; leave it to Python as it is."""
    return cast("F", Formula(function, {**_OPTIONS, "_nrt": False}))


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
    threads = min(_threads(), len(spans)) if len(spans) > 1 else 1
    if threads <= 1:
        for span in spans:
            work(*span)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, *span) for span in spans]:
            done.result()


def _threads() -> int:
    count: int = with_numba().CONFIG.NUMBA_NUM_THREADS
    return count
