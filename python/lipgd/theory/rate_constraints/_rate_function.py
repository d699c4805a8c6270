"""Rate functions: the bounded sums behind learning-rate caps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipgd import schedules
from lipgd._check import choice, number
from lipgd.schedules import Schedule
from lipgd.theory._numbers import raised, values_of
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["RateFunction", "rate_function"]

_Shape = Callable[[DoubleArray, dict[str, float]], DoubleArray]


@dataclass(frozen=True)
class RateFunction:
    """A bounded rate function G. Use :func:`rate_function` to make one.

    It is t up to the hold and then grows more and more slowly. Call it with times.

    Attributes
    ----------
    name : str
        The kind of its decay.
    hold : float
        tau, up to where it is the identity.
    parameters : tuple of (str, float)
        What the decay takes.

    References
    ----------
    rate-constraints.md, section 4.
    """

    name: str
    hold: float
    parameters: tuple[tuple[str, float], ...]

    def __call__(self, t: ArrayLike) -> Any:
        """Return G(t).

        Parameters
        ----------
        t : float or array_like
            Times at least 0.

        Returns
        -------
        float or ndarray of float64
            Of the shape of ``t``.

        Examples
        --------
        >>> from lipgd.theory import rate_constraints
        >>> rate_constraints.rate_function("linear", hold=2, scale=4)([1.0, 2.0, 3.0, 9.0])
        array([1.   , 2.   , 2.875, 4.   ])
        """
        times = values_of("t", t)
        after = np.maximum(times - self.hold, 0.0)
        shape, _ = _KINDS[self.name][1:]
        values = np.minimum(times, self.hold) + shape(after, dict(self.parameters))
        return float(values) if values.ndim == 0 else values

    @property
    def limit(self) -> float:
        """An upper bound of G, its supremum rounded up."""
        _, total = _KINDS[self.name][1:]
        return raised(self.hold + total(dict(self.parameters)), 16.0)

    def increments(self, steps: int) -> DoubleArray:
        """Return ``G(s + 1) - G(s)`` for the first steps, whose sums telescope.

        Parameters
        ----------
        steps : int
            Number of steps.

        Returns
        -------
        ndarray of float64, shape (steps,)
            The rates of :meth:`schedule`.

        Examples
        --------
        >>> from lipgd.theory import rate_constraints
        >>> rate_constraints.rate_function("linear", hold=1, scale=2).increments(4).tolist()
        [1.0, 0.75, 0.25, 0.0]
        """
        return self.schedule().rates(steps)

    def schedule(self) -> Schedule:
        """Return the schedule whose running sum is this function.

        Examples
        --------
        >>> from lipgd.theory import rate_constraints
        >>> rate_constraints.rate_function("arctan", hold=5, scale=2).schedule()(0)
        1.0
        """
        return schedules.from_rate_function(self)


def rate_function(name: str, *, hold: float = 0.0, **parameters: float) -> RateFunction:
    """Return a rate function of the table of section 4.

    Its derivative g is 1 up to the hold and then, with u the time since:

    ================= ========================= ============================== ==================
    name              parameters                g                              limit - hold
    ================= ========================= ============================== ==================
    ``exponential``   ``decay_rate`` r          exp(-r u)                      1 / r
    ``polynomial``    ``power`` q > 1,          (1 + u / k)^-q                 k / (q - 1)
                      ``scale`` k
    ``linear``        ``scale`` k               max(1 - u / k, 0)              k / 2
    ``cosine``        ``scale`` k               (1 + cos(pi u / k)) / 2, u < k k / 2
    ``half_gaussian`` ``scale`` k               exp(-u^2 / (2 k^2))            k sqrt(pi / 2)
    ``arctan``        ``scale`` k               1 / (1 + u^2 / k^2)            k pi / 2
    ``sech_squared``  ``scale`` k               sech(u / k)^2                  k
    ``staircase``     ``scale`` k,              c^(floor(u / k) + 1)           k c / (1 - c)
                      ``factor`` 0 < c < 1
    ================= ========================= ============================== ==================

    Parameters
    ----------
    name : str
        A name of the table.
    hold : float
        tau, in steps, at least 0.
    **parameters : float
        Those of the name, all of them, in steps (or per step) and above 0.

    Returns
    -------
    RateFunction

    Raises
    ------
    TypeError, ValueError
        If the name is unknown, or a parameter is missing, unknown or out of its range.

    References
    ----------
    rate-constraints.md, section 4 ("Rate function").

    Examples
    --------
    >>> from lipgd.theory import rate_constraints
    >>> G = rate_constraints.rate_function("exponential", hold=50, decay_rate=0.01)
    >>> G(50), round(G(150), 4), round(G.limit, 4)
    (50.0, 113.2121, 150.0)
    """
    choice("name", name, _KINDS)
    limits = _KINDS[name][0]
    for key in parameters:
        if key not in limits:
            raise TypeError(f"{key} is not a parameter of {name}, expected {', '.join(limits)}")
    for key in limits:
        if key not in parameters:
            raise TypeError(f"{key} is missing, but the rate function {name} takes it")
    values = tuple((key, number(key, parameters[key], **limits[key])) for key in limits)
    return RateFunction(name, number("hold", hold, at_least=0.0), values)


def _exponential(u: DoubleArray, given: dict[str, float]) -> DoubleArray:
    values: DoubleArray = -np.expm1(-given["decay_rate"] * u) / given["decay_rate"]
    return values


def _polynomial(u: DoubleArray, given: dict[str, float]) -> DoubleArray:
    scale, power = given["scale"], given["power"] - 1.0
    values: DoubleArray = -scale / power * np.expm1(-power * np.log1p(u / scale))
    return values


def _linear(u: DoubleArray, given: dict[str, float]) -> DoubleArray:
    within = np.minimum(u, given["scale"])
    values: DoubleArray = within - within * (within / (2.0 * given["scale"]))
    return values


def _cosine(u: DoubleArray, given: dict[str, float]) -> DoubleArray:
    within = np.minimum(u / given["scale"], 1.0)
    # The sine of the supplement is exact where the angle comes near pi.
    wave = np.sin(np.pi * np.minimum(within, 1.0 - within)) / np.pi
    values: DoubleArray = 0.5 * given["scale"] * (within + wave)
    return values


def _half_gaussian(u: DoubleArray, given: dict[str, float]) -> DoubleArray:
    scaled = u / (given["scale"] * math.sqrt(2.0))
    values = np.array([math.erf(value) for value in scaled.flat]).reshape(scaled.shape)
    return given["scale"] * math.sqrt(math.pi / 2.0) * values


def _arctan(u: DoubleArray, given: dict[str, float]) -> DoubleArray:
    values: DoubleArray = given["scale"] * np.arctan(u / given["scale"])
    return values


def _sech_squared(u: DoubleArray, given: dict[str, float]) -> DoubleArray:
    values: DoubleArray = given["scale"] * np.tanh(u / given["scale"])
    return values


def _staircase(u: DoubleArray, given: dict[str, float]) -> DoubleArray:
    scale, factor = given["scale"], given["factor"]
    steps = np.floor(u / scale)
    before = -np.expm1(steps * math.log(factor)) * (scale * factor / (1.0 - factor))
    rest = np.clip(u - steps * scale, 0.0, scale)
    values: DoubleArray = before + rest * factor ** (steps + 1.0)
    return values


_POSITIVE = {"above": 0.0}
#: The limits of the parameters, the growth after the hold, and its supremum.
_KINDS: dict[
    str, tuple[dict[str, dict[str, float]], _Shape, Callable[[dict[str, float]], float]]
] = {
    "exponential": ({"decay_rate": _POSITIVE}, _exponential, lambda given: 1 / given["decay_rate"]),
    "polynomial": (
        {"power": {"above": 1.0}, "scale": _POSITIVE},
        _polynomial,
        lambda given: given["scale"] / (given["power"] - 1.0),
    ),
    "linear": ({"scale": _POSITIVE}, _linear, lambda given: given["scale"] / 2.0),
    "cosine": ({"scale": _POSITIVE}, _cosine, lambda given: given["scale"] / 2.0),
    "half_gaussian": (
        {"scale": _POSITIVE},
        _half_gaussian,
        lambda given: given["scale"] * math.sqrt(math.pi / 2.0),
    ),
    "arctan": ({"scale": _POSITIVE}, _arctan, lambda given: given["scale"] * math.pi / 2.0),
    "sech_squared": ({"scale": _POSITIVE}, _sech_squared, lambda given: given["scale"]),
    "staircase": (
        {"scale": _POSITIVE, "factor": {"above": 0.0, "below": 1.0}},
        _staircase,
        lambda given: given["scale"] * given["factor"] / (1.0 - given["factor"]),
    ),
}
