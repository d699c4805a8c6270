"""Where the headers and the CMake package of this installation lie."""

from __future__ import annotations

from pathlib import Path

from ._core import _cpu

__all__ = ["get_cmake_dir", "get_include"]

# The compiled module is beside what CMake installed in every kind of installation; in an editable
# one the Python files are elsewhere.
_ROOT = Path(_cpu.__file__).resolve().parents[1]


def get_include() -> str:
    """Return the folder to give to a C++ compiler with ``-I``.

    The headers also need Eigen 3.4 (``pip install "lipgd[cpp]"`` brings it).

    Returns
    -------
    str
        The absolute path of the folder that holds ``lipgd/lipgd.hpp``.

    Examples
    --------
    >>> import os, lipgd
    >>> os.path.isfile(os.path.join(lipgd.get_include(), "lipgd", "version.hpp"))
    True
    """
    return str(_ROOT / "include")


def get_cmake_dir() -> str:
    """Return the folder to give to CMake as ``lipgd_DIR``.

    Returns
    -------
    str
        The absolute path of the folder that holds ``lipgdConfig.cmake``.

    Examples
    --------
    >>> import os, lipgd
    >>> os.path.isfile(os.path.join(lipgd.get_cmake_dir(), "lipgdConfig.cmake"))
    True
    """
    return str(_ROOT / "share" / "cmake" / "lipgd")
