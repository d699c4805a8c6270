"""PyTorch without compilation, as lean as it can be written.

Functions instead of modules and one fused update instead of an optimizer object: on small networks
this is up to 1.5 times faster than ``nn.Sequential`` with ``optim.SGD``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": functional.silu,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "relu": functional.relu,
}
LOSSES = {"mse": functional.mse_loss}


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
    risk = risk_function(activation, loss)

    def train(steps: int) -> list[Any]:
        theta = [p.clone().requires_grad_() for p in initial]
        for _ in range(steps):
            gradient = torch.autograd.grad(risk(theta, inputs, targets), theta)
            with torch.no_grad():
                torch._foreach_add_(theta, gradient, alpha=-rate)
        return [p.detach().numpy() for p in theta]

    return train


def parameters(weights: list[Any], biases: list[Any]) -> list[torch.Tensor]:
    """Return W1, b1, W2, b2, ... as tensors."""
    pairs = zip(weights, biases, strict=True)
    return [torch.from_numpy(array) for pair in pairs for array in pair]


def risk_function(activation: str, loss: str) -> Callable[..., torch.Tensor]:
    """Return the risk as a function of the parameters, the data and the targets."""
    sigma, measure = ACTIVATIONS[activation], LOSSES[loss]

    def risk(theta: list[torch.Tensor], X: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        h = X
        for layer in range(0, len(theta) - 2, 2):
            h = sigma(functional.linear(h, theta[layer], theta[layer + 1]))
        return measure(functional.linear(h, theta[-2], theta[-1]), y)

    return risk
