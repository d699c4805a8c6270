"""Nonlinear conjugate gradients with a line search, which a fixed rate cannot do justice to.

With a fixed small rate two gradients in a row are nearly the same, the factor of Polak and Ribiere
is not above zero, and the method restarts at nearly every step: it is gradient descent. Here every
step goes to where the risk along the direction has lost nearly all of its slope.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import lipgd
from lipgd.experiments.rate_constraints._trainings import Data
from lipgd.types import DoubleArray

__all__ = ["Conjugate", "conjugate_gradients"]

#: The slope at the end of a search, relative to that at its start, and the trials it may take.
_FLAT, _TRIALS = 0.1, 12


@dataclass(frozen=True, eq=False)
class Conjugate:
    """What a run of conjugate gradients leaves.

    Attributes
    ----------
    network : Network
        The last network.
    iterations, restarts : int
        Searches, and how many of them began along the negative gradient after the first.
    evaluations : list of int
        Gradients computed when each of ``networks`` was reached.
    networks : list of Network
        The start and the network after every search.
    """

    network: lipgd.Network
    iterations: int
    restarts: int
    evaluations: list[int]
    networks: list[lipgd.Network]


def conjugate_gradients(
    net: lipgd.Network, data: Data, loss: str, evaluations: int, factor: Any = None
) -> Conjugate:
    """Run Polak and Ribiere's method with so many evaluations of the gradient.

    The step of search k is ``factor(k)`` times what the line search found, 1 by default: a schedule
    for a method that has no rate.
    """
    risk = _Risk(net, data, loss)
    point = risk.flat(net)
    gradient = risk.gradient(point)
    direction, length = -gradient, 1.0 / max(float(np.linalg.norm(gradient)), 1e-12)
    iterations = restarts = 0
    networks, counts = [net], [risk.calls]
    while risk.calls < evaluations and gradient.any():
        if direction @ gradient >= 0:
            direction, restarts = -gradient, restarts + 1
        length = _search(risk, point, direction, float(direction @ gradient), length)
        if length == 0.0:
            break
        part = 1.0 if factor is None else float(factor(iterations))
        point = point + part * length * direction
        new = risk.gradient(point)
        conjugacy = max(0.0, float(new @ (new - gradient)) / float(gradient @ gradient))
        restarts += conjugacy == 0.0
        direction, gradient = conjugacy * direction - new, new
        iterations += 1
        networks.append(risk.network(point))
        counts.append(risk.calls)
    return Conjugate(networks[-1], iterations, restarts, counts, networks)


class _Risk:
    """The gradient of the risk as a function of one vector, and how often it was asked."""

    def __init__(self, net: lipgd.Network, data: Data, loss: str) -> None:
        self._net, self._data, self._loss = net, data, loss
        self._shapes = [array.shape for _, array in net.named()]
        self.calls = 0

    def flat(self, parameters: Any) -> DoubleArray:
        """Return all parameters as one vector."""
        return np.concatenate([array.ravel() for _, array in parameters.named()])

    def network(self, point: DoubleArray) -> lipgd.Network:
        """Return the network of a vector."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes])[:-1]
        arrays = [a.reshape(s) for a, s in zip(np.split(point, ends), self._shapes, strict=True)]
        return lipgd.Network(arrays[::2], arrays[1::2], self._net.activation)

    def gradient(self, point: DoubleArray) -> DoubleArray:
        """Return the gradient."""
        self.calls += 1
        data = self._data
        found = lipgd.risk_and_gradient(
            self.network(point), data.X, data.y, loss=self._loss, n_threads=1
        )
        return self.flat(found[1])


def _search(
    risk: _Risk, point: DoubleArray, direction: DoubleArray, slope: float, guess: float
) -> float:
    """Return a step along a direction at which little of the slope is left, 0 if there is none."""
    low, low_slope, high, high_slope = 0.0, slope, np.inf, np.nan
    step = guess
    for _ in range(_TRIALS):
        here = float(risk.gradient(point + step * direction) @ direction)
        if abs(here) <= -_FLAT * slope:
            return step
        if here < 0:
            low, low_slope = step, here
        else:
            high, high_slope = step, here
        if np.isinf(high):
            step *= 2.0
        else:  # where a straight slope would vanish, but not too near the ends
            part = low_slope / (low_slope - high_slope)
            step = low + (high - low) * min(max(part, 0.1), 0.9)
    return low
