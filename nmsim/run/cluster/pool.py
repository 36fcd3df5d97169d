"""A Dask cluster in the manner of ``concurrent.futures``, so that a sweep runs on it as on a pool.

Dask itself moves what a worker had to another one where a worker is lost; what has lost as many as
the cluster allows (``distributed.scheduler.allowed-failures``) is a `WorkerLost`, as of a process
of this machine. Workers run the same code as whoever submits, or are refused.

The cluster is of the library ``distributed`` (extra ``cluster``), so this module is imported
through ``nmsim.extras`` alone.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import dask
import distributed
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin

from nmsim.errors import NmsimError, SpecError
from nmsim.run.point import Point
from nmsim.run.sweep import outcomes
from nmsim.run.workers import WorkerLost

__all__ = ["ClusterPool", "connected", "local"]

P = ParamSpec("P")
T = TypeVar("T")

_PATIENCE = "10s"
"""How long a scheduler may take to answer."""


class ClusterPool(Executor):
    """Runs what it is given on the workers of a Dask cluster.

    Parameters
    ----------
    client
        Of the cluster's scheduler.
    most
        Workers that the cluster may grow to; 0: it has those that it has.
    """

    def __init__(self, client: Client, most: int = 0) -> None:
        self._client, self._most = client, most
        self._running: set[Any] = set()

    def workers(self) -> int:
        """Points that it runs at a time; as workers come and go, another number."""
        try:
            threads: dict[str, int] = self._client.nthreads()
        except Exception as error:
            raise _gone(error) from error
        return max(1, self._most, sum(threads.values()))

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a worker call a function; both come and go pickled."""
        ours: Future[T] = Future()
        ours.set_running_or_notify_cancel()
        try:
            theirs = self._client.submit(_called, _code(), fn, args, kwargs, pure=False)
        except Exception as error:
            raise _gone(error) from error
        self._running.add(theirs)
        theirs.add_done_callback(partial(self._done, ours))
        return ours

    def _done(self, ours: Future[Any], theirs: Any) -> None:
        """Hand on how a call ended."""
        self._running.discard(theirs)
        try:
            ours.set_result(theirs.result())
        except KilledWorker as error:
            last = getattr(error.last_worker, "address", "its worker")
            ours.set_exception(WorkerLost(f"{last} ended, as others did before"))
        except NmsimError as error:
            ours.set_exception(error)
        except Exception as error:  # noqa: BLE001 - whoever waits is to know
            known = theirs.status == "error"
            ours.set_exception(error if known else _gone(error))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Take back what has not ended; the cluster is its owner's to end."""
        with suppress(Exception):
            self._client.cancel(list(self._running), force=True)


def _gone(error: BaseException) -> SpecError:
    return SpecError(f"the scheduler of the cluster is gone ({type(error).__name__})")


class Warm(WorkerPlugin):
    """Has each worker, as it begins, load and compile what points need.

    Parameters
    ----------
    points
        Small ones, of the machines that are to be simulated.
    """

    name = "nmsim"

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = tuple(points)

    async def setup(self, worker: Any) -> None:  # noqa: ARG002 - Dask's signature
        """Run the points, whatever comes of them; the worker answers its scheduler meanwhile."""
        chunk = list(enumerate(self._points))
        await asyncio.to_thread(outcomes, chunk, "totals")


@contextmanager
def connected(address: Any, points: Sequence[Point], most: int = 0) -> Iterator[ClusterPool]:
    """The pool of a cluster for as long as it is needed.

    Parameters
    ----------
    address
        Of its scheduler; or the cluster itself.
    points
        What its workers are warmed with.

    Raises
    ------
    SpecError
        if no scheduler answers, or workers run another nmsim.
    """
    _hush()
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise SpecError(
            f"--scheduler {address}: no scheduler of Dask answers, expected tcp://HOST:PORT"
        ) from error
    try:
        _check_code(client)
        try:
            client.register_plugin(Warm(points))
        except OSError as error:
            raise _gone(error) from error
        with ClusterPool(client, most) as pool:
            yield pool
    finally:
        with suppress(Exception):
            client.close(timeout=_PATIENCE)


@contextmanager
def local(workers: int, points: Sequence[Point]) -> Iterator[ClusterPool]:
    """The pool of a cluster on this machine, which ends with it."""
    # The first loss of a worker is told: points of its chunk then run alone.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        connected(cluster, points) as pool,
    ):
        yield pool


def _hush() -> None:
    """Have Dask say nothing of workers that are lost: the sweep says what matters of it."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _check_code(client: Client) -> None:
    try:
        found = client.run(_code)
    except OSError as error:  # of the network, CommClosedError too: no worker answered
        raise _gone(error) from error
    except Exception as error:
        raise SpecError(
            f"a worker of the cluster cannot load nmsim ({type(error).__name__}: {error}), "
            f"expected version {version('nmsim')}"
        ) from error
    for worker, code in found.items():
        if code != _code():
            raise _another(worker)


def _another(worker: str) -> SpecError:
    return SpecError(f"worker {worker} has another nmsim, expected {version('nmsim')}, as here")


def _called(code: str, fn: Callable[..., T], args: Any, kwargs: Any) -> T:
    """Call a function on a worker that has the same code as the one who wants it called."""
    if code != _code():
        raise _another(distributed.get_worker().address)
    return fn(*args, **kwargs)


@lru_cache(maxsize=1)
def _code() -> str:
    """Hash of all sources of nmsim."""
    whole, root = hashlib.sha256(), Path(__file__).parents[2]
    for path in sorted(root.rglob("*.py")):
        whole.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return whole.hexdigest()
