"""Coefficients of the Lipschitz dynamics from layer inputs and signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lipgd


def prepare(
    weights: list[Any],
    biases: list[Any],
    X: Any,
    y: Any,
    activation: str,
    batch_size: int,
    rate: float,
    threads: int,
) -> Callable[[], dict[str, Any]]:
    net = lipgd.Network(weights, biases, activation=activation)

    def evaluate() -> dict[str, Any]:
        found = lipgd.dynamics.coefficients(
            net, X, y, batch_size=batch_size, rate=rate, loss="cross_entropy"
        )
        names = ("mu", "kappa", "psi", "lambda2_diagonal", "kappa_diagonal", "covariance")
        return {name: getattr(found, name).tolist() for name in names}

    return evaluate
