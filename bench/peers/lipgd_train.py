"""lipgd itself, through its public interface: argument checks are part of the time."""

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
    loss: str,
    rate: float,
    dtype: str,
    threads: int,
    record: tuple[str, ...] = (),
) -> Callable[[int], list[Any]]:
    network = lipgd.Network(weights, biases, activation=activation)

    def train(steps: int) -> list[Any]:
        run = lipgd.train(
            network, X, y, loss=loss, rate=rate, steps=steps, record=record, n_threads=threads
        )
        if run.status != "finished":
            raise RuntimeError(f"the run ended as {run.status}: {run.message}")
        pairs = zip(run.network.weights, run.network.biases, strict=True)
        return [array for pair in pairs for array in pair]

    return train
