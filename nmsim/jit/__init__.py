"""How numba is used: one place for flags, for the compile cache and for threads.

Kernels take scalars and arrays and return arrays. They release the GIL, so that row blocks run on
threads (``map_blocks``); numba's own ``parallel=True`` is not used: it triples compile time.

What takes numba long to compile, and is therefore written as loops: ``a[:] = b`` (its error
messages, two seconds), ``np.sort``, and reductions of arrays.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, TypeVar, cast

from nmsim.jit import brief
from nmsim.jit.loading import is_loaded, with_numba

if TYPE_CHECKING:
    from nmsim.jit.dispatch import Compiled

__all__ = [
    "Formula",
    "Kernel",
    "compiled",
    "compiled_uncounted",
    "compiled_unless_brief",
    "formula",
    "map_blocks",
]

F = TypeVar("F", bound=Callable[..., Any])


class Kernel:
    """A function that numba compiles when it is called, from Python or by another that it compiles.

    Until then numba is not loaded, which takes longer than most that is done without a kernel.
    """

    def __init__(
        self, function: Callable[..., Any], options: dict[str, Any], *, may_be_brief: bool = False
    ) -> None:
        self._options = options
        self._may_be_brief = may_be_brief
        update_wrapper(self, function)

    @cached_property
    def dispatcher(self) -> "Compiled":
        """The function as numba has it; itself where NUMBA_DISABLE_JIT is set."""
        made: Compiled = with_numba().made(self._as_python, self._options)
        return made

    def __call__(self, *args: Any) -> Any:
        """Run it, compiled for the types of its arguments; or as Python, as long as that is brief.

        Another kernel that runs as Python has its kernels run so, too.
        """
        if brief.running():
            brief.spend()
            return self._as_python(*args)
        if self._may_be_brief and not is_loaded():
            with suppress(brief.TooLong, ArithmeticError):  # which numba does not raise
                return brief.run(self._as_python, args)
        return self.dispatcher(*args)

    @property
    def _as_python(self) -> Callable[..., Any]:
        function: Callable[..., Any] = vars(self)["__wrapped__"]
        return function

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
        if brief.running():
            brief.spend()
        return self._as_python(*args)


_OPTIONS = {"nopython": True, "nogil": True, "error_model": "numpy"}


def _compile(function: F, *, may_be_brief: bool = False, **flags: bool) -> F:
    return cast("F", Kernel(function, {**_OPTIONS, **flags}, may_be_brief=may_be_brief))


def formula(function: F) -> F:
    """Compile for kernels as ``compiled_uncounted`` does; leave it to Python as it is."""
    return cast("F", Formula(function, {**_OPTIONS, "_nrt": False}))


def compiled(function: F) -> F:
    """Compile with numba when called: no GIL, no Python objects, IEEE arithmetic, cached."""
    return _compile(function)


def compiled_unless_brief(function: F) -> F:
    """Compile like ``compiled``, but run as Python what takes less time than to load numba.

    For one that Python calls, whose work is done by the kernels that it calls: they are counted,
    and beyond some thousands in a process (``nmsim.jit.brief``) it is begun again, compiled. So it
    writes nothing into its arguments that it reads.
    """
    return _compile(function, may_be_brief=True)


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
