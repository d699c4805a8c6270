"""Coefficients from moments of samples, of draws, of batches: sections 5 and 9 of dynamics.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipgd._check import integer
from lipgd.dynamics import Coefficients, Moments, coefficients_of
from lipgd.dynamics._rule import Rule
from lipgd.torch._data import Problem
from lipgd.torch._moments import Parts, moments_of_batches, moments_of_samples
from lipgd.torch._result import of_draws
from lipgd.types import DoubleArray

__all__ = ["Parts", "Plan", "of_batches", "of_samples"]


@dataclass(frozen=True)
class Plan:
    """The arguments that say how batches are drawn and gradients become steps."""

    batch_size: int
    rate: float
    sampling: str
    step_in_epoch: int | None
    population_size: float | None
    momentum: float
    nesterov: bool
    weight_decay: float
    seed: int
    block_size: int
    diagonal: bool

    def rule(self, count: int) -> Rule:
        """Return the rule for moments of so many samples, after checks."""
        return Rule.checked(
            count,
            self.population_size,
            self.batch_size,
            self.rate,
            self.sampling,
            self.step_in_epoch,
            self.momentum,
            self.nesterov,
        )

    def checked_replicas(self, replicas: Any, count: int, draws: Any) -> int | None:
        """Check the arguments that depend on how gradients are estimated."""
        self.rule(count)
        if replicas is None:
            return None
        if draws is not None:
            raise ValueError("draws is given with replicas, expected one of the two")
        if self.sampling == "reshuffled":
            raise ValueError("sampling is 'reshuffled', expected independent batches with replicas")
        if self.population_size is not None:
            raise ValueError("population_size is given with replicas, whose batches are from X")
        return integer("replicas", replicas, at_least=2)

    def batches(self, count: int) -> Callable[[], Tensor]:
        """Return what draws the samples of a batch."""
        generator = torch.Generator().manual_seed(self.seed)

        def draw() -> Tensor:
            if self.sampling == "replacement":
                return torch.randint(count, (self.batch_size,), generator=generator)
            return torch.randperm(count, generator=generator)[: self.batch_size]

        return draw

    def coefficients(
        self,
        moments: Moments,
        frozen: Sequence[bool],
        velocity: Sequence[DoubleArray] | None,
        **population: Any,
    ) -> Coefficients:
        """Return the coefficients of moments of a population."""
        return coefficients_of(
            moments,
            rate=self.rate,
            frozen=frozen,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            nesterov=self.nesterov,
            velocity=velocity,
            **population,
        )


def of_samples(
    problem: Problem,
    parts: Parts,
    plan: Plan,
    draws: int | None,
    frozen: Sequence[bool],
    velocity: Sequence[DoubleArray] | None,
) -> Coefficients:
    """Return the coefficients from one gradient per sample and draw."""
    every, means = moments_of_samples(problem, parts, draws or 1, plan.block_size, plan.diagonal)
    endless = {"batch_size": plan.batch_size, "population_size": np.inf}
    if draws is None:
        known = {
            "batch_size": plan.batch_size,
            "population_size": plan.population_size,
            "sampling": plan.sampling,
            "step_in_epoch": plan.step_in_epoch,
        }
        return plan.coefficients(every[0], frozen, velocity, **known)
    if means is None:
        return plan.coefficients(every[0], frozen, velocity, **endless)
    rule = plan.rule(problem.count)
    population_size = problem.count if plan.population_size is None else plan.population_size
    return of_draws(
        [plan.coefficients(moments, frozen, velocity, **endless) for moments in every],
        plan.coefficients(means, frozen, velocity, **endless),
        rule.noise * plan.batch_size / rule.gradient_gain**2,
        plan.batch_size / population_size,
    )


def of_batches(
    problem: Problem,
    parts: Parts,
    plan: Plan,
    replicas: int,
    frozen: Sequence[bool],
    velocity: Sequence[DoubleArray] | None,
) -> Coefficients:
    """Return the coefficients from gradients of independent batches (9.5)."""
    draw = plan.batches(problem.count)
    moments = moments_of_batches(problem, parts, draw, replicas, plan.diagonal)
    return plan.coefficients(moments, frozen, velocity, batch_size=1, population_size=np.inf)
