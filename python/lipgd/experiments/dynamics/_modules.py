"""Trainings of PyTorch modules, followed by their coefficients."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from threading import Lock
from typing import Any

import numpy as np

from lipgd.experiments.dynamics._problem import PARTS, digits, network

__all__ = ["REGULARIZERS", "Followed", "end_of", "follow", "regularized", "usable"]

#: What is only done with PyTorch.
REGULARIZERS = ("mixup", "dropout 0.2")
_RATE = 0.1
_BATCH = 32
_REPLICAS = 16
#: PyTorch has one stream of random numbers and one number of threads for a process.
_ONE_AT_A_TIME = Lock()


def usable() -> bool:
    """Return whether PyTorch is installed."""
    return find_spec("torch") is not None


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Run on one thread of PyTorch with random numbers of its own, and leave both as they were."""
    import torch

    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@dataclass(frozen=True)
class Followed:
    """How a module is trained and measured.

    Attributes
    ----------
    loss : callable
        The mean loss of outputs and targets.
    rate, batch_size, steps, every, seed
        Of the training; coefficients are taken at every so many steps.
    settings : mapping
        More arguments of :func:`lipgd.torch.coefficients`.
    transform : callable or None
        Makes the batch that a step uses.
    """

    loss: Callable[..., Any]
    steps: int
    every: int
    seed: int
    settings: dict[str, Any]
    rate: float = _RATE
    batch_size: int = _BATCH
    transform: Callable[..., Any] | None = None


def regularized(name: str, seed: int, steps: int, every: int) -> Sequence[dict[str, Any]]:
    """Return rows along a training of the network of the core with mixup or dropout."""
    import torch

    from lipgd.torch import to_torch

    model = to_torch(network("silu", seed))
    order = 1000 * seed + REGULARIZERS.index(name)
    if name == "mixup":
        settings: dict[str, Any] = {"replicas": _REPLICAS, "transform": _mixup}
        plan = Followed(_soft_cross_entropy, steps, every, order, settings, transform=_mixup)
    else:
        model = _with_dropout(model, 0.2)
        plan = Followed(torch.nn.CrossEntropyLoss(), steps, every, order, {"draws": 2})
    data = digits()
    rows = follow(model, data.X, data.y, plan)
    head = {"regularizer": name, "activation": "silu", "seed": seed, **end_of(rows)}
    return [{**head, **row} for row in rows]


def end_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what tables show of the last of the rows along a training."""
    first, last = rows[0], rows[-1]
    moved = max(abs(row["Z"] - first["Z"]) for row in rows)
    replay = np.mean([abs(row["Z_replay"] - row["Z"]) for row in rows[1:]]) / moved
    return {
        "change": last["Z"] - first["Z"],
        "predicted": last["Z_predicted"] - first["Z"],
        "standard_error": last["Z_error"],
        "z": (last["Z"] - last["Z_predicted"]) / last["Z_error"],
        **{part: last[f"{part}_so_far"] for part in PARTS},
        "replay_error": float(replay),
    }


def _mixup(X: Any, y: Any) -> tuple[Any, Any]:
    """Mix every sample of a batch with another, a weight for each pair."""
    import torch

    y = torch.nn.functional.one_hot(y, 10).to(X.dtype)
    weight = torch.rand(len(X), 1, dtype=X.dtype)
    partner = torch.randperm(len(X))
    shaped = weight.reshape(-1, *(1,) * (X.dim() - 1))
    return shaped * X + (1 - shaped) * X[partner], weight * y + (1 - weight) * y[partner]


def _soft_cross_entropy(outputs: Any, targets: Any) -> Any:
    return -(targets * outputs.log_softmax(1)).sum(1).mean()


def _with_dropout(model: Any, share: float) -> Any:
    from torch import nn

    layers: list[Any] = []
    for layer in model:
        layers.append(layer)
        if not isinstance(layer, nn.Linear):
            layers.append(nn.Dropout(share))
    return nn.Sequential(*layers)


def follow(model: Any, X: Any, y: Any, plan: Followed) -> list[dict[str, Any]]:
    """Train a module, and return rows with the prediction so far (4.1), by the trapezoid rule."""
    with _alone(plan.seed):
        return _followed(model, X, y, plan)


def _followed(model: Any, X: Any, y: Any, plan: Followed) -> list[dict[str, Any]]:
    import torch

    dtype = next(model.parameters()).dtype
    X, y = torch.as_tensor(X).to(dtype), torch.as_tensor(y)
    generator = np.random.default_rng(plan.seed)
    sums = _Sums(_layers(model), plan.rate)
    rows = [sums.row(0)]
    sums.add(_measure(model, X, y, plan), 0)
    for step in range(1, plan.steps + 1):
        batch = torch.as_tensor(generator.choice(len(X), plan.batch_size, replace=False))
        inputs, targets = X[batch], y[batch]
        if plan.transform is not None:
            inputs, targets = plan.transform(inputs, targets)
        model.zero_grad(set_to_none=True)
        plan.loss(model(inputs), targets).backward()
        sums.take_first_order()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= plan.rate * parameter.grad
        if step % plan.every == 0 or step == plan.steps:
            sums.add(_measure(model, X, y, plan), step)
            rows.append(sums.row(step))
    return rows


def _layers(model: Any) -> list[Any]:
    from torch import nn

    return [layer for layer in model.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]


def _measure(model: Any, X: Any, y: Any, plan: Followed) -> Any:
    import torch

    import lipgd.torch

    with warnings.catch_warnings():
        # That the product of reshaped norms is no Lipschitz bound is said on the page.
        warnings.simplefilter("ignore", UserWarning)
        return lipgd.torch.coefficients(
            model,
            plan.loss,
            X,
            y,
            batch_size=plan.batch_size,
            rate=plan.rate,
            seed=int(torch.randint(2**31, ())),
            **plan.settings,
        )


class _Sums:
    """The parts of a prediction while a training goes on."""

    def __init__(self, layers: Sequence[Any], rate: float) -> None:
        self._layers, self._rate = layers, rate
        self._start = self._log_norm()
        self._first_order = self._variance = 0.0
        self._parts = dict.fromkeys(PARTS, 0.0)
        self._last: tuple[int, dict[str, float]] | None = None
        self._shares = [0.0, 0.0]

    def _matrices(self) -> list[Any]:
        return [layer.weight.detach().flatten(1).double() for layer in self._layers]

    def _log_norm(self) -> float:
        import torch

        norms = [torch.linalg.matrix_norm(w, 2) for w in self._matrices()]
        return sum(math.log(float(norm)) for norm in norms)

    def take_first_order(self) -> None:
        """Add the first order of the step that the gradients make."""
        import torch

        for layer, matrix in zip(self._layers, self._matrices(), strict=True):
            u, s, v = torch.linalg.svd(matrix, full_matrices=False)
            gradient = layer.weight.grad.flatten(1).double()
            self._first_order -= self._rate * float(u[:, 0] @ gradient @ v[0] / s[0])

    def add(self, found: Any, step: int) -> None:
        """Add the coefficients of a step, by the trapezoid rule."""
        total = found.network
        here = {
            "drift": total.mu,
            "noise_curvature": total.kappa,
            "ito": -0.5 * total.lambda2_independent,
            "finite_step": total.psi,
            "variance": total.lambda2,
        }
        if self._last is not None:
            begin, before = self._last
            half = 0.5 * self._rate * (step - begin)
            for part in PARTS:
                self._parts[part] += half * (here[part] + before[part])
            self._variance += half * (here["variance"] + before["variance"])
        self._last = step, here

    def row(self, step: int) -> dict[str, Any]:
        """Return the row of a step."""
        second = sum(value for part, value in self._parts.items() if part != "drift")
        return {
            "step": step,
            "Z": self._log_norm(),
            "Z_predicted": self._start + sum(self._parts.values()),
            "Z_error": math.sqrt(self._variance),
            "Z_replay": self._start + self._first_order + second,
            **{f"{part}_so_far": value for part, value in self._parts.items()},
        }
