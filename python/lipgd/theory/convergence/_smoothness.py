"""Lemma S: the smoothness of the risk of two-layer networks, at a point or over a region."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lipgd import schedules
from lipgd._check import flag, number
from lipgd.schedules import Schedule
from lipgd.theory._numbers import UP, raised, times
from lipgd.theory.rate_constraints._quantities import Quantities
from lipgd.theory.rate_constraints._reach import sublevel_gradient

__all__ = ["Smoothness", "ball_smoothness", "region_smoothness", "smoothness", "smoothness_rate"]


@dataclass(frozen=True)
class Smoothness:
    """A bound of the Hessian of the risk by blocks.

    ``|D^2 R[V, V]| <= a |dA|^2 + 2 e |dA| |dB| + b |dB|^2`` with the parts dA of ``[W, b]`` and dB
    of ``[B; c]`` of a direction V, in Frobenius norms.

    Attributes
    ----------
    hidden, outer, coupling : float
        a, b and e.

    References
    ----------
    rate-constraints.md, section 9, Lemma S.
    """

    hidden: float
    outer: float
    coupling: float

    @property
    def value(self) -> float:
        """S, a bound of the norm of the Hessian: the left side of (11)."""
        half = math.hypot((self.hidden - self.outer) / 2.0, self.coupling)
        return raised((self.hidden + self.outer) / 2.0 + half)

    def blocks(self, theta: float = 1.0) -> tuple[float, float]:
        """Return bounds of the Hessian by a block-diagonal matrix: the right side of (11).

        Parameters
        ----------
        theta : float
            Above 0.

        Returns
        -------
        hidden, outer : float
            ``a + theta e`` and ``b + e / theta``.

        Examples
        --------
        >>> from lipgd.theory import convergence
        >>> convergence.Smoothness(4.0, 1.0, 2.0).blocks(2.0)
        (8.0, 2.0)
        """
        theta = number("theta", theta, above=0.0)
        return self.hidden + theta * self.coupling, self.outer + self.coupling / theta


def smoothness(quantities: Quantities) -> Smoothness:
    """Bound the Hessian of the risk at the measured network.

    With beta = ``||B||``, beta_inf the largest row norm of B, eta-bar, and q_2, q_F, q_inf the
    spectral, Frobenius (over sqrt(N)) and largest row norm of Q:
    ``a = lambda L_sigma^2 beta^2 xi-bar^2 + L_sigma' beta_inf min(q_inf xi-bar^2,
    q_F xi-bar x-bar_max)``, ``b = lambda eta-bar^2``,
    ``e = lambda L_sigma beta xi-bar eta-bar + L_sigma q_2 xi-bar``.

    Parameters
    ----------
    quantities : Quantities
        Measured at a network of one or two layers with a smooth activation. Without a bias, the
        barred norms are those without the column of ones.

    Returns
    -------
    Smoothness

    Raises
    ------
    ValueError
        If the activation is not smooth, or there are more layers; then see
        :func:`deep_smoothness`.

    References
    ----------
    rate-constraints.md, section 9, Lemma S.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import convergence, rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> round(convergence.smoothness(found).value, 6)
    27.866069
    """
    return lemma_s(
        quantities,
        beta=quantities.weight_norms[-1],
        row=quantities.outer_row_norm,
        eta=quantities.augmented_feature_norms[-1],
        q_spectral=quantities.loss_gradient_spectral,
        q=quantities.loss_gradient,
        q_max=quantities.loss_gradient_max,
    )


def region_smoothness(
    quantities: Quantities, hidden_radius: float, outer_radius: float, *, sublevel: bool = False
) -> Smoothness:
    """Bound the Hessian of the risk at all networks within radii of the measured one.

    Lemma S with ``beta = beta_0 + rho_B``, ``beta_inf = beta_(0,inf) + rho_B``,
    ``eta-bar = min(eta-bar_0 + L_sigma xi-bar rho_A, sqrt(s_inf^2 p + 1))``,
    ``q_2 = q_F = min(omega, q_0 + lambda d_F)``,
    ``d_F = L_sigma xi-bar rho_A beta + eta-bar_0 rho_B``, and for ``q_inf`` the least of omega,
    ``sqrt(N) q_F`` (without sample weights) and the same recursion for the worst sample.

    Parameters
    ----------
    quantities : Quantities
        Measured at the centre, a network of one or two layers with a smooth activation.
    hidden_radius : float
        rho_A, of ``[W, b]`` in Frobenius norm. One layer has none: it does not count.
    outer_radius : float
        rho_B, of ``[B; c]`` in Frobenius norm.
    sublevel : bool
        Whether the bound is for networks with a risk of at most R_0 alone: then
        ``q_F <= sqrt(2 lambda R_0)`` too.

    Returns
    -------
    Smoothness
        Nondecreasing in both radii.

    References
    ----------
    rate-constraints.md, section 9 ("Over a region").

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import convergence, rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> round(convergence.region_smoothness(found, 1.0, 1.0).value, 6)
    63.639358
    """
    hidden = number("hidden_radius", hidden_radius, at_least=0.0)
    outer = number("outer_radius", outer_radius, at_least=0.0)
    flag("sublevel", sublevel)
    hidden = hidden if quantities.depth > 1 else 0.0
    slope, beta = quantities.activation.lipschitz, quantities.weight_norms[-1] + outer
    start = quantities.augmented_feature_norms
    largest = quantities.augmented_feature_maxima
    moved = slope * start[0] * hidden * beta + start[-1] * outer
    moved_max = slope * largest[0] * hidden * beta + largest[-1] * outer
    omega, curvature = quantities.loss_lipschitz, quantities.loss_smoothness
    q = min(omega, (quantities.loss_gradient + curvature * moved) * UP)
    if sublevel:
        q = min(q, sublevel_gradient(quantities))
    q_max = min(omega, (quantities.loss_gradient_max + curvature * moved_max) * UP)
    if not quantities.weighted:
        q_max = min(q_max, math.sqrt(quantities.n_samples) * q)
    limit = math.inf
    if quantities.depth > 1:
        limit = math.hypot(quantities.feature_limit(1), quantities.biased[1])
    return lemma_s(
        quantities,
        beta=beta,
        row=quantities.outer_row_norm + outer,
        eta=min(start[-1] + slope * start[0] * hidden, limit),
        q_spectral=q,
        q=q,
        q_max=q_max,
    )


def ball_smoothness(quantities: Quantities, radius: float) -> float:
    """Return S(r), the smoothness for a risk of at most R_0 within r of the measured network.

    Parameters
    ----------
    quantities : Quantities
        Measured at the centre, a network of one or two layers with a smooth activation.
    radius : float
        r, of both groups.

    Returns
    -------
    float
        Nondecreasing in r, of the order of its square.

    References
    ----------
    rate-constraints.md, section 9 ("Over a region").

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import convergence, rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> round(convergence.ball_smoothness(found, 1.0), 6)
    51.925824
    """
    return region_smoothness(quantities, radius, radius, sublevel=True).value


def smoothness_rate(bound: float, eta: float = 1.0) -> Schedule:
    """Return the constant schedule ``eta / S``, with which every step decreases the risk.

    Parameters
    ----------
    bound : float
        S, a bound of the smoothness where the iterates are, such as :func:`ball_smoothness` or
        :func:`deep_smoothness`; above 0.
    eta : float
        Above 0 and below 2; 1 decreases most.

    Returns
    -------
    Schedule

    References
    ----------
    rate-constraints.md, section 9, Theorem 5 (a).

    Examples
    --------
    >>> from lipgd.theory import convergence
    >>> round(convergence.smoothness_rate(4.0)(0), 6)
    0.25

    With the bound for all networks that are not farther away than 1 and have no larger risk:

    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> net = lipgd.Network.create([1, 16, 1], activation="tanh", init="torch")
    >>> found = rate_constraints.measure(net, X, np.sin(3 * X))
    >>> rate = convergence.smoothness_rate(convergence.ball_smoothness(found, 1.0))
    >>> run = lipgd.train(net, X, np.sin(3 * X), rate=rate, steps=50)
    >>> bool((np.diff(run.history["risk"]) < 0).all())
    True
    """
    eta = number("eta", eta, above=0.0, below=2.0)
    return schedules.constant(eta / number("bound", bound, above=0.0) / UP)


def lemma_s(
    quantities: Quantities,
    *,
    beta: float,
    row: float,
    eta: float,
    q_spectral: float,
    q: float,
    q_max: float,
) -> Smoothness:
    """Return a, b and e of Lemma S from bounds of the norms that they are made of."""
    if quantities.depth > 2:
        raise ValueError(f"quantities is of {quantities.depth} layers, expected at most 2")
    outer = raised(quantities.loss_smoothness * eta * eta)
    if quantities.depth == 1:
        return Smoothness(0.0, outer, 0.0)
    activation = quantities.activation
    if not activation.smooth:
        raise ValueError(f"activation is {activation.name}, expected one with a Lipschitz slope")
    slope, inputs = activation.lipschitz, quantities.augmented_feature_norms[0]
    largest = quantities.augmented_feature_maxima[0]
    second = min(float(times(q_max, inputs, inputs)), float(times(q, inputs, largest)))
    bent = float(times(activation.curvature, row, second))
    moved = slope * beta * inputs
    hidden = quantities.loss_smoothness * moved * moved + bent  # a power of it may raise
    coupling = quantities.loss_smoothness * slope * beta * inputs * eta
    coupling += float(times(slope, q_spectral, inputs))
    return Smoothness(raised(hidden), outer, raised(coupling))
