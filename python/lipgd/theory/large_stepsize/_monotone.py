"""Stepsizes that are monotone from a risk on, by Theorems 1 and 2; how sharp that is. Section 3."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from lipgd.theory._numbers import UP, bisect, values_of
from lipgd.theory.large_stepsize._constants import Constants
from lipgd.theory.large_stepsize._scalars import mean_slope_bound, numbers_of, plain, psi
from lipgd.theory.large_stepsize._stable import sharpness_bound
from lipgd.types import ArrayLike

__all__ = ["monotone_stepsize", "spectral_stability", "spectral_stepsize", "tight_growth"]

_LARGEST = sys.float_info.max


def monotone_stepsize(found: Constants, log_risk: float = math.inf) -> float:
    """Return the largest stepsize that Theorem 1 proves monotone from a risk on.

    Parameters
    ----------
    found : Constants
        rho and beta.
    log_risk : float
        log L at the start; by default any start, for which it is ``2 / (rho^2 / 4 + beta)``.

    Returns
    -------
    float
        0 if the activation is not smooth; inf only if the output is constant.

    References
    ----------
    large-stepsize.md, section 3, Theorem 1.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="softplus")
    >>> round(large_stepsize.monotone_stepsize(large_stepsize.constants(net, [[1.0]])), 6)
    4.0
    """
    bound = sharpness_bound(found, mean_slope_bound(log_risk))
    return min(2.0 / (bound * UP), _LARGEST) if bound else math.inf


def spectral_stability(found: Constants, stepsize: ArrayLike, log_risk: ArrayLike) -> Any:
    """Return the smaller left side of (3.2): the risk falls for ever if it is at most 1.

    Parameters
    ----------
    found : Constants
        rho, rho_1, beta_1, R and Lambda.
    stepsize : float or array_like
        eta.
    log_risk : float or array_like
        log L at time s.

    Returns
    -------
    float or ndarray

    Notes
    -----
    A trained outer bias adds ``b^2 G`` to ``rho_1^2 M`` and ``b^2`` to ``rho_1^2 Lambda``, by the
    triangle inequality in the weighted norm of the changes of the outputs.

    References
    ----------
    large-stepsize.md, section 3, Theorem 2, (3.2).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0, 0.0]], [[1.0]]], activation="identity")
    >>> found = large_stepsize.constants(net, [[1.0, 0.0], [0.0, 1.0]])
    >>> round(large_stepsize.spectral_stability(found, 16.0, 0.0), 6)
    1.0
    """
    rate = values_of("stepsize", stepsize)
    log_l = numbers_of("log_risk", log_risk)
    slope = np.asarray(mean_slope_bound(log_l))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        summed = np.asarray(mean_slope_bound(log_l + math.log(found.n_samples)))
        weight = np.minimum(slope * found.input_norm**2, found.input_eigenvalue * summed)
        square, outer = found.unit_gradient_bound**2, found.bias_gradient_bound**2
        curved = np.where(weight > 0.0, found.unit_curvature_bound * weight, 0.0)
        first = square * weight + outer * slope
        size = rate * found.gradient_bound * np.sqrt(slope * first) * UP
        left = rate / 2.0 * (2.0 * np.asarray(psi(size)) * first + curved)
        right = rate / 2.0 * ((square * found.input_eigenvalue + outer) / 4.0 + curved)
        # 0 times psi = inf, where both the loss and its slope underflow.
        left = np.where(first > 0.0, left, rate / 2.0 * curved)
    return plain(np.fmin(left, right) * UP)


def spectral_stepsize(found: Constants, log_risk: float = math.inf) -> float:
    """Return the largest stepsize that Theorem 2 proves monotone from a risk on.

    Parameters
    ----------
    found : Constants
        rho, rho_1, beta_1, R and Lambda.
    log_risk : float
        log L at the start; by default any start.

    Returns
    -------
    float
        0 if the activation is not smooth; inf only if the output is constant. Beyond 1e300 one that
        is proved, not the largest.

    References
    ----------
    large-stepsize.md, section 3, Theorem 2.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0, 0.0]], [[1.0]]], activation="identity")
    >>> found = large_stepsize.constants(net, [[1.0, 0.0], [0.0, 1.0]])
    >>> round(large_stepsize.spectral_stepsize(found), 6)
    16.0
    """

    def holds(stepsize: float) -> bool:
        return bool(spectral_stability(found, stepsize, log_risk) <= 1.0)

    high = 1.0
    while holds(high) and high < 1e300:
        high *= 16.0
    if holds(high):
        return high if found.gradient_bound else math.inf
    low = 1e-300
    return bisect(holds, low, high)[0] if holds(low) else 0.0


def tight_growth(asymmetry: ArrayLike, scaled_stepsize: ArrayLike) -> Any:
    """Return the growth of the risk in the example that shows the constant 2 of (3.1) is sharp.

    One neuron of the identity, two unit inputs with an angle near pi, slopes ``G (1 +- c)``:
    ``L(w_1) / L(w_0)`` tends to ``cosh(c h) - c sinh(c h)`` with ``h = eta rho^2 G``, which exceeds
    1 for every h above 2 if c is small.

    Parameters
    ----------
    asymmetry : float or array_like
        c, from 0 to 1.
    scaled_stepsize : float or array_like
        h.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 3 ("The constant 2 cannot be enlarged").

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> growth = large_stepsize.tight_growth(0.01, [1.99, 2.01])
    >>> (growth > 1.0).tolist()
    [False, True]
    """
    c = values_of("asymmetry", asymmetry)
    moved = c * values_of("scaled_stepsize", scaled_stepsize)
    # cosh - 1 = 2 sinh(./2)^2 keeps the digits of a growth near 1.
    return plain(1.0 + 2.0 * np.sinh(moved / 2.0) ** 2 - c * np.sinh(moved))
