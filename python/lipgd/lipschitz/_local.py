"""Slopes of the neurons on regions of inputs (certificates.md, section 10).

Regions come in stacks: everything here has a leading axis, so that many samples cost a few calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipgd.types import DoubleArray

from ._ellipsoid import Ellipsoids
from ._model import Model, gamma
from ._ranges import slope_range, value_range

__all__ = ["Regions", "slopes_on"]

#: Sums of rounded bounds are themselves rounded; this much covers them.
_SAFELY = 1.0 + 1e-10
_TINY = 2.0**-1000
#: Ellipsoids cost the cube of the width; beyond this the other two enclosures must do.
_WIDEST = 2000


@dataclass(frozen=True)
class Regions:
    """Inputs around centers: bounds of their distances from them, entry by entry and Euclidean.

    ``center`` and ``entries`` have a row per region, ``radius`` a number.
    """

    center: DoubleArray
    entries: DoubleArray
    radius: DoubleArray

    @classmethod
    def balls(cls, center: DoubleArray, radius: DoubleArray, norm: float) -> Regions:
        """Return balls in the Euclidean or the largest-entry norm."""
        entries = np.broadcast_to(radius[:, None], center.shape)
        return cls(center, entries, radius if norm == 2 else _norm(entries))

    @classmethod
    def boxes(cls, center: DoubleArray, entries: DoubleArray) -> Regions:
        """Return the regions whose only limits are those of single entries."""
        return cls(center, entries, _norm(entries))

    def reach(self, rows: DoubleArray) -> DoubleArray:
        """Return how far the values of linear functions can be from those at the centers."""
        across = np.linalg.norm(rows, axis=2) * self.radius[:, None]
        return np.asarray(np.minimum(across, _times(np.abs(rows), self.entries)) * _SAFELY + _TINY)


def slopes_on(model: Model, regions: Regions) -> tuple[list[DoubleArray], list[DoubleArray]]:
    """Return the least and the greatest slope of every neuron on regions, by hidden layer.

    The arrays have a row per region. Every rounding error is counted. A neuron of which nothing is
    known has its global range.
    """
    low: list[DoubleArray] = []
    high: list[DoubleArray] = []
    with np.errstate(all="ignore"):
        walk = _Walk(model, regions)
        for layer in range(len(model.weights) - 1):
            least, greatest = walk.layer(layer)
            low.append(least)
            high.append(greatest)
    return low, high


class _Walk:
    """The state of the propagation before a layer.

    ``point`` are the values at the centers, off by at most ``point_error``; ``bottom`` and ``top``
    enclose the values on the regions; ``linear`` maps the inputs so that differences from a center
    are ``linear @ difference`` within ``linear_rest``, and ``linear`` itself is off by at most
    ``linear_error`` in the Euclidean norm of each row.
    """

    def __init__(self, model: Model, regions: Regions) -> None:
        self.model, self.regions = model, regions
        self.point = regions.center
        self.point_error = np.zeros_like(self.point)
        self.bottom = regions.center - regions.entries * _SAFELY
        self.top = regions.center + regions.entries * _SAFELY
        self.spread = regions.entries
        self.linear: DoubleArray | None = None
        self.linear_rest = self.linear_error = np.zeros_like(self.point)
        self.ellipsoids: Ellipsoids | None = Ellipsoids(self._half_axes())

    def _half_axes(self) -> DoubleArray:
        """Return the half-axes of ellipsoids around the regions: of boxes, those of least sum."""
        entries, radius = self.regions.entries, self.regions.radius
        # sum (x_j / a_j)^2 <= 1 with a_j^2 = r_j (r_1 + ... + r_d).
        around = np.sqrt(entries * entries.sum(axis=1, keepdims=True)) * _SAFELY
        is_ball = (entries == radius[:, None]).all(axis=1, keepdims=True)
        return np.asarray(np.where(is_ball, entries, around))

    def layer(self, layer: int) -> tuple[DoubleArray, DoubleArray]:
        """Go through a matrix and an activation, and return the slopes."""
        model = self.model
        matrix, bias = model.weights[layer], model.biases[layer]
        error, bias_error = model.weight_errors[layer], model.bias_errors[layer]
        last = layer + 2 == len(model.weights)  # behind the last hidden layer nobody asks
        center, center_error = self._center(matrix, bias, error, bias_error)
        # Behind the first matrix the linear bounds are the exact ranges.
        spread = self._spread(matrix, error, layer > 0 or not last)
        low, high = self._interval(matrix, bias, error, bias_error)
        low = np.fmax(low, (center - (center_error + spread)) - _eps(center))
        high = np.fmin(high, (center + (center_error + spread)) + _eps(center))
        activation = model.activations[layer]
        least, greatest = slope_range(activation, low, high)
        if not last:
            self._activate(layer, center, center_error, spread, low, high, least, greatest)
        return least, greatest

    def _center(
        self, matrix: DoubleArray, bias: DoubleArray, error: float, bias_error: float
    ) -> tuple[DoubleArray, DoubleArray]:
        """Return the values at the centers behind a matrix, and how far off they may be."""
        sizes, far = np.abs(matrix).T, np.abs(self.point)
        value = self.point @ matrix.T + bias
        rounding = gamma(matrix.shape[1] + 2) * (far @ sizes + np.abs(bias))
        carried = self.point_error @ sizes + error * _norm(far + self.point_error)[:, None]
        return value, (rounding + carried + bias_error) * _SAFELY + _TINY

    def _spread(self, matrix: DoubleArray, error: float, ellipsoids: bool) -> DoubleArray:
        """Return how far the values on the regions can be from those at the centers."""
        sizes, regions = np.abs(matrix).T, self.regions
        off = error * _norm(self.spread)[:, None]
        bounds = [(self.spread @ sizes + off) * _SAFELY + _TINY]
        if self.linear is None:
            self.linear = matrix[None]
            self.linear_rest = np.broadcast_to(off, (len(off), len(matrix)))
            self.linear_error = np.zeros(len(matrix))
        else:
            rows = np.linalg.norm(self.linear, axis=2)
            depth = gamma(matrix.shape[1] + 3)
            self.linear_error = (self.linear_error @ sizes + depth * (rows @ sizes)) * _SAFELY
            self.linear = matrix @ self.linear
            self.linear_rest = (self.linear_rest @ sizes + off) * _SAFELY
        whole = self.linear_rest + self.linear_error * regions.radius[:, None]
        bounds.append((regions.reach(self.linear) + whole) * _SAFELY + _TINY)
        if max(matrix.shape) > _WIDEST:
            self.ellipsoids = None
        if self.ellipsoids is not None and ellipsoids:
            self.image = self.ellipsoids.through(matrix, error)
            bounds.append(np.sqrt(np.diagonal(self.image, axis1=1, axis2=2)) * _SAFELY + _TINY)
        best = bounds[0]
        for other in bounds[1:]:
            best = np.fmin(best, other)
        return np.where(np.isnan(best), np.inf, best)

    def _interval(
        self, matrix: DoubleArray, bias: DoubleArray, error: float, bias_error: float
    ) -> tuple[DoubleArray, DoubleArray]:
        """Return what interval arithmetic says of the values behind a matrix."""
        middle = 0.5 * self.bottom + 0.5 * self.top
        half = np.maximum(self.top - middle, middle - self.bottom) * _SAFELY + _TINY
        sizes, far = np.abs(matrix).T, np.abs(middle)
        value = middle @ matrix.T + bias
        width = half @ sizes + gamma(matrix.shape[1] + 2) * (far @ sizes + np.abs(bias))
        width = (width + error * _norm(far + half)[:, None] + bias_error) * _SAFELY + _TINY
        return value - width - _eps(value), value + width + _eps(value)

    def _activate(
        self,
        layer: int,
        center: DoubleArray,
        center_error: DoubleArray,
        spread: DoubleArray,
        low: DoubleArray,
        high: DoubleArray,
        least: DoubleArray,
        greatest: DoubleArray,
    ) -> None:
        """Go through an activation whose slopes are known."""
        activation = self.model.activations[layer]
        steepest = np.maximum(np.abs(least), np.abs(greatest))
        bottom, top = value_range(activation, low, high)
        near = value_range(activation, center - center_error, center + center_error)
        self.point = np.clip(np.asarray(activation(center), np.float64), *near)
        self.point_error = np.maximum(near[1] - self.point, self.point - near[0]) * _SAFELY + _TINY
        self.spread = np.fmin(steepest * spread, top - bottom) * _SAFELY + _TINY
        self.bottom, self.top = bottom, top
        middle = 0.5 * (least + greatest)
        half = np.nextafter(np.maximum(greatest - middle, middle - least), np.inf)
        half = np.where(greatest > least, half, 0.0)
        assert self.linear is not None
        rest = np.abs(middle) * self.linear_rest + half * spread
        self.linear_rest = np.fmin(rest, np.inf) * _SAFELY + _TINY
        rows = np.linalg.norm(self.linear, axis=2)
        self.linear_error = (np.abs(middle) * self.linear_error + 2.0**-52 * rows) * _SAFELY
        self.linear = middle[:, :, None] * self.linear
        if self.ellipsoids is not None:
            self.ellipsoids.activate(self.image, least, greatest)


def _times(rows: DoubleArray, vectors: DoubleArray) -> DoubleArray:
    """Return the product of each matrix of a stack, or of the only one, with its vector."""
    if len(rows) == 1:
        return np.asarray(vectors @ rows[0].T)
    return np.asarray((rows @ vectors[:, :, None])[:, :, 0])


def _norm(rows: DoubleArray) -> DoubleArray:
    with np.errstate(over="ignore"):
        return np.asarray(np.linalg.norm(rows, axis=1) * _SAFELY)


def _eps(value: DoubleArray) -> DoubleArray:
    return 4.0 * 2.0**-53 * np.abs(value)
