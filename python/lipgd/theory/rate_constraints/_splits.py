"""How a product of norms may be shared among the layers, at once or step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lipgd._check import number
from lipgd.theory._numbers import UP, bisect, values_of
from lipgd.types import DoubleArray

__all__ = ["chord_step", "conservative_step", "equal_cap_split", "proportional_split"]


def proportional_split(norms: Sequence[float], product: float) -> DoubleArray:
    """Split a product of norms so that every norm may grow by the same factor.

    ``rho_l = (f - 1) ||W_l||`` with ``f = (P / prod ||W_l||)^(1/n)``. For two layers it maximises
    ``rho_W rho_B`` among all radii with ``(w_0 + rho_W) (beta_0 + rho_B) = P``.

    Parameters
    ----------
    norms : sequence of float, one per layer
        The initial norms, above 0.
    product : float
        P, at least the product of the norms.

    Returns
    -------
    ndarray, shape (n_layers,)
        The radii, rounded down.

    References
    ----------
    rate-constraints.md, section 6.2 and section 10.

    Examples
    --------
    >>> from lipgd.theory import rate_constraints
    >>> rate_constraints.proportional_split([1.0, 3.0], 12.0).round(6)
    array([1., 3.])
    """
    values, room = _room(norms, product)
    return values * math.expm1(room / len(values)) / UP


def equal_cap_split(
    norms: Sequence[float], majorants: Sequence[float], product: float
) -> DoubleArray:
    """Split a product of norms in proportion to the sizes of the gradients.

    ``rho_l = t m_l`` with t the root of ``prod (||W_l|| + t m_l) = P``: it maximises the largest
    rate that no layer caps.

    Parameters
    ----------
    norms : sequence of float, one per layer
        The initial norms, above 0.
    majorants : sequence of float, one per layer
        m_l, majorants or norms of gradients, at least one above 0.
    product : float
        P, at least the product of the norms.

    Returns
    -------
    ndarray, shape (n_layers,)
        The radii, rounded down.

    References
    ----------
    rate-constraints.md, section 6.2 and section 10.

    Examples
    --------
    >>> from lipgd.theory import rate_constraints
    >>> rate_constraints.equal_cap_split([1.0, 3.0], [1.0, 1.0], 8.0).round(6)
    array([1., 1.])

    With gradient norms of the start, the first step of neither layer is capped before the other's;
    a split in proportion to the norms caps the layer with the larger gradient first:

    >>> import numpy as np
    >>> norms, gradients = np.array([1.0, 3.0]), np.array([4.0, 1.0])
    >>> (rate_constraints.equal_cap_split(norms, gradients, 12.0) / gradients).round(3)
    array([0.586, 0.586])
    >>> (rate_constraints.proportional_split(norms, 12.0) / gradients).round(3)
    array([0.25, 3.  ])
    """
    values, room = _room(norms, product)
    sizes = values_of("majorants", majorants)
    if sizes.shape != values.shape or not (sizes > 0).any():
        raise ValueError(
            f"majorants is {majorants!r}, expected {len(values)} numbers, some above 0"
        )
    relative = sizes / values
    # In logarithms, since the product itself may overflow.
    low, _ = bisect(
        lambda t: float(np.log1p(t * relative).sum()) <= room,
        0.0,
        math.expm1(room) / float(relative.max()) * 2.0 + math.ulp(0.0),
    )
    return low * sizes / UP


def conservative_step(norms: Sequence[float], slopes: Sequence[float], product: float) -> float:
    """Return the largest rate that certainly keeps a product of norms within a limit.

    The root of ``prod (||W_l|| + t m_l) = P`` with the norms m_l of the directions.

    Parameters
    ----------
    norms : sequence of float, one per layer
        Norms at the present point, above 0.
    slopes : sequence of float, one per layer
        Norms of the directions, some above 0.
    product : float
        P, at least the product of the norms.

    Returns
    -------
    float
        Rounded down.

    References
    ----------
    rate-constraints.md, section 6.5 ("conservative").

    Examples
    --------
    >>> from lipgd.theory import rate_constraints
    >>> round(rate_constraints.conservative_step([1.0, 3.0], [1.0, 1.0], 8.0), 6)
    1.0
    """
    radii = equal_cap_split(norms, slopes, product)
    sizes = np.asarray(slopes, dtype=np.float64)
    largest = int(sizes.argmax())
    return float(radii[largest] / sizes[largest] / UP)


def chord_step(start: Sequence[float], end: Sequence[float], product: float) -> float:
    """Return the largest share t of a step on which the chords of all norms stay within a limit.

    Norms are convex along a step, so ``prod ((1 - r) u_l + r v_l) <= P`` for all r up to t keeps
    the product of norms within P on that share of the step. The left side is log-concave in r.

    Parameters
    ----------
    start, end : sequence of float, one per layer
        Upper bounds u_l and v_l of the norms at both ends of the step.
    product : float
        P, at least the product of the norms at the start.

    Returns
    -------
    float
        From 0 to 1, rounded down; never below the share of the conservative step.

    References
    ----------
    rate-constraints.md, section 6.5 ("chord").

    Examples
    --------
    >>> from lipgd.theory import rate_constraints
    >>> round(rate_constraints.chord_step([1.0, 4.0], [3.0, 2.0], 4.0), 6)
    0.0
    >>> round(rate_constraints.chord_step([1.0, 3.0], [5.0, 7.0], 8.0), 6)
    0.25
    """
    low, _ = _room(start, product)
    high = values_of("end", end)
    if high.shape != low.shape:
        raise ValueError(f"end has {high.size} norms, but start has {low.size}")
    level = math.log(product) - math.log(UP) * len(low)

    def height(t: float) -> float:
        with np.errstate(divide="ignore"):
            return float(np.log((1.0 - t) * low + t * high).sum())

    def rises(t: float) -> bool:
        chord = (1.0 - t) * low + t * high
        return bool((chord > 0).all() and ((high - low) / chord).sum() > 0)

    if not rises(0.0):
        return 1.0
    peak = 1.0 if rises(1.0) else bisect(rises, 0.0, 1.0)[1]
    if height(peak) <= level:
        return 1.0
    return bisect(lambda t: height(t) <= level, 0.0, peak)[0] if height(0.0) <= level else 0.0


def _room(norms: Sequence[float], product: float) -> tuple[DoubleArray, float]:
    """Return the norms and the logarithm of how far their product may grow."""
    values = values_of("norms", norms)
    if values.ndim != 1 or not values.size or not ((values > 0) & (values < math.inf)).all():
        raise ValueError(f"norms is {norms!r}, expected numbers above 0")
    product = number("product", product, above=0.0)
    ratio = product
    for value in values.tolist():
        ratio /= value
    if ratio < 1.0 - 1e-12:
        raise ValueError(
            f"product is {product}, expected at least {math.prod(values.tolist())}, that of norms"
        )
    return values, math.log(max(ratio, 1.0))
