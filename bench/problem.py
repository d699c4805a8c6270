"""The problems of the benches: data and start are functions of the shape alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = list[NDArray[np.floating]]

#: A bound on the slope of every activation of the benches, used to choose a stable rate.
SLOPE = 1.13


@dataclass(frozen=True)
class Problem:
    """A two-layer network with one output on (samples, inputs) data."""

    samples: int
    width: int
    inputs: int
    dtype: str
    activation: str = "silu"
    loss: str = "mse"

    @property
    def label(self) -> str:
        """The row's name in tables and in ``--only``."""
        return f"{self.samples},{self.width},{self.inputs}:{self.dtype}"

    @property
    def flops(self) -> int:
        """Operations of the matrix products of one step: two forward and three backward."""
        return self.samples * self.width * (4 * self.inputs + 6)

    @property
    def check_steps(self) -> int:
        """Steps after which all engines are compared: fewer where a step is large."""
        return min(max(10**10 // self.flops, 3), 50)


#: What is recorded on lifted XOR.
RECORDED_MARGINS = (
    "log_risk",
    "margin",
    "normalized_margin",
    "smoothed_margin",
    "modified_margin",
)


@dataclass(frozen=True)
class XorProblem:
    """Lifted XOR, a two-layer network with fixed signs, the logistic loss, a large stepsize."""

    samples: int = 200
    width: int = 100
    inputs: int = 3
    dtype: str = "float64"
    record_every: int = 100
    check_steps: int = 400

    @property
    def label(self) -> str:
        """The row's name in tables."""
        return f"lifted XOR {self.samples},{self.width},{self.inputs}:{self.dtype}"


@dataclass(frozen=True)
class Start:
    """Everything an engine is given: initial parameters, data and a rate at which it is stable."""

    weights: Arrays
    biases: Arrays
    X: NDArray[np.floating]
    y: NDArray[np.floating]
    rate: float

    @property
    def initial(self) -> Arrays:
        """What an engine's results begin from."""
        return [a for pair in zip(self.weights, self.biases, strict=True) for a in pair]

    def arguments(self, problem: Problem, threads: int) -> tuple[Any, ...]:
        """Return what an engine's ``prepare`` takes."""
        data = (self.weights, self.biases, self.X, self.y)
        kinds = (problem.activation, problem.loss, self.rate, problem.dtype)
        return *data, *kinds, threads


@dataclass(frozen=True)
class XorStart:
    """What an engine is given on lifted XOR."""

    weights: NDArray[np.floating]
    signs: NDArray[np.floating]
    X: NDArray[np.floating]
    y: NDArray[np.floating]
    rate: float
    record_every: int

    @property
    def initial(self) -> Arrays:
        """What an engine's results begin from: its record begins from nothing."""
        return [self.weights, np.zeros(1)]

    def arguments(self, problem: XorProblem, threads: int) -> tuple[Any, ...]:
        """Return what an engine's ``prepare`` takes."""
        return self, problem.dtype, threads


def start(problem: Problem | XorProblem) -> Start | XorStart:
    """Make the data and the initial parameters."""
    return _xor(problem) if isinstance(problem, XorProblem) else _regression(problem)


def _xor(problem: XorProblem) -> XorStart:
    """Make corners of the square with noise, lifted by half of the label."""
    rng = np.random.default_rng(0)
    corners = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    corner = corners[np.arange(problem.samples) % 4]
    y = corner[:, 0] * corner[:, 1]
    X = np.column_stack([corner + 0.1 * rng.standard_normal(corner.shape), 0.5 * y])
    signs = np.where(np.arange(problem.width) % 2 == 0, 1.0, -1.0)
    weights = rng.standard_normal((problem.width, problem.inputs)) / problem.inputs**0.5
    return XorStart(weights, signs, X, y, 100.0, problem.record_every)


def _regression(problem: Problem) -> Start:
    """Make the data, with uniform +-1/sqrt(fan-in) parameters and a noisy sine as the target."""
    rng = np.random.default_rng(0)
    dtype = np.dtype(problem.dtype)
    sizes = (problem.inputs, problem.width, 1)
    weights, biases = [], []
    for n_in, n_out in pairwise(sizes):
        limit = n_in**-0.5
        weights.append(rng.uniform(-limit, limit, (n_out, n_in)).astype(dtype))
        biases.append(rng.uniform(-limit, limit, n_out).astype(dtype))
    X = rng.standard_normal((problem.samples, problem.inputs), dtype=dtype.type)
    direction = rng.standard_normal((problem.inputs, 1)) / problem.inputs**0.5
    noise = rng.standard_normal((problem.samples, 1))
    y = np.sin(2 * (X @ direction.astype(dtype))) + 0.1 * noise
    return Start(weights, biases, X, y.astype(dtype), stable_rate(weights, biases, X))


def stable_rate(weights: Arrays, biases: Arrays, X: NDArray[np.floating]) -> float:
    """Return half of 2 / sharpness, bounded by the mean squared gradient of the outputs.

    The sharpness of the mean squared error is at most about 2 mean |grad f(x)|^2 near the start;
    the first rows stand for all, so that no engine's memory includes a whole forward pass.
    """
    rows = X[:64].astype(np.float64)
    hidden = SLOPE * np.abs(rows @ weights[0].T + biases[0])
    outer = np.sum((hidden + 0.5) ** 2, axis=1) + 1
    inner = SLOPE**2 * np.sum(weights[1].astype(np.float64) ** 2) * (np.sum(rows**2, axis=1) + 1)
    return float(0.5 / np.mean(outer + inner))
