"""Processes of this machine that run a sweep's points, and that end when the sweep does.

An executor in the manner of ``concurrent.futures`` in which the death of one process is the end of
one task, not of all: whoever submitted it is told (`WorkerLost`), and another process takes over.

This module imports nothing of nmsim: a process watches over its parent before it loads anything.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, ParamSpec, TypeVar

__all__ = ["LocalPool", "WorkerLost"]

P = ParamSpec("P")
T = TypeVar("T")

_Task = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]

_PR_SET_PDEATHSIG = 1
"""Of <linux/prctl.h>: the signal that a process gets when its parent ends."""

_SPAWN = get_context("spawn")


class WorkerLost(BrokenExecutor):
    """The process that ran a task was killed, perhaps as memory ran out."""


class LocalPool(Executor):
    """Processes that are started anew (spawn), each when there is work for it.

    A thread stands for each process: it hands a task over and waits for what comes back.

    Parameters
    ----------
    workers
        Processes, at most.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._processes: dict[int, Any] = {}
        self._lock = Lock()
        self._ended = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a process call a function; results come back pickled."""
        future: Future[T] = Future()
        self._tasks.put((future, fn, args, kwargs))
        if len(self._threads) < self.workers:
            thread = Thread(target=self._serve, args=(len(self._threads),), daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """End all processes, whatever they are at."""
        with self._lock:
            self._ended = True
            processes = list(self._processes.values())
        for process in processes:
            process.kill()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads if wait else ():
            thread.join()
        for process in processes:
            process.join()

    def _serve(self, number: int) -> None:
        """Hand tasks to a process one by one; to another when it dies."""
        # Ctrl-C goes to a terminal's whole process group; the parent decides what it means. A
        # process inherits what the thread that starts it has blocked, from its first instruction.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        pipe: Connection | None = None
        while (task := self._tasks.get()) is not None:
            future, *call = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                pipe = pipe or self._started(number)
                pipe.send(call)
                failed, result = pipe.recv()
            except (EOFError, OSError):
                pipe = None
                future.set_exception(WorkerLost(f"its process ended ({self._buried(number)})"))
            except Exception as error:  # noqa: BLE001 - what cannot be pickled is the caller's to know
                future.set_exception(error)
            else:
                (future.set_exception if failed else future.set_result)(result)

    def _started(self, number: int) -> Connection:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_work, args=(theirs,), daemon=True)
        with self._lock:
            if self._ended:
                raise EOFError("the sweep has ended")
            process.start()
            self._processes[number] = process
        theirs.close()
        return ours

    def _buried(self, number: int) -> str:
        """Have a process ended for good; how it ended."""
        process = self._processes.pop(number, None)
        if process is None:
            return "it did not start"
        process.join(timeout=1)  # its pipe closes a moment before it is gone
        if process.exitcode is None:
            process.kill()
            process.join()
        code = process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"status {code}"


def _work(pipe: Connection) -> None:
    """Call what comes through a pipe until nobody holds its other end."""
    _end_with_parent()
    while True:
        try:
            function, args, kwargs = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = False, function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the caller is told
            answer = True, error
        try:
            pipe.send(answer)
        except OSError:
            return


def _end_with_parent() -> None:
    """Have this process end when the one that started it does, killed or not.

    A thread watches over the parent. It needs the interpreter to itself for a moment, which a long
    compilation does not let go of: on Linux the system kills this process without asking it.
    """
    if sys.platform == "linux":
        # Of the thread that started this process, which lives as long as the pool does.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = parent_process()
    if parent is not None:
        Thread(target=_end_behind, args=(parent.sentinel,), daemon=True).start()


def _end_behind(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)  # whatever the main thread is at
