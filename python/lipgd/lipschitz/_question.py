"""What the methods of upper and lower bounds are asked: matrices, slopes and a factor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipgd.lipschitz._input_norm import input_scales
from lipgd.lipschitz._model import Model, rounding_of
from lipgd.lipschitz.domains import Domain, domain_of
from lipgd.lipschitz.reading import read
from lipgd.lipschitz.spectral import spectral_norm
from lipgd.network import Network
from lipgd.types import DoubleArray

__all__ = ["Question", "above", "gamma", "model_of", "question"]

_U = 2.0**-53


@dataclass(frozen=True, eq=False)
class Question:
    """Matrices in float64 and slope intervals per hidden layer; the answer is to be multiplied."""

    weights: list[DoubleArray]
    biases: list[DoubleArray]
    lo: list[DoubleArray]
    hi: list[DoubleArray]
    #: The size of the output scale, which is not in the weights.
    scale: float
    #: Frobenius norms of what is not known of the matrices.
    errors: tuple[float, ...]
    activations: tuple[Any, ...]
    local: bool
    #: What the columns of the first matrix were multiplied by, for inputs of another norm.
    input_scales: DoubleArray | None = None
    #: What was asked about, as it was given: the model and the domain.
    model: Model | None = None
    region: Domain | None = None

    def answer(self, bound: float) -> float:
        """Return a bound for these matrices as one for the network, rounded up."""
        if any(self.errors):
            bound = above(bound + self._perturbation())
        if self.scale == 0.0 or bound == 0.0:
            return 0.0
        return above(bound * self.scale) if self.scale != 1.0 else bound

    def steepest(self) -> list[float]:
        """Return the largest size of a slope in every hidden layer."""
        return [
            float(max(np.abs(low).max(), np.abs(high).max()))
            for low, high in zip(self.lo, self.hi, strict=True)
        ]

    def product(self) -> float:
        """Return the product of spectral norms and largest slopes, rounded up."""
        return self._product([0.0] * len(self.weights))

    def _product(self, errors: list[float]) -> float:
        result = 1.0
        for matrix, slope, error in zip(self.weights, [*self.steepest(), 1.0], errors, strict=True):
            norm = above(spectral_norm(matrix).upper + error) if matrix.any() or error else 0.0
            result = above(result * norm)
            result = above(result * slope) if slope != 1.0 else result
            if result == 0.0 or math.isnan(result):
                return 0.0 if norm == 0.0 or slope == 0.0 else math.nan
        return result

    def _perturbation(self) -> float:
        """Return how far the constant can move: the product with the errors less that without."""
        total = 0.0
        for layer, error in enumerate(self.errors):
            if error == 0.0:
                continue
            term = error
            for other, matrix in enumerate(self.weights):
                if other != layer:
                    larger = self.errors[other] if other > layer else 0.0
                    term = above(term * above(spectral_norm(matrix).upper + larger))
            for slope in self.steepest():
                term = above(term * slope)
            total = above(total + term)
        return total


def above(x: float) -> float:
    """Return the next float64 above a positive number, which the exact result does not exceed."""
    return math.nextafter(x, math.inf)


def gamma(n: float) -> float:
    """Return the factor of rounding in sums of n terms."""
    return n * _U / (1.0 - n * _U)


def model_of(net: Any) -> tuple[Model, float]:
    """Return the exact matrices of a network in float64, and its output scale apart from them."""
    if isinstance(net, Model):
        return net, 1.0
    if not isinstance(net, Network):
        return read(net), 1.0
    weights = tuple(np.asarray(matrix, np.float64) for matrix in net.weights)
    biases = tuple(
        np.zeros(len(matrix)) if bias is None else np.asarray(bias, np.float64)
        for matrix, bias in zip(weights, net.biases, strict=True)
    )
    zeros = (0.0,) * len(weights)
    hidden = (net.activation,) * (len(weights) - 1)
    return Model(weights, biases, hidden, zeros, zeros, "lipgd.Network"), net.output_scale


def question(net: Any, domain: Any, norm: float = 2.0) -> Question:
    """Return what is asked of a network on a domain, or on all inputs."""
    model, scale = model_of(net)
    region = domain_of(domain, model.n_inputs)
    lo, hi = model.slopes() if region is None else region.slopes(model)
    weights, errors, scales = list(model.weights), model.weight_errors, None
    if norm != 2.0:
        scales = input_scales(weights, lo, hi)
        weights[0] = weights[0] * scales
        first = above(errors[0] * float(scales.max())) + rounding_of(weights[0])
        errors = (first, *errors[1:])
    return Question(
        weights,
        list(model.biases),
        lo,
        hi,
        abs(scale),
        errors,
        model.activations,
        region is not None,
        scales,
        model,
        region,
    )
