"""How past noise reaches Z: the noise-free path and (4.1) of dynamics.md."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lipgd.dynamics._descent_problem import DescentProblem
from lipgd.dynamics._noise_in_time import NoiseInTime
from lipgd.types import DoubleArray

__all__ = ["NoiseFreePath", "propagated_variance"]


@dataclass
class _Sensitivity:
    """The derivative of Z at a target step by the state (theta, v) of an earlier one."""

    by_theta: DoubleArray
    by_velocity: DoubleArray
    variance: float = 0.0
    own: float = 0.0  #: of the steps of the epoch so far, each alone
    together: DoubleArray | None = None  #: their summed slopes, (n_samples,)


class NoiseFreePath:
    """Steps along the gradient over all samples, kept at every so many steps.

    ``log_norms`` has Z at the rows.
    """

    def __init__(
        self,
        problem: DescentProblem,
        rates: DoubleArray,
        noise: NoiseInTime,
        decay: DoubleArray,
        rows: Sequence[int],
    ) -> None:
        self.problem, self.rates, self.noise, self.decay = problem, rates, noise, decay
        self._every = max(1, math.isqrt(len(rates)))
        theta = np.array(problem.net._flat, np.float64)
        velocity = np.zeros_like(theta)
        self._kept = [(theta, velocity)]
        seen = {}
        for step in range(len(rates)):
            if step in rows:
                seen[step] = float(problem.log_norms(theta).sum())
            theta, velocity = self._after(theta, velocity, step)
            if (step + 1) % self._every == 0:
                self._kept.append((theta, velocity))
        self.last = theta
        seen[len(rates)] = float(problem.log_norms(theta).sum())
        self.log_norms = np.array([seen[row] for row in rows])

    def parameters(self, first: int, end: int) -> list[DoubleArray]:
        """Return the parameters at the steps from first to before end, recomputed."""
        begin = first // self._every
        theta, velocity = self._kept[begin]
        found = []
        for step in range(begin * self._every, end):
            if step >= first:
                found.append(theta)
            if step + 1 < end:
                theta, velocity = self._after(theta, velocity, step)
        return found

    def backwards(self) -> Iterator[tuple[int, DoubleArray]]:
        """Yield every step with its parameters, the last step first."""
        end = len(self.rates)
        while end > 0:
            first = (end - 1) // self._every * self._every
            for offset, theta in reversed(list(enumerate(self.parameters(first, end)))):
                yield first + offset, theta
            end = first

    def _after(
        self, theta: DoubleArray, velocity: DoubleArray, step: int
    ) -> tuple[DoubleArray, DoubleArray]:
        gradient = self.problem.risk_gradient(theta) + self.decay * theta
        beta = self.noise.momentum
        velocity = beta * velocity + gradient
        along = gradient + beta * velocity if self.noise.nesterov else velocity
        return theta - self.rates[step] * along, velocity


def propagated_variance(path: NoiseFreePath, targets: Sequence[int]) -> DoubleArray:
    """Return the variance of Z at the target steps from all noise before (4.1).

    One Hessian-vector product and one pass over the samples per step and target.
    """
    problem, noise = path.problem, path.noise
    ends: dict[int, _Sensitivity] = {}
    wanted = sorted(set(targets))
    at_end = dict(
        zip(wanted, (path.parameters(t, t + 1)[0] if t < len(path.rates) else path.last
                     for t in wanted), strict=True)
    )  # fmt: skip
    for step, theta in path.backwards():
        if step + 1 in at_end:
            gradient = problem.norm_gradient(at_end[step + 1])
            ends[step + 1] = _Sensitivity(gradient, np.zeros_like(gradient))
        for sensitivity in ends.values():
            _step_back(path, sensitivity, step, theta)
            if noise.sampling == "reshuffled" and step % noise.steps_per_epoch == 0:
                _close_epoch(noise, sensitivity)
    return np.array([ends[t].variance if t in ends else 0.0 for t in targets])


def _step_back(
    path: NoiseFreePath, sensitivity: _Sensitivity, step: int, theta: DoubleArray
) -> None:
    """Pass from the state after a step to that before it."""
    problem, beta, eta = path.problem, path.noise.momentum, float(path.rates[step])
    by_theta, by_velocity = sensitivity.by_theta, sensitivity.by_velocity
    if path.noise.nesterov:  # theta' = theta - eta (g + beta v'), v' = beta v + g
        through = by_velocity - eta * beta * by_theta
        of_gradient = through - eta * by_theta
    else:
        through = of_gradient = by_velocity - eta * by_theta
    slopes = problem.slopes(theta, of_gradient)
    slopes -= slopes.mean()
    _add_noise(path.noise, sensitivity, step, slopes)
    sensitivity.by_velocity = beta * through
    sensitivity.by_theta = (
        by_theta + problem.hessian_product(theta, of_gradient) + path.decay * of_gradient
    )


def _add_noise(
    noise: NoiseInTime, sensitivity: _Sensitivity, step: int, slopes: DoubleArray
) -> None:
    n = noise.n_samples
    square = float(slopes @ slopes) / (n - 1)
    if noise.sampling != "reshuffled":
        sensitivity.variance += noise.factor / noise.batch_size * square
        return
    rest = n % noise.batch_size
    last = step % noise.steps_per_epoch == noise.steps_per_epoch - 1
    sensitivity.own += square / (rest if last and rest else noise.batch_size)
    together = sensitivity.together
    sensitivity.together = slopes if together is None else together + slopes


def _close_epoch(noise: NoiseInTime, sensitivity: _Sensitivity) -> None:
    """Take back what the batches of an epoch have in common: any two have covariance -C/N (5.3)."""
    if sensitivity.together is not None:
        n = noise.n_samples
        common = float(sensitivity.together @ sensitivity.together) / (n - 1) / n
        sensitivity.variance += max(0.0, sensitivity.own - common)
    sensitivity.own, sensitivity.together = 0.0, None
