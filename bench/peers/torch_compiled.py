"""``torch.compile`` of the whole step: forward, gradient and update are one graph.

The most that compilation gives: a step is one call of one compiled function, without autograd's
graph at run time. The number of threads is part of the generated code, so it is set first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from peers.torch_eager import parameters, risk_function


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
    torch.set_num_threads(threads)
    initial = parameters(weights, biases)
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    gradient = torch.func.grad(risk_function(activation, loss))

    @torch.compile(fullgraph=True, dynamic=False)
    def step(theta: list[torch.Tensor], X: torch.Tensor, y: torch.Tensor) -> None:
        for p, g in zip(theta, gradient(theta, X, y), strict=True):
            p.sub_(g, alpha=rate)

    @torch.no_grad()
    def train(steps: int) -> list[Any]:
        theta = [p.clone() for p in initial]
        for _ in range(steps):
            step(theta, inputs, targets)
        return [p.numpy() for p in theta]

    return train
