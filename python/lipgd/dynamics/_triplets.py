"""Derivatives of the largest singular value of a matrix: section 1 of dynamics.md."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from lipgd import _core
from lipgd._arguments import real_array
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["NormDerivatives", "Triplets"]


class NormDerivatives(ABC):
    """Derivatives of a norm of a matrix (m, n) to second order, in the form of section 1.2.

    Attributes
    ----------
    values : ndarray, shape (r,)
        Singular values, the norm first, with one entry per pair of columns a_k, b_k.
    pair : int
        How many of them belong to the leading pair of singular values: 2, or 3 where the second
        has a column of real and one of imaginary parts.
    """

    values: DoubleArray
    pair: int = 2

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """The shape of the matrix."""

    @property
    @abstractmethod
    def jacobian(self) -> DoubleArray:
        """The gradient of the norm: shape (m, n)."""

    @abstractmethod
    def project(self, direction: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Return what :meth:`contract` needs of a direction: a (r,), b (r,), the outside part."""

    @abstractmethod
    def second(self, direction: DoubleArray) -> float:
        """Return u_2^T E v_2 of a direction, zero if there is no second value."""

    @property
    def norm(self) -> float:
        """The largest singular value."""
        return float(self.values[0])

    @property
    def gap(self) -> float:
        """The largest minus the second singular value; the largest if there is one alone."""
        return float(self.values[0] - self.values[1]) if len(self.values) > 1 else self.norm

    def hessian(self, direction: ArrayLike) -> float:
        """Return the second derivative of the norm along a direction (m, n), formula 1.2."""
        array = self._direction(direction)
        a, b, outside = self.project(array)
        return self.contract(a * a, b * b, a * b, float(outside @ outside))

    def contract(
        self, aa: DoubleArray, bb: DoubleArray, ab: DoubleArray, outside: float, first: int = 1
    ) -> float:
        """Return the Hessian contracted with second moments of a_k, b_k (r,) and the outside part.

        Terms below ``first`` (0 is the leading triplet itself) are left out.
        """
        rest = self.values[first:]
        plus = aa[first:] + bb[first:] + 2 * ab[first:]
        minus = aa[first:] + bb[first:] - 2 * ab[first:]
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = plus / (2 * (self.norm - rest)) + minus / (2 * (self.norm + rest))
        return float(terms.sum()) + outside / self.norm

    def _direction(self, direction: ArrayLike) -> DoubleArray:
        array = real_array("direction", direction).astype(np.float64)
        if array.shape != self.shape:
            raise ValueError(f"direction has shape {array.shape}, expected {self.shape}")
        return array


#: Sides up to which Jacobi's rotations in the core are faster.
_SMALL = 96


@dataclass(frozen=True)
class Triplets(NormDerivatives):
    """The thin SVD of a matrix (m, n), and the derivatives of its spectral norm.

    Attributes
    ----------
    left : ndarray, shape (m, r)
        Left singular vectors; r = min(m, n).
    values : ndarray, shape (r,)
        Singular values, the largest first.
    right : ndarray, shape (n, r)
        Right singular vectors.

    Examples
    --------
    >>> from lipgd.dynamics import Triplets
    >>> top = Triplets.of([[3.0, 0.0], [0.0, 1.0]])
    >>> top.norm, top.gap, top.hessian([[0.0, 1.0], [0.0, 0.0]])
    (3.0, 2.0, 0.375)
    """

    left: DoubleArray
    values: DoubleArray
    right: DoubleArray

    @classmethod
    def of(cls, matrix: ArrayLike, name: str = "matrix") -> Triplets:
        """Return the SVD of a finite matrix other than zero, in float64."""
        array = real_array(name, matrix)
        if array.ndim != 2 or array.size == 0:
            raise ValueError(f"{name} has shape {array.shape}, expected (m, n) with m, n > 0")
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has a value that is not finite, expected finite numbers")
        left, values, right = _svd(array)
        if values[0] == 0:
            raise ValueError(f"{name} is zero, expected a matrix whose norm has a logarithm")
        return cls(left, values, right)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (m, n) of the matrix."""
        return len(self.left), len(self.right)

    @property
    def jacobian(self) -> DoubleArray:
        """The gradient of the norm, u_1 v_1^T (1.1): shape (m, n)."""
        return np.outer(self.left[:, 0], self.right[:, 0])

    def hessian_trace(self) -> float:
        """Return the trace of the Hessian of the norm (1.3)."""
        rows, columns = len(self.left), len(self.right)
        ones = np.ones(len(self.values))
        return self.contract(ones, ones, 0 * ones, float(abs(rows - columns)))

    def hessian_diagonal(self) -> DoubleArray:
        """Return the diagonal of the Hessian of the norm as an array (m, n), formula 1.8."""
        top, rest = self.norm, self.values[1:]
        with np.errstate(divide="ignore"):
            apart = (top - rest) * (top + rest)
            w, c = top / apart, rest / apart
        u2, v2 = self.left**2, self.right**2
        rows, columns = len(u2), len(v2)
        of_u, of_v = u2[:, 1:] @ w, v2[:, 1:] @ w
        if rows > columns:
            of_u = of_u + (1 - u2.sum(axis=1)) / top
        if columns > rows:
            of_v = of_v + (1 - v2.sum(axis=1)) / top
        mixed = (self.left[:, :1] * self.left[:, 1:] * c) @ (
            self.right[:, :1] * self.right[:, 1:]
        ).T
        diagonal: DoubleArray = np.outer(of_u, v2[:, 0]) + np.outer(u2[:, 0], of_v) + 2 * mixed
        return diagonal

    def remainder_bound(self, size: float, *, log: bool = False) -> float:
        """Return the bound 1.6 of what the second order leaves out, infinite where it has none.

        Parameters
        ----------
        size : float
            The spectral norm of the change of the matrix.
        log : bool
            Of the logarithm of the norm instead of the norm.
        """
        x = 2 * size / self.gap if self.gap > 0 else math.inf
        if not x < 1:
            return math.inf
        factor = 8 * math.log(2) / self.norm if log else 4.0
        return factor * size**3 / (self.gap**2 * (1 - x))

    def project(self, direction: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
        """Return u_k^T E v_1 (r,), u_1^T E v_k (r,), and what of E v_1 or E^T u_1 is outside."""
        along, across = direction @ self.right[:, 0], direction.T @ self.left[:, 0]
        a, b = self.left.T @ along, self.right.T @ across
        rows, columns = direction.shape
        if rows == columns:
            return a, b, np.empty(0)
        return a, b, along - self.left @ a if rows > columns else across - self.right @ b

    def second(self, direction: DoubleArray) -> float:
        """Return u_2^T E v_2, zero if there is no second value."""
        if len(self.values) < 2:
            return 0.0
        return float(self.left[:, 1] @ direction @ self.right[:, 1])


def _svd(array: DoubleArray) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return left (m, r), values (r,), right (n, r): small ones without LAPACK's threads."""
    if min(array.shape) <= _SMALL:
        found = _core.thin_svd(np.ascontiguousarray(array))
        if found is not None:
            return found
    left, values, right = np.linalg.svd(array, full_matrices=False)
    return np.ascontiguousarray(left), values, np.ascontiguousarray(right.T)
