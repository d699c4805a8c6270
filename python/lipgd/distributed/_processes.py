"""The processes of an MPI program, and how they agree."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from lipgd._check import shown
from lipgd.distributed._guard import Guard, named

__all__ = ["agreed", "communicator", "is_launched", "meet", "together", "watch"]

#: What launchers of MPI programs tell their processes.
_LAUNCHED = ("PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")
_Answer = TypeVar("_Answer")
#: How long an error of MPI itself waits for the message about what caused it.
_PRECEDENCE_SECONDS = 1.0
#: What belongs to the process, as its streams do.
_guard: Guard | None = None


def communicator(comm: Any) -> Any:
    if comm is not None:
        for name in ("rank", "size"):
            if not isinstance(getattr(comm, name, None), int):
                raise TypeError(f"comm is {shown(comm)}, expected a communicator of mpi4py")
        return comm
    if not is_launched():
        return _Alone()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter if there is no library of MPI
        raise ImportError(
            'several processes need mpi4py, pip install "lipgd[mpi]", and a library of MPI, '
            f"such as pip install mpich: {error}"
        ) from error
    return MPI.COMM_WORLD


def is_launched() -> bool:
    """Return whether a launcher of MPI programs started this process."""
    return any(name in os.environ for name in _LAUNCHED)


class _Alone:
    """The communicator of a program that is one process."""

    rank, size = 0, 1

    def allgather(self, value: Any) -> list[Any]:
        return [value]

    def bcast(self, value: Any) -> Any:
        return value


def agreed(comm: Any, action: Callable[[], _Answer]) -> _Answer:
    """Return what an action returns; if it raises in some process, raise in all."""
    answer, problem = None, None
    try:
        answer = action()
    except (OSError, TypeError, ValueError) as error:
        problem = error
    problems = comm.allgather(None if problem is None else str(problem))
    if problem is not None:
        raise problem
    for process, message in enumerate(problems):
        if message is not None:
            raise ValueError(f"{message} (in process {process})")
    return cast(_Answer, answer)


@contextmanager
def together(comm: Any, known: tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """End all processes if this one raises: the others would wait for it for ever.

    Errors of the known types pass: the others have them too.
    """
    try:
        yield
    except BaseException as error:
        if comm.size == 1 or isinstance(error, known):
            raise
        if type(error).__module__.startswith("mpi4py"):
            # Another process is gone, of which its guard tells more.
            time.sleep(_PRECEDENCE_SECONDS)
        _speak(f"process {comm.rank} of {comm.size}", traceback.format_exc())
        comm.Abort(1)
        raise


def watch() -> None:
    """Make sure that one message comes and all processes end if this one raises or dies."""
    global _guard
    name = named(os.environ)
    if name is None or _guard is not None:
        return
    guard = _guard = Guard()
    before = sys.excepthook

    def end_all(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not guard.is_mine():
            before(kind, error, trace)
            return
        _speak(name, "".join(traceback.format_exception(kind, error, trace)))
        mpi = sys.modules.get("mpi4py.MPI")
        if mpi is not None and mpi.Is_initialized() and not mpi.Is_finalized():
            mpi.COMM_WORLD.Abort(1)
        # No launcher lets the others go on after a signal.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)

    sys.excepthook = end_all


def meet(comm: Any) -> None:
    """Let the processes of a communicator know each other, all of which call this."""
    if _guard is not None and comm.size > 1:
        _guard.meet(comm)


def _speak(name: str, text: str) -> None:
    sys.stdout.flush()
    if _guard is None or _guard.may_speak():
        # Words of launchers may end in the middle of a line.
        print(f"\nlipgd: {name} failed, and ends all:\n{text}", file=sys.stderr, flush=True)
