"""Theorem R: Rademacher complexities of two-layer networks with bounded or nearby parameters."""

from __future__ import annotations

import math

import numpy as np

from lipgd._check import flag, integer, number
from lipgd.theory._numbers import raised
from lipgd.theory.generalization._wasserstein import sampling_deviation
from lipgd.types import ArrayLike, DoubleArray

__all__ = [
    "ball_complexity",
    "loss_complexity",
    "norm_class_complexity",
    "rademacher_gap",
    "width_factor",
]


def width_factor(width: int, *, neurons: bool = False, second_moment: bool = False) -> float:
    """Return Psi(p), or Psi'(p) with a grid for every neuron.

    With ``kappa_n = min(2 + sqrt(2 ln n), 1 + sqrt(2 ln 2 n))``,
    ``Psi(p) = min(2 sqrt(p), min sqrt(a^2 + t^2) kappa_J)`` over ``a > 1``, ``0 < t <= sqrt(p)``
    and ``J = 1 + ceil(log_a(sqrt(p) / t))``. For J points the best choice is
    ``a = ((J - 1) p)^(1 / (2 J))``, ``t = sqrt(p) a^(1 - J)``. Psi' has ``kappa_(pJ)`` for
    ``kappa_J`` and ``kappa_p sqrt(p)`` for ``2 sqrt(p)``.

    Parameters
    ----------
    width : int
        p.
    neurons : bool
        Whether to return Psi'.
    second_moment : bool
        Whether ``sqrt(kappa^2 + 1)`` takes the place of kappa, as several outputs need.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 8.

    Examples
    --------
    >>> from lipgd.theory import generalization
    >>> [round(generalization.width_factor(10**k), 2) for k in (0, 1, 2, 3, 4, 6)]
    [2.0, 4.32, 4.44, 4.52, 4.58, 4.68]
    >>> [round(generalization.width_factor(10**k, neurons=True), 2) for k in (0, 1, 2, 3, 4, 6)]
    [2.0, 5.07, 5.73, 6.28, 6.76, 7.6]
    """
    width = integer("width", width, at_least=1)
    flag("neurons", neurons)
    flag("second_moment", second_moment)

    points = np.arange(2.0, 4097.0)
    ratios = ((points - 1.0) * width) ** (0.5 / points)
    least = math.sqrt(width) * ratios ** (1.0 - points)
    lengths = np.where(ratios > 1.0, np.hypot(ratios, least), np.inf)
    factors = _kappa(points * width if neurons else points, second_moment)
    plain = math.sqrt(width) * float(_kappa(width if neurons else 1, second_moment))
    return raised(min(plain, float((lengths * factors).min())), 8192.0)


def _kappa(count: ArrayLike, second_moment: bool) -> DoubleArray:
    """Return the mean of the largest of so many sub-Gaussian variables, in units of the proxy."""
    logs = np.log(np.asarray(count, dtype=np.float64))
    one_sided = 1.0 + np.sqrt(2.0 * (logs + math.log(2.0)))
    value: DoubleArray = np.minimum(2.0 + np.sqrt(2.0 * logs), one_sided)
    return np.hypot(value, 1.0) if second_moment else value


def norm_class_complexity(
    n_samples: int,
    width: int,
    *,
    lipschitz: float,
    hidden_norm: float,
    outer_norm: float,
    outer_bias: float,
    input_rms: float,
    at_zero: float = 0.0,
    n_outputs: int = 1,
    output_scale: float = 1.0,
) -> float:
    """Bound the Rademacher complexity of all two-layer networks with norms within limits.

    ``(Psi(p) L_sigma F_A F_B x_rms + |sigma(0)| sqrt(p) F_B + F_c) / sqrt(N)``.

    Parameters
    ----------
    n_samples : int
        N.
    width : int
        p.
    lipschitz : float
        L_sigma.
    hidden_norm : float
        F_A, of ``[W, b]`` in Frobenius norm.
    outer_norm, outer_bias : float
        F_B and F_c, of B (in Frobenius norm) and c.
    input_rms : float
        ``||[X, 1]||_F / sqrt(N)``; for expected complexities the largest ``|(x, 1)|``.
    at_zero : float
        sigma(0).
    n_outputs : int
        D; above 1, the result is what :func:`loss_complexity` takes.
    output_scale : float
        The factor of the outputs.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 8, Theorem R (a).

    Examples
    --------
    >>> from lipgd.theory import generalization
    >>> bound = generalization.norm_class_complexity(10_000, 100, lipschitz=1.0, hidden_norm=2.0,
    ...     outer_norm=1.0, outer_bias=0.5, input_rms=1.5)
    >>> round(bound, 4)
    0.1381
    """
    slope = number("lipschitz", lipschitz, at_least=0.0)
    hidden = number("hidden_norm", hidden_norm, at_least=0.0)
    outer = number("outer_norm", outer_norm, at_least=0.0)
    inputs = number("input_rms", input_rms, at_least=0.0)
    factor = width_factor(width, second_moment=_several(n_outputs))
    constant = abs(number("at_zero", at_zero)) * math.sqrt(width) * outer
    constant += number("outer_bias", outer_bias, at_least=0.0)
    return _over_root(factor * slope * hidden * outer * inputs + constant, n_samples, output_scale)


def ball_complexity(
    n_samples: int,
    width: int,
    *,
    lipschitz: float,
    hidden_radius: float,
    outer_radius: float,
    outer_bias_radius: float,
    start_outer_norm: float,
    start_feature_rms: float,
    input_rms: float,
    n_outputs: int = 1,
    output_scale: float = 1.0,
) -> float:
    """Bound the Rademacher complexity of all two-layer networks within radii of one.

    ``(Psi'(p) L_sigma (||B_0|| + rho_B) rho_A x_rms + rho_B h_0 + rho_c) / sqrt(N)``. The centre
    and the radii must not depend on the sample. Under Theorem 3 with all groups capped,
    ``rho_A = G / N sqrt(C_W^2 + C_b^2)``, ``rho_B = G C_B / N`` and ``rho_c = G C_c / N``.

    Parameters
    ----------
    n_samples : int
        N.
    width : int
        p.
    lipschitz : float
        L_sigma.
    hidden_radius, outer_radius, outer_bias_radius : float
        rho_A (of ``[W, b]``), rho_B and rho_c, in Frobenius norms.
    start_outer_norm : float
        ``||B_0||``; for several outputs the Frobenius norm.
    start_feature_rms : float
        h_0 = ``||H_0||_F / sqrt(N)``.
    input_rms : float
        ``||[X, 1]||_F / sqrt(N)``; for expected complexities the largest ``|(x, 1)|``.
    n_outputs : int
        D; above 1, the result is what :func:`loss_complexity` takes.
    output_scale : float
        The factor of the outputs.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 8, Theorem R (b).

    Examples
    --------
    >>> from lipgd.theory import generalization
    >>> bound = generalization.ball_complexity(10_000, 100, lipschitz=1.0, hidden_radius=0.5,
    ...     outer_radius=0.5, outer_bias_radius=0.5, start_outer_norm=0.6, start_feature_rms=4.0,
    ...     input_rms=1.5)
    >>> round(bound, 4)
    0.0723
    """
    slope = number("lipschitz", lipschitz, at_least=0.0)
    hidden = number("hidden_radius", hidden_radius, at_least=0.0)
    outer = number("outer_radius", outer_radius, at_least=0.0)
    start = number("start_outer_norm", start_outer_norm, at_least=0.0)
    inputs = number("input_rms", input_rms, at_least=0.0)
    factor = width_factor(width, neurons=True, second_moment=_several(n_outputs))
    linear = outer * number("start_feature_rms", start_feature_rms, at_least=0.0)
    linear += number("outer_bias_radius", outer_bias_radius, at_least=0.0)
    moved = factor * slope * (start + outer) * hidden * inputs
    return _over_root(moved + linear, n_samples, output_scale)


def loss_complexity(complexity: float, loss_lipschitz: float, n_outputs: int) -> float:
    """Bound the Rademacher complexity of the losses of a class of networks.

    ``omega Rad`` for one output (contraction), ``sqrt(2) omega sqrt(D) Rad`` for several (vector
    contraction).

    Parameters
    ----------
    complexity : float
        Of :func:`norm_class_complexity` or :func:`ball_complexity` for this number of outputs.
    loss_lipschitz : float
        omega, such as ``loss.lipschitz(n_outputs)``.
    n_outputs : int
        D.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 8 ("D >= 2" and "Gap").

    Examples
    --------
    >>> from lipgd.theory import generalization
    >>> generalization.loss_complexity(0.1, 2.0, 1)
    0.2
    """
    complexity = number("complexity", complexity, at_least=0.0)
    omega = number("loss_lipschitz", loss_lipschitz, at_least=0.0)
    if not _several(n_outputs):
        return omega * complexity
    return raised(math.sqrt(2.0 * n_outputs) * omega * complexity)


def rademacher_gap(complexity: float, oscillation: float, n_samples: int, delta: float) -> float:
    """Bound how much the risk exceeds the empirical risk, over a class fixed in advance.

    ``sup_f (R - R_N)(f) <= 2 E Rad + osc sqrt(ln(1 / delta) / (2 N))`` with probability at least
    1 - delta, with the complexity of the losses. As both its right side and that of
    :func:`wasserstein_gap` are known before the sample if the radii are, their minimum is a bound
    with the same probability.

    Parameters
    ----------
    complexity : float
        The expected complexity of the losses, of :func:`loss_complexity`.
    oscillation : float
        The range of the loss, such as :func:`loss_slope` times the diagonal of the box.
    n_samples : int
        N.
    delta : float
        Above 0 and below 1.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 8 ("Gap").

    Examples
    --------
    >>> from lipgd.theory import generalization
    >>> round(generalization.rademacher_gap(0.07, 5.0, 10_000, 0.05), 4)
    0.2012
    """
    number("delta", delta, above=0.0, below=1.0)
    doubled = 2.0 * number("complexity", complexity, at_least=0.0)
    return raised(doubled + sampling_deviation(oscillation, n_samples, delta))


def _several(n_outputs: int) -> bool:
    return integer("n_outputs", n_outputs, at_least=1) > 1


def _over_root(numerator: float, n_samples: int, output_scale: float) -> float:
    root = math.sqrt(integer("n_samples", n_samples, at_least=1))
    return raised(abs(number("output_scale", output_scale)) * numerator / root)
