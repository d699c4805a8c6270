"""Processes of this machine that answer requests, and stay for the next sweep.

Cells of fractions of a millisecond leave no time for what general pools of processes do between two
batches. Here a batch is one message to a process, whose answer is one message back, and the next
batch is there before it is needed.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection, spawn
from typing import Any, NamedTuple

from lipgd._threads import usable_threads

__all__ = ["are_possible", "run_on_workers", "serve"]

#: Requests that a process has at a time, the one that it answers included.
_AHEAD = 2
#: How long processes without work are kept.
_KEPT_SECONDS = 300.0
#: What libraries read their number of threads from: all processes together use what one may use.
_THREADS = tuple(f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR"))
_PROGRAM = "import sys; sys.path[:] = {path}; from {module} import serve; serve({descriptor})"


class _Begin(NamedTuple):
    """What a process must know to answer requests."""

    path: list[str]
    folder: str
    function: bytes


def are_possible() -> bool:
    """Return whether such processes can be had, and be given functions of any kind."""
    return os.name == "posix" and importlib.util.find_spec("cloudpickle") is not None


def run_on_workers(
    function: Callable[[Any], Any], requests: Iterable[Any], jobs: int
) -> Iterator[Any]:
    """Yield what a function returns for some requests, in any order.

    Processes that have work when the caller stops asking, or fails, end at once.
    """
    from cloudpickle import dumps

    messages, workers, idle = map(dumps, requests), _KEPT.take(jobs), False
    try:
        begin = pickle.dumps(_Begin(sys.path, os.getcwd(), dumps(function)))
        for worker in workers:
            worker.send(begin)
        del begin  # it may be large
        for worker in workers * _AHEAD:
            worker.give(messages)
        while busy := [worker for worker in workers if worker.requests]:
            ready = connection.wait([worker.connection for worker in busy])
            for worker in busy:
                if worker.connection in ready:
                    answer = worker.answer()
                    worker.give(messages)
                    yield answer
        idle = True
    finally:
        if idle:
            _KEPT.keep(workers)
        else:
            for worker in workers:
                worker.end(at_once=True)


class _Worker:
    """A process and the connection to it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        #: How many requests it has.
        self.requests = 0
        self.connection, other = connection.Pipe()
        descriptor = other.fileno()
        program = _PROGRAM.format(path=sys.path, module=__name__, descriptor=descriptor)
        # In a session of its own: Ctrl-C is for this process, which then ends the others.
        self._process = subprocess.Popen(
            [spawn.get_executable(), "-c", program],
            stdin=subprocess.DEVNULL,
            pass_fds=[descriptor],
            env=os.environ | environment,
            start_new_session=True,
        )
        other.close()

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def give(self, messages: Iterator[bytes]) -> None:
        """Give it the next request, if there is one."""
        for message in messages:
            self.send(message)
            self.requests += 1
            return

    def send(self, message: bytes) -> None:
        try:
            self.connection.send_bytes(message)
        except OSError as error:
            raise self._ended() from error

    def answer(self) -> Any:
        """Return its next answer."""
        try:
            answer, problem = pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if problem is not None:
            raise RuntimeError(f"a process of the sweep could not run cells: {problem}")
        self.requests -= 1
        return answer

    def end(self, at_once: bool = False) -> None:
        """End the process: when it has no work, it does so by itself when the connection closes."""
        self.connection.close()
        if at_once:
            self._process.kill()
        self._process.wait()

    def _ended(self) -> RuntimeError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        return RuntimeError(
            f"a process of the sweep ended with exit code {self._process.returncode} while it ran "
            "cells; what was finished before is in the folder out, if there is one, and jobs=1 "
            "shows which cell it was"
        )


class _Kept:
    """The processes without work."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._workers: list[_Worker] = []
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def take(self, count: int) -> list[_Worker]:
        """Take processes from those without work, and start what is missing."""
        share = str(max(1, usable_threads() // count))
        environment = {name: share for name in _THREADS if name not in os.environ}
        workers: list[_Worker] = []
        for worker in self._take_all():
            suits = worker.environment == environment and worker.is_alive()
            if suits and len(workers) < count:
                workers.append(worker)
            else:
                worker.end()
        while len(workers) < count:
            workers.append(_Worker(environment))
        return workers

    def keep(self, workers: list[_Worker]) -> None:
        """Keep processes for a while."""
        others = self._take_all()
        with self._lock:
            self._workers = others + workers
            self._timer = threading.Timer(_KEPT_SECONDS, self.close)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """End all."""
        for worker in self._take_all():
            worker.end()

    def forget(self) -> None:
        """Let a copy of this process neither use the processes nor keep them from ending."""
        for worker in self._workers:
            worker.connection.close()
        self._reset()

    def _take_all(self) -> list[_Worker]:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            workers, self._workers, self._timer = self._workers, [], None
        return workers


_KEPT = _Kept()
atexit.register(_KEPT.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_KEPT.forget)


def serve(descriptor: int) -> None:
    """Answer requests until the connection closes: the whole life of a process."""
    from cloudpickle import dumps

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    here = connection.Connection(descriptor)
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    # Whoever writes to this process must not have to wait until it answers.
    threading.Thread(target=_receive, args=(here, messages), daemon=True).start()
    function: Callable[[Any], Any] | None = None
    while True:
        try:
            request = pickle.loads(messages.get())
            if isinstance(request, _Begin):
                function = _begun(request)
                continue
            assert function is not None
            message = dumps((function(request), None))
        except BaseException as error:  # whatever happens, the other side must come to know
            message = pickle.dumps((None, f"{type(error).__name__}: {error}"))
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        here.send_bytes(message)


def _receive(here: connection.Connection, messages: queue.SimpleQueue[bytes]) -> None:
    while True:
        try:
            messages.put(here.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)  # the other side has gone, and nobody waits for what runs here


def _begun(begin: _Begin) -> Callable[[Any], Any]:
    """Return the function that answers requests from now on."""
    sys.path[:] = begin.path
    try:
        os.chdir(begin.folder)
        function: Callable[[Any], Any] = pickle.loads(begin.function)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"

        def refuse(_: Any) -> Any:
            raise RuntimeError(problem)

        return refuse
    return function
