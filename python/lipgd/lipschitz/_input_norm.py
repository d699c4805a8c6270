"""Inputs whose largest entry is at most one: an ellipsoid around the cube (certificates.md, 4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lipgd.types import DoubleArray

__all__ = ["input_scales"]

_COLUMNS, _SWEEPS = 8, 150
#: Inputs that hardly matter keep this part of the mean.
_LEAST = 1e-6


def input_scales(
    weights: Sequence[DoubleArray], lo: Sequence[DoubleArray], hi: Sequence[DoubleArray]
) -> DoubleArray:
    """Return scales s with ``sum 1 / s_j^2 <= 1``, so that ``|x|_inf <= 1`` has ``|x / s|_2 <= 1``.

    Then the certificate of the network whose first matrix has its columns multiplied by s bounds
    the constant from the largest entry of the inputs to the Euclidean norm of the outputs. Any such
    scales are a proof; these are from the iteration of section 5 with rows of length one, in which
    ``alpha_j = 1 / s_j^2`` is in proportion to the rows of the last backward pass.
    """
    with np.errstate(all="ignore"):
        rows = _backward_rows(weights, lo, hi)
    if not np.isfinite(rows).all() or not rows.any():
        rows = np.ones(weights[0].shape[1])
    alpha = np.maximum(rows, _LEAST * rows.mean())
    scales = 1.0 / np.sqrt(alpha / alpha.sum())
    # The sum errs by less than its number of terms times the roundoff.
    total = float((1.0 / (scales * scales)).sum()) * (1.0 + (len(scales) + 8) * 2.0**-52)
    return np.asarray(scales * (np.sqrt(total) * (1.0 + 2.0**-50)))


def _backward_rows(
    weights: Sequence[DoubleArray], lo: Sequence[DoubleArray], hi: Sequence[DoubleArray]
) -> DoubleArray:
    rng = np.random.default_rng(0)
    middle = [0.5 * (a + b) for a, b in zip(lo, hi, strict=True)]
    half = [0.5 * (b - a) for a, b in zip(lo, hi, strict=True)]
    x = _unit(rng.normal(size=(weights[0].shape[1], _COLUMNS)))
    units = [_unit(rng.normal(size=(len(m), _COLUMNS))) for m in middle]
    back = x
    for _ in range(_SWEEPS):
        forward, value = [], x
        for matrix, m, h, unit in zip(weights, middle, half, units, strict=False):
            z = matrix @ value
            forward.append(z)
            value = m[:, None] * z + (h * np.linalg.norm(z, axis=1))[:, None] * unit
        y = weights[-1] @ value
        back = weights[-1].T @ (y / np.maximum(np.linalg.norm(y), 1e-300))
        for layer in reversed(range(len(middle))):
            size = np.linalg.norm(back, axis=1)
            units[layer] = _unit(back)
            turned = (half[layer] * size)[:, None] * _unit(forward[layer])
            back = weights[layer].T @ (middle[layer][:, None] * back + turned)
        x = _unit(back)
    return np.asarray(np.linalg.norm(back, axis=1))


def _unit(rows: DoubleArray) -> DoubleArray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300))
