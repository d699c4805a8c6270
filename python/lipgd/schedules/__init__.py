"""Schedules of learning rates: maps from the step to the rate, and ways to combine them.

Wherever a schedule is expected, a number, an array of rates and any callable of the step do too.
"""

from __future__ import annotations

from ._base import Schedule
from ._make import (
    constant,
    cosine,
    exponential,
    hold_then_decay,
    join,
    minimum,
    polynomial,
    scale,
    warmup,
)
from ._serial import from_dict
from ._sources import ScheduleLike, from_array, from_rate_function, resolve

__all__ = [
    "Schedule",
    "ScheduleLike",
    "constant",
    "cosine",
    "exponential",
    "from_array",
    "from_dict",
    "from_rate_function",
    "hold_then_decay",
    "join",
    "minimum",
    "polynomial",
    "resolve",
    "scale",
    "warmup",
]
