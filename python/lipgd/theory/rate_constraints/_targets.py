"""Budgets from a target Lipschitz constant, and the largest rate that it leaves uncapped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from lipgd._check import choice, integer, number
from lipgd.theory._numbers import UP, bisect
from lipgd.theory.rate_constraints._budgets import tracked_budgets
from lipgd.theory.rate_constraints._quantities import Quantities
from lipgd.theory.rate_constraints._splits import equal_cap_split, proportional_split
from lipgd.theory.rate_constraints._theorem3 import theorem3
from lipgd.theory.rate_constraints._updates import GRADIENT, UpdateRule

__all__ = ["largest_uncapped_rate", "rescaling", "target_budgets"]


def target_budgets(
    quantities: Quantities,
    limit: float,
    total: float,
    *,
    split: str = "proportional",
    majorants: Mapping[str, float] | None = None,
    start: float | None = None,
) -> dict[str, float]:
    """Return budgets of the weights that make the bound of Theorem 3 equal to a target.

    ``C_k = N rho_k / G`` with the radii of a split of ``P = L / (|s| L_sigma^(n-1))``. With the
    bound (3+), ``P = w_0 beta_0 + (L - K_0) / (|s| L_sigma)`` (two layers).

    Parameters
    ----------
    quantities : Quantities
        Measured before training.
    limit : float
        L, the target.
    total : float
        The limit of G, or G(T) for a fixed number T of steps.
    split : str
        ``"proportional"`` or ``"equal_cap"``.
    majorants : mapping of str to float, optional
        The m_k of the split ``"equal_cap"`` by name (``"W1"``, ...), such as
        :func:`gradient_majorants` or gradient norms of a pilot run.
    start : float, optional
        K_0, a bound of the slope-box constant at the start, to use (3+).

    Returns
    -------
    dict of str to float
        Budgets of ``"W1"``, ``"W2"``, ...; those of the biases do not count.

    Raises
    ------
    ValueError
        If the target is below what the initial network has.

    References
    ----------
    rate-constraints.md, section 6.2 and section 10.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="relu")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> budgets = rate_constraints.target_budgets(found, 24.0, 10.0)
    >>> {name: round(budget, 6) for name, budget in budgets.items()}
    {'W1': 0.3, 'W2': 0.2}
    >>> round(rate_constraints.theorem3(found, budgets, 10.0), 6)
    24.0

    Training with them ends below the target, whatever the rates are:

    >>> shape = lipgd.schedules.from_array([1.0] * 10)
    >>> run = lipgd.train(net, np.array([[1.0]]), [50.0], rate=1.0, steps=10,
    ...     constraint=lipgd.RateCaps(budgets, shape), record=["lipschitz_upper"])
    >>> bool(run.history["lipschitz_upper"][0] < run.history["lipschitz_upper"][-1] < 24.0)
    True
    """
    choice("split", split, ("proportional", "equal_cap"))
    total = number("total", total, above=0.0)
    product = _target_product(quantities, limit, start)
    norms = quantities.weight_norms
    names = [f"W{layer}" for layer in range(1, quantities.depth + 1)]
    if split == "proportional":
        radii = proportional_split(norms, product)
    else:
        if majorants is None:
            raise ValueError("majorants is missing, but the split equal_cap takes them")
        for name in names:
            if name not in majorants:
                raise ValueError(f"majorants has no {name!r}, expected one for each of {names}")
        radii = equal_cap_split(norms, [majorants[name] for name in names], product)
    budgets = quantities.n_samples * radii / total
    return dict(zip(names, budgets.tolist(), strict=True))


def rescaling(quantities: Quantities, limit: float, theta: float = 0.25) -> float:
    """Return the factor of all weight matrices with which a target becomes feasible.

    ``g = (theta P / prod ||W_l||)^(1/n)`` with ``P = L / (|s| L_sigma^(n-1))``: the rescaled
    network has a product bound of ``theta L``, and every factor may still grow by
    ``theta^(-1/n)``.

    Parameters
    ----------
    quantities : Quantities
        Measured before training.
    limit : float
        L, above 0.
    theta : float
        Above 0 and at most 1.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 6.3.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="relu")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> round(rate_constraints.rescaling(found, 6.0), 6)
    0.5
    """
    limit = number("limit", limit, above=0.0)
    theta = number("theta", theta, above=0.0, at_most=1.0)
    if quantities.output_scale == 0.0 or 0.0 in quantities.weight_norms:
        raise ValueError("quantities is of a constant network, expected one that can be rescaled")
    logs = math.fsum(math.log(norm) for norm in quantities.weight_norms)
    product = math.log(theta * limit / quantities.slope_product)
    return math.exp((product - logs) / quantities.depth) / UP


def largest_uncapped_rate(
    quantities: Quantities,
    limit: float,
    hold: int,
    total: float,
    *,
    rule: UpdateRule = GRADIENT,
    joint: bool = True,
    descent: bool = False,
) -> tuple[float, dict[str, float]]:
    """Return the largest rate that tracked caps leave alone during the hold, and its budgets.

    The bound of Theorem 3 at ``total`` with the budgets of :func:`tracked_budgets` increases with
    the rate; the answer is where it reaches the target.

    Parameters
    ----------
    quantities : Quantities
        Measured before training.
    limit : float
        L, above the product bound of the initial network.
    hold : int
        tau, at least 1.
    total : float
        The limit of G, at least ``hold``.
    rule : UpdateRule
        The optimiser.
    joint, descent
        As for :func:`reach`.

    Returns
    -------
    rate : float
    budgets : dict of str to float
        Those of all groups.

    Raises
    ------
    ValueError
        If the target is not above what the initial network has, or every gradient is 0.

    References
    ----------
    rate-constraints.md, section 6.4.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="relu")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0], "huber")
    >>> rate, budgets = rate_constraints.largest_uncapped_rate(found, 24.0, 5, 10.0)
    >>> round(rate, 4), round(rate_constraints.theorem3(found, budgets, 10.0), 6)
    (0.0727, 24.0)
    """
    hold = integer("hold", hold, at_least=1)
    total = number("total", total, at_least=hold)
    product = _target_product(quantities, limit, None)
    if not product > math.prod(quantities.weight_norms):
        raise ValueError(f"limit is {limit}, expected above the bound of the initial network")

    def budgets_at(rate: float) -> dict[str, float]:
        return tracked_budgets(quantities, rate, hold, rule=rule, joint=joint, descent=descent)

    def holds(rate: float) -> bool:
        return bool(theorem3(quantities, budgets_at(rate), total) <= limit)

    rate, _ = _largest(holds)
    return rate, budgets_at(rate)


def _target_product(quantities: Quantities, limit: float, start: float | None) -> float:
    """Return P, the product of norms that the target allows."""
    limit = number("limit", limit, above=0.0)
    slopes, now = quantities.slope_product, math.prod(quantities.weight_norms)
    if slopes == 0.0:
        raise ValueError("quantities is of a network with output_scale 0, expected another scale")
    # Theorem 3 is rounded up by this much; the budgets leave room for it.
    if start is None:
        possible, product = slopes * now, limit / slopes / UP**3
    else:
        if quantities.depth != 2:
            raise ValueError(f"start is {start}, but quantities is of {quantities.depth} layers")
        possible = number("start", start, at_least=0.0)
        product = now + (limit / UP**3 - possible) / slopes
    if limit < possible * (1.0 - 1e-12):
        raise ValueError(
            f"limit is {limit}, but the initial network has {possible:.6g}, expected at least that"
        )
    return max(product, now)


def _largest(holds: Callable[[float], bool]) -> tuple[float, float]:
    """Return neighbours, at the first of which a condition on positive numbers still holds."""
    high = 1.0
    while holds(high):
        high *= 16.0
        if high > 1e300:
            raise ValueError("quantities has no gradient that a rate could multiply")
    return bisect(holds, 0.0, high, tolerance=1e-9)
