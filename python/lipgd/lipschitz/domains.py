"""Regions of inputs: balls and boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from lipgd._arguments import real_array
from lipgd._check import number, shown
from lipgd.types import ArrayLike, DoubleArray

from ._local import Regions, slopes_on
from ._model import Model

__all__ = ["Ball", "Box", "Domain"]


@dataclass(frozen=True, eq=False, init=False)
class Ball:
    """All inputs that are not farther from a center than a radius.

    Parameters
    ----------
    center : array_like (n_inputs,)
        A finite point.
    radius : float
        At least 0; inf is the whole space.
    norm : 2 or inf
        The Euclidean or the largest-entry norm.

    Raises
    ------
    ValueError
        If the norm is another one: there is no proof for it here.

    References
    ----------
    certificates.md, section 10.

    Examples
    --------
    >>> import lipgd
    >>> ball = lipgd.lipschitz.Ball([0.0, 1.0], radius=0.5)
    >>> ball.contains([[0.0, 1.4], [0.4, 1.4]]).tolist()
    [True, False]
    """

    center: DoubleArray
    radius: float
    norm: float

    def __init__(self, center: ArrayLike, radius: float, norm: float = 2) -> None:
        object.__setattr__(self, "center", _point("center", center))
        unbounded = np.ndim(radius) == 0 and radius == math.inf
        size = math.inf if unbounded else number("radius", radius, at_least=0.0)
        object.__setattr__(self, "radius", size)
        object.__setattr__(self, "norm", input_norm(norm))

    @property
    def n_inputs(self) -> int:
        """The number of inputs."""
        return len(self.center)

    def box(self) -> Box:
        """Return the smallest box around the ball, rounded outward.

        Examples
        --------
        >>> import lipgd
        >>> bool(lipgd.lipschitz.Ball([0.5], radius=0.5).box().upper[0] >= 1.0)
        True
        """
        with np.errstate(over="ignore"):
            lower = np.nextafter(self.center - self.radius, -np.inf)
            upper = np.nextafter(self.center + self.radius, np.inf)
        return Box(lower, upper)

    def slopes(self, model: Model) -> tuple[list[DoubleArray], list[DoubleArray]]:
        """Return the least and the greatest slope of every neuron here, by hidden layer.

        Examples
        --------
        >>> import lipgd
        >>> model = lipgd.lipschitz.read([[[1.0]], [[1.0]]], activation="relu")
        >>> lipgd.lipschitz.Ball([2.0], 1.0).slopes(model)
        ([array([1.])], [array([1.])])
        """
        regions = Regions.balls(self.center[None], np.array([self.radius]), self.norm)
        return _first(*slopes_on(model, regions))

    def contains(self, X: ArrayLike) -> Any:
        """Return which rows of X (n_samples, n_inputs) are in the ball, but for rounding."""
        offset = np.asarray(X, np.float64) - self.center
        spare = 4.0 * 2.0**-52 * (self.radius + float(np.linalg.norm(self.center)))
        return np.linalg.norm(offset, self.norm, axis=1) <= self.radius + spare

    def project(self, X: DoubleArray) -> DoubleArray:
        """Return the rows of X, moved into the ball."""
        offset = X - self.center
        if self.norm == math.inf:
            return self.center + np.clip(offset, -self.radius, self.radius)
        sizes = np.linalg.norm(offset, axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = np.where(sizes > self.radius, self.radius / sizes, 1.0)
        return np.asarray(self.center + offset * factors)

    def sample(self, count: int, rng: np.random.Generator) -> DoubleArray:
        """Return random points of the ball, half of them on its surface."""
        if not math.isfinite(self.radius):
            return np.asarray(self.center + 3.0 * rng.normal(size=(count, self.n_inputs)))
        if self.norm == math.inf:
            return self.box().sample(count, rng)
        steps = rng.normal(size=(count, self.n_inputs))
        steps /= np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-300)
        radii = self.radius * rng.uniform(size=(count, 1)) ** (1.0 / self.n_inputs)
        radii[::2] = self.radius
        return np.asarray(self.center + steps * radii)

    def __str__(self) -> str:
        norm = "l2" if self.norm == 2 else "linf"
        return f"{norm} ball of radius {self.radius:g}"


@dataclass(frozen=True, eq=False, init=False)
class Box:
    """All inputs between two corners.

    Parameters
    ----------
    lower, upper : array_like (n_inputs,)
        The corners; -inf and inf are allowed.

    Examples
    --------
    >>> import lipgd
    >>> lipgd.lipschitz.Box([0.0, 0.0], [1.0, 2.0]).contains([[0.5, 2.0], [0.5, 3.0]]).tolist()
    [True, False]
    """

    lower: DoubleArray
    upper: DoubleArray

    def __init__(self, lower: ArrayLike, upper: ArrayLike) -> None:
        low, high = _point("lower", lower, finite=False), _point("upper", upper, finite=False)
        if low.shape != high.shape:
            raise ValueError(f"upper has {len(high)} entries, but lower has {len(low)}")
        if (low > high).any():
            place = int((low > high).argmax())
            raise ValueError(f"lower has {low[place]:g} in entry {place}, above {high[place]:g}")
        object.__setattr__(self, "lower", low)
        object.__setattr__(self, "upper", high)

    @property
    def n_inputs(self) -> int:
        """The number of inputs."""
        return len(self.lower)

    @property
    def center(self) -> DoubleArray:
        """The middle, as float64 rounds it; a finite corner or zero where there is no middle."""
        with np.errstate(invalid="ignore", over="ignore"):
            middle = 0.5 * self.lower + 0.5 * self.upper
        corner = np.where(np.isfinite(self.lower), self.lower, self.upper)
        corner = np.where(np.isfinite(corner), corner, 0.0)
        return np.asarray(
            np.clip(np.where(np.isfinite(middle), middle, corner), self.lower, self.upper)
        )

    @property
    def half_widths(self) -> DoubleArray:
        """How far the corners are from the center in every entry, rounded up."""
        center = self.center
        widths = np.maximum(self.upper - center, center - self.lower)
        # Where there is no width there is no rounding either.
        return np.asarray(np.where(widths > 0, np.nextafter(widths, np.inf), 0.0))

    def box(self) -> Box:
        """Return the box itself."""
        return self

    def slopes(self, model: Model) -> tuple[list[DoubleArray], list[DoubleArray]]:
        """Return the least and the greatest slope of every neuron here, by hidden layer.

        Examples
        --------
        >>> import lipgd
        >>> model = lipgd.lipschitz.read([[[1.0]], [[1.0]]], activation="relu")
        >>> lipgd.lipschitz.Box([-3.0], [-1.0]).slopes(model)
        ([array([0.])], [array([0.])])
        """
        regions = Regions.boxes(self.center[None], self.half_widths[None])
        return _first(*slopes_on(model, regions))

    def contains(self, X: ArrayLike) -> Any:
        """Return which rows of X (n_samples, n_inputs) are in the box."""
        x = np.asarray(X, np.float64)
        return ((x >= self.lower) & (x <= self.upper)).all(axis=1)

    def project(self, X: DoubleArray) -> DoubleArray:
        """Return the rows of X, moved into the box."""
        return np.clip(X, self.lower, self.upper)

    def sample(self, count: int, rng: np.random.Generator) -> DoubleArray:
        """Return random points of the box, a quarter of them corners."""
        low = np.where(np.isfinite(self.lower), self.lower, -3.0)
        high = np.where(np.isfinite(self.upper), self.upper, 3.0)
        points = rng.uniform(np.minimum(low, high), np.maximum(low, high), (count, self.n_inputs))
        signs = rng.integers(0, 2, points[::4].shape)
        points[::4] = np.where(signs, low, high)
        return self.project(points)

    def halves(self, entry: int) -> tuple[Box, Box]:
        """Return the two boxes that a cut through the center leaves."""
        cut = self.center[entry]
        upper, lower = self.upper.copy(), self.lower.copy()
        upper[entry] = lower[entry] = cut
        return Box(self.lower, upper), Box(lower, self.upper)

    def __str__(self) -> str:
        return f"box of {self.n_inputs} inputs"


Domain: TypeAlias = Ball | Box


def input_norm(norm: Any) -> float:
    """Return 2 or inf, or raise."""
    names = {"2": 2.0, "l2": 2.0, "inf": math.inf, "linf": math.inf}
    value = names.get(norm, norm) if isinstance(norm, str) else norm
    if value not in (2, math.inf) or isinstance(value, bool):
        raise ValueError(f"norm is {shown(norm)}, expected 2 or inf: no other has a proof here")
    return float(value)


def domain_of(domain: Any, n_inputs: int) -> Domain | None:
    """Return a domain that fits a network, or None for the whole space."""
    if domain is None:
        return None
    if not isinstance(domain, (Ball, Box)):
        raise TypeError(f"domain is {shown(domain)}, expected a Ball, a Box or None")
    if domain.n_inputs != n_inputs:
        raise ValueError(
            f"domain has {domain.n_inputs} entries, but the network takes {n_inputs} inputs"
        )
    return domain


def _first(
    low: list[DoubleArray], high: list[DoubleArray]
) -> tuple[list[DoubleArray], list[DoubleArray]]:
    return [rows[0] for rows in low], [rows[0] for rows in high]


def _point(name: str, value: ArrayLike, finite: bool = True) -> DoubleArray:
    array = real_array(name, value)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}, expected (n_inputs,)")
    point = np.array(array, np.float64)
    if np.isnan(point).any() or (finite and not np.isfinite(point).all()):
        raise ValueError(f"{name} has an entry that is not finite, expected numbers")
    point.flags.writeable = False
    return point
