"""Schedules out of the dictionaries that ``Schedule.to_dict`` makes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from . import _make
from ._base import Schedule
from ._sources import from_array


def from_dict(data: Mapping[str, Any]) -> Schedule:
    """Return the schedule that :meth:`Schedule.to_dict` described.

    Parameters
    ----------
    data : mapping
        The key "kind" names a function of this module, the others are its arguments.

    Returns
    -------
    Schedule
        Equal to the one that was described.

    Raises
    ------
    ValueError
        If the kind is unknown, or an argument is missing, unknown or out of its range.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedule = schedules.warmup(schedules.exponential(0.1, 0.01), 5)
    >>> schedules.from_dict(schedule.to_dict()) == schedule
    True
    """
    if not isinstance(data, Mapping):
        raise TypeError(f"data is {data!r}, expected a mapping")
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in _FROM_NUMBERS:
        raise ValueError(f"kind is {kind!r}, expected one of {', '.join(sorted(_FROM_NUMBERS))}")
    function = _FROM_NUMBERS[kind]
    expected = set(inspect.signature(function).parameters)
    given = {key: _unpacked(value) for key, value in data.items() if key != "kind"}
    if set(given) != expected:
        raise ValueError(
            f"data has the arguments {sorted(given)} of {kind}, expected {sorted(expected)}"
        )
    return function(**given)


def _unpacked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return from_dict(value)
    if isinstance(value, list):
        return [_unpacked(item) for item in value]
    return value


_FROM_NUMBERS: dict[str, Callable[..., Schedule]] = {
    function.__name__: function
    for function in (
        _make.constant,
        _make.cosine,
        _make.exponential,
        _make.hold_then_decay,
        _make.join,
        _make.minimum,
        _make.polynomial,
        _make.scale,
        _make.warmup,
        from_array,
    )
}
