"""The oscillating phase on separable data: section 5."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lipgd._check import number
from lipgd.theory._numbers import UP, values_of
from lipgd.theory.large_stepsize._constants import Constants
from lipgd.theory.large_stepsize._scalars import log_loss, plain
from lipgd.types import ArrayLike

__all__ = [
    "average_risk_bound",
    "average_slope_bound",
    "log_risk_after",
    "transition_slope",
    "transition_time",
]

_LOG2 = math.log(2.0)
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def average_risk_bound(
    found: Constants,
    rate: float,
    stepsize: float,
    steps: ArrayLike,
    norm: float,
    alignment: float,
    reach: float | None = None,
) -> Any:
    """Bound the mean of the risks before step t, for any stepsize: Theorem 5.

    ``l(B - kappa) + ||w_0 - u||^2 / (2 eta t)`` with
    ``||w_0 - u||^2 = ||w_0||^2 - 2 U <w_0, v> + U^2`` and
    ``U = B / gamma_* + eta rho^2 / (2 gamma_*)``, for the best B.

    Parameters
    ----------
    found : Constants
        rho and kappa.
    rate : float
        gamma_*, above 0, of :func:`separation_rate`.
    stepsize : float
        eta.
    steps : int or array_like
        t, at least 1.
    norm : float
        ``||w_0||`` of the trained parameters.
    alignment : float
        ``<w_0, v>`` with the unit vector v of :func:`comparator`.
    reach : float, optional
        B at least 0, by default that of the least bound.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 5, Theorem 5, (5.2), (5.3).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="identity")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> round(large_stepsize.average_risk_bound(found, 1.0, 1.0, 1000, 0.0, 0.0), 4)
    0.0217
    """
    times = values_of("steps", steps, at_least=1.0)
    number("rate", rate, above=0.0)
    eta = number("stepsize", stepsize, above=0.0)

    def bound(distance: Any) -> Any:
        far = distance / rate + eta * found.gradient_bound**2 / (2.0 * rate)
        loss = np.exp(log_loss(distance - found.homogeneity_gap))
        with np.errstate(over="ignore"):
            moved = norm * norm + far * (far - 2.0 * alignment)
            return loss + np.maximum(moved, 0.0) / eta / times * (UP / 2.0)

    if reach is not None:
        return plain(bound(number("reach", reach, at_least=0.0)) * UP)
    # Any B gives a bound, so an inexact minimum is one too.
    far = found.homogeneity_gap + 60.0 + np.logaddexp(0.0, math.log(eta) + np.log(times))
    low, high = np.zeros_like(times), far
    for _ in range(80):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        keep = bound(left) <= bound(right)
        high, low = np.where(keep, right, high), np.where(keep, low, left)
    return plain(np.minimum(bound((low + high) / 2.0), bound(np.zeros_like(times))) * UP)


def average_slope_bound(
    found: Constants, rate: float, stepsize: float, steps: ArrayLike, norm: float
) -> Any:
    """Bound the mean of the slopes G before step t: (5.4).

    ``(eta rho^2 + 1 + 2 kappa + 2 gamma_* ||w_0|| + 2 log+(2 eta gamma_*^2 t)) /
    (eta gamma_*^2 t)``.

    Parameters
    ----------
    found : Constants
        rho and kappa.
    rate : float
        gamma_*.
    stepsize : float
        eta.
    steps : int or array_like
        t, at least 1.
    norm : float
        ``||w_0||``.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 5, Theorem 6, (5.4).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="identity")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> round(large_stepsize.average_slope_bound(found, 1.0, 1.0, 1000, 0.0), 4)
    0.0172
    """
    eta = number("stepsize", stepsize, above=0.0)
    times = values_of("steps", steps, at_least=1.0)
    square = number("rate", rate, above=0.0) ** 2
    # The logarithm of eta gamma_*^2 t, which may itself be beyond the range of numbers.
    log_area = math.log(eta) + 2.0 * math.log(rate) + np.log(times)
    fixed = 1.0 + 2.0 * found.homogeneity_gap + 2.0 * rate * norm
    rest = fixed + 2.0 * np.maximum(_LOG2 + log_area, 0.0)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        return plain((found.gradient_bound**2 / (square * times) + rest / np.exp(log_area)) * UP)


def transition_slope(found: Constants, stepsize: float) -> float:
    """Return 1 / h, the mean slope at which the phase changes: ``h = max(2n, 2 log 2 eta (...))``.

    Parameters
    ----------
    found : Constants
        rho, beta and n.
    stepsize : float
        eta.

    Returns
    -------
    float

    References
    ----------
    large-stepsize.md, section 5, Theorem 6.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="identity")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> large_stepsize.transition_slope(found, 0.1)
    0.5
    """
    return 1.0 / _inverse_slope(found, stepsize)


def transition_time(found: Constants, rate: float, stepsize: float, norm: float) -> float:
    """Return tau, before which the mean slope falls to :func:`transition_slope` at some step.

    ``tau = 2 h / (eta gamma_*^2) (eta rho^2 + 2 kappa + 2 gamma_* ||w_0|| + 2 log(8 h))``: there is
    a step s below ``ceil(tau)`` from which on the risk never rises and falls like (5.6).

    Parameters
    ----------
    found : Constants
        rho, beta, kappa and n.
    rate : float
        gamma_*, above 0.
    stepsize : float
        eta.
    norm : float
        ``||w_0||``.

    Returns
    -------
    float

    References
    ----------
    large-stepsize.md, section 5, Theorem 6, (5.5).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="identity")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> round(large_stepsize.transition_time(found, 1.0, 1.0, 0.0), 3)
    26.181
    """
    eta, h = number("stepsize", stepsize, above=0.0), _inverse_slope(found, stepsize)
    drift = eta * found.gradient_bound**2 + 2.0 * found.homogeneity_gap
    drift += 2.0 * number("rate", rate, above=0.0) * norm + 2.0 * math.log(8.0 * h)
    return 2.0 * h / (eta * rate * rate) * drift * UP


def log_risk_after(
    found: Constants, rate: float, stepsize: float, norm: float, steps: ArrayLike
) -> Any:
    """Bound ``log L(w_t)`` before the training, for t from ``ceil(tau)`` on: (5.5) and (5.6).

    ``L(w_t) <= (max(n / log 2, eta (rho^2 + beta)) + eta gamma_*^2 (t - ceil(tau) + 1) /
    (8 (log 2)^2))^-1``.

    Parameters
    ----------
    found : Constants
        rho, beta, kappa and n.
    rate : float
        gamma_*, above 0.
    stepsize : float
        eta.
    norm : float
        ``||w_0||``.
    steps : int or array_like
        t.

    Returns
    -------
    float or ndarray
        inf for earlier t.

    References
    ----------
    large-stepsize.md, section 5, Theorem 6, (5.6).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="identity")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> large_stepsize.log_risk_after(found, 1.0, 1.0, 0.0, [26, 1000]).round(3)
    array([   inf, -5.541])
    """
    time = transition_time(found, rate, stepsize, norm)
    if not math.isfinite(time):
        return plain(np.full_like(values_of("steps", steps), np.inf))
    last = math.ceil(time) - 1
    level = stepsize * (found.gradient_bound**2 + found.curvature_bound)
    start = max(found.n_samples / _LOG2, level)
    times = values_of("steps", steps)
    later = np.maximum(times - last, 0.0) * stepsize * rate * rate / (8.0 * _LOG2**2)
    return plain(np.where(times > last, -np.log((start + later) / UP), np.inf))


def _inverse_slope(found: Constants, stepsize: float) -> float:
    level = stepsize * (found.gradient_bound**2 + found.curvature_bound)
    return max(2.0 * found.n_samples, 2.0 * _LOG2 * level)
