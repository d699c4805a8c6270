"""The stable phase: when gradient descent is monotone, now and for all later times. Section 3."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lipgd._check import number
from lipgd.theory._numbers import UP, values_of
from lipgd.theory.large_stepsize._constants import Constants
from lipgd.theory.large_stepsize._scalars import mean_slope_bound, numbers_of, plain
from lipgd.types import ArrayLike

__all__ = [
    "displacement_bound",
    "log_monotone_risk_floor",
    "log_risk_floor",
    "log_step_floor",
    "paper_risk",
    "sharpness_bound",
    "stability",
    "stable_risk",
    "step_bound",
]


def sharpness_bound(found: Constants, mean_slope: ArrayLike) -> Any:
    """Bound the norm of the Hessian of the risk: ``rho^2 min(G, 1/4) + beta G``.

    Parameters
    ----------
    found : Constants
        rho and beta.
    mean_slope : float or array_like
        G, or :func:`mean_slope_bound` of the risk.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 3.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="softplus")
    >>> round(large_stepsize.sharpness_bound(large_stepsize.constants(net, [[2.0]]), 0.5), 9)
    1.5
    """
    slope = values_of("mean_slope", mean_slope)
    with np.errstate(invalid="ignore"):
        curved = np.where(slope > 0.0, found.curvature_bound * slope, 0.0)
    return plain((found.gradient_bound**2 * np.minimum(slope, 0.25) + curved) * UP)


def displacement_bound(
    risk: ArrayLike, sharpness: ArrayLike, multiplier: ArrayLike, length: ArrayLike
) -> Any:
    """Bound the risk after a displacement D with ``<grad L, D> <= -lambda ||D||^2``: Lemma 2.

    ``L(w + D) <= L(w) - (lambda - S / 2) ||D||^2`` if ``lambda >= S / 2`` of the sharpness bound S
    at w alone.

    Parameters
    ----------
    risk : float or array_like
        L(w).
    sharpness : float or array_like
        :func:`sharpness_bound` at w.
    multiplier : float or array_like
        lambda.
    length : float or array_like
        ``||D||``.

    Returns
    -------
    float or ndarray
        inf where the lemma does not apply.

    References
    ----------
    large-stepsize.md, section 3, Lemma 2.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> large_stepsize.displacement_bound(1.0, 1.0, 1.0, 0.5)
    0.875
    """
    excess = values_of("multiplier", multiplier) - values_of("sharpness", sharpness) / 2.0
    moved = values_of("length", length) ** 2
    bound = values_of("risk", risk) - np.maximum(excess, 0.0) * moved
    return plain(np.where(excess >= 0.0, bound, np.inf))


def stability(found: Constants, stepsize: ArrayLike, log_risk: ArrayLike) -> Any:
    """Return D_s of Theorem 1: the risk falls for ever from a time at which it is at most 1.

    ``D_s = eta / 2 (rho^2 min(G, 1/4) + beta G)`` with ``G = 1 - e^-L``.

    Parameters
    ----------
    found : Constants
        rho and beta.
    stepsize : float or array_like
        eta.
    log_risk : float or array_like
        log L at time s.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 3, Theorem 1, (3.1).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="softplus")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> large_stepsize.stability(found, 10.0, [0.0, -3.0]).round(3)
    array([2.04 , 0.304])
    """
    rate = values_of("stepsize", stepsize)
    with np.errstate(over="ignore"):
        return plain(rate / 2.0 * sharpness_bound(found, mean_slope_bound(log_risk)))


def step_bound(
    risk: ArrayLike, gradient_norm: ArrayLike, stepsize: ArrayLike, stability: ArrayLike
) -> Any:
    """Bound the risk after one step: ``L - eta (1 - D) ||grad L||^2`` where D is at most 1.

    Parameters
    ----------
    risk, gradient_norm : float or array_like
        L and ``||grad L||`` before the step.
    stepsize : float or array_like
        eta.
    stability : float or array_like
        ``D = eta / 2`` times :func:`sharpness_bound`.

    Returns
    -------
    float or ndarray
        inf where D is above 1.

    References
    ----------
    large-stepsize.md, section 3, Theorem 1.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> large_stepsize.step_bound(1.0, 0.5, 1.0, 0.5)
    0.875
    """
    d = values_of("stability", stability)
    drop = values_of("stepsize", stepsize) * values_of("gradient_norm", gradient_norm) ** 2
    bound = values_of("risk", risk) - np.maximum(1.0 - d, 0.0) * drop
    return plain(np.where(d <= 1.0, bound, np.inf))


def stable_risk(found: Constants, stepsize: float) -> float:
    """Return the risk from which on a stepsize is stable for ever: (3.1) solved for L.

    Parameters
    ----------
    found : Constants
        rho and beta.
    stepsize : float
        eta, above 0.

    Returns
    -------
    float
        inf if every risk will do, which is so for ``eta <= 2 / (rho^2 / 4 + beta)``.

    References
    ----------
    large-stepsize.md, section 3, Theorem 1, (3.1), and section 6.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="softplus")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> round(large_stepsize.stable_risk(found, 16.0), 6), large_stepsize.stable_risk(found, 1.0)
    (0.105361, inf)
    """
    level = 2.0 / (number("stepsize", stepsize, above=0.0) * UP * UP)
    square, curved = found.gradient_bound**2, found.curvature_bound
    if not math.isfinite(curved):
        return 0.0
    slope = level / (square + curved) if square + curved else math.inf
    if slope > 0.25:
        rest = level - square / 4.0
        slope = max(rest / curved, 0.25) if curved else (math.inf if rest >= 0.0 else 0.25)
    return -math.log1p(-slope) / UP if slope < 1.0 else math.inf


def paper_risk(found: Constants, stepsize: float) -> float:
    """Return the threshold of the paper, ``1 / (eta (2 rho^2 + beta))``, below :func:`stable_risk`.

    Parameters
    ----------
    found : Constants
        rho and beta.
    stepsize : float
        eta, above 0.

    Returns
    -------
    float

    References
    ----------
    large-stepsize.md, section 3, the comparison after Theorem 1; arXiv 2406.08654.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="softplus")
    >>> round(large_stepsize.paper_risk(large_stepsize.constants(net, [[1.0]]), 16.0), 6)
    0.027778
    """
    scale = number("stepsize", stepsize, above=0.0)
    bound = 2.0 * found.gradient_bound**2 + found.curvature_bound
    return 1.0 / (scale * bound) if bound else math.inf


def log_step_floor(
    log_risk: ArrayLike, found: Constants, stepsize: ArrayLike, gradient_norm: ArrayLike
) -> Any:
    """Bound the logarithm of the risk after a step from below: ``log L - rho eta ||grad L||``.

    Parameters
    ----------
    log_risk : float or array_like
        log L before the step.
    found : Constants
        rho.
    stepsize, gradient_norm : float or array_like
        eta and ``||grad L||``, or its bound ``rho G``.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 3, Proposition 1.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="softplus")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> round(large_stepsize.log_step_floor(0.0, found, 2.0, 0.5), 9)
    -1.0
    """
    moved = values_of("stepsize", stepsize) * values_of("gradient_norm", gradient_norm)
    return plain(numbers_of("log_risk", log_risk) - found.gradient_bound * moved)


def log_risk_floor(
    log_risk: float, found: Constants, stepsize: float, steps: ArrayLike, ceiling: float
) -> Any:
    """Bound ``log L(w_T)`` from below if ``eta rho^2 L`` was at most c before: Proposition 1.

    ``L(w_T) >= (1 / L(w_0) + eta rho^2 (e^c - 1) / c T)^-1``.

    Parameters
    ----------
    log_risk : float
        log L(w_0).
    found : Constants
        rho.
    stepsize : float
        eta.
    steps : int or array_like
        T.
    ceiling : float
        c, above 0.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 3, Proposition 1.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="softplus")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> round(large_stepsize.log_risk_floor(0.0, found, 1.0, 1000, 1.0), 4)
    -7.4497
    """
    c = number("ceiling", ceiling, above=0.0)
    growth = number("stepsize", stepsize, above=0.0) * found.gradient_bound**2 * math.expm1(c) / c
    with np.errstate(divide="ignore"):
        return plain(-np.logaddexp(-log_risk, np.log(growth * values_of("steps", steps))))


def log_monotone_risk_floor(
    log_risk: float, found: Constants, stepsize: float, steps: ArrayLike
) -> Any:
    """Bound ``log L(w_T)`` of a run that never rose before T from below: (3.3).

    Parameters
    ----------
    log_risk : float
        log L(w_0).
    found : Constants
        rho.
    stepsize : float
        eta.
    steps : int or array_like
        T.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 3, Proposition 1, (3.3).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="softplus")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> round(large_stepsize.log_monotone_risk_floor(0.0, found, 1.0, 1000), 4)
    -7.4502
    """
    scale = number("stepsize", stepsize, above=0.0) * found.gradient_bound**2
    first = max(-log_risk, math.log(scale) + scale * float(mean_slope_bound(log_risk)))
    with np.errstate(divide="ignore"):
        later = np.log((math.e - 1.0) * scale * values_of("steps", steps))
    return plain(-np.logaddexp(first, later))
