"""Random and adversarial networks for large stepsizes, with a plain model to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import lipgd
from lipgd.theory import large_stepsize as ls

SMOOTH = ("gelu", "gelu_tanh", "silu", "softplus", "tanh", "sigmoid", "identity")
LEAKY = tuple(f"leaky({name}, 0.5)" for name in ("gelu", "gelu_tanh", "silu", "softplus"))
FROZEN = (("W2",), ("W2", "b1"), ("W2", "b2"), ("W2", "b1", "b2"))


@dataclass(frozen=True)
class Model:
    """Parameters, margins and gradients of a network with a frozen outer layer, in NumPy alone."""

    net: lipgd.Network
    X: np.ndarray
    y: np.ndarray
    frozen: tuple[str, ...] = ("W2",)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.net.named() if name not in self.frozen]

    @cached_property
    def w(self) -> np.ndarray:
        table = dict(self.net.named())
        return np.concatenate([np.ravel(table[name]) for name in self.names])

    @property
    def norm(self) -> float:
        return float(np.linalg.norm(self.w))

    def at(self, w: np.ndarray) -> Model:
        parts, begin = dict(self.net.named()), 0
        for name in self.names:
            size = parts[name].size
            parts[name] = w[begin : begin + size].reshape(parts[name].shape)
            begin += size
        layers = range(1, self.net.depth + 1)
        net = self.net.replace(
            weights=[parts[f"W{i}"] for i in layers], biases=[parts.get(f"b{i}") for i in layers]
        )
        return Model(net, self.X, self.y, self.frozen)

    @cached_property
    def _units(self) -> np.ndarray:
        bias = self.net.biases[0]
        return self.X @ self.net.weights[0].T + (0.0 if bias is None else bias)

    @property
    def _outer(self) -> np.ndarray:
        outer = self.net.weights[1][0] if self.net.depth == 2 else np.ones(1)
        return self.net.output_scale * outer

    @property
    def _activation(self) -> lipgd.activations.Activation:
        return self.net.activation if self.net.depth == 2 else lipgd.activations.get("identity")

    @cached_property
    def outputs(self) -> np.ndarray:
        last = self.net.biases[1] if self.net.depth == 2 else None
        shift = 0.0 if last is None else self.net.output_scale * last[0]
        return self._activation(self._units) @ self._outer + shift

    @property
    def margins(self) -> np.ndarray:
        return self.y * self.outputs

    @property
    def log_risk(self) -> float:
        return ls.log_risk(self.margins)

    @property
    def risk(self) -> float:
        return float(np.exp(self.log_risk))

    @cached_property
    def slopes(self) -> np.ndarray:
        return ls.loss_slope(self.margins)

    @property
    def mean_slope(self) -> float:
        return float(self.slopes.mean())

    @cached_property
    def jacobian(self) -> np.ndarray:
        """The gradient of each output by the trained parameters, (n_samples, n_parameters)."""
        inner = self._activation.slope(self._units) * self._outer
        n = len(self.X)
        parts = {
            "W1": (inner[:, :, None] * self.X[:, None, :]).reshape(n, -1),
            "b1": inner,
            "b2": np.full((n, 1), self.net.output_scale),
        }
        return np.concatenate([parts[name] for name in self.names], axis=1)

    def hessian(self, sample: int) -> np.ndarray:
        """The second derivative of one output."""
        second = self._activation.second_derivative(self._units[sample]) * self._outer
        x = self.X[sample]
        if "b1" in self.names:
            x = np.append(x, 1.0)
        blocks = [c * np.outer(x, x) for c in second]
        d = len(x)
        full = np.zeros((d * len(blocks), d * len(blocks)))
        for j, block in enumerate(blocks):
            full[j * d : (j + 1) * d, j * d : (j + 1) * d] = block
        return full

    @cached_property
    def gradient(self) -> np.ndarray:
        return -(self.slopes * self.y) @ self.jacobian / len(self.X)

    def step(self, eta: float) -> Model:
        return self.at(self.w - eta * self.gradient)

    @cached_property
    def constants(self) -> ls.Constants:
        return ls.constants(self.net, self.X, self.frozen)

    def same_constants(self, other: Model) -> Model:
        self.__dict__["constants"] = other.constants
        return self

    def path(self, eta: float, steps: int) -> Iterator[Model]:
        here = self
        for _ in range(steps + 1):
            yield here
            here = here.step(eta).same_constants(self)


def random_model(
    rng: np.random.Generator, activations: tuple[str, ...] = SMOOTH + LEAKY, scale: float = 3.0
) -> Model:
    """Any width, dimension, signs or general outer weights, biases, output scale, labels."""
    m, d, n = int(rng.integers(1, 9)), int(rng.integers(1, 6)), int(rng.integers(1, 8))
    kind = rng.integers(3)
    outer = rng.choice([-1.0, 1.0], m)
    if kind == 1:
        outer = np.resize([1.0, -1.0], m)
    elif kind == 2:
        outer = rng.normal(0, 1, m)
    biases = None
    frozen: tuple[str, ...] = ("W2",)
    if rng.integers(2):
        biases = [rng.normal(0, 1, m), rng.normal(0, 0.5, 1)]
        frozen = FROZEN[rng.integers(len(FROZEN))]
    net = lipgd.Network(
        [rng.normal(0, scale * rng.uniform(), (m, d)), outer[None]],
        biases,
        str(rng.choice(activations)),
        float(rng.choice([0.5, 1.0, 4.0]) / (m if rng.integers(2) else 1)),
    )
    X = rng.normal(0, 1, (n, d)) * rng.choice([0.3, 1.0, 3.0])
    return Model(net, X, rng.choice([-1.0, 1.0], n), frozen)


def fitted(model: Model, level: float, steps: int = 60) -> Model:
    """The model after normalised descent until its risk is below a level, or not at all."""
    for _ in range(steps):
        if model.risk <= level:
            break
        length = np.linalg.norm(model.gradient)
        if length == 0.0:
            break
        model = model.at(model.w - 0.5 * model.gradient / length)
    return model


def separable_model(rng: np.random.Generator) -> tuple[Model, np.ndarray]:
    """A model with alpha > 0 on separable data, and a direction that separates them."""
    model = random_model(rng, (*LEAKY, "identity", "leaky(silu, 0.2)"))
    v = rng.normal(0, 1, model.X.shape[1])
    v /= np.linalg.norm(v)
    y = np.where(model.X @ v >= 0, 1.0, -1.0)
    X = model.X + np.outer(y, v) * rng.uniform(0.05, 1.0)
    return Model(model.net, X, y, model.frozen), v
