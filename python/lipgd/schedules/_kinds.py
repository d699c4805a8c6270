"""The kinds of schedules; their arguments were checked by the public functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._check import shown
from ._base import Rates, Schedule, Steps

_EPSILON = float(np.finfo(np.float64).eps)
#: Terms of a polynomial schedule that are added one by one before the integral takes over.
_HEAD = 1024


def round_up(value: float, units: float = 16.0) -> float:
    """Return ``value``, at least 0, raised by ``units`` units in the last place."""
    return math.nextafter(value * (1.0 + units * _EPSILON), math.inf) if value > 0 else 0.0


def product(factor: float, limit: float) -> float:
    """Return factor times limit, where 0 times infinity is 0."""
    return factor * limit if factor > 0 else 0.0


@dataclass(frozen=True, repr=False)
class Constant(Schedule):
    kind = "constant"
    rate: float

    def _formula(self, steps: Steps) -> Rates:
        return np.full(steps.shape, self.rate)

    @property
    def limit(self) -> float:
        return product(self.rate, math.inf)


@dataclass(frozen=True, repr=False)
class HoldThenDecay(Schedule):
    kind = "hold_then_decay"
    rate: float
    hold: int
    decay: Schedule

    def _formula(self, steps: Steps) -> Rates:
        rates = np.full(steps.shape, self.rate)
        after = steps >= self.hold
        rates[after] *= self.decay._evaluate(steps[after] - self.hold)
        return rates

    @property
    def limit(self) -> float:
        return round_up(product(self.rate, self.hold + self.decay.limit))


@dataclass(frozen=True, repr=False)
class Exponential(Schedule):
    kind = "exponential"
    rate: float
    decay_rate: float

    def _formula(self, steps: Steps) -> Rates:
        rates: Rates = self.rate * np.exp(-self.decay_rate * steps)
        return rates

    @property
    def limit(self) -> float:
        lost = -math.expm1(-self.decay_rate)
        return round_up(product(self.rate, 1.0 / lost if lost > 0 else math.inf))


@dataclass(frozen=True, repr=False)
class Polynomial(Schedule):
    kind = "polynomial"
    rate: float
    power: float
    scale: float

    def _formula(self, steps: Steps) -> Rates:
        base: Rates = 1.0 + steps / self.scale
        return self.rate * base**-self.power

    @property
    def limit(self) -> float:
        if self.power <= 1.0:
            return product(self.rate, math.inf)
        head = math.fsum(self.rates(_HEAD))
        # The terms are convex, so each is at most the integral over the unit interval around it.
        base = 1.0 + (_HEAD - 0.5) / self.scale
        tail = self.rate * self.scale / (self.power - 1.0) * base ** (1.0 - self.power)
        return round_up(head + tail, 16.0 + 8.0 * self.power)


@dataclass(frozen=True, repr=False)
class Cosine(Schedule):
    kind = "cosine"
    rate: float
    steps: int

    def _formula(self, steps: Steps) -> Rates:
        angle = np.pi * (np.minimum(steps, self.steps) / self.steps)
        return np.where(steps < self.steps, self.rate * (0.5 * (1.0 + np.cos(angle))), 0.0)

    @property
    def limit(self) -> float:
        # The cosines of steps k and steps - k cancel, which leaves the one of step 0.
        return round_up(self.rate * (0.5 * self.steps + 0.5), 32.0)


@dataclass(frozen=True, repr=False)
class Warmup(Schedule):
    kind = "warmup"
    schedule: Schedule
    steps: int

    def _formula(self, steps: Steps) -> Rates:
        rates = np.empty(steps.shape)
        after = steps >= self.steps
        rates[after] = self.schedule._evaluate(steps[after] - self.steps)
        rates[~after] = self.schedule(0) * ((steps[~after] + 1) / (self.steps + 1))
        return rates

    @property
    def limit(self) -> float:
        return round_up(self.schedule(0) * (0.5 * self.steps) + self.schedule.limit)


@dataclass(frozen=True, repr=False)
class Join(Schedule):
    kind = "join"
    schedules: tuple[Schedule, ...]
    boundaries: tuple[int, ...]

    def _formula(self, steps: Steps) -> Rates:
        rates = np.empty(steps.shape)
        part = np.searchsorted(np.array(self.boundaries), steps, side="right")
        for index, (schedule, start) in enumerate(
            zip(self.schedules, (0, *self.boundaries), strict=True)
        ):
            rates[part == index] = schedule._evaluate(steps[part == index] - start)
        return rates

    @property
    def limit(self) -> float:
        starts = (0, *self.boundaries)
        lengths = [end - start for start, end in zip(starts, self.boundaries, strict=False)]
        finite = [
            math.fsum(schedule.rates(length))
            for schedule, length in zip(self.schedules, lengths, strict=False)
        ]
        return round_up(math.fsum(finite) + self.schedules[-1].limit)


@dataclass(frozen=True, repr=False)
class Minimum(Schedule):
    kind = "minimum"
    a: Schedule
    b: Schedule

    def _formula(self, steps: Steps) -> Rates:
        return np.minimum(self.a._evaluate(steps), self.b._evaluate(steps))

    @property
    def limit(self) -> float:
        return min(self.a.limit, self.b.limit)


@dataclass(frozen=True, repr=False)
class Scale(Schedule):
    kind = "scale"
    schedule: Schedule
    factor: float

    def _formula(self, steps: Steps) -> Rates:
        return self.factor * self.schedule._evaluate(steps)

    @property
    def limit(self) -> float:
        return round_up(product(self.factor, self.schedule.limit))


@dataclass(frozen=True, repr=False, eq=False)
class FromArray(Schedule):
    kind = "from_array"
    a: Rates

    def _formula(self, steps: Steps) -> Rates:
        if steps.size and steps.max() >= len(self.a):
            raise ValueError(
                f"step is {steps.max()}, but the schedule is an array of {len(self.a)} rates"
            )
        return self.a[steps]

    @property
    def limit(self) -> float:
        return round_up(math.fsum(self.a))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "a": self.a.tolist()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FromArray):
            return NotImplemented
        return np.array_equal(self.a, other.a)

    def __hash__(self) -> int:
        return hash((self.kind, self.a.tobytes()))

    def __repr__(self) -> str:
        return f"from_array(<{len(self.a)} rates>)"


@dataclass(frozen=True, repr=False)
class FromRateFunction(Schedule):
    kind = "from_rate_function"
    G: Callable[[Any], Any]
    bound: float
    vectorized: bool

    def _formula(self, steps: Steps) -> Rates:
        before, after = self._values(steps), self._values(steps + 1)
        if (after > self.bound * (1.0 + 4.0 * _EPSILON)).any():
            first = int(np.argmax(after > self.bound * (1.0 + 4.0 * _EPSILON)))
            raise ValueError(
                f"limit is {self.bound}, but G({steps[first] + 1}) is {after[first]}, "
                "expected an upper bound of G"
            )
        rates = after - before
        # A difference this small is the rounding of G; kept, it would add up over many steps.
        rates[np.abs(rates) <= 4.0 * _EPSILON * after] = 0.0
        return rates

    def _values(self, times: Steps) -> Rates:
        if self.vectorized:
            return np.asarray(self.G(times.astype(np.float64)), dtype=np.float64)
        return np.array([float(self.G(float(time))) for time in times], dtype=np.float64)

    @property
    def limit(self) -> float:
        return round_up(self.bound)

    @property
    def _label(self) -> str:
        return "G(step + 1) - G(step)"

    def to_dict(self) -> dict[str, Any]:
        raise TypeError(_NOT_JSON.format(self))

    def __repr__(self) -> str:
        return f"from_rate_function({self.G!r}, limit={self.bound!r})"


@dataclass(frozen=True, repr=False)
class FromCallable(Schedule):
    kind = "from_callable"
    function: Callable[[int], Any]
    name: str = field(compare=False)

    def _formula(self, steps: Steps) -> Rates:
        return np.array([self._rate(step) for step in steps.tolist()], dtype=np.float64)

    def _rate(self, step: int) -> float:
        value = self.function(step)
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"{self.name} is {shown(value)} at step {step}, expected a number"
            ) from error

    @property
    def limit(self) -> float:
        return math.inf

    @property
    def _label(self) -> str:
        return self.name

    def to_dict(self) -> dict[str, Any]:
        raise TypeError(_NOT_JSON.format(self))

    def __repr__(self) -> str:
        return f"resolve({self.function!r})"


_NOT_JSON = "schedule is {!r}, expected one that was built from numbers alone"
