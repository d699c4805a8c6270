"""Processes of this machine that answer requests, and stay for the next sweep.

Cells of fractions of a millisecond leave no time for what general pools of processes do between two
batches. Here a batch is one message to a process, whose answer is one message back, and the next
batch is there before it is needed.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib.util
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import connection, spawn
from types import ModuleType
from typing import Any, NamedTuple

from lipgd._threads import usable_threads

__all__ = ["are_possible", "in_words", "run_on_workers", "serve"]

#: Requests that a process has at a time, the one that it answers included.
_AHEAD = 2
#: How long processes without work are kept.
_KEPT_SECONDS = 300.0
#: What libraries read their number of threads from: all processes together use what one may use.
_THREADS = tuple(f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR"))
_PROGRAM = "import sys; sys.path[:] = {path}; from {module} import serve; serve()"


class _Begin(NamedTuple):
    """What a process must know to answer requests."""

    path: list[str]
    #: None if it has been deleted.
    folder: str | None
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
    environment, modules = _environment(jobs), _modules()
    workers, idle = _KEPT.take(jobs, environment, modules), False
    try:
        while len(workers) < jobs:
            workers.append(_Worker(environment))
        messages = (_sendable("grid", request) for request in requests)
        begin = _begin(_sendable("task", function))
        for worker in workers:
            worker.modules = modules
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
        for worker in workers:
            worker.rest()
        idle = True
    finally:
        if idle:
            _KEPT.keep(workers)
        else:
            for worker in workers:
                worker.end()


def in_words(problem: BaseException) -> str:
    """Return the type and the text of an exception, whose text may raise another."""
    try:
        return f"{type(problem).__name__}: {problem}"
    except Exception:
        return type(problem).__name__


def _sendable(name: str, value: Any) -> bytes:
    from cloudpickle import dumps

    try:
        message: bytes = dumps(value)
    except Exception as problem:
        raise TypeError(
            f"{name} has what cannot be sent to other processes ({in_words(problem)}), expected "
            "what can, or jobs=1"
        ) from problem
    return message


def _begin(function: bytes) -> bytes:
    folder = None
    with contextlib.suppress(FileNotFoundError):
        folder = os.getcwd()
    return pickle.dumps(_Begin(_path(), folder, function))


def _path() -> list[str]:
    entries: list[Any] = sys.path  # imports skip what is no text, too
    return [str(entry) for entry in entries if isinstance(entry, str)]


def _environment(count: int) -> dict[str, str]:
    """Return the environment of so many processes."""
    share = str(max(1, usable_threads() // count))
    return dict.fromkeys(_THREADS, share) | os.environ


def _modules() -> dict[str, Any]:
    """Return of each module what is another object when it is loaded again."""
    modules: list[tuple[str, Any]] = list(sys.modules.items())
    return {name: vars(m).get("__spec__") for name, m in modules if isinstance(m, ModuleType)}


class _Worker:
    """A process and the connection to it."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        #: The modules of the last sweep that it worked for.
        self.modules: dict[str, Any] = {}
        #: How many requests it has.
        self.requests = 0
        self.connection, other = connection.Pipe()
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        # In a session of its own: Ctrl-C is for this process, which then ends the others.
        self._process = subprocess.Popen(
            [
                *(spawn.get_executable(), *flags, "-c"),
                _PROGRAM.format(path=ascii(_path()), module=__name__),
            ],
            stdin=other.fileno(),
            env=environment,
            start_new_session=True,
        )
        other.close()
        _ALL.add(self)

    def suits(self, environment: dict[str, str], modules: dict[str, Any]) -> bool:
        """Return whether it does what a process does that starts now."""
        return (
            environment == self._environment
            and all(modules.get(name, spec) is spec for name, spec in self.modules.items())
            and self._process.poll() is None
        )

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

    def rest(self) -> None:
        """Let it forget what it had for the sweep, which may be large."""
        with contextlib.suppress(OSError):
            self.connection.send_bytes(_begin(pickle.dumps(None)))

    def end(self) -> None:
        """End the process at once."""
        self.connection.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        """In a copy of this process: do not keep the process from ending, nor care how it ends."""
        self.connection.close()
        self._process.returncode = 0

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

    def take(
        self, count: int, environment: dict[str, str], modules: dict[str, Any]
    ) -> list[_Worker]:
        """Take at most so many processes that suit, and end the others."""
        workers: list[_Worker] = []
        for worker in self._take_all():
            if len(workers) < count and worker.suits(environment, modules):
                workers.append(worker)
            else:
                worker.end()
        return workers

    def keep(self, workers: list[_Worker]) -> None:
        """Keep processes for a while."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._workers += workers
            self._timer = threading.Timer(_KEPT_SECONDS, self.close)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """End all."""
        for worker in self._take_all():
            worker.end()

    def forget(self) -> None:
        """Let a copy of this process have none, not even those that others work with."""
        for worker in list(_ALL):
            worker.forget()
        self._reset()

    def _take_all(self) -> list[_Worker]:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            workers, self._workers, self._timer = self._workers, [], None
        return workers


_ALL: weakref.WeakSet[_Worker] = weakref.WeakSet()
_KEPT = _Kept()
atexit.register(_KEPT.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_KEPT.forget)


def serve() -> None:
    """Answer requests until the connection closes: the whole life of a process."""
    from cloudpickle import dumps

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The connection came as stdin, which is the place that no other descriptor can take.
    here = connection.Connection(os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # What cells fork must not keep the connection open when this process dies.
    os.register_at_fork(after_in_child=here.close)
    messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    # Whoever writes to this process must not have to wait until it answers.
    threading.Thread(target=_receive, args=(here, messages), daemon=True).start()
    function: Callable[[Any], Any] | None = None
    while True:
        try:
            request = pickle.loads(messages.get())
            if isinstance(request, _Begin):
                function = _begun(request)
                if function is None:
                    gc.collect()  # functions of programs are in cycles
                continue
            assert function is not None
            message = dumps((function(request), None))
        except BaseException as error:  # whatever happens, the other side must come to know
            message = pickle.dumps((None, in_words(error)))
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # there may be none, or a closed one
                stream.flush()
        here.send_bytes(message)


def _receive(here: connection.Connection, messages: queue.SimpleQueue[bytes]) -> None:
    while True:
        try:
            messages.put(here.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)  # the other side has gone, and nobody waits for what runs here


def _begun(begin: _Begin) -> Callable[[Any], Any] | None:
    """Return the function that answers requests from now on."""
    sys.path[:] = begin.path
    try:
        if begin.folder is not None:
            os.chdir(begin.folder)
        function: Callable[[Any], Any] | None = pickle.loads(begin.function)
    except Exception as error:
        problem = in_words(error)

        def refuse(_: Any) -> Any:
            raise RuntimeError(problem)

        return refuse
    return function
