"""Jacobian norms that a network truly has, with every rounding counted."""

from __future__ import annotations

import numpy as np

from lipgd.activations import Activation
from lipgd.lipschitz._model import Model
from lipgd.lipschitz._question import gamma
from lipgd.types import DoubleArray

__all__ = ["attained_norm"]

#: Where the slope of an activation jumps.
_KINKS = {"relu": (0.0,), "leaky_relu": (0.0,), "elu": (0.0,), "relu6": (0.0, 6.0)}
#: What values and slopes of activations may err by, relative to one and the argument.
_FUNCTION_ERROR = 1e-14


def attained_norm(model: Model, x: DoubleArray) -> float:
    """Return a number that the norm of the Jacobian at a point is not below; 0 if unsure.

    Errors are carried along with the values. A point where rounding hides on which side of a kink
    a neuron is counts as unsure: the derivative may not exist there.
    """
    with np.errstate(all="ignore"):
        result = _attained(model, x)
    return result if np.isfinite(result) else 0.0


def _attained(model: Model, x: DoubleArray) -> float:
    value, value_error = x, np.zeros(len(x))
    jacobian, jacobian_error = np.eye(len(x)), 0.0
    last = len(model.weights) - 1
    for layer, (matrix, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        matrix_error = model.weight_errors[layer]
        depth = gamma(matrix.shape[1] + 4)
        if layer == 0:
            jacobian, jacobian_error = matrix, matrix_error
        else:
            size = float(np.linalg.norm(jacobian))
            norm = float(np.linalg.norm(matrix))
            jacobian_error = norm * jacobian_error + (depth * norm + matrix_error) * (
                size + jacobian_error
            )
            jacobian = matrix @ jacobian
        if layer == last:
            break
        sizes = np.abs(matrix)
        z = matrix @ value + bias
        z_error = sizes @ value_error + depth * (sizes @ np.abs(value) + np.abs(bias))
        z_error += matrix_error * float(np.linalg.norm(np.abs(value) + value_error))
        z_error = (z_error + model.bias_errors[layer]) * (1.0 + 1e-9)
        activation = model.activations[layer]
        slope, slope_error = _slopes(activation, z, z_error)
        if slope is None:
            return 0.0
        value = np.asarray(activation(z), np.float64)
        value_error = activation.lipschitz * z_error + _FUNCTION_ERROR * (1.0 + np.abs(z))
        rows = np.sqrt((jacobian**2).sum(axis=1))
        steepest = float((np.abs(slope) + slope_error).max())
        jacobian_error = steepest * jacobian_error + float(
            np.linalg.norm(rows * (slope_error + 4e-16 * np.abs(slope)))
        )
        jacobian = slope[:, None] * jacobian
    if not float(np.abs(jacobian).max()) > 1e-140:  # squares may underflow
        return 0.0
    _, _, right = np.linalg.svd(jacobian, full_matrices=False)
    found = float(np.linalg.norm(jacobian @ right[0]) / np.linalg.norm(right[0]))
    size = float(np.linalg.norm(jacobian))
    return max(0.0, found - gamma(sum(jacobian.shape) + 16) * 2.0 * size - jacobian_error)


def _slopes(
    activation: Activation, z: DoubleArray, z_error: DoubleArray
) -> tuple[DoubleArray | None, DoubleArray]:
    """Return slopes and their errors; None where an argument may be on either side of a kink."""
    slope = np.asarray(activation.slope(z), np.float64)
    kind = activation.name.split("(")[0]
    if activation.smooth:
        return slope, activation.curvature * z_error + _FUNCTION_ERROR * (1.0 + np.abs(slope))
    for kink in _KINKS[kind]:
        if (np.abs(z - kink) <= 2.0 * z_error).any():
            return None, z_error
    if kind == "elu":  # between kinks its second derivative is at most alpha
        return slope, activation.parameter * z_error + _FUNCTION_ERROR * (1.0 + np.abs(slope))
    return slope, 4e-16 * np.abs(slope)
