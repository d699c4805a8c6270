"""Checks of arguments, done once before any work.

Every message reads "<argument> <what it is>, <what was expected>".
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["choice", "flag", "integer", "number"]


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> float:
    """Return ``value`` as a finite float within the limits, or raise."""
    wanted = _wanted("a finite number", above, at_least, below, at_most)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (numbers.Real, np.ndarray)):
        raise TypeError(f"{name} is {value!r}, expected {wanted}")
    if isinstance(value, np.ndarray) and value.shape != ():
        raise TypeError(f"{name} is an array of shape {value.shape}, expected {wanted}")
    result = float(value)
    _within(name, result, wanted, above, at_least, below, at_most)
    return result


def integer(
    name: str, value: Any, *, at_least: int | None = None, at_most: int | None = None
) -> int:
    """Return ``value`` as an int within the limits, or raise."""
    wanted = _wanted("an integer", None, at_least, None, at_most)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {value!r}, expected {wanted}")
    result = int(value)
    if (at_least is not None and result < at_least) or (at_most is not None and result > at_most):
        raise ValueError(f"{name} is {value!r}, expected {wanted}")
    return result


def flag(name: str, value: Any) -> bool:
    """Return ``value`` as a bool, or raise."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}, expected True or False")
    return bool(value)


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """Return ``value`` if it is one of the options, or raise."""
    options = list(options)
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, expected one of {', '.join(options)}")
    if value not in options:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(options)}")
    return value


def _wanted(
    kind: str,
    above: float | None,
    at_least: float | None,
    below: float | None,
    at_most: float | None,
) -> str:
    limits = [
        f"{words} {limit:g}"
        for words, limit in (
            ("above", above),
            ("at least", at_least),
            ("below", below),
            ("at most", at_most),
        )
        if limit is not None
    ]
    return f"{kind} {' and '.join(limits)}" if limits else kind


def _within(
    name: str,
    value: float,
    wanted: str,
    above: float | None,
    at_least: float | None,
    below: float | None,
    at_most: float | None,
) -> None:
    good = (
        math.isfinite(value)
        and (above is None or value > above)
        and (at_least is None or value >= at_least)
        and (below is None or value < below)
        and (at_most is None or value <= at_most)
    )
    if not good:
        raise ValueError(f"{name} is {value!r}, expected {wanted}")
