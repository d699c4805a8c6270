"""Slopes of the neurons on a region of inputs (certificates.md, section 10)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipgd.types import DoubleArray

from ._ellipsoid import Ellipsoid
from ._model import Model, gamma
from ._ranges import slope_range, value_range

__all__ = ["Region", "slopes_on"]

#: Sums of rounded bounds are themselves rounded; this much covers them.
_SAFELY = 1.0 + 1e-10
_TINY = 2.0**-1000
#: Ellipsoids cost the cube of the width; beyond this the other two enclosures must do.
_WIDEST = 2000


@dataclass(frozen=True)
class Region:
    """Inputs around a center: bounds of their distances from it, entry by entry and Euclidean."""

    center: DoubleArray
    entries: DoubleArray
    radius: float

    @classmethod
    def around(cls, center: DoubleArray, entries: DoubleArray) -> Region:
        """Return the region whose only limits are those of single entries."""
        return cls(center, entries, _norm(entries))

    def reach(self, rows: DoubleArray) -> DoubleArray:
        """Return how far the values of linear functions can be from those at the center."""
        across = np.linalg.norm(rows, axis=1) * self.radius
        return np.asarray(np.minimum(across, np.abs(rows) @ self.entries) * _SAFELY + _TINY)


def slopes_on(model: Model, region: Region) -> tuple[list[DoubleArray], list[DoubleArray]]:
    """Return the least and the greatest slope of every neuron on a region, by hidden layer.

    Every rounding error is counted. A neuron of which nothing is known has its global range.
    """
    low: list[DoubleArray] = []
    high: list[DoubleArray] = []
    with np.errstate(all="ignore"):
        walk = _Walk(model, region)
        for layer in range(len(model.weights) - 1):
            least, greatest = walk.layer(layer)
            low.append(least)
            high.append(greatest)
    return low, high


class _Walk:
    """The state of the propagation before a layer.

    ``point`` are the values at the center, off by at most ``point_error``; ``bottom`` and ``top``
    enclose the values on the domain; ``linear`` maps the inputs so that differences from the center
    are ``linear @ difference`` within ``linear_rest``, and ``linear`` itself is off by at most
    ``linear_error`` in the Euclidean norm of each row.
    """

    def __init__(self, model: Model, region: Region) -> None:
        self.model, self.region = model, region
        self.point = region.center
        self.point_error = np.zeros(len(self.point))
        self.bottom = region.center - region.entries * _SAFELY
        self.top = region.center + region.entries * _SAFELY
        self.spread = region.entries
        self.linear: DoubleArray | None = None
        self.linear_rest = self.linear_error = np.zeros(len(self.point))
        self.ellipsoid: Ellipsoid | None = Ellipsoid(self._half_axes())

    def _half_axes(self) -> DoubleArray:
        """Return the half-axes of an ellipsoid around the region: of a box, those of least sum."""
        entries, radius = self.region.entries, self.region.radius
        if (entries == radius).all():
            return entries
        # sum (x_j / a_j)^2 <= 1 with a_j^2 = r_j (r_1 + ... + r_d).
        return np.asarray(np.sqrt(entries * entries.sum()) * _SAFELY)

    def layer(self, layer: int) -> tuple[DoubleArray, DoubleArray]:
        """Go through a matrix and an activation, and return the slopes."""
        model = self.model
        matrix, bias = model.weights[layer], model.biases[layer]
        error, bias_error = model.weight_errors[layer], model.bias_errors[layer]
        center, center_error = self._center(matrix, bias, error, bias_error)
        spread = self._spread(matrix, error)
        low, high = self._interval(matrix, bias, error, bias_error)
        low = np.fmax(low, (center - (center_error + spread)) - _eps(center))
        high = np.fmin(high, (center + (center_error + spread)) + _eps(center))
        activation = model.activations[layer]
        least, greatest = slope_range(activation, low, high)
        if layer + 2 < len(model.weights):  # behind the last hidden layer nobody asks
            self._activate(layer, center, center_error, spread, low, high, least, greatest)
        return least, greatest

    def _center(
        self, matrix: DoubleArray, bias: DoubleArray, error: float, bias_error: float
    ) -> tuple[DoubleArray, DoubleArray]:
        """Return the values at the center behind a matrix, and how far off they may be."""
        sizes = np.abs(matrix)
        value = matrix @ self.point + bias
        rounding = gamma(matrix.shape[1] + 2) * (sizes @ np.abs(self.point) + np.abs(bias))
        carried = sizes @ self.point_error + error * _norm(np.abs(self.point) + self.point_error)
        return value, (rounding + carried + bias_error) * _SAFELY + _TINY

    def _spread(self, matrix: DoubleArray, error: float) -> DoubleArray:
        """Return how far the values on the domain can be from those at the center."""
        sizes, region = np.abs(matrix), self.region
        off = error * _norm(self.spread)
        bounds = [(sizes @ self.spread + off) * _SAFELY + _TINY]
        if self.linear is None:
            self.linear, self.linear_rest = matrix, np.full(len(matrix), off)
            self.linear_error = np.zeros(len(matrix))
        else:
            rows = np.linalg.norm(self.linear, axis=1)
            self.linear_error = (
                sizes @ self.linear_error + gamma(matrix.shape[1] + 3) * (sizes @ rows)
            ) * _SAFELY
            self.linear = matrix @ self.linear
            self.linear_rest = (sizes @ self.linear_rest + off) * _SAFELY
        whole = self.linear_rest + self.linear_error * region.radius
        bounds.append((region.reach(self.linear) + whole) * _SAFELY + _TINY)
        if self.ellipsoid is not None:
            if max(matrix.shape) <= _WIDEST:
                self.image = self.ellipsoid.through(matrix, error)
                bounds.append(np.sqrt(np.diag(self.image)) * _SAFELY + _TINY)
            else:
                self.ellipsoid = None
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
        sizes = np.abs(matrix)
        reach = np.abs(middle) + half
        value = matrix @ middle + bias
        width = sizes @ half + gamma(matrix.shape[1] + 2) * (sizes @ np.abs(middle) + np.abs(bias))
        width = (width + error * _norm(reach) + bias_error) * _SAFELY + _TINY
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
        assert self.linear is not None
        rest = np.abs(middle) * self.linear_rest + half * spread
        self.linear_rest = np.fmin(rest, np.inf) * _SAFELY + _TINY
        rows = np.linalg.norm(self.linear, axis=1)
        self.linear_error = (np.abs(middle) * self.linear_error + 2.0**-52 * rows) * _SAFELY
        self.linear = middle[:, None] * self.linear
        if self.ellipsoid is not None:
            self.ellipsoid.activate(self.image, least, greatest)


def _norm(vector: DoubleArray) -> float:
    return float(np.linalg.norm(vector)) * _SAFELY


def _eps(value: DoubleArray) -> DoubleArray:
    return 4.0 * 2.0**-53 * np.abs(value)
