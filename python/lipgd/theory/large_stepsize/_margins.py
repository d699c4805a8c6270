"""Margins of near-homogeneous predictors, which gradient descent never lowers. Section 4."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lipgd._check import number
from lipgd.theory._numbers import values_of
from lipgd.theory.large_stepsize._scalars import iota, numbers_of, omega, plain
from lipgd.types import ArrayLike, DoubleArray

__all__ = [
    "alignment_bound",
    "margin_bracket",
    "modified_margin",
    "sandwich",
    "slope_sum_bound",
    "smoothed_margin",
    "total_loss",
    "weighted_slope_bound",
]


def total_loss(log_risk: ArrayLike, n_samples: int) -> DoubleArray:
    """Return ``S = n L``."""
    with np.errstate(under="ignore", over="ignore"):
        total: DoubleArray = np.exp(numbers_of("log_risk", log_risk) + math.log(n_samples))
    return total


def _iota(log_risk: ArrayLike, n_samples: int) -> DoubleArray:
    return np.asarray(iota(-numbers_of("log_risk", log_risk) - math.log(n_samples)))


def margin_bracket(log_risk: ArrayLike, n_samples: int) -> tuple[Any, Any]:
    """Return two numbers between which the smallest margin lies: Lemma 1 (a).

    ``iota(-log(n L)) <= q_min <= iota(-log L)``.

    Parameters
    ----------
    log_risk : float or array_like
        log L.
    n_samples : int
        n.

    Returns
    -------
    tuple of (float or ndarray)
        The lower number is the smoothed margin, before it is divided by the norm.

    References
    ----------
    large-stepsize.md, section 2, Lemma 1 (a).

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> low, high = large_stepsize.margin_bracket(-10.0, 4)
    >>> round(low, 3), round(high, 3)
    (8.614, 10.0)
    """
    return plain(_iota(log_risk, n_samples)), iota(-numbers_of("log_risk", log_risk))


def slope_sum_bound(total_loss: ArrayLike) -> Any:
    """Bound the sum of all loss slopes from below: ``1 - e^-S``, Lemma 1 (b).

    Parameters
    ----------
    total_loss : float or array_like
        ``S = n L``.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 2, Lemma 1 (b).

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.slope_sum_bound(1.0), 6)
    0.632121
    """
    return plain(-np.expm1(-values_of("total_loss", total_loss)))


def weighted_slope_bound(log_risk: ArrayLike, n_samples: int, gap: float) -> Any:
    """Bound ``sum p_i (q_i - kappa)`` from below: Lemma 1 (c).

    ``(1 - e^-S)(iota(u) - kappa)`` where the smoothed margin iota(u) is at least kappa.

    Parameters
    ----------
    log_risk : float or array_like
        log L.
    n_samples : int
        n.
    gap : float
        kappa.

    Returns
    -------
    float or ndarray
        -inf where the lemma does not apply.

    References
    ----------
    large-stepsize.md, section 2, Lemma 1 (c).

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.weighted_slope_bound(-3.0, 1, 0.5), 6)
    0.120206
    """
    excess = _iota(log_risk, n_samples) - number("gap", gap, at_least=0.0)
    slopes = -np.expm1(-total_loss(log_risk, n_samples))
    return plain(np.where(excess >= 0.0, slopes * excess, -np.inf))


def smoothed_margin(log_risk: ArrayLike, n_samples: int, norm: ArrayLike, degree: int = 1) -> Any:
    """Return ``gamma^b = iota(-log(n L)) / ||w||^D``.

    Parameters
    ----------
    log_risk : float or array_like
        log L.
    n_samples : int
        n.
    norm : float or array_like
        ``||w||`` of the trained parameters.
    degree : int
        D, the degree of homogeneity: the number of trained layers.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, sections 4 and 4.1.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.smoothed_margin(-10.0, 1, 2.0), 4)
    5.0
    """
    return modified_margin(log_risk, n_samples, norm, 0.0, degree)


def modified_margin(
    log_risk: ArrayLike, n_samples: int, norm: ArrayLike, gap: ArrayLike, degree: int = 1
) -> Any:
    """Return ``gamma^c = (iota(-log(n L)) - kappa) / ||w||^D``, which never falls: Theorem 3.

    Parameters
    ----------
    log_risk : float or array_like
        log L.
    n_samples : int
        n.
    norm : float or array_like
        ``||w||`` of the trained parameters.
    gap : float or array_like
        kappa.
    degree : int
        D, the degree of homogeneity.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, sections 4 and 4.1.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.modified_margin(-10.0, 1, 2.0, 1.0), 4)
    4.5
    """
    size = values_of("norm", norm) ** degree
    with np.errstate(divide="ignore", invalid="ignore"):
        return plain((_iota(log_risk, n_samples) - values_of("gap", gap)) / size)


def alignment_bound(log_risk: ArrayLike, n_samples: int, gap: float, degree: int = 1) -> Any:
    """Bound ``-<grad L, w> / L`` from below: ``D omega(S) (iota(u) - kappa)``, Lemma 3.

    Parameters
    ----------
    log_risk : float or array_like
        log L.
    n_samples : int
        n.
    gap : float
        kappa.
    degree : int
        D, the degree of homogeneity.

    Returns
    -------
    float or ndarray
        -inf where the smoothed margin is below kappa.

    References
    ----------
    large-stepsize.md, section 4, Lemma 3, and section 4.1.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.alignment_bound(-10.0, 1, 1.0), 4)
    8.9998
    """
    excess = _iota(log_risk, n_samples) - number("gap", gap, at_least=0.0)
    bound = degree * np.asarray(omega(total_loss(log_risk, n_samples))) * excess
    return plain(np.where(excess >= 0.0, bound, -np.inf))


def sandwich(log_risk: ArrayLike, n_samples: int, gap: float) -> tuple[Any, Any, Any]:
    """Bound the ratio of normalized to modified margin: the three bounds of Proposition 3.

    With ``K = kappa + log n + S / 2 + S^2 / 24`` they are ``1 + K / (iota - kappa)``,
    ``l / (l - K)`` with ``l = log(1 / L) > K``, and ``1 + c / l`` with
    ``c = 2 (kappa + log n) + 13 / 12 <= l``.

    Parameters
    ----------
    log_risk : float or array_like
        log L.
    n_samples : int
        n.
    gap : float
        kappa.

    Returns
    -------
    tuple of (float or ndarray)
        inf where a bound does not apply.

    References
    ----------
    large-stepsize.md, section 4, Proposition 3.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> [round(bound, 3) for bound in large_stepsize.sandwich(-100.0, 10, 0.5)]
    [1.029, 1.029, 1.067]
    """
    log_l = numbers_of("log_risk", log_risk)
    kappa = number("gap", gap, at_least=0.0)
    total = total_loss(log_l, n_samples)
    extra = kappa + math.log(n_samples) + total / 2.0 + total * total / 24.0
    excess, level = _iota(log_l, n_samples) - kappa, -log_l
    c = 2.0 * (kappa + math.log(n_samples)) + 13.0 / 12.0
    with np.errstate(divide="ignore", invalid="ignore"):
        first = np.where(excess > 0.0, 1.0 + extra / excess, np.inf)
        second = np.where((excess > 0.0) & (level > extra), level / (level - extra), np.inf)
        third = np.where((excess > 0.0) & (level >= c), 1.0 + c / level, np.inf)
    return plain(first), plain(second), plain(third)
