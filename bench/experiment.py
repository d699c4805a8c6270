"""The experiment of arXiv 2502.03792 as the benches run it: many draws of one small network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

RUNS = 20
STEPS = 2000
#: Steps of the constant phase, and the decay after it.
HOLD = 50
DECAY = 0.002


def starts(weights: list[Any], biases: list[Any]) -> Iterator[tuple[list[Any], list[Any]]]:
    """Yield the given parameters, then draws of the same law."""
    yield weights, biases
    for seed in range(1, RUNS):
        rng = np.random.default_rng(seed)
        draws: list[list[Any]] = [[], []]
        for matrix in weights:
            limit = matrix.shape[1] ** -0.5
            draws[0].append(rng.uniform(-limit, limit, matrix.shape).astype(matrix.dtype))
            draws[1].append(rng.uniform(-limit, limit, len(matrix)).astype(matrix.dtype))
        yield draws[0], draws[1]


def rates(rate: float, steps: int) -> NDArray[np.float64]:
    """Return the rates: constant, then decaying exponentially."""
    after = np.maximum(np.arange(steps) - HOLD, 0)
    return rate * np.exp(-DECAY * after)
