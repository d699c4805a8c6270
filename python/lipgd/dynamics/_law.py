"""The law of the product of norms when its logarithm is Gaussian: section 4.4 of dynamics.md."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from lipgd._check import number

__all__ = ["LogNormal"]


@dataclass(frozen=True)
class LogNormal:
    """The law of K = e^Z for Z Gaussian.

    Parameters
    ----------
    log_mean, log_variance : float
        Mean and variance of Z.

    Examples
    --------
    >>> from lipgd.dynamics import LogNormal
    >>> law = LogNormal(0.0, 0.25)
    >>> law.median, round(law.mean, 6), round(law.quantile(0.975), 6)
    (1.0, 1.133148, 2.664408)
    """

    log_mean: float
    log_variance: float

    def __post_init__(self) -> None:
        number("log_mean", self.log_mean)
        number("log_variance", self.log_variance, at_least=0.0)

    @property
    def median(self) -> float:
        """The median, e^E[Z]."""
        return math.exp(self.log_mean)

    @property
    def mean(self) -> float:
        """The mean, e^(E[Z] + V/2)."""
        return math.exp(self.log_mean + 0.5 * self.log_variance)

    @property
    def variance(self) -> float:
        """The variance, e^(2 E[Z] + V) (e^V - 1)."""
        return math.exp(2 * self.log_mean + self.log_variance) * math.expm1(self.log_variance)

    def quantile(self, probability: float) -> float:
        """Return the number that K stays below with this probability.

        Parameters
        ----------
        probability : float
            Above 0 and below 1.
        """
        p = number("probability", probability, above=0.0, below=1.0)
        return math.exp(self.log_mean + NormalDist().inv_cdf(p) * math.sqrt(self.log_variance))
