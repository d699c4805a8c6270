"""What every schedule can do; the kinds of schedules only give a formula."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from .._check import integer

__all__ = ["Schedule"]

Rates = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]

_SMALLEST_NORMAL = float(np.finfo(np.float64).smallest_normal)


class Schedule(ABC):
    """A map from the step to the rate of that step; step 0 is the first update.

    Schedules are immutable, comparable and made by the functions of this module. Rates are finite
    and at least 0; those below the smallest normal float64 count as 0, as in the training kernels.

    Examples
    --------
    >>> from lipgd import schedules
    >>> schedule = schedules.exponential(0.5, 0.1)
    >>> schedule(0)
    0.5
    >>> schedule.rates(3).round(4).tolist()
    [0.5, 0.4524, 0.4094]
    >>> schedule.total(3).round(4).tolist()
    [0.0, 0.5, 0.9524, 1.3618]
    """

    kind: ClassVar[str]

    def __call__(self, step: int) -> float:
        """Return the rate of one step.

        Parameters
        ----------
        step : int
            At least 0.

        Returns
        -------
        float
            Exactly the value that :meth:`rates` has at this position.
        """
        step = integer("step", step, at_least=0)
        return float(self._evaluate(np.array([step], dtype=np.int64))[0])

    def rates(self, steps: int) -> Rates:
        """Return the rates of the first steps.

        Parameters
        ----------
        steps : int
            Number of steps, at least 0.

        Returns
        -------
        ndarray of float64, shape (steps,)
            The rate of step 0, 1, ..., steps - 1.
        """
        steps = integer("steps", steps, at_least=0)
        return self._evaluate(np.arange(steps, dtype=np.int64))

    def total(self, steps: int) -> Rates:
        """Return the running sums of the schedule's own rates.

        Parameters
        ----------
        steps : int
            Number of steps, at least 0.

        Returns
        -------
        ndarray of float64, shape (steps + 1,)
            Entry s is the sum of the rates before step s, so the first entry is 0. Sums are
            compensated: each is within one unit in the last place of the exact one.
        """
        rates = self.rates(steps)
        with np.errstate(over="ignore", invalid="ignore"):
            after = np.cumsum(rates)
            before = np.concatenate([[0.0], after[:-1]])[: len(rates)]
            added = after - before
            lost = (before - (after - added)) + (rates - added)
            sums = np.where(np.isfinite(after), after + np.cumsum(lost), np.inf)
        return np.maximum.accumulate(np.concatenate([[0.0], sums]))

    @property
    @abstractmethod
    def limit(self) -> float:
        """Upper bound of the sum of all rates, rounded up; inf where the sum diverges.

        It allows for elementary functions that are wrong by up to 4 units in the last place.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return the schedule as plain numbers, strings and lists, for JSON.

        Returns
        -------
        dict
            What :func:`lipgd.schedules.from_dict` turns back into an equal schedule.

        Raises
        ------
        TypeError
            If a part of the schedule is a function.
        """
        return {"kind": self.kind, **{key: _plain(value) for key, value in self._arguments()}}

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(f'{key}={value!r}' for key, value in self._arguments())})"

    @abstractmethod
    def _formula(self, steps: Steps) -> Rates:
        """Return a new array of the rates of these steps, not yet checked."""

    @property
    def _label(self) -> str:
        return "rate"

    def _arguments(self) -> list[tuple[str, Any]]:
        # Every kind is a dataclass, which the type of this base class cannot say.
        return [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]  # type: ignore[arg-type]

    def _evaluate(self, steps: Steps) -> Rates:
        with np.errstate(under="ignore", over="ignore"):
            rates = self._formula(steps)
        good = np.isfinite(rates) & (rates >= 0)
        if not good.all():
            first = int(np.argmin(good))
            raise ValueError(
                f"{self._label} is {rates[first]} at step {steps[first]}, "
                "expected a finite number at least 0"
            )
        rates[rates < _SMALLEST_NORMAL] = 0.0
        return rates


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
