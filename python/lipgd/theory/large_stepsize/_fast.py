"""The stepsize that makes the risk fall like T^-2, and data on which monotone runs are slower."""

from __future__ import annotations

import math
from typing import Any

from lipgd._check import integer, number
from lipgd.theory._numbers import UP, values_of
from lipgd.theory.large_stepsize._constants import Constants
from lipgd.theory.large_stepsize._scalars import plain
from lipgd.types import ArrayLike

__all__ = ["fast_risk_bound", "fast_stepsize", "fast_stepsize_fault", "monotone_example"]

_LOG2 = math.log(2.0)


def fast_stepsize(found: Constants, rate: float, steps: int) -> float:
    """Return the stepsize of Theorem 7: ``gamma_*^2 T / (16 log 2 rho^2 (rho^2 + beta))``.

    Parameters
    ----------
    found : Constants
        rho and beta.
    rate : float
        gamma_*, above 0.
    steps : int
        T, at least 1.

    Returns
    -------
    float

    References
    ----------
    large-stepsize.md, section 5, Theorem 7.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="identity")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> round(large_stepsize.fast_stepsize(found, 1.0, 1000), 3)
    90.168
    """
    square = found.gradient_bound**2
    numerator = number("rate", rate, above=0.0) ** 2 * integer("steps", steps, at_least=1)
    return numerator / (16.0 * _LOG2 * square * (square + found.curvature_bound))


def fast_stepsize_fault(found: Constants, rate: float, steps: int, norm: float) -> str | None:
    """Return which condition of Theorem 7 fails for T steps; None if all hold.

    Parameters
    ----------
    found : Constants
        rho, beta, kappa and n.
    rate : float
        gamma_*, above 0.
    steps : int
        T.
    norm : float
        ``||w_0||``.

    Returns
    -------
    str or None
        ``"odd steps"``, ``"too few steps"``.

    References
    ----------
    large-stepsize.md, section 5, Theorem 7.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="identity")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> [large_stepsize.fast_stepsize_fault(found, 1.0, T, 0.0) for T in (51, 52, 1000)]
    ['odd steps', 'too few steps', None]
    """
    eta = fast_stepsize(found, rate, steps)
    if steps % 2:
        return "odd steps"
    square = found.gradient_bound**2
    level = eta * (square + found.curvature_bound)
    drift = 2.0 * found.homogeneity_gap + 2.0 * rate * norm
    enough = _LOG2 * level >= found.n_samples * UP
    if enough and eta * square >= (drift + 2.0 * math.log(16.0 * _LOG2 * level)) * UP:
        return None
    return "too few steps"


def fast_risk_bound(found: Constants, rate: float, steps: ArrayLike) -> Any:
    """Bound L(w_T) after T steps with :func:`fast_stepsize`: (5.7), of order T^-2.

    ``256 (log 2)^3 rho^2 (rho^2 + beta) / (gamma_*^4 T^2)``.

    Parameters
    ----------
    found : Constants
        rho and beta.
    rate : float
        gamma_*, above 0.
    steps : int or array_like
        T, for which :func:`fast_stepsize_fault` is None.

    Returns
    -------
    float or ndarray

    References
    ----------
    large-stepsize.md, section 5, Theorem 7, (5.7).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="identity")
    >>> found = large_stepsize.constants(net, [[1.0]])
    >>> round(large_stepsize.fast_risk_bound(found, 1.0, 1000) * 1e6, 3)
    85.254
    """
    square = found.gradient_bound**2
    shape = square * (square + found.curvature_bound) / number("rate", rate, above=0.0) ** 4
    return plain(256.0 * _LOG2**3 * shape / values_of("steps", steps, at_least=1.0) ** 2 * UP)


def monotone_example(
    margin: float, gradient_bound: float, slope: float, slope_at_zero: float
) -> float:
    """Return C_0, above which eta rho^2 makes the risk rise at once in the slow example.

    Two samples, ``(gamma, sqrt(1 - gamma^2))`` and ``(gamma, -sqrt(1 - gamma^2) / 2)`` with label
    1, zero weights and balanced signs: ``eta rho^2 <= C_0 = 4 log 2 rho_phi^2 /
    (alpha phi'(0) zeta)`` with ``zeta = (1 - 9 gamma^2) / 8`` whenever the first step does not
    raise the risk; by (3.3) a monotone run then has a risk of order 1 / T at least.

    Parameters
    ----------
    margin : float
        gamma, above 0 and below 1/3.
    gradient_bound, slope, slope_at_zero : float
        rho_phi, alpha and phi'(0) of the activation, above 0.

    Returns
    -------
    float

    References
    ----------
    large-stepsize.md, section 5 ("Monotone runs are slower on some data").

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> round(large_stepsize.monotone_example(0.1, 1.0, 0.5, 0.75), 3)
    64.998
    """
    gamma = number("margin", margin, above=0.0, below=1.0 / 3.0)
    zeta = (1.0 - 9.0 * gamma * gamma) / 8.0
    steep = number("gradient_bound", gradient_bound, above=0.0) ** 2
    flat = number("slope", slope, above=0.0) * number("slope_at_zero", slope_at_zero, above=0.0)
    return 4.0 * _LOG2 * steep / (flat * zeta)
