"""What the constrained runs of the benches must keep: functions of the start alone."""

from __future__ import annotations

from typing import Any

import numpy as np


def product_limit(weights: list[Any]) -> float:
    """Return a product of spectral norms that a run reaches within few steps."""
    return 1.0005 * float(np.prod([np.linalg.norm(w.astype(np.float64), 2) for w in weights]))


def budgets(weights: list[Any], biases: list[Any], rate: float) -> list[float]:
    """Return how long a step of W1, b1, W2, b2 may be: short enough to bind at most steps."""
    arrays = [array for pair in zip(weights, biases, strict=True) for array in pair]
    return [1e-3 * rate * float(np.linalg.norm(a.astype(np.float64))) for a in arrays]
