"""Multilayer perceptrons of scikit-learn, alone or behind scalers, by their attributes."""

from __future__ import annotations

from typing import Any

import numpy as np

from lipgd.lipschitz._model import Model

from ._builder import Builder

__all__ = ["is_estimator", "read_estimator"]

_ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}


def is_estimator(source: Any) -> bool:
    """Return whether something has the methods of an estimator."""
    return hasattr(source, "get_params") and hasattr(source, "fit")


def read_estimator(source: Any) -> Model:
    """Read a fitted perceptron, or a pipeline of scalers that ends in one."""
    steps = [step for _, step in source.steps] if hasattr(source, "steps") else [source]
    builder = Builder(f"the {type(steps[-1]).__name__}")
    for step in steps[:-1]:
        _scaler(builder, step)
    estimator = steps[-1]
    if not hasattr(estimator, "coefs_"):
        if hasattr(estimator, "loss") or hasattr(estimator, "hidden_layer_sizes"):
            raise builder.error("is not fitted, expected an estimator after fit")
        raise builder.error("is not treated, expected MLPRegressor or MLPClassifier")
    activation = _ACTIVATIONS[estimator.activation]
    pairs = zip(estimator.coefs_, estimator.intercepts_, strict=True)
    for place, (matrix, bias) in enumerate(pairs):
        if place:
            builder.activation(activation)
        builder.linear(f"layer {place + 1}", np.asarray(matrix).T, bias)
    final = estimator.out_activation_
    if final != "identity":
        builder.notes.append(
            f"The network is taken up to its logits, before {final} gives probabilities."
        )
    return builder.build()


def _scaler(builder: Builder, step: Any) -> None:
    kind = type(step).__name__
    if step is None or step == "passthrough":
        return
    if kind == "StandardScaler" and hasattr(step, "scale_"):
        if step.mean_ is not None:
            builder.scale(kind, 1.0, -step.mean_)
        if step.scale_ is not None:
            builder.scale(kind, 1.0 / step.scale_, 0.0, 1.0)
    elif kind == "MinMaxScaler" and hasattr(step, "scale_") and not step.clip:
        builder.scale(kind, step.scale_, step.min_)
    else:
        raise builder.error(
            f"stands behind {kind}, which is not treated, "
            "expected fitted StandardScaler or MinMaxScaler"
        )
