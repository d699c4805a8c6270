"""Ellipsoids that hold the differences of hidden values, rounding counted.

The recursion of certificates.md, section 4, with its closed-form multipliers. The inverse in it is
computed, enlarged, and then proved: ``X >= Y + Y E (I - E Y E)^-1 E Y`` in the order of symmetric
matrices if and only if the matrix of blocks ``X - Y, Y E, E Y, I - E Y E`` is positive
semidefinite, which one Cholesky factorization shows (section 9, lemma 7).
"""

from __future__ import annotations

import numpy as np

from lipgd.types import DoubleArray

from ._model import gamma

__all__ = ["Ellipsoid"]

_SLACK = 1e-9
#: More than underflow can take from a matrix near one.
_SPARE = 2.0**-500


class Ellipsoid:
    """Differences of the values of a layer, divided by those of the inputs, lie in it.

    ``shape`` is the matrix S of ``x^T S^-1 x <= 1``.
    """

    def __init__(self, scales: DoubleArray) -> None:
        """Begin with inputs in the ellipsoid with these half-axes."""
        with np.errstate(over="ignore"):
            self.shape: DoubleArray = np.diag(scales * scales * (1.0 + 1e-15) + 2.0**-1022)

    def through(self, matrix: DoubleArray, error: float) -> DoubleArray:
        """Return the matrix Y of the values behind a matrix, rounded upward.

        ``error`` bounds the Frobenius norm of what the matrix may be off.
        """
        shape = self.shape
        y = matrix @ shape @ matrix.T
        size = float(np.linalg.norm(shape))
        weight = float(np.linalg.norm(matrix))
        pad = 3.0 * gamma(matrix.shape[1] + 4) * weight * weight * size
        if error:
            y = y * (1.0 + _SLACK)
            pad += (1.0 + 1.0 / _SLACK) * error * error * size
        y = 0.5 * (y + y.T)
        y[np.diag_indices(len(y))] += 2.0 * pad + 2.0**-1022
        return np.asarray(y)

    def activate(self, y: DoubleArray, low: DoubleArray, high: DoubleArray) -> None:
        """Go through an activation with slopes in the intervals."""
        m = 0.5 * (low + high)
        h = np.nextafter(np.maximum(high - m, m - low), np.inf)
        proved = _proved_inverse(y, m, h)
        if proved is None:
            gains = (np.abs(m) + h) ** 2 * (1.0 + 1e-12)
            self.shape = np.diag(gains * float(np.trace(y)) * (1.0 + 1e-12))
            return
        x, n = proved
        shape = m[:, None] * x * m
        pad = 8.0 * 2.0**-53 * float(np.linalg.norm(shape)) + 2.0**-1022
        shape[np.diag_indices(len(shape))] += n * (1.0 + 1e-15) + 2.0 * pad
        self.shape = 0.5 * (shape + shape.T)


def _proved_inverse(
    y: DoubleArray, m: DoubleArray, h: DoubleArray
) -> tuple[DoubleArray, DoubleArray] | None:
    """Return X and the multipliers N, or None if nothing could be proved."""
    if not np.isfinite(y).all():
        return None
    size = float(np.linalg.eigvalsh(y)[-1])
    n = h * (h + np.maximum(np.abs(m), 1e-3 * h)) * size
    largest = float(n.max(initial=0.0))
    n = np.maximum(n, max(1e-7 * largest, 1e-14 * size, 2.0**-900))
    e = h / np.sqrt(n)
    # The division and the root round by less than what this takes away.
    e *= 1.0 + 4.0 * 2.0**-53
    ye = y * e
    inner = np.eye(len(y)) - e[:, None] * ye
    try:
        exact = y + ye @ np.linalg.solve(inner, ye.T)
    except np.linalg.LinAlgError:
        return None
    for slack in (_SLACK, 1e3 * _SLACK):
        x = 0.5 * (exact + exact.T) * (1.0 + slack)
        x[np.diag_indices(len(x))] += slack * size
        if np.isfinite(x).all() and _semidefinite(x - y, ye, inner, size):
            return x, n
    return None


def _semidefinite(corner: DoubleArray, ye: DoubleArray, inner: DoubleArray, size: float) -> bool:
    """Return whether the matrix of blocks, scaled by about the root of the size, is proved so."""
    blocks = np.block([[corner, ye], [ye.T, inner]])
    scale = np.sqrt(np.concatenate([np.full(len(ye), 1.0 / size), np.ones(len(ye))]))
    blocks = scale[:, None] * blocks * scale
    error = 16.0 * 2.0**-53 * (float(np.linalg.norm(blocks)) + len(ye)) + _SPARE
    trace = float(np.trace(blocks))
    blocks[np.diag_indices(len(blocks))] -= error + 2.0 * gamma(len(blocks) + 2) * trace
    try:
        np.linalg.cholesky(blocks)
    except np.linalg.LinAlgError:
        return False
    return True
