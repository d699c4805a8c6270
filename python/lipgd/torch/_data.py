"""Samples, targets and losses as PyTorch has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lipgd._check import shown
from lipgd.torch._layers import random_layers

__all__ = ["Problem", "take", "tensor_of"]

#: How far a loss may be from the mean of those of its parts, by what the precision is.
_ROUNDING = 64.0


@dataclass(frozen=True)
class Problem:
    """A module with its loss and its samples.

    Attributes
    ----------
    model : Module
        The module.
    loss : callable
        Of an output and a target.
    x : Tensor, shape (n_samples, ...)
        The samples.
    y : Tensor, or tuple, list or dict of them
        The targets.
    transform : callable or None
        What makes other samples and targets of those of a block or batch.
    """

    model: nn.Module
    loss: Callable[[Any, Any], Any]
    x: Tensor
    y: Any
    transform: Callable[[Tensor, Any], tuple[Tensor, Any]] | None

    @classmethod
    def checked(cls, model: Any, loss: Any, X: Any, y: Any, transform: Any) -> Problem:
        """Check the arguments, and put the samples where the module is."""
        if not isinstance(model, nn.Module):
            raise TypeError(f"model is {shown(model)}, expected a torch.nn.Module")
        for name, function in (("loss", loss), ("transform", transform)):
            if not callable(function) and not (name == "transform" and function is None):
                raise TypeError(f"{name} is {shown(function)}, expected a callable")
        parameter = next(model.parameters(), None)
        if parameter is None:
            raise ValueError("model has no parameters, expected at least one layer")
        x = tensor_of("X", X, parameter)
        if x.ndim < 2 or len(x) < 2:
            raise ValueError(f"X has shape {tuple(x.shape)}, expected at least 2 samples")
        if x.is_floating_point() and not torch.isfinite(x).all():
            raise ValueError("X has a value that is not finite, expected finite numbers")
        target = tensor_of("y", y, parameter)
        if target.ndim == 0 or len(target) != len(x):
            count = len(target) if target.ndim else 0
            raise ValueError(f"y has {count} samples, but X has {len(x)}")
        return cls(model, loss, x, target, transform)

    @property
    def is_random(self) -> bool:
        """Whether a sample has another gradient every time."""
        return self.transform is not None or bool(random_layers(self.model))

    @property
    def count(self) -> int:
        """The number of samples."""
        return len(self.x)

    def forward(self, rows: Any) -> tuple[Any, Any]:
        """Return outputs and targets of some samples."""
        x, y = self.x[rows], self.y[rows]
        if isinstance(rows, slice):  # a view, which the model may change
            x, y = x.clone(), y.clone()
        if self.transform is not None:
            x, y = self.transform(x, y)
        return self.model(x), y

    def sum_of_losses(self, rows: slice, *, check: bool) -> Tensor:
        """Return the sum of the losses of samples, each with its own graph."""
        output, y = self.forward(rows)
        count = len(self.x[rows])
        value = self._loss(output, y)
        self._finite(value.detach().sum())
        if value.ndim > 0 and len(value) == count:
            total = value.reshape(count, -1).mean(dim=1).sum()
        elif value.numel() == 1:
            if check and count > 1:
                self._check_mean(output, y, count, float(value.detach()))
            total = count * value.reshape(())
        else:
            raise ValueError(
                f"loss returns shape {tuple(value.shape)} for {count} samples, "
                "expected their mean or one value per sample"
            )
        return total

    def batch_loss(self, rows: Tensor) -> Tensor:
        """Return the loss of a batch, whose gradient is that of a step."""
        return self._finite(self._loss(*self.forward(rows)).mean())

    def couples_samples(self) -> bool:
        """Return whether outputs of two samples are others than those of each alone."""
        with torch.no_grad():
            both = _first(self.forward(slice(0, 2))[0])
            alone = [_first(self.forward(slice(i, i + 1))[0]) for i in range(2)]
        if both.ndim == 0 or len(both) != 2:
            return False
        allowed = float(both.abs().max()) * torch.finfo(both.dtype).eps ** 0.5
        return bool(((both - torch.cat(alone)).abs() > allowed).any())

    def _loss(self, output: Any, y: Any) -> Tensor:
        value = self.loss(output, y)
        if not isinstance(value, Tensor):
            raise TypeError(f"loss returns {shown(value)}, expected a tensor")
        return value

    @staticmethod
    def _finite(value: Tensor) -> Tensor:
        if not bool(torch.isfinite(value)):
            raise ValueError(
                f"loss is {float(value.detach())} on some samples, expected a finite number"
            )
        return value

    def _check_mean(self, output: Any, y: Any, count: int, whole: float) -> None:
        """Raise if a loss is not the mean over its samples: then no sample has its own gradient."""
        with torch.no_grad():
            parts = [
                float(self._loss(take(output, rows, count), take(y, rows, count)))
                for rows in (slice(0, 1), slice(1, count))
            ]
        mean = (parts[0] + (count - 1) * parts[1]) / count
        size = max(abs(whole), *(abs(part) for part in parts))
        precision = torch.finfo(_first(output).dtype).eps
        allowed = _ROUNDING * np.sqrt(precision) * size
        if abs(mean - whole) <= allowed * 1e-3 + _ROUNDING * precision * size:
            return
        if abs(sum(parts) - whole) <= allowed:
            raise ValueError("loss is a sum over samples, expected their mean or one value of each")
        raise ValueError(
            "loss of several samples is not the mean of those of the samples, expected that, "
            "one value per sample, or replicas= for losses that couple samples"
        )


def take(value: Any, rows: slice, count: int) -> Any:
    """Return some rows of everything in a structure that has one row per sample."""
    if isinstance(value, Tensor):
        return value[rows] if value.ndim > 0 and len(value) == count else value
    if isinstance(value, (tuple, list)):
        return type(value)(take(each, rows, count) for each in value)
    if isinstance(value, dict):
        return {name: take(each, rows, count) for name, each in value.items()}
    return value


def _first(output: Any) -> Tensor:
    """Return a tensor of floating-point numbers in an output."""
    parts = output.values() if isinstance(output, dict) else output
    if isinstance(output, Tensor):
        return output
    return next(_first(part) for part in parts if isinstance(part, (Tensor, tuple, list, dict)))


def tensor_of(name: str, value: Any, like: Tensor) -> Tensor:
    """Return a tensor or array on the device of another, and of its dtype if it has fractions."""
    try:
        if not isinstance(value, Tensor):
            array = np.asarray(value)
            value = array if array.flags.writeable else array.copy()  # PyTorch may write
        tensor = torch.as_tensor(value, device=like.device).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} is {shown(value)}, expected a tensor or an array") from error
    return tensor.to(like.dtype) if tensor.is_floating_point() else tensor
