"""Checks of arguments, done once before any work.

Every message reads "<argument> <what it is>, <what was expected>".
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["choice", "flag", "integer", "number", "path_of", "shown"]

#: Characters of a value that a message shows.
_LONGEST = 80


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
    limits = (above, at_least, below, at_most)
    value = _plain(value)
    if isinstance(value, np.ndarray):
        wanted = _wanted("a finite number", *limits)
        raise TypeError(f"{name} is an array of shape {value.shape}, expected {wanted}")
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is {shown(value)}, expected {_wanted('a finite number', *limits)}")
    try:
        result = float(value)
    except OverflowError:  # of a long int
        result = math.inf
    if not _within(result, *limits):
        raise ValueError(
            f"{name} is {shown(value)}, expected {_wanted('a finite number', *limits)}"
        )
    return result


def integer(
    name: str, value: Any, *, at_least: int | None = None, at_most: int | None = None
) -> int:
    """Return ``value`` as an int within the limits, or raise."""
    limits = (None, at_least, None, at_most)
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} is {shown(value)}, expected {_wanted('an integer', *limits)}")
    result = int(value)
    if (at_least is not None and result < at_least) or (at_most is not None and result > at_most):
        raise ValueError(f"{name} is {shown(value)}, expected {_wanted('an integer', *limits)}")
    return result


def flag(name: str, value: Any) -> bool:
    """Return ``value`` as a bool, or raise."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {shown(value)}, expected True or False")
    return bool(value)


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """Return ``value`` if it is one of the options, or raise."""
    options = list(options)
    if not isinstance(value, str):
        raise TypeError(f"{name} is {shown(value)}, expected one of {', '.join(options)}")
    if value not in options:
        raise ValueError(f"{name} is {shown(value)}, expected one of {', '.join(options)}")
    return value


def path_of(name: str, value: Any) -> str:
    """Return ``value`` as the name of a file, or raise."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} is {shown(value)}, expected a path")
    path = os.fspath(value)
    if not isinstance(path, str):
        raise TypeError(f"{name} is {shown(value)}, expected a path that is text")
    return path


def shown(value: Any) -> str:
    """Return a short text of a value for a message."""
    text = repr(value)
    long = len(text) > _LONGEST or "\n" in text
    return f"an object of type {type(value).__name__}" if long else text


def _plain(value: Any) -> Any:
    """Return a scalar of NumPy as one of Python, which messages can show."""
    scalar = isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0)
    return value.item() if scalar else value


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
    value: float,
    above: float | None,
    at_least: float | None,
    below: float | None,
    at_most: float | None,
) -> bool:
    return (
        math.isfinite(value)
        and (above is None or value > above)
        and (at_least is None or value >= at_least)
        and (below is None or value < below)
        and (at_most is None or value <= at_most)
    )
