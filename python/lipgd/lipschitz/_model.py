"""Networks as certificates see them: matrices, biases and one activation per hidden layer."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lipgd._arguments import finite_inputs_of
from lipgd.activations import Activation
from lipgd.network import Network
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["Model"]

_U = 2.0**-53


@dataclass(frozen=True, eq=False)
class Model:
    """A dense network in float64 with an activation of its own for every hidden layer.

    :func:`read` makes one of a network from anywhere. Numbers of float32 models are the same in
    float64; where layers were merged, such as a batch normalization into the matrix before it, the
    rounding that this cost is known and counted by every rigorous bound.

    Attributes
    ----------
    weights : tuple of ndarray (n_outputs, n_inputs) of float64
        The matrices, from the inputs to the outputs.
    biases : tuple of ndarray (n_outputs,) of float64
        Zeros where the source has no bias.
    activations : tuple of Activation
        One per hidden layer.
    weight_errors : tuple of float
        Frobenius norms of what rounding may have taken from each matrix.
    bias_errors : tuple of float
        Bounds of what rounding may have changed of any entry of each bias.
    source : str
        What was read.
    notes : tuple of str
        What the reader decided, in sentences.

    Examples
    --------
    >>> import lipgd
    >>> model = lipgd.lipschitz.read([[[1.0, -1.0]], [[2.0]]], activation="relu")
    >>> model.sizes, model([[3.0, 1.0]]).tolist()
    ((2, 1, 1), [[4.0]])
    """

    weights: tuple[DoubleArray, ...]
    biases: tuple[DoubleArray, ...]
    activations: tuple[Activation, ...]
    weight_errors: tuple[float, ...]
    bias_errors: tuple[float, ...]
    source: str = "weights"
    notes: tuple[str, ...] = field(default=())

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, hidden widths, outputs."""
        return (self.weights[0].shape[1], *(matrix.shape[0] for matrix in self.weights))

    @property
    def n_inputs(self) -> int:
        """The number of inputs."""
        return int(self.weights[0].shape[1])

    @property
    def n_outputs(self) -> int:
        """The number of outputs."""
        return int(self.weights[-1].shape[0])

    @property
    def exact(self) -> bool:
        """Whether the matrices and biases are those of the source, to the last bit."""
        return not any(self.weight_errors) and not any(self.bias_errors)

    def __call__(self, X: ArrayLike) -> DoubleArray:
        """Return the outputs, shape (n_samples, n_outputs), for X of shape (n_samples, n_inputs).

        Examples
        --------
        >>> import lipgd
        >>> lipgd.lipschitz.read([[[2.0]]])([[1.5]]).tolist()
        [[3.0]]
        """
        x = self.inputs("X", X)
        for matrix, bias, activation in zip(
            self.weights, self.biases, (*self.activations, None), strict=True
        ):
            x = x @ matrix.T + bias
            if activation is not None:
                x = np.asarray(activation(x), np.float64)
        return x

    def jacobian(self, X: ArrayLike) -> DoubleArray:
        """Return the derivatives of the outputs, shape (n_samples, n_outputs, n_inputs).

        Examples
        --------
        >>> import lipgd
        >>> lipgd.lipschitz.read([[[2.0]]]).jacobian([[1.5]]).tolist()
        [[[2.0]]]
        """
        x = self.inputs("X", X)
        slopes = []
        for matrix, bias, activation in zip(
            self.weights[:-1], self.biases[:-1], self.activations, strict=True
        ):
            z = x @ matrix.T + bias
            slopes.append(np.asarray(activation.slope(z), np.float64))
            x = np.asarray(activation(z), np.float64)
        jacobian = np.broadcast_to(self.weights[-1], (len(x), *self.weights[-1].shape))
        for matrix, slope in zip(reversed(self.weights[:-1]), reversed(slopes), strict=True):
            jacobian = (jacobian * slope[:, None, :]) @ matrix
        return np.array(jacobian)

    def inputs(self, name: str, X: ArrayLike) -> DoubleArray:
        """Return samples as float64, or raise."""
        return finite_inputs_of(name, X, self.n_inputs, np.dtype(np.float64)).astype(np.float64)

    def slopes(self) -> tuple[list[DoubleArray], list[DoubleArray]]:
        """Return the least and the greatest slope of every neuron, by hidden layer."""
        widths = self.sizes[1:-1]
        ranges = [activation.slope_range for activation in self.activations]
        return (
            [np.full(n, low) for n, (low, _) in zip(widths, ranges, strict=True)],
            [np.full(n, high) for n, (_, high) in zip(widths, ranges, strict=True)],
        )

    def outputs(self, matrix: DoubleArray) -> Model:
        """Return the model of ``matrix @ f``, whose rounding is counted."""
        last, bias = self.weights[-1], self.biases[-1]
        width = len(bias)
        gain = float(np.linalg.norm(matrix)) * (1.0 + 1e-9)
        terms = gamma(width + 2) * (1.0 + 1e-9)
        error = terms * gain * _size(last) + gain * self.weight_errors[-1]
        bias_error = terms * gain * _size(bias) + gain * self.bias_errors[-1]
        if np.count_nonzero(matrix) == len(matrix) and np.isin(matrix, (0.0, 1.0)).all():
            error, bias_error = self.weight_errors[-1], self.bias_errors[-1]  # rows, picked
        return Model(
            (*self.weights[:-1], matrix @ last),
            (*self.biases[:-1], matrix @ bias),
            self.activations,
            (*self.weight_errors[:-1], error),
            (*self.bias_errors[:-1], bias_error),
            self.source,
            self.notes,
        )

    def network(self) -> Network:
        """Return the model as a network of float64.

        Raises
        ------
        ValueError
            If the hidden layers have different activations.

        Examples
        --------
        >>> import lipgd
        >>> lipgd.lipschitz.read([[[2.0]], [[1.0]]], activation="tanh").network()
        Network(1-1-1, tanh, float64, 4 parameters)
        """
        kinds = {activation.name for activation in self.activations}
        if len(kinds) > 1:
            raise ValueError(
                f"{self.source} has the activations {', '.join(sorted(kinds))}, "
                "expected the same one in all hidden layers"
            )
        activation = self.activations[0] if self.activations else "identity"
        return Network(self.weights, self.biases, activation)

    def digest(self) -> str:
        """Return a hash of matrices, biases and activations, as hexadecimal digits."""
        state = hashlib.sha256()
        for matrix, bias in zip(self.weights, self.biases, strict=True):
            state.update(repr(matrix.shape).encode())
            for array in (matrix, bias):
                state.update(np.ascontiguousarray(array, "<f8").tobytes())
        state.update(repr([activation.name for activation in self.activations]).encode())
        return state.hexdigest()

    def __repr__(self) -> str:
        kinds = list(dict.fromkeys(activation.name for activation in self.activations))
        sizes = "-".join(map(str, self.sizes))
        return f"Model({sizes}, {' and '.join(kinds) or 'linear'}, from {self.source})"


def gamma(n: float) -> float:
    """Return the factor n u / (1 - n u) of sums of n terms (certificates.md, section 9)."""
    return n * _U / (1.0 - n * _U)


def of_network(network: Network) -> Model:
    """Return a network with its output scale in the last matrix."""
    scale = network.output_scale
    weights = [np.asarray(matrix, np.float64) for matrix in network.weights]
    biases = [
        np.zeros(len(matrix)) if bias is None else np.asarray(bias, np.float64)
        for matrix, bias in zip(weights, network.biases, strict=True)
    ]
    last, last_bias = scale * weights[-1], scale * biases[-1]
    exact = bool((last / scale == weights[-1]).all()) if abs(scale) == 1.0 else False
    error = 0.0 if exact else rounding_of(last)
    bias_error = 0.0 if exact else rounding_of(last_bias)
    zeros: list[Any] = [0.0] * (len(weights) - 1)
    return Model(
        (*weights[:-1], last),
        (*biases[:-1], last_bias),
        (network.activation,) * (len(weights) - 1),
        (*zeros, error),
        (*zeros, bias_error),
        "lipgd.Network",
    )


def rounding_of(array: DoubleArray, units: float = 1.0) -> float:
    """Return a bound of the Frobenius norm of errors of some units in every entry."""
    return units * _U * _size(array) * (1.0 + 1e-9) + array.size * 2.0**-1074


def _size(array: DoubleArray) -> float:
    """Return the Frobenius norm, whose squares neither overflow nor vanish."""
    largest = float(np.abs(array).max(initial=0.0))
    if not 0.0 < largest < math.inf:
        return largest
    scale = 2.0 ** -math.frexp(largest)[1] if largest > 2.0**-1000 else 2.0**1000
    return float(np.linalg.norm(array * scale)) / scale
