"""Budgets that never bind in the constant phase."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lipgd._check import flag, integer, number
from lipgd.theory._numbers import raised, values_of
from lipgd.theory.rate_constraints._caps import tracked_caps
from lipgd.theory.rate_constraints._quantities import Quantities
from lipgd.theory.rate_constraints._reach import sublevel_gradient
from lipgd.theory.rate_constraints._updates import GRADIENT, UpdateRule
from lipgd.types import ArrayLike

__all__ = [
    "linear_budgets",
    "linear_feasibility",
    "observed_budgets",
    "tracked_budgets",
    "tracked_budgets_closed_form",
]


#: The majorants of caps are rounded up several times; closed forms must outweigh that.
_ROOM = 1.0 + 2.0**-38


def observed_budgets(
    gradient_norms: Mapping[str, ArrayLike], rate: float, n_samples: int
) -> dict[str, float]:
    """Return the least budgets whose observed caps do not bind a pilot run.

    ``C_k = N rate max_(s < hold) ||G_k(Theta_s)||``. They are exact: give the caps no slack.

    Parameters
    ----------
    gradient_norms : mapping of str to array_like, each of shape (hold,)
        The gradient norms of a run with this rate, by the name of the group.
    rate : float
        The constant rate of the hold, above 0.
    n_samples : int
        N.

    Returns
    -------
    dict of str to float

    References
    ----------
    rate-constraints.md, section 6.1 ("Observed").

    Examples
    --------
    >>> from lipgd.theory import rate_constraints
    >>> round(rate_constraints.observed_budgets({"W1": [1.0, 3.0]}, 0.1, 10)["W1"], 6)
    3.0

    A pilot run over the hold, and then a run whose caps bind after it alone:

    >>> import numpy as np, lipgd
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> net = lipgd.Network.create([1, 16, 1], activation="tanh", init="torch")
    >>> names = ("W1", "b1", "W2", "b2")
    >>> pilot = lipgd.train(net, X, np.sin(3 * X), rate=0.01, steps=20,
    ...     record=[f"gradient_norm:{name}" for name in names])
    >>> norms = {name: pilot.history[f"gradient_norm:{name}"][:20] for name in names}
    >>> budgets = rate_constraints.observed_budgets(norms, 0.01, len(X))
    >>> shape = lipgd.schedules.hold_then_decay(1.0, 20, lipgd.schedules.exponential(1.0, 0.1))
    >>> run = lipgd.train(net, X, np.sin(3 * X), rate=0.01, steps=60, record=["rate:W1"],
    ...     constraint=lipgd.RateCaps(budgets, shape, slack=0.0))
    >>> bool((run.history["rate:W1"][:20] == 0.01).all()), bool(run.history["rate:W1"][59] < 0.01)
    (True, True)
    """
    factor = number("rate", rate, above=0.0) * integer("n_samples", n_samples, at_least=1)
    largest = {
        name: float(values_of(f"gradient_norms[{name!r}]", norms).max(initial=0.0))
        for name, norms in gradient_norms.items()
    }
    return {name: raised(factor * norm) for name, norm in largest.items()}


def tracked_budgets(
    quantities: Quantities,
    rate: float,
    hold: int,
    *,
    rule: UpdateRule = GRADIENT,
    joint: bool = True,
    descent: bool = False,
) -> dict[str, float]:
    """Return the least budgets whose tracked caps do not bind during the hold.

    ``C_k = N rate M_k(rho(hold - 1))`` with ``rho(s + 1) = rho(s) + rate M(rho(s))``. They are
    exact: give the caps no slack.

    Parameters
    ----------
    quantities : Quantities
        Measured before training.
    rate : float
        The constant rate of the hold, above 0.
    hold : int
        tau, at least 1, while which the increments of G are 1.
    rule : UpdateRule
        The optimiser.
    joint, descent
        As for :func:`reach`.

    Returns
    -------
    dict of str to float
        Rounded up. They grow exponentially in ``rate * hold`` and may be inf.

    References
    ----------
    rate-constraints.md, section 6.1 ("Tracked").

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> round(rate_constraints.tracked_budgets(found, 0.01, 3)["W1"], 4)
    0.0687

    The caps that they make leave the rate alone during the hold:

    >>> budgets = rate_constraints.tracked_budgets(found, 0.01, 3)
    >>> shape = lipgd.schedules.hold_then_decay(1.0, 3, lipgd.schedules.exponential(1.0, 0.5))
    >>> caps = lipgd.RateCaps(budgets, shape, "tracked", slack=0.0)
    >>> run = lipgd.train(net, np.array([[1.0]]), [5.0], rate=0.01, steps=5, constraint=caps,
    ...     record=["rate:W1"])
    >>> run.history["rate:W1"][:3], bool(run.history["rate:W1"][3] < 0.01)
    (array([0.01, 0.01, 0.01]), True)
    """
    rate = number("rate", rate, above=0.0)
    hold = integer("hold", hold, at_least=1)
    caps = tracked_caps(quantities, {}, 1.0, rate, hold, rule=rule, joint=joint, descent=descent)
    factor = quantities.n_samples * rate
    # Adam's bound of the update may fall, the others only rise.
    return {name: raised(factor * float(m.max())) for name, m in caps.majorants.items()}


def tracked_budgets_closed_form(
    quantities: Quantities, rate: float, hold: int, *, descent: bool = False
) -> dict[str, float]:
    """Return the budgets of (8): those of the tracked recursion with q = omega, in closed form.

    With ``v = sqrt(1 + xi^2)``, ``h = rate omega L_sigma v``, ``n = hold - 1``,
    ``c, s = ((1 + h)^n +- (1 - h)^n) / 2``, ``e = eta_0 / (L_sigma v)``, ``y = beta_0 c + e s`` and
    ``z = e c + beta_0 s``: ``C_b = N rate L_sigma omega y``, ``C_W = xi C_b``,
    ``C_B = N rate omega L_sigma v z`` and ``C_c = N rate omega``. They are at least those of
    :func:`tracked_budgets`. (Without a hidden bias, ``v = xi``.)

    Parameters
    ----------
    quantities : Quantities
        Measured before training, of two layers.
    rate : float
        The constant rate of the hold, above 0.
    hold : int
        tau, at least 1.
    descent : bool
        Whether q is ``sqrt(2 lambda R_0)``, as the risk is known not to exceed R_0, rather than
        omega.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        If the loss is not Lipschitz and ``descent`` is not set.

    References
    ----------
    rate-constraints.md, section 6.1, (8).

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], [[0.0], [0.0]], activation="relu")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0], "huber")
    >>> budgets = rate_constraints.tracked_budgets_closed_form(found, 0.01, 3)
    >>> {name: round(budget, 6) for name, budget in budgets.items()}
    {'W1': 0.020604, 'b1': 0.020604, 'W2': 0.030806, 'b2': 0.01}
    """
    rate, hold = number("rate", rate, above=0.0), integer("hold", hold, at_least=1)
    q, slope, mix = _constants(quantities, descent)
    q *= _ROOM
    beta, eta, n = quantities.weight_norms[1], quantities.feature_norms[1], hold - 1
    h = rate * q * slope * mix
    if n * math.log1p(h) > 700.0:
        return dict.fromkeys(quantities.names, math.inf)
    even = ((1.0 + h) ** n + (1.0 - h) ** n) / 2.0
    odd = _odd_powers(h, n)
    y = beta * even + rate * q * eta * odd
    z = eta * even + rate * q * slope * slope * mix * mix * beta * odd
    return _budgets(quantities, rate * q * slope * y, rate * q * z, rate * q)


def _odd_powers(h: float, n: int) -> float:
    """Return ((1 + h)^n - (1 - h)^n) / (2 h)."""
    if h >= 0.5:
        return ((1.0 + h) ** n - (1.0 - h) ** n) / (2.0 * h)
    if h == 0.0:
        return float(n)
    return math.exp(n * math.log1p(-h)) * math.expm1(2.0 * n * math.atanh(h)) / (2.0 * h)


def linear_feasibility(
    quantities: Quantities, rate: float, hold: int, *, descent: bool = False
) -> float:
    """Return kappa, which must be below 1 for linear-mode budgets to exist.

    ``kappa = (hold - 1) rate omega L_sigma sqrt(1 + xi^2)``. From 1 on no budgets, however large,
    keep the caps of mode linear at the rate. (Without a hidden bias, the root is xi.)

    Parameters
    ----------
    quantities : Quantities
        Measured before training, of two layers.
    rate : float
        The constant rate of the hold, above 0.
    hold : int
        tau, at least 1.
    descent : bool
        As for :func:`tracked_budgets_closed_form`.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 6.1, (9).

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="relu")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0], "huber")
    >>> round(rate_constraints.linear_feasibility(found, 0.01, 51), 6)
    0.5
    """
    rate, hold = number("rate", rate, above=0.0), integer("hold", hold, at_least=1)
    q, slope, mix = _constants(quantities, descent)
    return raised((hold - 1) * rate * q * slope * mix)


def linear_budgets(
    quantities: Quantities, rate: float, hold: int, *, descent: bool = False
) -> dict[str, float]:
    """Return the least budgets whose linear-mode caps do not bind during the hold.

    With q = omega, kappa of :func:`linear_feasibility`, ``v = sqrt(1 + xi^2)`` and
    ``n = hold - 1``: ``x_B = rate omega (eta_0 + kappa L_sigma v beta_0) / (1 - kappa^2)``,
    ``x_b = rate omega L_sigma (beta_0 + n x_B)``, ``x_W = xi x_b``, ``x_c = rate omega`` and
    ``C_k = N x_k``.

    Parameters
    ----------
    quantities : Quantities
        Measured before training, of two layers.
    rate : float
        The constant rate of the hold, above 0.
    hold : int
        tau, at least 1.
    descent : bool
        As for :func:`tracked_budgets_closed_form`.

    Returns
    -------
    dict of str to float

    Raises
    ------
    ValueError
        If kappa is at least 1, so that there are none; or if the loss is not Lipschitz and
        ``descent`` is not set.

    References
    ----------
    rate-constraints.md, section 6.1, (9).

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], [[0.0], [0.0]], activation="relu")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0], "huber")
    >>> budgets = rate_constraints.linear_budgets(found, 0.01, 3)
    >>> {name: round(budget, 6) for name, budget in budgets.items()}
    {'W1': 0.020616, 'b1': 0.020616, 'W2': 0.030825, 'b2': 0.01}
    """
    kappa = linear_feasibility(quantities, rate, hold, descent=descent)
    # The majorants of the caps are rounded up, and 1 - kappa loses accuracy near 1.
    room = _ROOM + (_ROOM - 1.0) * 0.01 / (1.0 - kappa) if kappa < 1.0 else _ROOM
    if kappa * room >= 1.0:
        raise ValueError(
            f"rate is {rate} for {hold} steps (kappa = {kappa:.4g}), expected below "
            f"{rate / kappa:.4g}: no budgets keep the caps of mode linear above this rate"
        )
    q, slope, mix = _constants(quantities, descent)
    q, kappa = q * room, kappa * room
    beta, eta, n = quantities.weight_norms[1], quantities.feature_norms[1], hold - 1
    left = (1.0 - kappa) * (1.0 + kappa)
    outer = rate * q * (eta + kappa * slope * mix * beta) / left
    hidden = rate * q * slope * (beta + n * outer)
    return _budgets(quantities, hidden, outer, rate * q)


def _constants(quantities: Quantities, descent: bool) -> tuple[float, float, float]:
    """Return q, L_sigma, and sqrt(1 + xi^2) or xi."""
    if quantities.depth != 2:
        raise ValueError(f"quantities is of {quantities.depth} layers, expected 2")
    flag("descent", descent)
    q = sublevel_gradient(quantities) if descent else quantities.loss_lipschitz
    if not math.isfinite(q):
        what = "of unknown risk" if descent else "of a loss that is not Lipschitz"
        raise ValueError(f"quantities is {what}, expected a bound of the loss gradient")
    mix = math.hypot(quantities.feature_norms[0], quantities.biased[0])
    return q, quantities.activation.lipschitz, mix


def _budgets(
    quantities: Quantities, hidden: float, outer: float, outer_bias: float
) -> dict[str, float]:
    inputs = quantities.feature_norms[0]
    per_sample = {"W1": inputs * hidden, "b1": hidden, "W2": outer, "b2": outer_bias}
    return {name: quantities.n_samples * per_sample[name] for name in quantities.names}
