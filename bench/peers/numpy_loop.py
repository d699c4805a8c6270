"""The reference: the gradient written out in NumPy, in float64 whatever the problem's dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf


def prepare(
    weights: list[Any],
    biases: list[Any],
    X: Any,
    y: Any,
    activation: str,
    loss: str,
    rate: float,
    dtype: str,
    threads: int,
) -> Callable[[int], list[Any]]:
    if loss != "mse":
        raise ValueError(f"loss is {loss!r}, expected 'mse'")
    value, slope = ACTIVATIONS[activation]
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    pairs = list(zip(weights, biases, strict=True))

    def train(steps: int) -> list[Any]:
        theta = [(W.astype(np.float64), b.astype(np.float64)) for W, b in pairs]
        for _ in range(steps):
            theta = step(theta, X, y, value, slope, rate)
        return [array for pair in theta for array in pair]

    return train


def step(theta: list[Any], X: Any, y: Any, value: Any, slope: Any, rate: float) -> list[Any]:
    """Return the (W, b) pairs after one gradient step."""
    inputs, slopes = [X], []
    for W, b in theta[:-1]:
        z = inputs[-1] @ W.T + b
        inputs.append(value(z))
        slopes.append(slope(z))
    W, b = theta[-1]
    delta = 2 * (inputs[-1] @ W.T + b - y) / y.size
    updated = []
    for layer in range(len(theta) - 1, -1, -1):
        W, b = theta[layer]
        updated.append((W - rate * delta.T @ inputs[layer], b - rate * delta.sum(axis=0)))
        if layer:
            delta = (delta @ W) * slopes[layer - 1]
    return updated[::-1]


def logistic(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def silu_slope(z: Any) -> Any:
    s = logistic(z)
    return s * (1 + z * (1 - s))


def normal_cdf(z: Any) -> Any:
    return 0.5 * (1 + erf(z / 2**0.5))


def gelu_slope(z: Any) -> Any:
    return normal_cdf(z) + z * np.exp(-z * z / 2) / (2 * np.pi) ** 0.5


ACTIVATIONS: dict[str, tuple[Any, Any]] = {
    "silu": (lambda z: z * logistic(z), silu_slope),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "gelu": (lambda z: z * normal_cdf(z), gelu_slope),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
}
