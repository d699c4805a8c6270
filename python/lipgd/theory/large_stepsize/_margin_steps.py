"""How margins grow and risks fall once a margin is certified: section 4, Theorems 3 and 4."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lipgd._check import number
from lipgd.theory._numbers import values_of
from lipgd.theory.large_stepsize._margins import alignment_bound, total_loss
from lipgd.theory.large_stepsize._scalars import log_loss, numbers_of, omega, plain
from lipgd.types import ArrayLike

__all__ = [
    "gradient_norm_floor",
    "margin_flow",
    "margin_gain",
    "margin_loss",
    "margin_step",
    "margin_threshold",
    "rate_limits",
    "stable_log_risk_bound",
]


def gradient_norm_floor(log_risk: ArrayLike, n_samples: int, norm: ArrayLike, gap: float) -> Any:
    """Bound ``||grad L|| / L`` from below: ``omega(S) gamma^c``, Lemma 3.

    Parameters
    ----------
    log_risk : float or array_like
        log L.
    n_samples : int
        n.
    norm : float or array_like
        ``||w||``, above 0.
    gap : float
        kappa.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 4, Lemma 3.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.gradient_norm_floor(-10.0, 1, 2.0, 1.0), 4)
    4.4999
    """
    bound = np.asarray(alignment_bound(log_risk, n_samples, gap))
    return plain(np.maximum(bound, 0.0) / values_of("norm", norm))


def margin_flow(
    log_risk: ArrayLike,
    n_samples: int,
    norm: ArrayLike,
    gap: float,
    relative_gradient_norm: ArrayLike,
    relative_alignment: ArrayLike,
) -> Any:
    """Return ``d/dt log gamma^c`` under gradient flow, never negative: Proposition 2.

    ``||g||^2 / (L omega (iota - kappa)) - (-<g, w>) / ||w||^2``, both divided by L here, so that it
    can be evaluated where L underflows.

    Parameters
    ----------
    log_risk : float or array_like
        log L.
    n_samples : int
        n.
    norm : float or array_like
        ``||w||``.
    gap : float
        kappa, below the smoothed margin.
    relative_gradient_norm, relative_alignment : float or array_like
        ``||g|| / L`` and ``-<g, w> / L``.

    Returns
    -------
    float or ndarray
        The derivative divided by L; NaN where the smoothed margin is not above kappa.

    References
    ----------
    large-stepsize.md, section 4, Proposition 2.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.margin_flow(-10.0, 1, 2.0, 1.0, 5.0, 9.0), 4)
    0.5278
    """
    bound = np.asarray(alignment_bound(log_risk, n_samples, gap))
    gradient = values_of("relative_gradient_norm", relative_gradient_norm)
    aligned = numbers_of("relative_alignment", relative_alignment)
    with np.errstate(divide="ignore", invalid="ignore"):
        flow = gradient**2 / bound - aligned / values_of("norm", norm) ** 2
    return plain(np.where(bound > 0.0, flow, np.nan))


def margin_threshold(gap: float, n_samples: int) -> float:
    """Return the log of the risk from which on margins are certified: ``log(1 + e^-kappa) / n``.

    Parameters
    ----------
    gap : float
        kappa.
    n_samples : int
        n.

    Returns
    -------
    float
        -inf if kappa is.

    References
    ----------
    large-stepsize.md, section 4, Theorem 3, (4.2).

    Examples
    --------
    >>> import math
    >>> from lipgd.theory import large_stepsize
    >>> round(math.exp(large_stepsize.margin_threshold(0.0, 2)), 6)
    0.346574
    """
    kappa = float(values_of("gap", gap))
    return float(log_loss(kappa)) - math.log(n_samples)


def margin_gain(
    log_risk: ArrayLike,
    n_samples: int,
    norm: ArrayLike,
    stability: ArrayLike,
    stepsize: ArrayLike,
    turn: ArrayLike,
) -> Any:
    """Bound the logarithm of the gain of gamma^c in one step from below: (4.1).

    ``gamma^c(w+) - gamma^c(w) >= (1 - D) ||w|| / (eta L omega(S)) ||w+ / |w+| - w / |w|||^2``.

    Parameters
    ----------
    log_risk : float or array_like
        log L before the step.
    n_samples : int
        n.
    norm : float or array_like
        ``||w||`` before the step.
    stability : float or array_like
        D before the step; the theorem needs it to be at most 1, and the smoothed margin at least
        kappa.
    stepsize : float or array_like
        eta.
    turn : float or array_like
        The distance between the directions of w before and after the step.

    Returns
    -------
    float or ndarray
        The logarithm of the gain; -inf where D is above 1.

    References
    ----------
    large-stepsize.md, section 4, Theorem 3, (4.1).

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.margin_gain(-10.0, 1, 1.0, 0.0, 1.0, 0.001), 4)
    -3.8155
    """
    log_l = numbers_of("log_risk", log_risk)
    d = np.minimum(values_of("stability", stability), 1.0)
    size = values_of("norm", norm) / values_of("stepsize", stepsize)
    with np.errstate(divide="ignore"):
        gain = np.log((1.0 - d) * size / np.asarray(omega(total_loss(log_l, n_samples))))
        return plain(gain - log_l + 2.0 * np.log(values_of("turn", turn)))


def margin_step(
    smoothed_before: ArrayLike,
    smoothed_projected: ArrayLike,
    smoothed_after: ArrayLike,
    growth: ArrayLike,
    degree: int = 1,
) -> tuple[Any, Any]:
    """Split the change of ``log gamma^b`` in a step into direction and scaling: exactly.

    Parameters
    ----------
    smoothed_before, smoothed_projected, smoothed_after : float or array_like
        The values of iota(u), above 0: at w, at the new point pulled back to the sphere of radius
        ``||w||``, and at the new point.
    growth : float or array_like
        ``||w+|| / ||w||``.
    degree : int
        D, the degree of homogeneity.

    Returns
    -------
    direction, scaling : float or ndarray
        ``log(iota(w') / iota(w))``, at least 0 where the projected step does not raise the risk,
        and ``log(iota(w+) / iota(w')) - D log(growth)``, at least 0 for homogeneous networks. NaN
        where a smoothed margin is not above 0.

    References
    ----------
    large-stepsize.md, section 4.1.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> direction, scaling = large_stepsize.margin_step(1.0, 2.0, 8.0, 2.0, degree=2)
    >>> round(direction, 6), abs(round(scaling, 6))
    (0.693147, 0.0)
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        before, projected, after = (
            np.log(np.where(value > 0.0, value, np.nan))
            for value in (
                numbers_of("smoothed_before", smoothed_before),
                numbers_of("smoothed_projected", smoothed_projected),
                numbers_of("smoothed_after", smoothed_after),
            )
        )
        scaling = after - projected - degree * np.log(values_of("growth", growth))
    return plain(projected - before), plain(scaling)


def margin_loss(relative_gap: ArrayLike, norm_growth: ArrayLike, degree: int) -> Any:
    """Bound how far ``log gamma^b`` of a deep network can fall under gradient flow.

    It is at least ``-kappa_t / iota(u_t) d log ||w||^D``: summed over the steps of a record, the
    largest relative homogeneity error at the two ends of a step stands for those between them, so
    it is a diagnostic.

    Parameters
    ----------
    relative_gap : array_like, shape (n_rows,)
        ``kappa_t / iota(u_t)``, below 1.
    norm_growth : array_like, shape (n_rows,)
        ``||w_t||``.
    degree : int
        D, the number of layers.

    Returns
    -------
    ndarray, shape (n_rows,)
        The most that can have been lost since the first row.

    References
    ----------
    large-stepsize.md, section 4.1.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> large_stepsize.margin_loss([0.5, 0.25], [1.0, 2.0], 2).round(6).tolist()
    [0.0, 0.693147]
    """
    error = values_of("relative_gap", relative_gap)
    logs = np.log(values_of("norm_growth", norm_growth))
    steps = np.maximum(error[1:], error[:-1]) * degree * np.abs(np.diff(logs))
    return np.concatenate([[0.0], np.cumsum(steps)])


def stable_log_risk_bound(
    log_risk: float,
    n_samples: int,
    stability: float,
    stepsize: float,
    rate: float,
    steps: ArrayLike,
) -> Any:
    """Bound ``log L`` in the stable phase: (4.3) with gamma^c_s, (5.6) with gamma_*.

    ``L(w_t) <= (1 / L_s + eta (1 - D_s) omega(n L_s)^2 rate^2 (t - s))^-1``.

    Parameters
    ----------
    log_risk : float
        log L at time s.
    n_samples : int
        n.
    stability : float
        D_s, at most 1.
    stepsize : float
        eta.
    rate : float
        The modified margin at time s (Theorem 4), or gamma_* of separable data (Theorem 6).
    steps : int or array_like
        ``t - s``, at least 0.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 4, Theorem 4, (4.3), and section 5, Theorem 6, (5.6).

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.stable_log_risk_bound(-3.0, 1, 0.5, 10.0, 0.1, 1000), 3)
    -4.215
    """
    share = 1.0 - number("stability", stability, at_least=0.0, at_most=1.0)
    slowed = float(omega(total_loss(log_risk, n_samples))) * number("rate", rate, at_least=0.0)
    growth = number("stepsize", stepsize, above=0.0) * share * slowed * slowed
    with np.errstate(divide="ignore"):
        return plain(-np.logaddexp(-log_risk, np.log(growth * values_of("steps", steps))))


def rate_limits(gradient_bound: float, margin_limit: float) -> tuple[float, float]:
    """Return between which numbers ``eta t L(w_t)`` stays in the limit: Theorem 4.

    Parameters
    ----------
    gradient_bound : float
        rho.
    margin_limit : float
        gamma_infinity or less, such as the modified margin now.

    Returns
    -------
    tuple of float
        ``1 / rho^2`` and ``1 / gamma_infinity^2``.

    References
    ----------
    large-stepsize.md, section 4, Theorem 4.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> large_stepsize.rate_limits(2.0, 0.5)
    (0.25, 4.0)
    """
    low = 1.0 / number("gradient_bound", gradient_bound, above=0.0) ** 2
    return low, 1.0 / number("margin_limit", margin_limit, above=0.0) ** 2
