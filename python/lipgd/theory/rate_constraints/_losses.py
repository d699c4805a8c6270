"""The derivative of a loss by the outputs, sample by sample."""

from __future__ import annotations

import numpy as np

from lipgd.losses import Loss
from lipgd.types import DoubleArray, FloatArray, IndexArray

__all__ = ["losses_and_gradients"]


def losses_and_gradients(
    loss: Loss, outputs: DoubleArray, targets: FloatArray | IndexArray
) -> tuple[DoubleArray, DoubleArray]:
    """Return the loss of every row of the outputs and its derivative by that row."""
    n_outputs = outputs.shape[1]
    if loss.kind == "cross_entropy":
        return _cross_entropy(outputs, targets, loss.parameter)
    if loss.kind == "logistic":
        margins = targets * outputs
        values = np.logaddexp(0.0, -margins)
        slopes = -targets * np.exp(-np.logaddexp(0.0, margins))
    elif loss.kind == "huber":
        residuals = outputs - targets
        slopes = np.clip(residuals, -loss.parameter, loss.parameter)
        values = slopes * (residuals - 0.5 * slopes)
    else:
        residuals = outputs - targets
        values, slopes = np.square(residuals), 2.0 * residuals
    return values.sum(axis=1) / n_outputs, slopes / n_outputs


def _cross_entropy(
    outputs: DoubleArray, labels: FloatArray | IndexArray, smoothing: float
) -> tuple[DoubleArray, DoubleArray]:
    rows = np.arange(len(outputs))
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    log_shares = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    wanted = np.full_like(outputs, smoothing / outputs.shape[1])
    wanted[rows, labels.astype(np.int64)] += 1.0 - smoothing
    return -(wanted * log_shares).sum(axis=1), np.exp(log_shares) - wanted
