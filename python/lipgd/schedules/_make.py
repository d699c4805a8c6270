"""Schedules given by a formula, and combinations of schedules."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .._check import integer, number
from . import _kinds
from ._base import Schedule
from ._sources import ScheduleLike, resolve


def constant(rate: float) -> Schedule:
    """Return the schedule with the same rate at every step.

    Parameters
    ----------
    rate : float
        At least 0.

    Returns
    -------
    Schedule
        Its limit is inf, unless the rate is 0.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedules.constant(0.1)(1000)
    0.1
    """
    return _kinds.Constant(number("rate", rate, at_least=0))


def hold_then_decay(rate: float, hold: int, decay: ScheduleLike) -> Schedule:
    """Return the schedule that holds a rate and then multiplies it by a decay.

    Parameters
    ----------
    rate : float
        The rate that is held, at least 0.
    hold : int
        Number of steps that have this rate, at least 0.
    decay : Schedule, float, callable or array of shape (n,)
        Factor of the rate, a schedule of the number of steps since the end of the hold.

    Returns
    -------
    Schedule
        Its limit is ``rate * (hold + decay.limit)``, rounded up.

    References
    ----------
    rate-constraints.md, section 4.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedule = schedules.hold_then_decay(0.5, 2, schedules.exponential(1.0, 0.1))
    >>> schedule.rates(4).round(4).tolist()
    [0.5, 0.5, 0.5, 0.4524]
    """
    return _kinds.HoldThenDecay(
        number("rate", rate, at_least=0),
        integer("hold", hold, at_least=0),
        resolve(decay, "decay"),
    )


def exponential(rate: float, decay_rate: float) -> Schedule:
    """Return the schedule ``rate * exp(-decay_rate * step)``.

    Parameters
    ----------
    rate : float
        The first rate, at least 0.
    decay_rate : float
        Decay per step, at least 0.

    Returns
    -------
    Schedule
        Its limit is ``rate / (1 - exp(-decay_rate))``, rounded up.

    References
    ----------
    rate-constraints.md, section 4.

    Examples
    --------
    >>> from lipgd import schedules
    >>> round(schedules.exponential(0.1, 0.01).limit, 6)
    10.050083
    """
    return _kinds.Exponential(
        number("rate", rate, at_least=0), number("decay_rate", decay_rate, at_least=0)
    )


def polynomial(rate: float, power: float, scale: float) -> Schedule:
    """Return the schedule ``rate * (1 + step / scale) ** -power``.

    Parameters
    ----------
    rate : float
        The first rate, at least 0.
    power : float
        At least 0; the sum of all rates is finite above 1.
    scale : float
        Number of steps after which the decay sets in, above 0.

    Returns
    -------
    Schedule
        Its limit is a rounded-up sum of the first rates and the integral of the others.

    References
    ----------
    rate-constraints.md, section 4.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedules.polynomial(0.5, 1.0, 10.0)(10)
    0.25
    """
    return _kinds.Polynomial(
        number("rate", rate, at_least=0),
        number("power", power, at_least=0),
        number("scale", scale, above=0),
    )


def cosine(rate: float, steps: int) -> Schedule:
    """Return the schedule that falls from the rate to 0 as half a wave of the cosine.

    Parameters
    ----------
    rate : float
        The first rate, at least 0.
    steps : int
        Number of steps of the fall, at least 1; rates from this step on are 0.

    Returns
    -------
    Schedule
        ``rate * (1 + cos(pi * step / steps)) / 2``; the limit is ``rate * (steps + 1) / 2``,
        rounded up.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedules.cosine(1.0, 2).rates(4).tolist()
    [1.0, 0.5, 0.0, 0.0]
    """
    return _kinds.Cosine(number("rate", rate, at_least=0), integer("steps", steps, at_least=1))


def warmup(schedule: ScheduleLike, steps: int) -> Schedule:
    """Return a schedule after a straight rise to its first rate.

    Parameters
    ----------
    schedule : Schedule, float, callable or array of shape (n,)
        What follows the rise; it counts its steps from the end of the rise.
    steps : int
        Number of steps of the rise, at least 0. Step s of them has the rate
        ``schedule(0) * (s + 1) / (steps + 1)``, so no step is lost to a rate of 0.

    Returns
    -------
    Schedule
        Its limit is ``schedule(0) * steps / 2 + schedule.limit``, rounded up.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedules.warmup(1.0, 3).rates(5).tolist()
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return _kinds.Warmup(resolve(schedule, "schedule"), integer("steps", steps, at_least=0))


def join(schedules: Sequence[ScheduleLike], boundaries: Sequence[int]) -> Schedule:
    """Return the schedule that is one schedule after the other.

    Parameters
    ----------
    schedules : sequence of Schedule, float, callable or array of shape (n,)
        Each counts its steps from its own start.
    boundaries : sequence of int
        The step at which each schedule but the first starts; above 0 and increasing.

    Returns
    -------
    Schedule
        Its limit is the sum of the parts that end and of the limit of the last, rounded up.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedules.join([1.0, schedules.cosine(0.5, 2)], [2]).rates(5).tolist()
    [1.0, 1.0, 0.5, 0.25, 0.0]
    """
    parts = tuple(resolve(part, f"schedules[{i}]") for i, part in enumerate(schedules))
    starts = tuple(
        integer(f"boundaries[{i}]", start, at_least=1) for i, start in enumerate(boundaries)
    )
    if len(parts) != len(starts) + 1:
        raise ValueError(
            f"schedules has {len(parts)} parts, but {len(starts)} boundaries "
            f"expect {len(starts) + 1}"
        )
    if any(late <= early for early, late in pairwise(starts)):
        raise ValueError(f"boundaries is {list(starts)}, expected increasing steps")
    return _kinds.Join(parts, starts)


def minimum(a: ScheduleLike, b: ScheduleLike) -> Schedule:
    """Return the schedule that has the smaller of two rates at every step.

    Parameters
    ----------
    a, b : Schedule, float, callable or array of shape (n,)
        The two schedules.

    Returns
    -------
    Schedule
        Its limit is the smaller of the two limits.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedules.minimum(0.3, schedules.exponential(1.0, 1.0)).rates(3).round(4).tolist()
    [0.3, 0.3, 0.1353]
    """
    return _kinds.Minimum(resolve(a, "a"), resolve(b, "b"))


def scale(schedule: ScheduleLike, factor: float) -> Schedule:
    """Return a schedule whose rates are those of another times a factor.

    Parameters
    ----------
    schedule : Schedule, float, callable or array of shape (n,)
        The schedule to multiply.
    factor : float
        At least 0.

    Returns
    -------
    Schedule
        Its limit is ``factor * schedule.limit``, rounded up.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedules.scale(schedules.cosine(1.0, 2), 0.5).rates(2).tolist()
    [0.5, 0.25]
    """
    return _kinds.Scale(resolve(schedule, "schedule"), number("factor", factor, at_least=0))
