"""``torch.compile`` as most programs use it: the model and loss are compiled, the rest is not.

Forward and backward are two compiled graphs that autograd connects at run time; the update is
PyTorch's fused one.
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
    risk = torch.compile(risk_function(activation, loss), fullgraph=True, dynamic=False)

    def train(steps: int) -> list[Any]:
        theta = [p.clone().requires_grad_() for p in initial]
        for _ in range(steps):
            gradient = torch.autograd.grad(risk(theta, inputs, targets), theta)
            with torch.no_grad():
                torch._foreach_add_(theta, gradient, alpha=-rate)
        return [p.detach().numpy() for p in theta]

    return train
