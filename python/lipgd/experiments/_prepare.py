"""Splitting and standardizing by scikit-learn, and what must be kept to undo it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from lipgd._files import write_npz

__all__ = ["Scaling", "split", "standardize"]

Array = npt.NDArray[Any]

_KIND, _VERSION = "lipgd scaling", 1


@dataclass(frozen=True, eq=False)
class Scaling:
    """Means and scales: what a network sees is ``(x - mean) / scale``.

    Attributes
    ----------
    input_mean, input_scale : ndarray, shape (n_inputs,)
        Of the features.
    target_mean, target_scale : ndarray, shape (n_outputs,), or None
        Of the targets, None if they are as they were.
    """

    input_mean: Array
    input_scale: Array
    target_mean: Array | None
    target_scale: Array | None

    def inputs(self, X: Array) -> Array:
        """Return samples as the network sees them."""
        return (X - self.input_mean) / self.input_scale

    def targets(self, y: Array) -> Array:
        """Return targets as the network sees them."""
        if self.target_mean is None or self.target_scale is None:
            return y
        mean, scale = (self.target_mean, self.target_scale)
        return (y - mean[0]) / scale[0] if y.ndim == 1 else (y - mean) / scale

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the means and scales to an ``.npz`` file that NumPy reads too."""
        arrays = {name: value for name, value in vars(self).items() if value is not None}
        write_npz(path, arrays, _KIND, _VERSION)


def standardize(X: Array, y: Array, *, targets: bool) -> Scaling:
    """Return the scaling that gives the features, and maybe the targets, mean 0 and deviation 1."""
    mean, scale = _fit(X)
    if not targets:
        return Scaling(mean, scale, None, None)
    return Scaling(mean, scale, *_fit(y.reshape(len(y), -1)))


def split(
    X: Array, y: Array, *, fraction: float, seed: int, stratify: bool
) -> tuple[Array, Array, Array, Array]:
    """Return samples and targets of the training part, then of the test part."""
    module = _scikit_learn("model_selection")
    X_train, X_test, y_train, y_test = module.train_test_split(
        X, y, test_size=fraction, random_state=seed, stratify=y if stratify else None
    )
    return X_train, y_train, X_test, y_test


def _fit(values: Array) -> tuple[Array, Array]:
    scaler = _scikit_learn("preprocessing").StandardScaler().fit(values)
    return np.asarray(scaler.mean_, np.float64), np.asarray(scaler.scale_, np.float64)


def _scikit_learn(module: str) -> Any:
    try:
        return import_module(f"sklearn.{module}")
    except ImportError as error:
        raise ImportError(
            'splitting and standardizing need scikit-learn: pip install "lipgd[demo]"'
        ) from error
