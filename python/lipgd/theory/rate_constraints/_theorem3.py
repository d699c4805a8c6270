"""Theorem 3: the Lipschitz constant after any number of capped steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lipgd._check import number
from lipgd.theory._numbers import UP, groups_of, times, values_of
from lipgd.theory.rate_constraints._quantities import Quantities
from lipgd.types import ArrayLike

__all__ = ["budget_radii", "drift_bound", "product_bound", "theorem3"]


def budget_radii(
    quantities: Quantities, budgets: Mapping[str, float], total: ArrayLike
) -> dict[str, Any]:
    """Return the radii ``(C_k / N) G(T)`` that capped groups never leave.

    Parameters
    ----------
    quantities : Quantities
        Of the network before training; N and the names count.
    budgets : mapping of str to float
        C_k by name; a missing name has the radius inf.
    total : float or array_like
        G(T), the limit of G for all T, or an array over T.

    Returns
    -------
    dict of str to float or ndarray

    References
    ----------
    rate-constraints.md, section 4, Theorem 3.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0], [2.0]]), [5.0, 1.0])
    >>> rate_constraints.budget_radii(found, {"W1": 1.0, "W2": 4.0}, 3.0)
    {'W1': 1.5, 'W2': 6.0}
    """
    limits = groups_of("budgets", budgets, quantities.names, np.inf)
    sums = values_of("total", total)
    plain = float(sums) if sums.ndim == 0 else sums
    return {name: times(limit / quantities.n_samples, plain) for name, limit in limits.items()}


def product_bound(quantities: Quantities, radii: Mapping[str, ArrayLike]) -> Any:
    """Bound the Lipschitz constant of all networks within radii by the product of norms.

    ``Lip(f) <= |s| L_sigma^(n-1) (||W_1|| + rho_1) ... (||W_n|| + rho_n)``.

    Parameters
    ----------
    quantities : Quantities
        Measured at the centre.
    radii : mapping of str to float or array_like
        How far every weight matrix is from its centre at most, in spectral or Frobenius norm;
        biases do not count. A missing name has the radius inf.

    Returns
    -------
    float or ndarray

    References
    ----------
    rate-constraints.md, section 4, Theorem 3, and section 10.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="relu")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> round(rate_constraints.product_bound(found, {"W1": 1.0, "W2": 0.5}), 6)
    10.0
    """
    by_name = groups_of("radii", radii, quantities.names, np.inf)
    bound: Any = quantities.slope_product * UP
    for layer, norm in enumerate(quantities.weight_norms, 1):
        bound = times(bound, norm + by_name[f"W{layer}"])
    return bound


def drift_bound(quantities: Quantities, radii: Mapping[str, ArrayLike], start: float) -> Any:
    """Bound the Lipschitz constant of all two-layer networks within radii by that of the centre.

    ``Lip(f) <= K_0 + |s| L_sigma (beta_0 rho_W + w_0 rho_B + rho_W rho_B)``.

    Parameters
    ----------
    quantities : Quantities
        Measured at the centre, a network of two layers.
    radii : mapping of str to float or array_like
        How far every weight matrix is from its centre at most, in spectral or Frobenius norm;
        biases do not count. A missing name has the radius inf.
    start : float
        K_0, a bound of the slope-box constant of the centre: :func:`slope_box_bound` of it.

    Returns
    -------
    float or ndarray

    Raises
    ------
    ValueError
        If the network does not have two layers.

    References
    ----------
    rate-constraints.md, section 2, (3), and section 4, (3+).

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0], [0.0]], [[0.0, 2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> round(rate_constraints.drift_bound(found, {"W1": 1.0, "W2": 0.5}, 0.0), 6)
    4.0
    """
    if quantities.depth != 2:
        raise ValueError(f"quantities is of {quantities.depth} layers, expected 2")
    by_name = groups_of("radii", radii, quantities.names, np.inf)
    inner, outer = by_name["W1"], by_name["W2"]
    norm, outer_norm = quantities.weight_norms
    drift = times(outer_norm, inner) + times(norm, outer) + times(inner, outer)
    return (number("start", start, at_least=0.0) + times(quantities.slope_product, drift)) * UP


def theorem3(
    quantities: Quantities,
    budgets: Mapping[str, float],
    total: ArrayLike,
    start: float | None = None,
) -> Any:
    """Bound the Lipschitz constant after capped steps, for every T at once.

    The product bound at the radii ``(C_k / N) G(T)`` or, for two layers and a given start, the
    lesser of it and of (3+). The caps may be of any mode; with weight decay the displacement, and
    so (3+), is not bounded: give no start.

    Parameters
    ----------
    quantities : Quantities
        Measured before training.
    budgets : mapping of str to float
        C_k by name; every weight matrix needs one for a finite bound.
    total : float or array_like
        G(T), or the limit of G for all T.
    start : float, optional
        K_0, as for :func:`drift_bound`.

    Returns
    -------
    float or ndarray
        Of the shape of ``total``.

    References
    ----------
    rate-constraints.md, section 4, Theorem 3 and (3+), and section 10.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="relu")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> rate_constraints.theorem3(found, {"W1": 1.0, "W2": 0.5}, [0.0, 1.0, 2.0]).round(6)
    array([ 6., 10., 15.])
    """
    radii = budget_radii(quantities, budgets, total)
    bound = product_bound(quantities, radii)
    if start is None:
        return bound
    lesser = np.minimum(bound, drift_bound(quantities, radii, start))
    return float(lesser) if np.ndim(lesser) == 0 else lesser
