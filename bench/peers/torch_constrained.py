"""PyTorch without compilation, under caps on its steps or a limit of the product of its norms.

As lean as it can be written: one fused update, norms once a step, and a decomposition only of what
exceeds the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from limits import budgets, product_limit
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
    constraint: str,
) -> Callable[[int], list[Any]]:
    torch.set_num_threads(threads)
    initial = parameters(weights, biases)
    inputs, targets = torch.from_numpy(X), torch.from_numpy(y)
    risk = risk_function(activation, loss)
    lengths = budgets(weights, biases, rate)
    limit = product_limit(weights)
    retract = {"nearest": cut_to, "factor": scale_to}.get(constraint)

    def train(steps: int) -> list[Any]:
        theta = [p.clone().requires_grad_() for p in initial]
        for _ in range(steps):
            gradient = torch.autograd.grad(risk(theta, inputs, targets), theta)
            with torch.no_grad():
                if retract is None:
                    capped_step(theta, gradient, rate, lengths)
                else:
                    torch._foreach_add_(theta, gradient, alpha=-rate)
                    retract(theta[::2], limit)
        return [p.detach().numpy() for p in theta]

    return train


def capped_step(
    theta: list[torch.Tensor],
    gradient: Sequence[torch.Tensor],
    rate: float,
    lengths: list[float],
) -> None:
    """Step with rate * |gradient| <= length for each array."""
    norms = torch.stack(torch._foreach_norm(gradient)).tolist()
    factors = [-min(rate, b / n) if n > 0 else 0.0 for b, n in zip(lengths, norms, strict=True)]
    torch._foreach_add_(theta, torch._foreach_mul(gradient, factors))


def scale_to(matrices: list[torch.Tensor], limit: float) -> None:
    """Multiply all matrices by one factor."""
    product = 1.0
    for matrix in matrices:
        product *= torch.linalg.matrix_norm(matrix, 2).item()
    if product > limit:
        torch._foreach_mul_(matrices, (limit / product) ** (1 / len(matrices)))


def cut_to(matrices: list[torch.Tensor], limit: float) -> None:
    """Move to the nearest matrices: cut the singular values above caps of equal levels."""
    product = 1.0
    for matrix in matrices:
        product *= torch.linalg.matrix_norm(matrix, 2).item()
    if product <= limit:
        return
    parts = [torch.linalg.svd(matrix, full_matrices=False) for matrix in matrices]
    spectra = [part.S.tolist() for part in parts]
    for matrix, part, cap in zip(matrices, parts, equal_levels(spectra, limit), strict=True):
        over = int((cap < part.S).sum())
        excess = part.S[:over] - cap
        matrix.sub_((part.U[:, :over] * excess) @ part.Vh[:over])


def equal_levels(spectra: list[list[float]], limit: float) -> list[float]:
    """Return caps with product ``limit`` and equal cap * (sum of what exceeds the cap)."""
    level = 0.0
    for _ in range(50):
        caps, slope = [], 0.0
        for values in spectra:
            cap, change = cap_at(values, level)
            caps.append(cap)
            slope += change
        excess = math.log(math.prod(caps) / limit)
        if abs(excess) < 1e-12:
            break
        level -= excess / slope
    return caps


def cap_at(values: list[float], level: float) -> tuple[float, float]:
    """Return the cap of a level and the derivative of its logarithm."""
    total = 0.0
    for count, value in enumerate(values, 1):
        total += value
        root = math.sqrt(total * total - 4 * count * level)
        cap = (total + root) / (2 * count)
        if count == len(values) or cap >= values[count]:
            break
    return cap, -1 / (cap * root)
