"""What this installation is and what it may use of this machine."""

from __future__ import annotations

import platform
from dataclasses import dataclass

import numpy as np

from . import _core
from ._threads import usable_threads

__all__ = ["Config", "show_config"]


@dataclass(frozen=True, repr=False)
class Config:
    """Facts about the installation; ``str`` gives a table for people.

    Parameters
    ----------
    version : str
        Version of lipgd.
    level : str
        Instruction set in use: base (x86-64-v2, or the platform's default), v3 (AVX2 with FMA) or
        v4 (AVX-512).
    reason : str
        Why this level was chosen.
    available : tuple of str
        Levels that are built and that this machine runs; ``LIPGD_ISA`` selects one of them.
    built : tuple of str
        Levels that are built.
    compiler : str
        Name and version of the C++ compiler.
    eigen : str
        Version of Eigen.
    alignment : int
        Bytes to which the core aligns its own arrays.
    openmp : int
        Date (yyyymm) of the OpenMP standard that the core was compiled with; 0 without OpenMP.
    threads : int
        Threads that ``n_threads=None`` may use: CPU affinity and control groups are respected.
    python, numpy, platform : str
        Versions of Python and NumPy, and the system.
    """

    version: str
    level: str
    reason: str
    available: tuple[str, ...]
    built: tuple[str, ...]
    compiler: str
    eigen: str
    alignment: int
    openmp: int
    threads: int
    python: str
    numpy: str
    platform: str

    def __str__(self) -> str:
        rows = [
            ("lipgd", self.version),
            ("instruction set", f"{self.level}: {self.reason}"),
            ("available", f"{', '.join(self.available)} (LIPGD_ISA selects)"),
            ("built", ", ".join(self.built)),
            ("compiler", f"{self.compiler}, Eigen {self.eigen}, {self.alignment}-byte alignment"),
            ("threads", f"{self.threads}, OpenMP {self.openmp or 'off'}"),
            ("python", f"{self.python}, numpy {self.numpy}"),
            ("platform", self.platform),
        ]
        return "\n".join(f"{name:<16} {value}" for name, value in rows)

    __repr__ = __str__


def show_config() -> Config:
    """Return how lipgd was built, which instruction set it uses, and why.

    Returns
    -------
    Config
        Facts as attributes; printed, a table.

    Examples
    --------
    >>> import lipgd
    >>> config = lipgd.show_config()
    >>> config.level in config.available
    True
    """
    info = _core.build_info
    return Config(
        version=info["version"],
        level=_core.level,
        reason=_core.reason,
        available=_core.available(),
        built=_core.built(),
        compiler=info["compiler"],
        eigen=info["eigen"],
        alignment=info["alignment"],
        openmp=info["openmp"],
        threads=usable_threads(),
        python=platform.python_version(),
        numpy=np.__version__,
        platform=platform.platform(),
    )
