"""Coefficients of the Lipschitz dynamics from materialized gradients, with torch.func."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.func import functional_call, grad, vmap
from torch.nn import functional

ACTIVATIONS = {"silu": torch.nn.SiLU, "relu": torch.nn.ReLU}


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
    torch.set_num_threads(threads)
    layers: list[torch.nn.Module] = []
    for W, b in zip(weights, biases, strict=True):
        layer = torch.nn.Linear(W.shape[1], W.shape[0], dtype=torch.float64)
        layer.load_state_dict({"weight": torch.from_numpy(W), "bias": torch.from_numpy(b)})
        layers += [layer, ACTIVATIONS[activation]()]
    model = torch.nn.Sequential(*layers[:-1])
    matrices = {name: p.detach() for name, p in model.named_parameters() if "weight" in name}
    others = {name: p.detach() for name, p in model.named_parameters() if "bias" in name}
    inputs, labels = torch.from_numpy(X), torch.from_numpy(y)

    def loss(moving: dict[str, Any], x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        logits = functional_call(model, {**moving, **others}, (x,))
        return functional.cross_entropy(logits[None], label[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    n = len(inputs)
    noise = (1 - batch_size / n) / batch_size

    def evaluate() -> dict[str, Any]:
        found = gradients(matrices, inputs, labels)
        rows = [_layer(matrices[name], found[name], rate, noise) for name in matrices]
        slopes = torch.stack([row.pop("slopes") for row in rows])
        covariance = rate * noise * torch.cov(slopes)
        answer = {name: [float(row[name]) for row in rows] for name in rows[0]}
        return {**answer, "covariance": covariance.tolist()}

    return evaluate


def _layer(
    matrix: torch.Tensor, gradients: torch.Tensor, rate: float, noise: float
) -> dict[str, torch.Tensor]:
    """Return the terms of one layer from the gradients of all samples, (n, rows, columns)."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=True)
    n, rank, top = len(gradients), len(values), values[0]
    mean = gradients.mean(dim=0)
    a, b = (gradients @ right[0]) @ left, (left[:, 0] @ gradients) @ right.T
    w = top / (top**2 - values[1:] ** 2)
    c = values[1:] / (top**2 - values[1:] ** 2)

    def contract(aa: torch.Tensor, bb: torch.Tensor, ab: torch.Tensor) -> torch.Tensor:
        inner = (w * (aa[1:rank] + bb[1:rank]) + 2 * c * ab[1:rank]).sum()
        return inner + (aa[rank:].sum() + bb[rank:].sum()) / top

    away_a, away_b = a - a.mean(dim=0), b - b.mean(dim=0)
    joint = (away_a[:, :rank] * away_b[:, :rank]).sum(dim=0)
    trace = contract((away_a**2).sum(dim=0), (away_b**2).sum(dim=0), joint) / (n - 1)
    mean_a, mean_b = (mean @ right[0]) @ left, (left[:, 0] @ mean) @ right.T
    curved = contract(mean_a**2, mean_b**2, mean_a[:rank] * mean_b[:rank])
    mu = -mean_a[0] / top
    variances = gradients.var(dim=0)
    along = (left[:, 0] ** 2) @ variances @ (right[0] ** 2)
    return {
        "mu": mu,
        "kappa": rate * noise * trace / (2 * top),
        "psi": rate / 2 * (curved / top - mu**2),
        "lambda2_diagonal": rate * noise * along / top**2,
        "kappa_diagonal": rate
        * noise
        * (_diagonal(left, values, right) * variances).sum()
        / (2 * top),
        "slopes": a[:, 0] / top,
    }


def _diagonal(left: torch.Tensor, values: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the diagonal of the Hessian of the norm as a matrix (1.8)."""
    rank, top = len(values), values[0]
    apart = top**2 - values[1:] ** 2
    u2, v2 = left**2, right.T**2
    of_u = u2[:, 1:rank] @ (top / apart) + u2[:, rank:].sum(dim=1) / top
    of_v = v2[:, 1:rank] @ (top / apart) + v2[:, rank:].sum(dim=1) / top
    mixed = (left[:, :1] * left[:, 1:rank] * (values[1:] / apart)) @ (right[:1] * right[1:rank])
    return torch.outer(of_u, v2[:, 0]) + torch.outer(u2[:, 0], of_v) + 2 * mixed
