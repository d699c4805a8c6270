"""A network's data with what takes derivatives of the risk, on flat arrays of parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lipgd import _core, losses
from lipgd._arguments import Targets, finite_inputs_of, targets_of
from lipgd._check import shown
from lipgd._margin_rule import trained_flags
from lipgd._threads import thread_choice
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.types import ArrayLike, DoubleArray, FloatArray

__all__ = ["DescentProblem"]


@dataclass(frozen=True)
class DescentProblem:
    """Everything in float64: the factors of noise are differences of nearly equal numbers."""

    net: Network
    x: FloatArray
    targets: Targets
    loss: Loss
    trained: npt.NDArray[np.bool_]  #: per parameter
    threads: tuple[int, bool]

    @classmethod
    def checked(
        cls,
        net: Network,
        X: ArrayLike,
        y: ArrayLike,
        loss: str | Loss,
        frozen: Iterable[str],
        n_threads: int | None,
    ) -> DescentProblem:
        """Check the arguments before any work."""
        if not isinstance(net, Network):
            raise TypeError(f"net is {shown(net)}, expected a Network")
        kind = losses.get(loss)
        double = np.dtype(np.float64)
        wide = net if net.dtype == double else _in_double(net)
        x = finite_inputs_of("X", X, net.n_inputs, double)
        values, labels = targets_of("y", y, kind, len(x), net.n_outputs, double)
        flags = trained_flags(net, frozen)
        for layer, matrix in enumerate(net.weights):
            if not matrix.any():
                raise ValueError(f"net has W{layer + 1} = 0, whose norm has no logarithm")
        trained = np.zeros(net.n_parameters, bool)
        for flag, (_, begin, end, _shape) in zip(flags, net._layout.groups, strict=True):
            trained[begin:end] = flag
        return cls(wide, x, (values, labels, None), kind, trained, thread_choice(n_threads))

    @property
    def n_samples(self) -> int:
        """The number of samples."""
        return len(self.x)

    def risk(self, theta: DoubleArray) -> float:
        """Return the mean loss over the samples."""
        return _core.risk(
            self.net._call, theta, self.x, self.targets, self.loss._code, *self.threads
        )

    def risk_gradient(self, theta: DoubleArray, weights: DoubleArray | None = None) -> DoubleArray:
        """Return the mean of w_i g_i, zero where nothing is trained; weights may be negative."""
        targets = (*self.targets[:2], weights)
        _, flat = _core.risk_and_gradient(
            self.net._call, theta, self.x, targets, self.loss._code, *self.threads
        )
        gradient: DoubleArray = np.where(self.trained, flat, 0.0)
        return gradient

    def hessian_product(self, theta: DoubleArray, direction: DoubleArray) -> DoubleArray:
        """Return the Hessian of the risk times a direction."""
        flat = _core.hessian_vector_product(
            self.net._call, theta, direction, self.x, self.targets, self.loss._code, *self.threads
        )
        product: DoubleArray = np.where(self.trained, flat, 0.0)
        return product

    def slopes(self, theta: DoubleArray, direction: DoubleArray) -> DoubleArray:
        """Return <direction, g_i> of every sample, (n_samples,)."""
        return _core.slopes_along(
            self.net._call, theta, direction, self.x, self.targets, self.loss._code
        )

    def layer_rows(self, theta: DoubleArray) -> tuple[list[FloatArray], list[FloatArray]]:
        """Return the inputs and signals of all layers, each (n_samples, width)."""
        return _core.layer_rows(self.net._call, theta, self.x, self.targets, self.loss._code)

    def log_norms(self, theta: DoubleArray) -> DoubleArray:
        """Return the log norms of the layers."""
        weights = self.net._with_flat(theta.copy()).weights
        return np.log([np.linalg.svd(w, compute_uv=False)[0] for w in weights])

    def norm_gradient(self, theta: DoubleArray) -> DoubleArray:
        """Return the gradient of Z, the sum of log norms, by all parameters."""
        flat = np.zeros_like(theta)
        for name, begin, end, shape in self.net._layout.groups:
            if not name.startswith("W"):
                continue
            left, values, right = np.linalg.svd(theta[begin:end].reshape(shape))
            flat[begin:end] = (np.outer(left[:, 0], right[0]) / values[0]).ravel()
        return np.where(self.trained, flat, 0.0)

    def decays(self, weight_decay: dict[str, Any]) -> DoubleArray:
        """Return the decay of every parameter."""
        flat = np.zeros(len(self.trained))
        for name, begin, end, _ in self.net._layout.groups:
            flat[begin:end] = weight_decay.get(name, 0.0)
        return flat


def _in_double(net: Network) -> Network:
    return net.replace(
        weights=[w.astype(np.float64) for w in net.weights],
        biases=[None if b is None else b.astype(np.float64) for b in net.biases],
    )
