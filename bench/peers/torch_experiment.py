"""Many runs with both spectral norms at every step in PyTorch without compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from experiment import rates, starts
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
    initials = [parameters(*arrays) for arrays in starts(weights, biases)]
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    risk = risk_function(activation, loss)

    def one(initial: list[torch.Tensor], steps: int) -> list[Any]:
        theta = [p.clone().requires_grad_() for p in initial]
        norms = np.empty((2, steps))
        for step, alpha in enumerate(rates(rate, steps).tolist()):
            for row, matrix in zip(norms, theta[::2], strict=True):
                row[step] = torch.linalg.matrix_norm(matrix.detach(), 2).item()
            gradient = torch.autograd.grad(risk(theta, inputs, targets), theta)
            with torch.no_grad():
                torch._foreach_add_(theta, gradient, alpha=-alpha)
        return [*(p.detach().numpy() for p in theta), *norms]

    def train(steps: int) -> list[Any]:
        return [array for initial in initials for array in one(initial, steps)]

    return train
