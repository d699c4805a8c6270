"""One message when a process of an MPI program dies, from a small program that outlives it.

Launchers kill the others of a killed process within milliseconds: none of them could still say why.
So every process has a guard, which runs this file outside the reach of the launcher and knows that
the process is gone when their pipe closes. The first to create a certain file speaks for all
processes of a machine.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Guard", "main", "named"]

#: How long others of the same program may still want to speak.
_LINGER_SECONDS = 10.0
_ENDED, _SPOKEN = b".", b"!"
_RANKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")


class Guard:
    """What a process tells its guard."""

    def __init__(self) -> None:
        self._program = _program()
        # In memory where that is possible: a busy disk would hold the message up.
        folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
        self._path = f"{folder}/lipgd-{self._program}"
        self._process, self._pipe = os.getpid(), None
        command = [sys.executable, "-I", "-S", __file__, self._path]
        # Where no process may be started there is no guard, and all else works.
        with contextlib.suppress(OSError):
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
            )
            assert child.stdin is not None
            self._pipe = os.dup(child.stdin.fileno())
            child.stdin.close()
            child.wait()
        atexit.register(self._tell, _ENDED)
        os.register_at_fork(after_in_child=self._forget)

    def is_mine(self) -> bool:
        """Return whether this is the process that is guarded, and no copy of it."""
        return os.getpid() == self._process

    def meet(self, comm: Any) -> None:
        """Let guards know the others of this machine, to tell which of them was the first to die.

        All processes of the communicator call this.
        """
        everyone = comm.allgather((self._program, os.getpid()))
        here = [
            f"{pid} {rank}" for rank, (name, pid) in enumerate(everyone) if name == self._program
        ]
        self._tell(f"{comm.size} {comm.rank} {' '.join(here)}".encode())

    def may_speak(self) -> bool:
        """Return whether this process speaks for all, as it does if it is the first to ask."""
        first = _first(self._path)
        self._tell(_SPOKEN if first else _ENDED)
        return first

    def _tell(self, what: bytes) -> None:
        if self._pipe is not None:
            with contextlib.suppress(OSError):
                os.write(self._pipe, what + b"\n")

    def _forget(self) -> None:
        """Let a copy of the process neither end the guard nor keep the pipe open."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def named(environment: Mapping[str, str]) -> str | None:
    """Return what to call this process, None if the launcher started no other."""
    rank = next((environment[name] for name in _RANKS if name in environment), None)
    size = next((environment[name] for name in _SIZES if name in environment), None)
    if rank is None or size == "1":
        return None
    return f"process {rank}" if size is None else f"process {rank} of {size}"


def main(path: str) -> None:
    """Wait for the end of a process, and speak if it told nothing before and nobody has spoken."""
    # It outlives its parent, and is none of the processes of the program.
    if os.fork():
        return
    family = _Family()
    for line in sys.stdin.buffer:
        what, *known = line.split()
        if what == _ENDED:
            return
        if what == _SPOKEN:
            break
        family = _Family(int(what), *(int(number) for number in known))
    else:
        if not _first(path):
            return
        with contextlib.suppress(OSError):
            os.write(
                2,
                # Words of launchers may end in the middle of a line.
                f"\nlipgd: {family.first_to_die()} was killed or ended without a word, and all end "
                "with it; the last checkpoint, if there is one, is whole\n".encode(),
            )
    # The launcher may wait until nobody has the streams any more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    time.sleep(_LINGER_SECONDS)
    with contextlib.suppress(OSError):
        os.unlink(path)


class _Family:
    """The processes of a program on one machine, in the order in which they die."""

    def __init__(self, size: int = 0, own: int = -1, *known: int) -> None:
        self._own = "a process" if own < 0 else f"process {own} of {size}"
        self._names: dict[int, str] = {}
        # The kernel queues what happens: nothing is taken from there before somebody asks.
        self._queue = select.epoll() if hasattr(os, "pidfd_open") else None
        for pid, rank in zip(known[::2], known[1::2], strict=True):
            with contextlib.suppress(OSError):
                if self._queue is not None:
                    file = os.pidfd_open(pid)
                    self._names[file] = f"process {rank} of {size}"
                    self._queue.register(file, select.EPOLLIN)

    def first_to_die(self) -> str:
        """Return the name of the process that died first, now that the pipe of this one closed."""
        if self._queue is not None:
            for file, _ in self._queue.poll(0, 1):
                return self._names[file]
        # The pipe of a process closes before others can see its end, and nobody's end was seen.
        return self._own


def _first(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    except OSError:  # better twice than never
        pass
    return True


def _program() -> str:
    """Return a name that the processes of a program on one machine share, and no others."""
    namespace = os.environ.get("PMIX_NAMESPACE")
    if namespace is None:
        # That of MPICH starts a session for each: a script around one is not the launcher.
        launcher = next(iter(_status(os.getsid(0))[1:2]), "")
        if "HYDI_CONTROL_FD" not in os.environ:
            launcher = str(os.getppid())
        namespace = f"{launcher} {_status(launcher)[19:20]}"
    return hashlib.sha256(f"{os.getuid()} {namespace}".encode()).hexdigest()[:16]


def _status(pid: int | str) -> list[str]:
    """Return what Linux says of a process after its name: its state, its parent, ..."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


if __name__ == "__main__":
    main(*sys.argv[1:])
