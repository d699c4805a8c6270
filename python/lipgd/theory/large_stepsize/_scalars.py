"""Scalar facts about the logistic loss, in the log domain: section 2 and section 4.2."""

from __future__ import annotations

from typing import Any

import numpy as np

from lipgd._arguments import real_array
from lipgd.types import ArrayLike, DoubleArray

__all__ = [
    "iota",
    "log_loss",
    "log_risk",
    "loss_slope",
    "mean_slope_bound",
    "omega",
    "plain",
    "psi",
]

#: Above this margin three terms of the series of log log(1 + e^-q) are exact to rounding.
_LARGE_MARGIN = 20.0
#: Below this total loss the series of iota is, and below the second that of psi.
_SMALL_LOSS, _SMALL_PSI = 1e-2, 1e-2


def numbers_of(name: str, value: ArrayLike) -> DoubleArray:
    """Return real numbers as float64; infinities count as numbers, NaN stands for no number."""
    return real_array(name, value).astype(np.float64)


def plain(array: Any) -> Any:
    """Return an array without axes as a float."""
    return float(array) if np.ndim(array) == 0 else array


def log_loss(margin: ArrayLike) -> Any:
    """Return ``log l(q)`` of the logistic loss ``l(q) = log(1 + e^-q)``.

    It is accurate where the loss itself underflows, at margins above 745.

    Parameters
    ----------
    margin : float or array_like
        q, any real number.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 4.2.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> large_stepsize.log_loss([0.0, 1000.0]).round(6).tolist()
    [-0.366513, -1000.0]
    """
    q = numbers_of("margin", margin)
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        small = np.exp(-np.abs(q))
        series = -q - small / 2.0 + 5.0 / 24.0 * small * small
        middle = np.log(np.log1p(small))
        negative = np.log(-q + np.log1p(small))
    return plain(np.where(q > _LARGE_MARGIN, series, np.where(q > 0.0, middle, negative)))


def loss_slope(margin: ArrayLike) -> Any:
    """Return the slope ``p = -l'(q) = 1 / (1 + e^q) = 1 - e^(-l(q))``.

    Parameters
    ----------
    margin : float or array_like
        q.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 1.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> large_stepsize.loss_slope(0.0)
    0.5
    """
    q = numbers_of("margin", margin)
    small = np.exp(-np.abs(q))
    return plain(np.where(q > 0.0, small, 1.0) / (1.0 + small))


def log_risk(margins: ArrayLike) -> float:
    """Return ``log L``, the logarithm of the mean loss of margins.

    Parameters
    ----------
    margins : array_like, shape (n_samples,)
        ``q_i = y_i f(x_i)``.

    Returns
    -------
    float

    References
    ----------
    large-stepsize.md, section 4.2.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.log_risk([1000.0, 1000.0]), 6)
    -1000.0
    """
    logs = np.atleast_1d(log_loss(margins))
    largest = float(logs.max())
    return largest + float(np.log(np.exp(logs - largest).mean()))


def iota(u: ArrayLike) -> Any:
    """Return the margin whose loss is ``e^-u``: ``iota(u) = -log(exp(e^-u) - 1)``.

    With ``u = -log S`` of the total loss ``S = n L`` it is the smoothed margin.

    Parameters
    ----------
    u : float or array_like
        The negative logarithm of a loss.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, sections 1, 2 and 4.2; (2.3).

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.iota(-large_stepsize.log_loss(3.0)), 12)
    3.0
    """
    u = numbers_of("u", u)
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        total = np.exp(-u)
        square = total * total
        series = u - total / 2.0 - square / 24.0 + square * square / 2880.0
        middle = -np.log(np.expm1(np.minimum(total, 1.0)))
        large = -total - np.log1p(-np.exp(-total))
    return plain(np.where(total < _SMALL_LOSS, series, np.where(total < 1.0, middle, large)))


def omega(total_loss: ArrayLike) -> Any:
    """Return ``omega(S) = (1 - e^-S) / S``, which rises to 1 as S falls to 0.

    Parameters
    ----------
    total_loss : float or array_like
        S, at least 0.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, sections 1 and 4.2.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> large_stepsize.omega(0.0), round(large_stepsize.omega(1.0), 6)
    (1.0, 0.632121)
    """
    total = numbers_of("total_loss", total_loss)
    tiny = total < 1e-12
    return plain(np.where(tiny, 1.0 - total / 2.0, -np.expm1(-total) / np.where(tiny, 1.0, total)))


def psi(size: ArrayLike) -> Any:
    """Return ``psi(A) = (e^A - 1 - A) / A^2``, one half at 0 and rising.

    Parameters
    ----------
    size : float or array_like
        A, at least 0.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 3, Theorem 2.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> large_stepsize.psi(0.0), round(large_stepsize.psi(1.0), 6)
    (0.5, 0.718282)
    """
    a = numbers_of("size", size)
    small = a < _SMALL_PSI
    with np.errstate(over="ignore", invalid="ignore"):
        series = 0.5 + a / 6.0 * (1.0 + a / 4.0 * (1.0 + a / 5.0 * (1.0 + a / 6.0)))
        safe = np.where(small, 1.0, a)
        exact = np.where(np.isinf(safe), np.inf, (np.expm1(safe) - safe) / (safe * safe))
    return plain(np.where(small, series, exact))


def mean_slope_bound(log_risk: ArrayLike) -> Any:
    """Bound the mean slope G by the risk: ``G <= 1 - e^-L``.

    Parameters
    ----------
    log_risk : float or array_like
        log L.

    Returns
    -------
    float or ndarray
        At least the least normal number: a risk that underflows is not 0.

    References
    ----------
    large-stepsize.md, section 1 (the table) and section 3, Theorem 1.

    Examples
    --------
    >>> import math
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.mean_slope_bound(math.log(math.log(2.0))), 12)
    0.5
    """
    with np.errstate(over="ignore", under="ignore"):
        slope = -np.expm1(-np.exp(numbers_of("log_risk", log_risk)))
    return plain(np.maximum(slope, np.finfo(np.float64).tiny))
