"""lipgd under caps on its steps, or with a limit of the product of its spectral norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lipgd
from limits import budgets, product_limit


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
    constraint: str,
) -> Callable[[int], list[Any]]:
    network = lipgd.Network(weights, biases, activation=activation)
    limiting: lipgd.LipschitzTarget | lipgd.RateCaps
    if constraint == "caps":
        lengths = budgets(weights, biases, rate)
        names = (name for name, _ in network.named())
        # A budget is C / N per step, without anything kept back.
        constants = {name: len(X) * b for name, b in zip(names, lengths, strict=True)}
        limiting = lipgd.RateCaps(constants, 1.0, slack=0.0)
    else:
        slope = network.activation.lipschitz ** (network.depth - 1)
        limiting = lipgd.LipschitzTarget(product_limit(weights) * slope)

    def train(steps: int) -> list[Any]:
        run = lipgd.train(
            network,
            X,
            y,
            loss=loss,
            rate=rate,
            steps=steps,
            constraint=limiting,
            record=(),
            n_threads=threads,
        )
        if run.status != "finished":
            raise RuntimeError(f"the run ended as {run.status}: {run.message}")
        pairs = zip(run.network.weights, run.network.biases, strict=True)
        return [array for pair in pairs for array in pair]

    return train
