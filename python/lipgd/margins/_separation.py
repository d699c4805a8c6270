"""A direction that separates the data, as Theorems 5 to 7 want it."""

from __future__ import annotations

from typing import Any

import numpy as np

from lipgd.network import Network
from lipgd.types import DoubleArray

__all__ = ["separating_direction"]


def separating_direction(
    net: Network, X: Any, y: Any, frozen: tuple[str, ...]
) -> tuple[DoubleArray, float] | str:
    """Return a unit direction and the margin it has for certain, or the code of a reason.

    If hidden biases are trained, the inputs have a constant 1 behind them.
    """
    samples, signs = np.asarray(X, np.float64), np.asarray(y, np.float64).ravel()
    if net.biases[0] is not None and "b1" not in frozen:
        samples = np.column_stack([samples, np.ones(len(samples))])
    try:
        from scipy.optimize import nnls
    except ImportError:
        return "separability unknown"
    rows = samples * signs[:, None]
    size = np.abs(rows).max()
    weights, _ = nnls(np.vstack([rows.T / size, np.ones(len(rows))]), np.eye(rows.shape[1] + 1)[-1])
    direction = rows.T @ weights
    length = float(np.linalg.norm(direction))
    margin = float((rows @ direction).min()) / length if length else 0.0
    # A margin within the rounding of its products is none.
    margin -= 8 * rows.shape[1] * 2.0**-52 * float(np.linalg.norm(rows, axis=1).max())
    return (direction / length, margin) if margin > 0.0 else "not separable"
