"""Theorem 5: how much descent decreases the risk, how small gradients become, how far it moves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lipgd._check import number
from lipgd.theory._numbers import UP, values_of
from lipgd.theory.rate_constraints._quantities import Quantities
from lipgd.types import ArrayLike

__all__ = [
    "descent_decrease",
    "energy_lipschitz_bound",
    "energy_radius",
    "gradient_bound",
    "hybrid_gradient_bound",
    "proximal_gradient_bound",
    "stochastic_gradient_sum",
]


def descent_decrease(rates: ArrayLike, gradient_norms: ArrayLike, eta: float) -> Any:
    """Return how much one step decreases the risk at least, ``(1 - eta/2) sum rate_k ||G_k||^2``.

    Parameters
    ----------
    rates : array_like, shape (..., n_groups)
        The rates of all groups, at most ``eta / S``.
    gradient_norms : array_like, shape (..., n_groups)
        The norms of their gradients before the step.
    eta : float
        Above 0 and below 2.

    Returns
    -------
    float or ndarray, shape (...)

    References
    ----------
    rate-constraints.md, section 9, Theorem 5 (a).

    Examples
    --------
    >>> from lipgd.theory import convergence
    >>> round(convergence.descent_decrease([0.5, 0.5], [1.0, 2.0], 1.0), 6)
    1.25
    """
    terms = values_of("rates", rates) * np.square(values_of("gradient_norms", gradient_norms))
    return _plain(share(eta) * terms.sum(axis=-1) / UP)


def gradient_bound(risk_drop: ArrayLike, rate_sum: ArrayLike, eta: float) -> Any:
    """Bound the smallest gradient norm so far, for any schedule of rates at most ``eta / S``.

    ``min_(s<T) ||grad R|| <= sqrt((R_0 - R_T) / ((1 - eta/2) sum_(s<T) min_k rate_k(s)))``.

    Parameters
    ----------
    risk_drop : float or array_like
        ``R_0 - R_T``, or R_0, which is not less.
    rate_sum : float or array_like
        ``sum_(s<T) min_k rate_k(s)``.
    eta : float
        Above 0 and below 2.

    Returns
    -------
    float or ndarray
        inf where the sum is 0.

    References
    ----------
    rate-constraints.md, section 9, Theorem 5 (b).

    Examples
    --------
    >>> from lipgd.theory import convergence
    >>> convergence.gradient_bound(1.0, [0.0, 8.0], 1.0).round(6)
    array([inf, 0.5])
    """
    left = share(eta) * values_of("rate_sum", rate_sum)
    drop = values_of("risk_drop", risk_drop)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _plain(np.where(left > 0.0, np.sqrt(drop / left), np.inf) * UP)


def hybrid_gradient_bound(
    smoothness: float, risk_drop: ArrayLike, steps: ArrayLike, eta: float = 1.0
) -> Any:
    """Bound the smallest gradient norm in the constant phase of a hybrid schedule.

    ``min_(s<T) ||grad R|| <= sqrt(S (R_0 - R_T) / (eta (1 - eta/2) T))`` for T up to the hold, if
    the caps do not bind and the rate is ``eta / S``.

    Parameters
    ----------
    smoothness : float
        S, above 0.
    risk_drop : float or array_like
        ``R_0 - R_T``, or R_0.
    steps : int or array_like
        T.
    eta : float
        Above 0 and below 2.

    Returns
    -------
    float or ndarray

    References
    ----------
    rate-constraints.md, section 9, Theorem 5 (c).

    Examples
    --------
    >>> from lipgd.theory import convergence
    >>> round(convergence.hybrid_gradient_bound(2.0, 1.0, 100), 6)
    0.2
    """
    rate = number("eta", eta, above=0.0, below=2.0) / number("smoothness", smoothness, above=0.0)
    return gradient_bound(risk_drop, rate * values_of("steps", steps), eta)


def energy_radius(rate_sum: ArrayLike, risk_drop: ArrayLike, eta: float) -> Any:
    """Bound how far descent moves in all: r_T of (12).

    ``sum_k (sum_(s<T) rate_k ||G_k||)^2 <= A_T (R_0 - R_T) / (1 - eta/2) = r_T^2`` with
    ``A_T = sum_(s<T) max_k rate_k(s)`` and rates of at most ``eta / S``.

    Parameters
    ----------
    rate_sum : float or array_like
        A_T.
    risk_drop : float or array_like
        ``R_0 - R_T``, or R_0.
    eta : float
        Above 0 and below 2.

    Returns
    -------
    float or ndarray

    References
    ----------
    rate-constraints.md, section 9, Theorem 5 (d), (12).

    Examples
    --------
    >>> from lipgd.theory import convergence
    >>> round(convergence.energy_radius(8.0, 1.0, 1.0), 6)
    4.0
    """
    area = values_of("rate_sum", rate_sum) * values_of("risk_drop", risk_drop)
    return _plain(np.sqrt(area / share(eta)) * UP)


def energy_lipschitz_bound(quantities: Quantities, radius: ArrayLike) -> Any:
    """Bound the Lipschitz constant within a joint distance of the measured network.

    For two layers ``|s| L_sigma min((w_0 + beta_0 + sqrt(2) r)^2 / 4,
    w_0 beta_0 + r sqrt(w_0^2 + beta_0^2) + r^2 / 2)``, for n layers
    ``|s| L_sigma^(n-1) (sum ||W_l|| / n + r / sqrt(n))^n``.

    Parameters
    ----------
    quantities : Quantities
        Measured at the centre.
    radius : float or array_like
        r, a bound of the distance of all weights together, such as :func:`energy_radius`.

    Returns
    -------
    float or ndarray

    References
    ----------
    rate-constraints.md, section 9, Theorem 5 (d), (12), and section 10.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import convergence, rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[4.0]]], activation="relu")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> round(convergence.energy_lipschitz_bound(found, 2.0), 6)
    24.0
    """
    r, n = values_of("radius", radius), quantities.depth
    bound = (math.fsum(quantities.weight_norms) / n + r / math.sqrt(n)) ** n
    if n == 2:
        norm, outer = quantities.weight_norms
        bound = np.minimum(bound, norm * outer + r * math.hypot(norm, outer) + r * r / 2.0)
    return _plain(quantities.slope_product * bound * UP)


def stochastic_gradient_sum(
    risk: float, smoothness: float, rates: ArrayLike, deviations: ArrayLike
) -> float:
    """Bound the weighted sum of expected squared gradient norms of stochastic descent.

    ``sum_(s,k) rate_k(s) E ||G_k(s)||^2 <= 2 R_0 + S sum_(s,k) rate_k(s)^2 v_k^2`` for unbiased
    gradients with ``E ||G^_k - G_k||^2 <= v_k^2`` and rates of at most 1 / S that are known before
    training: caps from the batch at hand do not qualify.

    Parameters
    ----------
    risk : float
        R_0.
    smoothness : float
        S on the whole region that the iterates may reach, not on a sublevel set.
    rates : array_like, shape (steps, n_groups)
        The rates.
    deviations : array_like, shape (n_groups,) or (steps, n_groups)
        v_k, for instance bounds of the batch gradients.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 11 ("SGD convergence").

    Examples
    --------
    >>> from lipgd.theory import convergence
    >>> round(convergence.stochastic_gradient_sum(1.0, 2.0, [[0.5], [0.5]], [3.0]), 6)
    11.0
    """
    noise = np.square(values_of("rates", rates) * values_of("deviations", deviations)).sum()
    curvature = number("smoothness", smoothness, at_least=0.0)
    return (2.0 * number("risk", risk, at_least=0.0) + curvature * float(noise)) * UP


def proximal_gradient_bound(objective_drop: ArrayLike, rate_sum: ArrayLike) -> Any:
    """Bound the smallest norm of the gradient mapping of proximal descent.

    With rates of at most 1 / S, ``sum_s rate_s / 2 ||g_s||^2 <= R_0 + psi_0 - inf (R + psi)`` for
    the gradient mapping ``g = (Theta - Theta^+) / rate``.

    Parameters
    ----------
    objective_drop : float or array_like
        ``R_0 + psi_0 - inf (R + psi)``, or the objective at the start if it is never negative.
    rate_sum : float or array_like
        The sum of the rates.

    Returns
    -------
    float or ndarray

    References
    ----------
    rate-constraints.md, section 11 ("Proximal steps").

    Examples
    --------
    >>> from lipgd.theory import convergence
    >>> round(convergence.proximal_gradient_bound(1.0, 8.0), 6)
    0.5
    """
    return gradient_bound(objective_drop, rate_sum, 1.0)


def share(eta: float) -> float:
    """Return 1 - eta/2, the share of the first-order decrease that is certain."""
    return 1.0 - number("eta", eta, above=0.0, below=2.0) / 2.0


def _plain(array: Any) -> Any:
    return float(array) if np.ndim(array) == 0 else array
