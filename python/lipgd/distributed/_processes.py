"""The processes of an MPI program, and how they agree."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from lipgd._check import shown

__all__ = ["agreed", "communicator", "is_launched", "together"]

#: What launchers of MPI programs tell their processes.
_LAUNCHED = ("PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE", "MPI_LOCALNRANKS")
_Answer = TypeVar("_Answer")


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
        print(
            f"lipgd: process {comm.rank} of {comm.size} failed, and ends all:\n"
            f"{traceback.format_exc()}",
            file=sys.stderr,
            flush=True,
        )
        comm.Abort(1)
        raise
