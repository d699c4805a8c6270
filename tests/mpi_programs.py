"""How tests start programs of several processes, with each library of MPI that is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

FOLDERS = (Path(sys.executable).parent, *map(Path, os.environ["PATH"].split(os.pathsep)))
#: The wheels of both libraries may share a folder, where ``mpiexec`` is that of either: each has a
#: launcher and a library whose names are its own.
_KNOWN = {
    "mpich": ("mpiexec.hydra", "libmpi.so.12", ()),
    "openmpi": ("prterun", "libmpi.so.40", ("--map-by", ":OVERSUBSCRIBE")),
}
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # Open MPI refuses to be run by root, as in containers, unless it is told twice.
    **{
        f"{name}_ALLOW_RUN_AS_ROOT{suffix}": "1"
        for name in ("OMPI", "PRTE")
        for suffix in ("", "_CONFIRM")
    },
}


def _found(launcher: str) -> Path | None:
    return next((f / launcher for f in FOLDERS if (f / launcher).exists()), None)


def _libraries() -> dict[str, tuple[list[str], dict[str, str]]]:
    """Return the command and the environment of each library."""
    libraries = {}
    for name, (launcher, library, options) in _KNOWN.items():
        path = _found(launcher)
        if path is not None:
            file = path.resolve().parents[1] / "lib" / library
            chosen = {"MPI4PY_LIBMPI": str(file)} if file.exists() else {}
            libraries[name] = ([str(path), *options], {**_ENVIRONMENT, **chosen})
    other = _found("mpiexec")
    if not libraries and other is not None:
        libraries["mpi"] = ([str(other)], _ENVIRONMENT)
    return libraries


LIBRARIES = _libraries()


def start(
    processes: int, *arguments: Any, library: str | None = None, **environment: str
) -> subprocess.Popen[str]:
    """Start Python in some processes; with the first library there is, if none is named."""
    command, chosen = LIBRARIES[library or next(iter(LIBRARIES))]
    return subprocess.Popen(
        [*command, "-n", str(processes), sys.executable, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **chosen, **environment},
    )


def ended(process: subprocess.Popen[str], timeout: float = 60) -> tuple[str, str]:
    """Return what a program printed, and let nothing of it live on."""
    try:
        return process.communicate(timeout=timeout)
    finally:
        process.kill()
        process.communicate()
