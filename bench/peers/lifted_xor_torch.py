"""PyTorch eager on lifted XOR, as lean as it can be written: functions and one in-place update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from problem import XorStart

MIX = 0.5
GAP = 0.5 * (1 - MIX) * float(np.log(2))


def prepare(given: XorStart, dtype: str, threads: int) -> Callable[[int], list[Any]]:
    torch.set_num_threads(threads)
    X, y = torch.from_numpy(given.X), torch.from_numpy(given.y)
    outer = torch.from_numpy(given.signs / len(given.signs))

    def margins_of(W: torch.Tensor) -> torch.Tensor:
        z = functional.linear(X, W)
        return y * ((MIX * z + (1 - MIX) * functional.softplus(z)) @ outer)

    def record(q: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
        log_risk = functional.softplus(-q).mean().log()
        norm, smallest = W.norm(), q.min()
        smoothed = -torch.log(torch.expm1(len(q) * log_risk.exp()))
        values = [log_risk, smallest, smallest / norm, smoothed / norm, (smoothed - GAP) / norm]
        return torch.stack(values)

    def train(steps: int) -> list[Any]:
        W = torch.from_numpy(given.weights).clone().requires_grad_()
        rows = []
        for step in range(steps):
            q = margins_of(W)
            (gradient,) = torch.autograd.grad(functional.softplus(-q).mean(), W)
            with torch.no_grad():
                if step % given.record_every == 0:
                    rows.append(record(q, W))
                W.sub_(gradient, alpha=given.rate)
        table = torch.stack(rows).numpy()[: steps // given.record_every]
        return [W.detach().numpy(), table]

    return train
