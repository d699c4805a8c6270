"""Schedules made of what users have: numbers, arrays, functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .._check import number
from ..types import ArrayLike
from . import _kinds
from ._base import Schedule

#: What every function that takes a schedule accepts.
ScheduleLike: TypeAlias = float | Schedule | Callable[[int], Any] | ArrayLike

_EXPECTED = "expected a number, a Schedule, a callable of the step or an array of rates"


def from_array(a: ArrayLike) -> Schedule:
    """Return the schedule that reads its rates from an array.

    Parameters
    ----------
    a : array_like of float, shape (n,)
        The rates, at least 0. They are copied.

    Returns
    -------
    Schedule
        It ends after n steps: a later step raises ValueError. To go on with 0, use
        ``join([a, 0.0], [len(a)])``. Its limit is the sum of the rates, rounded up.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedules.from_array([0.3, 0.2, 0.1])(2)
    0.1
    """
    return _from_array("a", a)


def from_rate_function(G: Callable[[Any], Any], limit: float | None = None) -> Schedule:
    """Return the schedule whose running sum is a rate function.

    Parameters
    ----------
    G : callable
        Nondecreasing function of the time with G(0) = 0. It is called with arrays of times
        (float64, shape (n,)) if it can take them, else with one float after the other.
    limit : float, optional
        Upper bound of G, at least 0 or inf; by default ``G.limit``, or inf where G has none.

    Returns
    -------
    Schedule
        Its rates are ``G(step + 1) - G(step)``. Differences within the rounding of G, at most
        4 units in the last place, count as 0.

    Raises
    ------
    ValueError
        If G(0) is not 0; at evaluation, if G decreases or exceeds its limit.

    References
    ----------
    rate-constraints.md, section 4.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedule = schedules.from_rate_function(lambda t: t / (1 + t), limit=1.0)
    >>> schedule.rates(2).round(4).tolist()
    [0.5, 0.1667]
    """
    if not callable(G):
        raise TypeError(f"G is {G!r}, expected a callable of the time")
    if limit is None:
        limit = getattr(G, "limit", math.inf)
    bound = limit if limit == math.inf else number("limit", limit, at_least=0)
    start = float(G(0.0))
    if start != 0.0:
        raise ValueError(f"G(0) is {start}, expected 0")
    return _kinds.FromRateFunction(G, float(bound), _takes_arrays(G))


def resolve(rate: ScheduleLike, name: str = "rate") -> Schedule:
    """Return anything that describes rates as a schedule.

    Parameters
    ----------
    rate : Schedule, float, callable or array of shape (n,)
        A callable takes the step, an int, and returns a number; its limit counts as inf.
    name : str
        The argument that messages speak of.

    Returns
    -------
    Schedule
        The schedule itself, if it is one.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedules.resolve(0.1)
    constant(rate=0.1)
    >>> schedules.resolve(lambda step: 1.0 / (step + 1))(3)
    0.25
    """
    if isinstance(rate, Schedule):
        return rate
    if callable(rate):
        return _kinds.FromCallable(rate, name)
    if np.ndim(_numeric(name, rate)) == 0:
        return _kinds.Constant(number(name, np.asarray(rate)[()], at_least=0))
    return _from_array(name, rate)


def _numeric(name: str, value: Any) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value)
    except ValueError as error:  # a ragged list
        raise ValueError(f"{name} is {value!r}, {_EXPECTED}") from error
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} is {value!r}, {_EXPECTED}")
    return array


def _from_array(name: str, value: Any) -> Schedule:
    rates = np.array(_numeric(name, value), dtype=np.float64)
    if rates.ndim != 1:
        raise ValueError(f"{name} has shape {rates.shape}, expected one rate per step")
    good = np.isfinite(rates) & (rates >= 0)
    if not good.all():
        first = int(np.argmin(good))
        raise ValueError(
            f"{name} is {rates[first]} at step {first}, expected a finite number at least 0"
        )
    rates.flags.writeable = False
    return _kinds.FromArray(rates)


def _takes_arrays(G: Callable[[Any], Any]) -> bool:
    times = np.array([0.0, 1.0])
    try:
        values = np.asarray(G(times), dtype=np.float64)
    except (TypeError, ValueError):
        return False
    return values.shape == times.shape
