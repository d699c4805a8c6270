"""The units in which a training works, and the way back to those of the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lipgd.network import Network
from lipgd.sklearn._fit import Data
from lipgd.types import DoubleArray, FloatArray

__all__ = ["Scales", "largest_r2", "scales_of"]

#: Exponents of powers of two that leave room for weights and risks on both sides.
_LARGEST_EXPONENT = {np.dtype(np.float64): 250, np.dtype(np.float32): 30}


@dataclass(frozen=True)
class Scales:
    """Inputs are centred and divided by one number, outputs are divided by another.

    Both numbers are powers of two: with them weights, Lipschitz constants and risks change their
    units without rounding. Centring changes the first biases only, which no Lipschitz constant
    depends on. The defaults change nothing.
    """

    center: DoubleArray | None = None
    inputs: float = 1.0
    outputs: float = 1.0
    #: Whether they come from samples that vary: otherwise others should be found when some do.
    found: bool = True

    def data(self, data: Data) -> Data:
        """Return samples in the units of the training."""
        X, y = data.X, data.y
        if self.center is not None:
            X = _centred(X, self.center)
        if self.inputs != 1.0:
            X = X * X.dtype.type(1.0 / self.inputs)
        if self.outputs != 1.0:
            y = y * y.dtype.type(1.0 / self.outputs)
        return Data(X, y, data.weight)

    def inward(self, net: Network) -> Network:
        """Return the network for the units of the training of one for those of the data."""
        shift = None if self.center is None else net.weights[0] @ self.center
        return _changed(net, shift, self.inputs, 1.0 / self.outputs)

    def outward(self, net: Network) -> Network:
        """Return the network for the units of the data of one for those of the training."""
        shift = None if self.center is None else net.weights[0] @ (self.center / -self.inputs)
        return _changed(net, shift, 1.0 / self.inputs, self.outputs)

    def limit(self, lipschitz: float) -> float:
        """Return a Lipschitz constant in the units of the training."""
        return lipschitz * self.inputs / self.outputs

    def decay(self, alpha: float, n_layers: int) -> dict[str, float]:
        """Return the decay of each matrix that is the one of ``alpha`` in the units of the data."""
        rates = [alpha / self.outputs**2] * n_layers
        rates[0] /= self.inputs**2
        rates[-1] *= self.outputs**2
        return {f"W{layer}": rate for layer, rate in enumerate(rates, 1) if rate > 0.0}


def scales_of(data: Data, with_outputs: bool, centred: bool) -> Scales:
    """Return the units in which samples vary by about one."""
    center = _mean(data.X, data.weight)
    spreads = [_spread(data.X, center, data.weight) / math.sqrt(data.X.shape[1]), 1.0]
    if with_outputs:
        y = data.y.reshape(len(data.y), -1)
        spreads[1] = _spread(y, _mean(y, data.weight), data.weight) / math.sqrt(y.shape[1])
    inputs, outputs = (_power_of_two(spread, data.X.dtype) for spread in spreads)
    return Scales(center if centred else None, inputs, outputs, found=min(spreads) > 0.0)


def largest_r2(data: Data, lipschitz: float) -> float:
    """Return what the R^2 of no function with a Lipschitz constant exceeds on samples.

    The variance of its values is at most L^2 times that of the inputs, because both are means over
    pairs of samples; and the mean square of y - f is at least the square of the difference of the
    standard deviations.
    """
    y = data.y.reshape(len(data.y), -1)
    targets = _spread(y, _mean(y, data.weight), data.weight)
    reach = lipschitz * _spread(data.X, _mean(data.X, data.weight), data.weight)
    return 1.0 if not reach < targets else 1.0 - (1.0 - reach / targets) ** 2


def _mean(values: FloatArray, weight: FloatArray | None) -> DoubleArray:
    if weight is None:
        return np.asarray(np.mean(values, axis=0, dtype=np.float64))
    shares = weight.astype(np.float64) / weight.sum(dtype=np.float64)
    return np.asarray(np.einsum("i,ij->j", shares, values))


def _centred(values: FloatArray, center: DoubleArray) -> FloatArray:
    """Return new differences, rounded once."""
    return np.subtract(values, center, out=np.empty_like(values), casting="same_kind")


def _spread(values: FloatArray, center: DoubleArray, weight: FloatArray | None) -> float:
    """Return the root of the mean square distance from the centre."""
    shifted = _centred(values, center)
    largest = float(max(shifted.max(), -shifted.min()))
    if not 0.0 < largest < math.inf:
        return 0.0
    shifted /= shifted.dtype.type(largest)
    squares = np.einsum("ij,ij->i", shifted, shifted)
    return largest * math.sqrt(np.average(squares.astype(np.float64), weights=weight))


def _power_of_two(spread: float, dtype: np.dtype[np.floating]) -> float:
    if spread == 0.0:
        return 1.0
    limit = _LARGEST_EXPONENT[dtype]
    return math.ldexp(1.0, max(-limit, min(limit, round(math.log2(spread)))))


def _changed(net: Network, shift: DoubleArray | None, inputs: float, outputs: float) -> Network:
    """Return a network with its first bias moved, and its first and last layer multiplied."""
    weights, biases = list(net.weights), list(net.biases)
    kind = net.dtype.type
    if shift is not None and biases[0] is not None:
        biases[0] = (biases[0].astype(np.float64) + shift).astype(net.dtype)
    weights[0] = weights[0] * kind(inputs)
    weights[-1] = weights[-1] * kind(outputs)
    if biases[-1] is not None:
        biases[-1] = biases[-1] * kind(outputs)
    return net.replace(weights=weights, biases=biases)
