"""How batches are drawn and gradients become steps: sections 5 and 9 of dynamics.md."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lipgd._check import choice, integer, shown

__all__ = ["SAMPLINGS", "Rule", "batch_factor"]

SAMPLINGS = ("independent", "replacement", "reshuffled")


@dataclass(frozen=True)
class Rule:
    """What turns moments of samples into moments of a step.

    Attributes
    ----------
    rate : float
        The step size.
    noise : float
        The covariance of what is subtracted, over that of the samples: gain^2 phi / M (5.1).
    debias : float
        The variance of a mean over the probe, in the same unit; zero for the whole population.
    gradient_gain, velocity_gain : float
        The step is gradient_gain (g + decay theta) + velocity_gain v (9.3).
    """

    rate: float
    noise: float
    debias: float
    gradient_gain: float
    velocity_gain: float

    @classmethod
    def checked(
        cls,
        count: int,
        population_size: Any,
        batch_size: int,
        rate: float,
        sampling: str,
        step_in_epoch: int | None,
        momentum: float,
        nesterov: bool,
    ) -> Rule:
        """Check what depends on several arguments, and return the rule."""
        population = _population(population_size, count)
        choice("sampling", sampling, SAMPLINGS)
        if sampling != "replacement" and batch_size > population:
            raise ValueError(
                f"batch_size is {batch_size}, expected at most the {population:g} samples"
            )
        factor = _factor(sampling, step_in_epoch, batch_size, population)
        gain = 1 + momentum if nesterov else 1.0
        missing = 1 - count / population
        return cls(
            rate,
            gain**2 * factor / batch_size,
            gain**2 * missing / count,
            gain,
            momentum**2 if nesterov else momentum,
        )


def batch_factor(sampling: str, batch_size: int, population: float) -> float:
    """Return phi of a batch alone (5.1)."""
    lost = 1.0 if sampling == "replacement" else float(batch_size)
    return 1 - lost / population


def _factor(sampling: str, step_in_epoch: int | None, batch_size: int, population: float) -> float:
    """Return phi of sections 5.1 and 5.3."""
    if sampling != "reshuffled":
        if step_in_epoch is not None:
            raise ValueError(
                f"step_in_epoch is {shown(step_in_epoch)}, expected None with sampling={sampling!r}"
            )
        return batch_factor(sampling, batch_size, population)
    if math.isinf(population):
        raise ValueError("population_size is inf, expected a number for reshuffled epochs")
    last = int(population) // batch_size - 1
    step = integer("step_in_epoch", step_in_epoch, at_least=0, at_most=last)
    return 1 - (2 * step + 1) * batch_size / population


def _population(population_size: Any, count: int) -> float:
    if population_size is None:
        return float(count)
    if isinstance(population_size, float) and math.isinf(population_size) and population_size > 0:
        return math.inf
    return float(integer("population_size", population_size, at_least=count))
