"""How the noise of batches adds up from step to step: sections 5.1, 5.3 and 9.3 of dynamics.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipgd.dynamics._rule import batch_factor
from lipgd.types import DoubleArray, IndexArray

__all__ = ["NoiseInTime"]


@dataclass(frozen=True)
class NoiseInTime:
    """The batches of steps 0, 1, ... and how gradients become steps.

    Parameters
    ----------
    n_samples, batch_size : int
        The last batch of a reshuffled epoch has what is left.
    sampling : str
        As for :func:`lipgd.train`.
    momentum : float
        Of v = momentum v + g.
    nesterov : bool
        Whether a step is g + momentum v.
    """

    n_samples: int
    batch_size: int
    sampling: str
    momentum: float
    nesterov: bool

    @property
    def factor(self) -> float:
        """Phi of a batch alone (5.1), which the recorded coefficients have."""
        return batch_factor(self.sampling, self.batch_size, self.n_samples)

    @property
    def steps_per_epoch(self) -> int:
        """The number of batches of an epoch."""
        return -(-self.n_samples // self.batch_size)

    def curvature_factors(self, steps: int) -> DoubleArray:
        """Return phi_k / phi of each step, in units of the usual batch size: what kappa takes.

        With momentum a past innovation has moved the weights by w_i = 1 + momentum + ... up to a
        step i later, so that the k of phi_k (5.3) becomes the sum of these.
        """
        if self.sampling != "reshuffled" or self.factor <= 0:
            return np.ones(steps)
        _, size, count = self._places(steps)
        past = 2 * size * self._past(steps) / self._gain
        phi = 1 - (size + past) / self.n_samples
        scaled: DoubleArray = phi / size * count / self.factor
        return scaled

    def epoch_factors(self, steps: int) -> DoubleArray:
        """Return what the drift of earlier batches of an epoch takes, per rate and step.

        Earlier noise has moved the parameters, and with them the mean of the samples that are left:
        see the module ``_epochs``.
        """
        if self.sampling != "reshuffled" or self.factor <= 0:
            return np.zeros(steps)
        taken: DoubleArray = -self._gain * self._past(steps) / self.n_samples
        return taken

    @property
    def _gain(self) -> float:
        return 1 + self.momentum if self.nesterov else 1.0

    def _past(self, steps: int) -> DoubleArray:
        """Return the sum of w_i over the earlier steps of the epoch: without momentum, k."""
        powers = self.momentum ** np.arange(self.steps_per_epoch + 1)
        moved = np.cumsum(powers)[1:] if self.nesterov else np.cumsum(powers)[:-1]
        past: DoubleArray = np.concatenate([[0.0], np.cumsum(moved)])[self._places(steps)[0]]
        return past

    def own_factors(self, steps: int) -> DoubleArray:
        """Return the variance of each batch over that of the usual size.

        It is what the second order takes where the first order is that of the actual steps, in
        which batches of an epoch have balanced each other already.
        """
        if self.sampling != "reshuffled" or self.factor <= 0:
            return np.ones(steps)
        _, size, count = self._places(steps)
        ratio: DoubleArray = (1 / size - 1 / self.n_samples) * count / self.factor
        return ratio

    def accumulated(self, variances: DoubleArray) -> DoubleArray:
        """Return the variance of the summed noise after each step.

        Parameters
        ----------
        variances : ndarray, shape (steps, ...)
            Of each step alone, with the factor phi of independent batches. In an epoch the sum of
            all is fixed: its steps have the covariance -1/N instead of zero, and are taken to point
            the same way.
        """
        if self.sampling != "reshuffled" or self.factor <= 0:
            return np.cumsum(variances, axis=0)
        steps = len(variances)
        _, size, count = self._places(steps)
        column = (-1,) + (1,) * (variances.ndim - 1)
        per_sample = variances * (count / self.factor)
        total = np.zeros(variances.shape[1:])
        result = np.empty_like(variances)
        for begin in range(0, steps, self.steps_per_epoch):
            part = slice(begin, min(begin + self.steps_per_epoch, steps))
            own = np.cumsum(per_sample[part] / size[part].reshape(column), axis=0)
            taken_back = np.cumsum(np.sqrt(per_sample[part]), axis=0) ** 2 / self.n_samples
            result[part] = total + np.maximum(own - taken_back, 0.0)
            total = result[part][-1]
        return result

    def _places(self, steps: int) -> tuple[IndexArray, DoubleArray, float]:
        """Return the place of each step in its epoch, its batch size, and the usual one."""
        place = np.arange(steps) % self.steps_per_epoch
        size = np.full(steps, float(self.batch_size))
        rest = self.n_samples % self.batch_size
        if rest:
            size[place == self.steps_per_epoch - 1] = rest
        return place, size, float(self.batch_size)
