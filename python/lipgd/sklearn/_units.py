"""Networks of pipelines in the units of the data before scaling."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from lipgd._check import shown
from lipgd.network import Network
from lipgd.sklearn._estimator import LipschitzEstimator
from lipgd.types import DoubleArray

__all__ = ["in_raw_units"]


def in_raw_units(model: Any) -> Network:
    """Return the network of a fitted model, with all scaling of inputs and targets folded in.

    The result takes inputs and gives outputs in the units of the raw data, so that
    ``lipgd.lipschitz.upper`` of it is the constant in those units. Folding rounds the weights: the
    certificate holds for the network that is returned, whose outputs agree with those of the model
    to rounding.

    Parameters
    ----------
    model : LipschitzRegressor, LipschitzClassifier, Pipeline or TransformedTargetRegressor
        Fitted. A pipeline may have any steps before the estimator that act on each sample as one
        affine map, such as StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, PCA.

    Returns
    -------
    Network

    Raises
    ------
    TypeError, ValueError
        For a model of another kind, or a step that is not an affine map.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from lipgd.sklearn import LipschitzRegressor, in_raw_units
    >>> X = np.linspace(0, 1000, 50)[:, None]
    >>> model = make_pipeline(StandardScaler(), LipschitzRegressor(8, 2.0, tol=0, random_state=0))
    >>> net = in_raw_units(model.fit(X, X[:, 0] / 1000))
    >>> bool(np.allclose(net(X)[:, 0], model.predict(X)))
    True
    >>> float(lipgd.lipschitz.upper(net)) < 2.0 / 250
    True
    """
    if isinstance(model, TransformedTargetRegressor):
        check_is_fitted(model)
        return _after(in_raw_units(model.regressor_), model)
    if isinstance(model, Pipeline):
        check_is_fitted(model)
        net = in_raw_units(model.steps[-1][1])
        for name, step in reversed(model.steps[:-1]):
            if step is not None and step != "passthrough":
                net = _before(net, name, step)
        return net
    if not isinstance(model, LipschitzEstimator):
        raise TypeError(
            f"model is {shown(model)}, expected a LipschitzRegressor, a LipschitzClassifier, or a "
            "Pipeline or TransformedTargetRegressor of one"
        )
    check_is_fitted(model)
    return model.network_


def _affine(name: str, transform: Any, n_inputs: int) -> tuple[DoubleArray, DoubleArray]:
    """Return A and c of a map x -> A x + c, or raise where it is none."""
    probes = np.vstack([np.zeros(n_inputs), np.eye(n_inputs)])
    # Points inside and far outside of the data: clipping, powers and bins show there.
    rng = np.random.default_rng(0)
    others = rng.normal(size=(8, n_inputs)) * np.logspace(-3, 6, 8)[:, None]
    images = np.asarray(transform(np.vstack([probes, others])), dtype=np.float64)
    shift, matrix = images[0], (images[1 : n_inputs + 1] - images[0]).T
    expected = others @ matrix.T + shift
    size = np.abs(others) @ np.abs(matrix).T + np.abs(shift) + 1e-300
    if not (np.abs(images[n_inputs + 1 :] - expected) <= 1e-6 * size).all():
        raise ValueError(f"model has the step {name!r}, which is not an affine map, expected one")
    return matrix, shift


def _exact_affine(step: Any, n_inputs: int) -> tuple[DoubleArray, DoubleArray] | None:
    """Return the map of a scaler from its attributes, which have all digits."""
    scale, shift = np.ones(n_inputs), np.zeros(n_inputs)
    kind = type(step).__name__
    if kind == "StandardScaler":
        scale = scale if step.scale_ is None else 1.0 / step.scale_
        shift = shift if step.mean_ is None or not step.with_mean else -step.mean_ * scale
    elif kind == "RobustScaler":
        scale = scale if step.scale_ is None else 1.0 / step.scale_
        shift = shift if step.center_ is None else -step.center_ * scale
    elif kind == "MinMaxScaler" and not step.clip:
        scale, shift = step.scale_, step.min_
    elif kind == "MaxAbsScaler" and not getattr(step, "clip", False):
        scale = 1.0 / step.scale_
    else:
        return None
    return np.diag(scale), shift


def _before(net: Network, name: str, step: Any) -> Network:
    n_inputs = int(step.n_features_in_)
    known = _exact_affine(step, n_inputs)
    matrix, shift = known if known is not None else _affine(name, step.transform, n_inputs)
    first = net.weights[0].astype(np.float64)
    bias = first @ shift + (0.0 if net.biases[0] is None else net.biases[0])
    weights = [first @ matrix, *(w.astype(np.float64) for w in net.weights[1:])]
    return net.replace(weights=weights, biases=[bias, *net.biases[1:]])


def _after(net: Network, model: Any) -> Network:
    transformer = model.transformer_
    exact = _exact_affine(transformer, net.n_outputs)
    if exact is None:
        matrix, shift = _affine("transformer", transformer.inverse_transform, net.n_outputs)
    else:
        scale = 1.0 / np.diag(exact[0])
        matrix, shift = np.diag(scale), -exact[1] * scale
    last = net.output_scale * net.weights[-1].astype(np.float64)
    bias = np.zeros(net.n_outputs) if net.biases[-1] is None else net.biases[-1]
    weights = [*(w.astype(np.float64) for w in net.weights[:-1]), matrix @ last]
    biases = [*net.biases[:-1], matrix @ (net.output_scale * bias.astype(np.float64)) + shift]
    return net.replace(weights=weights, biases=biases, output_scale=1.0)
