"""Many runs with both spectral norms at every step in lipgd: one run for each Python thread."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lipgd
from experiment import RUNS, rates, starts


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
    networks = [lipgd.Network(*arrays, activation=activation) for arrays in starts(weights, biases)]

    def one(network: lipgd.Network, steps: int) -> lipgd.Run:
        return lipgd.train(
            network,
            X,
            y,
            loss=loss,
            rate=rates(rate, steps),
            steps=steps,
            record=("spectral_norm:W1", "spectral_norm:W2"),
            n_threads=1,
        )

    def train(steps: int) -> list[Any]:
        with ThreadPoolExecutor(threads) as pool:
            runs = list(pool.map(one, networks, [steps] * RUNS))
        results = []
        for run in runs:
            pairs = zip(run.network.weights, run.network.biases, strict=True)
            results += [array for pair in pairs for array in pair]
            names = ("spectral_norm:W1", "spectral_norm:W2")
            results += [run.history[name][:steps] for name in names]
        return results

    return train
