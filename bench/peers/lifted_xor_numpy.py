"""The reference on lifted XOR: gradient and margins written out in NumPy, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from problem import XorStart

MIX = 0.5
#: kappa of balanced signs: half the range of softplus(z) - z softplus'(z), (0, log 2], times 1 - c.
GAP = 0.5 * (1 - MIX) * np.log(2)


def prepare(given: XorStart, dtype: str, threads: int) -> Callable[[int], list[Any]]:
    outer = given.signs / len(given.signs)
    X, y = given.X, given.y

    def train(steps: int) -> list[Any]:
        W = given.weights.astype(np.float64)
        rows = []
        for step in range(steps):
            z = X @ W.T
            q = y * ((MIX * z + (1 - MIX) * np.logaddexp(0, z)) @ outer)
            if step % given.record_every == 0:
                rows.append(margins(q, W))
            slope = MIX + (1 - MIX) / (1 + np.exp(-z))
            signal = -y / (1 + np.exp(q)) / len(y)
            W = W - given.rate * (signal[:, None] * slope * outer).T @ X
        return [W, np.array(rows[: steps // given.record_every])]

    return train


def margins(q: Any, W: Any) -> list[float]:
    """Return log risk, margin, and the normalized, smoothed and modified margin."""
    log_risk = np.log(np.logaddexp(0, -q).mean())
    norm = np.sqrt((W**2).sum())
    smoothed = -np.log(np.expm1(len(q) * np.exp(log_risk)))
    return [log_risk, q.min(), q.min() / norm, smoothed / norm, (smoothed - GAP) / norm]
