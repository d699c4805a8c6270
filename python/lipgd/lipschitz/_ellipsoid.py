"""Ellipsoids that hold the differences of hidden values, rounding counted.

The recursion of certificates.md, section 4, with its closed-form multipliers. The inverse in it is
computed, enlarged, and then proved: ``X >= Y + Y E (I - E Y E)^-1 E Y`` in the order of symmetric
matrices if and only if the matrix of blocks ``X - Y, Y E, E Y, I - E Y E`` is positive
semidefinite, which one Cholesky factorization shows (section 9, lemma 7).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lipgd.types import DoubleArray

from ._model import gamma

__all__ = ["Ellipsoids"]

_SLACK = 1e-9
#: More than underflow can take from a matrix near one.
_SPARE = 2.0**-500


class Ellipsoids:
    """Differences of the values of a layer, divided by those of the inputs, lie in them.

    Each is that of a matrix S: ``x^T S^-1 x <= 1``. They come in stacks of shape (n, width, width).
    """

    def __init__(self, scales: DoubleArray) -> None:
        """Begin with inputs in the ellipsoids with these half-axes, a row for each."""
        with np.errstate(over="ignore"):
            self._squares = scales * scales * (1.0 + 1e-15) + 2.0**-1022
        self._shapes: DoubleArray | None = None

    @property
    def shapes(self) -> DoubleArray:
        """The matrices S."""
        if self._shapes is None:
            return np.asarray(self._squares[:, :, None] * np.eye(self._squares.shape[1]))
        return self._shapes

    def through(self, matrix: DoubleArray, error: float) -> DoubleArray:
        """Return the matrices Y of the values behind a matrix, rounded upward.

        ``error`` bounds the Frobenius norm of what the matrix may be off.
        """
        if self._shapes is None:
            y = (matrix * self._squares[:, None, :]) @ matrix.T
            size = np.linalg.norm(self._squares, axis=1)
        else:
            y = matrix @ self._shapes @ matrix.T
            size = np.linalg.norm(self._shapes, axis=(1, 2))
        weight = float(np.linalg.norm(matrix))
        pad = 3.0 * gamma(matrix.shape[1] + 4) * weight * weight * size
        if error:
            y = y * (1.0 + _SLACK)
            pad += (1.0 + 1.0 / _SLACK) * error * error * size
        y = 0.5 * (y + y.transpose(0, 2, 1))
        _add_to_diagonal(y, (2.0 * pad + 2.0**-1022)[:, None])
        return np.asarray(y)

    def activate(self, y: DoubleArray, low: DoubleArray, high: DoubleArray) -> None:
        """Go through an activation with slopes in the intervals, a row for each ellipsoid."""
        m = 0.5 * (low + high)
        # Of slopes that are known it is zero exactly, and no number so small that it is slow.
        h = np.where(high > low, np.nextafter(np.maximum(high - m, m - low), np.inf), 0.0)
        x, n, proved = _proved_inverses(y, m, h)
        shapes = m[:, :, None] * x * m[:, None, :]
        pad = 8.0 * 2.0**-53 * np.linalg.norm(shapes, axis=(1, 2)) + 2.0**-1022
        _add_to_diagonal(shapes, n * (1.0 + 1e-15) + 2.0 * pad[:, None])
        shapes = 0.5 * (shapes + shapes.transpose(0, 2, 1))
        if not proved.all():
            traces = np.trace(y, axis1=1, axis2=2)[:, None]
            gains = (np.abs(m) + h) ** 2 * (1.0 + 1e-12) * traces * (1.0 + 1e-12)
            plain = gains[:, :, None] * np.eye(m.shape[1])
            shapes = np.where(proved[:, None, None], shapes, plain)
        self._shapes = shapes


def _add_to_diagonal(stack: DoubleArray, numbers: DoubleArray) -> None:
    places = np.arange(stack.shape[1])
    stack[:, places, places] += numbers


def _proved_inverses(
    y: DoubleArray, m: DoubleArray, h: DoubleArray
) -> tuple[DoubleArray, DoubleArray, npt.NDArray[np.bool_]]:
    """Return matrices X, the multipliers N, and for which of them the inequality is proved."""
    eye = np.eye(y.shape[1])
    finite = np.asarray(np.isfinite(y).all(axis=(1, 2)))
    y = np.where(finite[:, None, None], y, eye)
    size = np.asarray(np.linalg.eigvalsh(y)[:, -1:], np.float64)
    n = h * (h + np.maximum(np.abs(m), 1e-3 * h)) * size
    largest = n.max(axis=1, keepdims=True)
    n = np.maximum(n, np.maximum(np.maximum(1e-7 * largest, 1e-14 * size), 2.0**-900))
    e = h / np.sqrt(n)
    # The division and the root round by less than what this takes away.
    e *= 1.0 + 4.0 * 2.0**-53
    ye = y * e[:, None, :]
    inner = eye - e[:, :, None] * ye
    exact = y + ye @ _solved(inner, ye.transpose(0, 2, 1))
    exact = 0.5 * (exact + exact.transpose(0, 2, 1))
    result, proved = exact, np.zeros(len(y), bool)
    for slack in (_SLACK, 1e3 * _SLACK):
        x = exact * (1.0 + slack)
        _add_to_diagonal(x, slack * size)
        now = ~proved & finite & np.isfinite(x).all(axis=(1, 2))
        now[now] = _semidefinite((x - y)[now], ye[now], inner[now], size[now])
        result = np.where(now[:, None, None], x, result)
        proved |= now
        if proved.all():
            break
    return np.where(proved[:, None, None], result, eye), n, proved


def _solved(matrices: DoubleArray, right: DoubleArray) -> DoubleArray:
    """Return the solutions, not numbers where a matrix is singular."""
    try:
        return np.asarray(np.linalg.solve(matrices, right))
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.full_like(right, np.nan)
        parts = zip(matrices, right, strict=True)
        return np.concatenate([_solved(a[None], b[None]) for a, b in parts])


def _semidefinite(
    corner: DoubleArray, ye: DoubleArray, inner: DoubleArray, size: DoubleArray
) -> npt.NDArray[np.bool_]:
    """Return which matrices of blocks, scaled by about the root of the size, are proved so."""
    width = ye.shape[1]
    blocks = np.block([[corner, ye], [ye.transpose(0, 2, 1), inner]])
    scale = np.sqrt(np.hstack([np.repeat(1.0 / size, width, axis=1), np.ones((len(ye), width))]))
    blocks = scale[:, :, None] * blocks * scale[:, None, :]
    error = 16.0 * 2.0**-53 * (np.linalg.norm(blocks, axis=(1, 2)) + width) + _SPARE
    trace = np.trace(blocks, axis1=1, axis2=2)
    _add_to_diagonal(blocks, -(error + 2.0 * gamma(2 * width + 2) * trace)[:, None])
    return _factored(blocks)


def _factored(matrices: DoubleArray) -> npt.NDArray[np.bool_]:
    """Return which Cholesky factorizations run to completion."""
    try:
        np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        if len(matrices) == 1:
            return np.zeros(1, bool)
        return np.concatenate([_factored(matrix[None]) for matrix in matrices])
    return np.ones(len(matrices), bool)
