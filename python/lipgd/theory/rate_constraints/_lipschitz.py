"""Upper bounds of the Lipschitz constant of a given network."""

from __future__ import annotations

import math

import numpy as np

from lipgd._check import choice
from lipgd.lipschitz import spectral_norm
from lipgd.network import Network
from lipgd.theory._numbers import raised
from lipgd.types import DoubleArray, FloatArray

__all__ = ["lipschitz_product", "slope_box_bound"]

_EPSILON = 2.0**-52


def lipschitz_product(net: Network) -> float:
    """Bound the Lipschitz constant by the norms of the layers.

    ``Lip(f) <= |s| L_sigma^(n-1) ||W_1|| ... ||W_n||``, the last expression of (2) and its form for
    n layers.

    Parameters
    ----------
    net : Network
        A network of any depth with the output scale s.

    Returns
    -------
    float
        An upper value that counts rounding.

    References
    ----------
    rate-constraints.md, section 2, (2), and section 10.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0], [4.0]], [[1.0, 0.0]]], activation="relu")
    >>> round(rate_constraints.lipschitz_product(net), 6)
    5.0
    """
    _network(net)
    product = abs(net.output_scale) * net.activation.lipschitz ** (net.depth - 1)
    for weight in net.weights:
        product *= _norm(weight)
    return raised(product, 64.0 * net.depth)


def slope_box_bound(net: Network, form: str = "best") -> float:
    """Bound the slope-box constant K, and so the Lipschitz constant, of a two-layer network.

    With the slopes of the activation in ``[l, u]``, ``m = (l + u) / 2`` and ``h = (u - l) / 2``,
    ``Lip(f) <= K <= |s| (|m| ||B^T W|| + h M)``, where M is one of

    - ``||B|| ||W||`` (form ``"plain"``),
    - ``||D^-1 B|| ||D W||`` with ``D_i = sqrt(||B_i|| / ||w_i||)`` (``"balanced"``),
    - ``|| |B|^T |W| ||`` (``"absolute"``),

    and ``"best"`` takes the least. K is the largest ``||B^T diag(t) W||`` over all t with entries
    in ``[l, u]``. A network with one weight matrix has ``K = |s| ||W||``.

    Parameters
    ----------
    net : Network
        A network of one or two layers with the output scale s.
    form : str
        ``"best"``, ``"plain"``, ``"balanced"`` or ``"absolute"``.

    Returns
    -------
    float
        An upper value that counts rounding.

    Raises
    ------
    ValueError
        If the network has more than two layers.

    References
    ----------
    rate-constraints.md, section 2, (2).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[1.0, 0.0], [0.0, 9.0]], [[9.0, 1.0]]], activation="relu")
    >>> round(rate_constraints.slope_box_bound(net, "plain"), 2)
    47.11
    >>> round(rate_constraints.slope_box_bound(net), 2)
    12.73
    """
    _network(net)
    choice("form", form, ("best", *_FORMS))
    if net.depth > 2:
        raise ValueError(f"net has {net.depth} layers, expected at most 2")
    scale = abs(net.output_scale)
    weights = [weight.astype(np.float64) for weight in net.weights]
    if net.depth == 1:
        return raised(scale * _norm(weights[0]))
    inner, outer = weights
    low, high = net.activation.slope_range
    centre, spread = abs(low + high) / 2, (high - low) / 2
    bound = centre * _product_norm(outer, inner) if centre else 0.0
    if spread:
        forms = _FORMS if form == "best" else (form,)
        bound += spread * min(_FORMS[name](outer, inner) for name in forms)
    return raised(scale * bound)


def _plain(outer: DoubleArray, inner: DoubleArray) -> float:
    return _norm(outer) * _norm(inner)


def _balanced(outer: DoubleArray, inner: DoubleArray) -> float:
    arriving = np.sqrt(np.square(inner).sum(axis=1))
    leaving = np.sqrt(np.square(outer).sum(axis=0))
    # A neuron without arriving or leaving weights adds nothing to B^T diag(t) W.
    alive = (arriving > 0) & (leaving > 0)
    if not alive.any():
        return 0.0
    balance = np.sqrt(leaving[alive] / arriving[alive])
    # Dividing and multiplying rounds every entry by half a unit each.
    return _rounded_norm(outer[:, alive] / balance, 2.0) * _rounded_norm(
        balance[:, None] * inner[alive], 2.0
    )


def _absolute(outer: DoubleArray, inner: DoubleArray) -> float:
    return _product_norm(np.abs(outer), np.abs(inner))


def _product_norm(outer: DoubleArray, inner: DoubleArray) -> float:
    """Bound the norm of a matrix product, which rounds its entries."""
    units = (inner.shape[0] + 2.0) * _EPSILON
    lengths = math.sqrt(float(np.square(outer).sum())) * math.sqrt(float(np.square(inner).sum()))
    return raised(_norm(outer @ inner) + units * lengths)


def _rounded_norm(matrix: DoubleArray, units: float) -> float:
    length = math.sqrt(float(np.square(matrix).sum()))
    return raised(_norm(matrix) + units * _EPSILON * length)


_FORMS = {"plain": _plain, "balanced": _balanced, "absolute": _absolute}


def _norm(matrix: FloatArray) -> float:
    return spectral_norm(matrix, 1e-10).upper


def _network(net: Network) -> None:
    if not isinstance(net, Network):
        raise TypeError(f"net is {net!r}, expected a Network")
