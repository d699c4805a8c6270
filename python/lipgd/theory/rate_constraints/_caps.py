"""Conditions 1 to 4: caps of learning rates that keep every group within its budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipgd import schedules
from lipgd._check import integer
from lipgd.schedules import ScheduleLike
from lipgd.theory._numbers import Numbers, groups_of, times, values_of
from lipgd.theory.rate_constraints._quantities import Quantities
from lipgd.theory.rate_constraints._updates import GRADIENT, UpdateRule, update_bounds
from lipgd.types import ArrayLike, DoubleArray

__all__ = [
    "CapSchedule",
    "cap",
    "carry_over_cap",
    "displacement_cap",
    "linear_caps",
    "tracked_caps",
]


@dataclass(frozen=True, eq=False)
class CapSchedule:
    """Caps that are known before training.

    Attributes
    ----------
    caps : dict of str to ndarray, shape (steps,)
        The largest admissible rate of every group at every step; inf where there is none.
    majorants : dict of str to ndarray, shape (steps,)
        The bounds u_k(s) of the updates that the caps divide by.
    radii : dict of str to ndarray, shape (steps + 1,)
        rho_k(s): what ``sum rate u`` does not exceed before step s, and the displacement with it
        (the growth of the norm under weight decay); the last entry is that after the last step.

    References
    ----------
    rate-constraints.md, section 4.
    """

    caps: dict[str, DoubleArray]
    majorants: dict[str, DoubleArray]
    radii: dict[str, DoubleArray]


def cap(budget: ArrayLike, n_samples: int, increment: ArrayLike, majorant: ArrayLike) -> Any:
    """Return the cap of Condition k, ``(C_k / N) (G(s + 1) - G(s)) / M_k(s)``.

    With ``||G_k||`` for M_k it is the observed cap, with (4) the plug-in cap, with a bound of any
    update (section 11) that of another optimiser.

    Parameters
    ----------
    budget : float or array_like
        C_k, at least 0; inf for no cap.
    n_samples : int
        N, of the whole data set.
    increment : float or array_like
        ``G(s + 1) - G(s)``, at least 0.
    majorant : float or array_like
        M_k(s), at least the norm of the gradient; 0 means no cap.

    Returns
    -------
    float or ndarray
        Of the shape that the arguments broadcast to.

    References
    ----------
    rate-constraints.md, section 4 ("Condition k").

    Examples
    --------
    >>> from lipgd.theory import rate_constraints
    >>> rate_constraints.cap(10.0, 5, 0.5, [4.0, 0.0])
    array([0.25,  inf])
    """
    allowed = values_of("budget", budget) / integer("n_samples", n_samples, at_least=1)
    return _quotient(_times_zero(allowed, values_of("increment", increment)), majorant)


def carry_over_cap(
    budget: ArrayLike, n_samples: int, total: ArrayLike, path_length: ArrayLike, norm: ArrayLike
) -> Any:
    """Return the cap that also spends what earlier steps left over.

    ``((C_k / N) G(s + 1) - sum_(t<s) rate(t) ||G_k(t)||) / ||G_k(s)||``, at least 0.

    Parameters
    ----------
    budget : float or array_like
        C_k, at least 0.
    n_samples : int
        N.
    total : float or array_like
        ``G(s + 1)``, the sum of increments up to and including this step.
    path_length : float or array_like
        The sum of rate times gradient norm over the steps before.
    norm : float or array_like
        The norm of the gradient at this step, or an upper bound.

    Returns
    -------
    float or ndarray

    References
    ----------
    rate-constraints.md, section 4 ("carry-over").

    Examples
    --------
    >>> from lipgd.theory import rate_constraints
    >>> rate_constraints.carry_over_cap(10.0, 5, 2.0, 1.0, 6.0)
    0.5
    """
    return _rest(budget, n_samples, total, values_of("path_length", path_length), norm)


def displacement_cap(
    budget: ArrayLike, n_samples: int, total: ArrayLike, displacement: ArrayLike, norm: ArrayLike
) -> Any:
    """Return the cap that counts how far the group is, not how far it went.

    ``((C_k / N) G(s + 1) - ||Theta_k(s) - Theta_k(0)||) / ||G_k(s)||``, at least 0.

    Parameters
    ----------
    budget : float or array_like
        C_k, at least 0.
    n_samples : int
        N.
    total : float or array_like
        ``G(s + 1)``.
    displacement : float or array_like
        The Frobenius distance of the group from its start, or an upper bound.
    norm : float or array_like
        The norm of the gradient at this step, or an upper bound.

    Returns
    -------
    float or ndarray

    References
    ----------
    rate-constraints.md, section 4 ("displacement").

    Examples
    --------
    >>> from lipgd.theory import rate_constraints
    >>> rate_constraints.displacement_cap(10.0, 5, 2.0, 1.0, 6.0)
    0.5
    """
    return _rest(budget, n_samples, total, values_of("displacement", displacement), norm)


def linear_caps(
    quantities: Quantities,
    budgets: Mapping[str, float],
    shape: ScheduleLike,
    steps: int,
    *,
    rule: UpdateRule = GRADIENT,
    joint: bool = True,
    descent: bool = False,
) -> CapSchedule:
    """Return the caps with the majorants (6) at the radii ``rho_k(s) = (C_k / N) G(s)``.

    Parameters
    ----------
    quantities : Quantities
        Measured before training.
    budgets : mapping of str to float
        C_k by name. A missing name has no cap, 0 freezes the group.
    shape : Schedule, float, callable or array_like, shape (steps,)
        The increments of G.
    steps : int
        Number of steps.
    rule : UpdateRule
        The optimiser.
    joint, descent
        As for :func:`reach`.

    Returns
    -------
    CapSchedule

    Raises
    ------
    ValueError
        If a group without a budget leaves a gradient without a bound.

    References
    ----------
    rate-constraints.md, section 4 ("linear").

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> caps = rate_constraints.linear_caps(found, {"W1": 1.0, "W2": 1.0}, 1.0, 3)
    >>> caps.caps["W1"].round(4)
    array([0.25  , 0.0238, 0.0083])
    """
    limits, plan = _budgets(quantities, budgets), schedules.resolve(shape, "shape")
    total = plan.total(steps)
    radii = {name: _times_zero(limits[name], total) for name in quantities.names}
    before = {name: values[:-1] for name, values in radii.items()}
    bounds = update_bounds(
        quantities, before, rule, step=np.arange(steps), joint=joint, descent=descent
    )
    majorants = {name: np.broadcast_to(bound, (steps,)) for name, bound in bounds.items()}
    _refuse_unbounded(majorants, limits)
    rates = plan.rates(steps)
    caps = {
        name: _quotient(_times_zero(limits[name], rates), majorants[name]) for name in majorants
    }
    return CapSchedule(caps, majorants, radii)


def tracked_caps(
    quantities: Quantities,
    budgets: Mapping[str, float],
    shape: ScheduleLike,
    rates: ScheduleLike | Mapping[str, ScheduleLike],
    steps: int,
    *,
    rule: UpdateRule = GRADIENT,
    joint: bool = True,
    descent: bool = False,
) -> CapSchedule:
    """Return the caps with the majorants (6) at tracked radii.

    ``rho_k(0) = 0`` and ``rho_k(s + 1) = rho_k(s) + rate_k(s) M_k(s)``, with the lesser of the
    given rate and of the cap for ``rate_k``.

    Parameters
    ----------
    quantities : Quantities
        Measured before training.
    budgets : mapping of str to float
        C_k by name. A missing name has no cap, 0 freezes the group.
    shape : Schedule, float, callable or array_like, shape (steps,)
        The increments of G.
    rates : Schedule, float, callable, array_like of shape (steps,), or mapping of these by name
        The rates that are capped.
    steps : int
        Number of steps.
    rule : UpdateRule
        The optimiser.
    joint, descent
        As for :func:`reach`.

    Returns
    -------
    CapSchedule

    References
    ----------
    rate-constraints.md, section 4 ("tracked").

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> caps = rate_constraints.tracked_caps(found, {"W1": 1.0, "W2": 1.0}, 1.0, 0.01, 3)
    >>> caps.caps["W1"].round(4)
    array([0.25  , 0.1923, 0.1456])
    """
    limits = _budgets(quantities, budgets)
    rises = schedules.resolve(shape, "shape").rates(steps)
    names = quantities.names
    base = {name: schedules.resolve(_of(rates, name), "rates").rates(steps) for name in names}
    caps, majorants = ({name: np.empty(steps) for name in names} for _ in range(2))
    radii = {name: np.zeros(steps + 1) for name in names}
    now: dict[str, float] = dict.fromkeys(names, 0.0)
    for step, rise in enumerate(rises.tolist()):
        bounds = update_bounds(quantities, now, rule, step=step, joint=joint, descent=descent)
        for name in names:
            bound = float(bounds[name])
            allowed = limits[name] * rise if rise else 0.0
            caps[name][step] = allowed / bound if bound > 0 else np.inf
            majorants[name][step] = bound
            spent = min(allowed, float(times(float(base[name][step]), bound)))
            now[name] = radii[name][step + 1] = now[name] + spent
    return CapSchedule(caps, majorants, radii)


def _budgets(quantities: Quantities, budgets: Mapping[str, float]) -> dict[str, float]:
    limits = groups_of("budgets", budgets, quantities.names, np.inf)
    return {name: float(limit) / quantities.n_samples for name, limit in limits.items()}


def _of(rates: Any, name: str) -> ScheduleLike:
    if not isinstance(rates, Mapping):
        found: ScheduleLike = rates
        return found
    if name not in rates:
        raise ValueError(f"rates has no {name!r}, expected a rate for each group")
    found = rates[name]
    return found


def _refuse_unbounded(majorants: Mapping[str, DoubleArray], limits: Mapping[str, float]) -> None:
    missing = [name for name, limit in limits.items() if limit == np.inf]
    for name, bound in majorants.items():
        if missing and limits[name] < np.inf and not np.isfinite(bound).all():
            raise ValueError(
                f"budgets has no {', '.join(missing)}, without which the gradient of {name} has no "
                "bound before training"
            )


def _times_zero(a: Numbers, b: DoubleArray) -> DoubleArray:
    with np.errstate(invalid="ignore"):
        product: DoubleArray = np.where((np.asarray(a) == 0.0) | (b == 0.0), 0.0, a * b)
    return product


def _quotient(allowed: DoubleArray, majorant: ArrayLike) -> Any:
    bound = values_of("majorant", majorant)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = np.where(bound > 0.0, allowed / bound, np.inf)
    return float(result) if result.ndim == 0 else result


def _rest(
    budget: ArrayLike, n_samples: int, total: ArrayLike, spent: DoubleArray, norm: ArrayLike
) -> Any:
    allowed = values_of("budget", budget) / integer("n_samples", n_samples, at_least=1)
    left = _times_zero(allowed, values_of("total", total)) - spent
    return _quotient(np.maximum(left, 0.0), norm)
