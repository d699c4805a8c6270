"""Theorem 5: rates and budgets with guarantees that are known before training."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lipgd._check import integer, number
from lipgd.theory._numbers import UP, bisect, raised, values_of
from lipgd.theory.convergence._smoothness import ball_smoothness, lemma_s
from lipgd.theory.convergence._theorem5 import gradient_bound, share
from lipgd.theory.rate_constraints._quantities import Quantities
from lipgd.theory.rate_constraints._reach import reach
from lipgd.types import ArrayLike

__all__ = [
    "DecayGuarantee",
    "EnergySchedule",
    "HybridPlan",
    "decay_guarantee",
    "energy_schedule",
    "hybrid_plan",
]


@dataclass(frozen=True)
class HybridPlan:
    """Budgets that keep a hybrid schedule inside the region that its rate is made for.

    Attributes
    ----------
    radius : float
        rho, the radius of every group.
    smoothness : float
        S on the region.
    rate : float
        ``eta / S``, the rate of the hold.
    budgets : dict of str to float
        C_k by name.

    References
    ----------
    rate-constraints.md, section 9, Theorem 5 (c).
    """

    radius: float
    smoothness: float
    rate: float
    budgets: dict[str, float]


def hybrid_plan(quantities: Quantities, total: float, eta: float = 1.0) -> HybridPlan:
    """Return a rate and budgets that do not bind during a hold of any length below ``total``.

    The least radius rho with ``G eta max_k M_k(rho) / S(sqrt(2) rho) <= rho``, found by bisection,
    and ``C_k = N eta M_k(rho) / S(sqrt(2) rho)``, both for a risk of at most R_0.

    Parameters
    ----------
    quantities : Quantities
        Measured before training, two layers with a smooth activation.
    total : float
        The limit of the rate function G.
    eta : float
        Above 0 and below 2.

    Returns
    -------
    HybridPlan

    References
    ----------
    rate-constraints.md, section 9, Theorem 5 (c).

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import convergence, rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="tanh")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> plan = convergence.hybrid_plan(found, 100.0)
    >>> radii = rate_constraints.budget_radii(found, plan.budgets, 100.0)
    >>> max(radii.values()) <= plan.radius
    True
    """
    total = number("total", total, above=0.0)
    eta = number("eta", eta, above=0.0, below=2.0)

    def at(radius: float) -> tuple[float, dict[str, float]]:
        within = reach(quantities, dict.fromkeys(quantities.names, radius), descent=True)
        majorants = {name: float(bound) for name, bound in within.majorants.items()}
        return ball_smoothness(quantities, math.sqrt(2.0) * radius * UP), majorants

    def too_small(radius: float) -> bool:
        bound, majorants = at(radius)
        return total * eta / bound * max(majorants.values()) * UP**2 > radius

    _, radius = _upper_root(too_small)
    bound, majorants = at(radius)
    rate = eta / bound
    factor = quantities.n_samples * rate
    return HybridPlan(radius, bound, rate, {name: factor * m for name, m in majorants.items()})


@dataclass(frozen=True)
class EnergySchedule:
    """A constant rate with guarantees that are known before training.

    Attributes
    ----------
    rate : float
        The rate of all groups.
    radius : float
        r: no iterate up to T is farther from the start, all groups together.
    smoothness : float
        S(r).
    gradient : float
        A bound of the smallest gradient norm of the steps before T.

    References
    ----------
    rate-constraints.md, section 9, Theorem 5 (e).
    """

    rate: float
    radius: float
    smoothness: float
    gradient: float


def energy_schedule(
    smoothness: Callable[[float], float], risk: float, steps: int, eta: float = 0.5
) -> EnergySchedule:
    """Return the constant rate ``eta / S(r)`` with ``r^2 S(r) = eta T R_0 / (1 - eta/2)``.

    All iterates up to T stay within r of the start, without budgets, and
    ``min_(s<T) ||grad R|| <= R_0 / ((1 - eta/2) r)``, of the order of ``T^(-1/4)``.

    Parameters
    ----------
    smoothness : callable
        S(r), nondecreasing: a bound for all networks within r of the start with a risk of at most
        R_0, such as ``partial(ball_smoothness, quantities)``.
    risk : float
        R_0, above 0.
    steps : int
        T, at least 1.
    eta : float
        Above 0 and below 2; 1/2 is best for large T.

    Returns
    -------
    EnergySchedule

    References
    ----------
    rate-constraints.md, section 9, Theorem 5 (e).

    Examples
    --------
    >>> from lipgd.theory import convergence
    >>> plan = convergence.energy_schedule(lambda r: 1.0 + r * r, 0.75, 24)
    >>> round(plan.radius, 6), round(plan.rate, 6), round(plan.gradient, 6)
    (1.732051, 0.125, 0.57735)
    """
    risk = number("risk", risk, above=0.0)
    steps = integer("steps", steps, at_least=1)
    level = number("eta", eta, above=0.0, below=2.0) * steps * risk / share(eta) * UP
    _, radius = _upper_root(lambda r: r * r * smoothness(r) < level)
    bound = smoothness(radius)
    rate = eta / bound / UP
    return EnergySchedule(rate, radius, bound, gradient_bound(risk, rate * steps, eta))


@dataclass(frozen=True)
class DecayGuarantee:
    """What weight decay guarantees for all steps.

    Attributes
    ----------
    rate : float
        ``1 / S_mu``, the constant rate of all groups.
    radius : float
        No iterate has a larger norm.
    smoothness : float
        S_mu.
    lipschitz : float
        A bound of the Lipschitz constant of all iterates.
    risk : float
        ``R_mu`` at the start: the risk with the penalty ``mu/2 ||Theta||^2``.

    References
    ----------
    rate-constraints.md, section 9, Theorem 5 (f).
    """

    rate: float
    radius: float
    smoothness: float
    lipschitz: float
    risk: float

    def gradient(self, steps: ArrayLike) -> Any:
        """Bound the smallest norm of the gradient of R_mu, ``sqrt(2 S_mu R_mu / T)``.

        Parameters
        ----------
        steps : int or array_like
            T.

        Returns
        -------
        float or ndarray
        """
        return gradient_bound(self.risk, self.rate * values_of("steps", steps), 1.0)


def decay_guarantee(quantities: Quantities, decay: float) -> DecayGuarantee:
    """Return rate and bounds of descent on ``R + mu/2 ||Theta||^2``, for all T.

    ``rho = sqrt(2 R_mu / mu)`` and ``S_mu = mu + S`` of Lemma S with ``beta = beta_inf = rho``,
    ``eta-bar^2 = 1 + min(|sigma(0)| sqrt(p) + L_sigma xi-bar rho, s_inf sqrt(p))^2`` and
    ``q = min(omega, sqrt(2 lambda R_mu))``. Then ``||Theta|| <= rho`` and
    ``Lip(f) <= |s| L_sigma R_mu / mu``.

    Parameters
    ----------
    quantities : Quantities
        Measured before training, two layers with a smooth activation.
    decay : float
        mu, above 0, the weight decay of all groups.

    Returns
    -------
    DecayGuarantee

    References
    ----------
    rate-constraints.md, section 9, Theorem 5 (f).

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import convergence, rate_constraints
    >>> net = lipgd.Network([[[1.0]], [[1.0]]], activation="tanh")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [0.0], "huber")
    >>> bounds = convergence.decay_guarantee(found, 0.5)
    >>> round(bounds.radius, 4), round(bounds.lipschitz, 4)
    (1.7777, 1.58)
    """
    decay = number("decay", decay, above=0.0)
    if quantities.depth != 2:
        raise ValueError(f"quantities is of {quantities.depth} layers, expected 2")
    lengths = (*quantities.weight_frobenius, *quantities.bias_norms)
    risk = raised(quantities.risk + decay / 2.0 * math.fsum(norm * norm for norm in lengths))
    radius = math.sqrt(2.0 * risk / decay) * UP
    activation, inputs = quantities.activation, quantities.augmented_feature_norms[0]
    grown = abs(activation.at_zero) * math.sqrt(quantities.sizes[1])
    grown += activation.lipschitz * inputs * radius
    features = min(grown, quantities.feature_limit(1))
    q = min(quantities.loss_lipschitz, math.sqrt(2.0 * quantities.loss_smoothness * risk) * UP)
    spread = math.inf if quantities.weighted else math.sqrt(quantities.n_samples) * q
    bound = lemma_s(
        quantities,
        beta=radius,
        row=radius,
        eta=math.hypot(features, quantities.biased[1]),
        q_spectral=q,
        q=q,
        q_max=min(quantities.loss_lipschitz, spread),
    ).value
    smoothness = raised(decay + bound)
    lipschitz = raised(quantities.slope_product * risk / decay)
    return DecayGuarantee(1.0 / smoothness / UP, radius, smoothness, lipschitz, risk)


def _upper_root(too_small: Callable[[float], bool]) -> tuple[float, float]:
    """Return neighbours around the first number that is large enough, to twelve digits."""
    high = 1.0
    while too_small(high):
        high *= 4.0
        if high > 1e150:
            raise ValueError("smoothness stays too small, expected one of the order of r^2")
    low = high
    while not too_small(low):
        low /= 4.0
        if low < 1e-150:
            return 0.0, high
    return bisect(too_small, low, high, tolerance=1e-12)
