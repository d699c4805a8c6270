"""Arithmetic of bounds: numbers at least 0 that may be infinite, alone or in arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lipgd.types import DoubleArray

__all__ = [
    "UP",
    "Numbers",
    "bisect",
    "groups_of",
    "least",
    "raised",
    "root_sum_of_squares",
    "times",
    "values_of",
]

#: One number, or one per step.
Numbers: TypeAlias = float | DoubleArray

_EPSILON = 2.0**-52
#: A factor that outweighs the rounding of the short formulas here, a few dozen operations.
UP = 1.0 + 256 * _EPSILON


def raised(value: float, units: float = 256.0) -> float:
    """Return a number raised by so many units in the last place; 0 stays 0."""
    return math.nextafter(value * (1.0 + units * _EPSILON), math.inf) if value > 0 else value


def times(*factors: Numbers) -> Numbers:
    """Return the product, in which 0 times infinity is 0."""
    result: Numbers = 1.0
    for factor in factors:
        result = _product(result, factor)
    return result


def _product(a: Numbers, b: Numbers) -> Numbers:
    if isinstance(a, (float, int)) and isinstance(b, (float, int)):
        return a * b if a and b else 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where((a == 0.0) | (b == 0.0), 0.0, a * b)


def least(*values: Numbers) -> Numbers:
    """Return the least of the values, element by element."""
    if all(isinstance(value, (float, int)) for value in values):
        return min(values)
    result: Numbers = values[0]
    for value in values[1:]:
        result = np.minimum(result, value)
    return result


def root_sum_of_squares(a: Numbers, b: Numbers) -> Numbers:
    """Return the length of (a, b)."""
    if isinstance(a, (float, int)) and isinstance(b, (float, int)):
        return math.hypot(a, b)
    result: DoubleArray = np.hypot(a, b)
    return result


def bisect(
    holds: Callable[[float], bool], low: float, high: float, tolerance: float = 0.0
) -> tuple[float, float]:
    """Shrink an interval until its relative width is at most the tolerance, or to neighbours.

    The condition holds at the lower end, and does not at the upper one.
    """
    while high - low > tolerance * high:
        # The geometric mean finds tiny roots in few steps.
        middle = (
            math.sqrt(low) * math.sqrt(high) if low > 0 and high > 4 * low else (low + high) / 2
        )
        if not low < middle < high:
            return low, high
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low, high


def values_of(name: str, value: Any, *, at_least: float = 0.0) -> npt.NDArray[np.float64]:
    """Return numbers as a float64 array, or raise; infinity counts as a number."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} is {value!r}, expected numbers at least {at_least:g}")
    numbers = array.astype(np.float64)
    good = numbers >= at_least
    if not good.all():
        worst = numbers[~good].flat[0]
        raise ValueError(f"{name} has {worst}, expected numbers at least {at_least:g}")
    return numbers


def groups_of(
    name: str,
    given: Mapping[str, Any],
    groups: tuple[str, ...],
    missing: float | None = None,
) -> dict[str, Numbers]:
    """Return one value at least 0 for every group of parameters, in their order."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} is {given!r}, expected a mapping of {', '.join(groups)}")
    unknown = [key for key in given if key not in groups]
    if unknown:
        raise ValueError(f"{name} has {unknown[0]!r}, expected names among {', '.join(groups)}")
    absent = [group for group in groups if group not in given]
    if absent and missing is None:
        raise ValueError(f"{name} has no {absent[0]!r}, expected a value for each of {groups}")
    result: dict[str, Numbers] = {}
    for group in groups:
        values = values_of(f"{name}[{group!r}]", given.get(group, missing))
        result[group] = float(values) if values.ndim == 0 else values
    return result
