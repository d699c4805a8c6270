"""Spectral norms that hold in floating point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lipgd import _core
from lipgd._check import number
from lipgd.types import ArrayLike

__all__ = ["Bracket", "spectral_norm"]


@dataclass(frozen=True)
class Bracket:
    """Two numbers that enclose a third one.

    Attributes
    ----------
    lower, upper : float
        The enclosed number is not below ``lower`` and not above ``upper``.
    iterations : int
        Products and solutions with the Gram matrix that it took.
    """

    lower: float
    upper: float
    iterations: int


def spectral_norm(A: ArrayLike, tolerance: float = _core.default_spectral_tolerance) -> Bracket:
    """Enclose the spectral norm, the largest singular value, of a matrix.

    Lanczos iterations on the smaller Gram matrix ``G`` give the lower value. The upper value is
    proved by a floating-point Cholesky factorization of ``c I - G``: it runs to completion only if
    no eigenvalue of ``G`` exceeds ``c`` by more than a known rounding error. Both values count
    every rounding error, so the bracket holds for the matrix as stored, at any scale.

    Parameters
    ----------
    A : array_like (rows, columns) of real numbers
        Up to float64; every entry is finite.
    tolerance : float
        The iteration stops when ``upper <= lower * (1 + tolerance)``. Rounding permits no less than
        about ``2e-16 * k**2 + 2e-14 * k`` with ``k`` the smaller side: then, and in the rare case
        that 500 iterations do not suffice, the bracket is wider and still holds.

    Returns
    -------
    Bracket
        Its ``upper`` is infinite if the norm exceeds the largest float64.

    Raises
    ------
    ValueError
        If ``A`` is not a matrix, is empty or has an entry that is not finite.
    TypeError
        If ``A`` does not hold real numbers that float64 represents.

    References
    ----------
    certificates.md, sections 2 and 9; Rump, *Verification of positive definiteness*, 2006.

    Examples
    --------
    >>> import lipgd
    >>> norm = lipgd.spectral_norm([[3.0, 0.0], [4.0, 5.0]])
    >>> norm.lower <= 45**0.5 <= norm.upper
    True
    """
    tolerance = number("tolerance", tolerance, at_least=0.0, at_most=1.0)
    a = _matrix(A)
    lower, upper, iterations, certified = _core.spectral_norm(
        a, tolerance, _core.default_spectral_iterations
    )
    if not certified and not np.isfinite(a).all():
        i, j = np.argwhere(~np.isfinite(a))[0]
        raise ValueError(f"A has a non-finite entry at ({i}, {j}), expected finite numbers")
    return Bracket(lower, upper, iterations)


def _matrix(A: ArrayLike) -> npt.NDArray[Any]:
    """Return the matrix as a C-order array of float64 or float32 with the same values."""
    try:
        given = np.asarray(A)
    except ValueError as error:
        raise ValueError("A has rows of different lengths, expected a matrix") from error
    if given.dtype.kind not in "iuf" or (given.dtype.kind == "f" and given.dtype.itemsize > 8):
        raise TypeError(f"A has dtype {given.dtype}, expected float64, float32 or integers")
    if given.ndim != 2:
        raise ValueError(f"A has shape {given.shape}, expected two dimensions")
    if given.size == 0:
        raise ValueError(f"A has shape {given.shape}, expected at least one row and one column")
    single = given.dtype.kind == "f" and given.dtype.itemsize <= 4
    a = np.ascontiguousarray(given, dtype=np.float32 if single else np.float64)
    if given.dtype.kind in "iu" and np.any(abs(a) >= 2.0**53):
        i, j = np.argwhere(abs(a) >= 2.0**53)[0]
        raise ValueError(f"A has {given[i, j]} at ({i}, {j}), expected integers below 2**53")
    return a
