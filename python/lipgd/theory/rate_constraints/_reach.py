"""Majorants of gradients for all parameters within radii of a network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lipgd._check import choice, flag
from lipgd.theory._numbers import (
    UP,
    Numbers,
    groups_of,
    least,
    root_sum_of_squares,
    times,
)
from lipgd.theory.rate_constraints._majorants import backward
from lipgd.theory.rate_constraints._quantities import Quantities
from lipgd.types import ArrayLike

__all__ = ["Reach", "norm_only", "reach"]


@dataclass(frozen=True)
class Reach:
    """What holds for all parameters within radii of the initial ones.

    Attributes
    ----------
    weight_norms : tuple of float or ndarray
        w_l (beta for the last of two layers), bounds of ``||W_l||``.
    feature_norms : tuple of float or ndarray
        eta_l for l = 0, ..., n - 1, bounds of ``||H_l|| / sqrt(N)``.
    feature_shifts : tuple of float or ndarray
        d_l (d_H for two layers), bounds of ``||H_l - H_l^0||_F / sqrt(N)``.
    output_shift : float or ndarray
        d_n (d_F), the same for the outputs, without the output scale.
    loss_gradient : float or ndarray
        q, a bound of ``||Q||_F / sqrt(N)``.
    majorants : dict of str to float or ndarray
        M_k, bounds of the Frobenius norm of the gradient of every group of parameters.

    References
    ----------
    rate-constraints.md, section 3, (5) and (6), and section 10.
    """

    weight_norms: tuple[Numbers, ...]
    feature_norms: tuple[Numbers, ...]
    feature_shifts: tuple[Numbers, ...]
    output_shift: Numbers
    loss_gradient: Numbers
    majorants: dict[str, Numbers]


def reach(
    quantities: Quantities,
    radii: Mapping[str, ArrayLike],
    *,
    norm: str = "frobenius",
    joint: bool = True,
    descent: bool = False,
) -> Reach:
    """Bound features, outputs and gradients for all parameters within radii.

    For two layers
    ``d_H = L_sigma min(xi rho_W + rho_b, xi-bar sqrt(rho_W^2 + rho_b^2))``,
    ``beta = beta_0 + rho_B``, ``eta = min(eta_0 + d_H, s_inf sqrt(p))``,
    ``d_F = d_H beta + min(eta_0 rho_B + rho_c, eta-bar_0 sqrt(rho_B^2 + rho_c^2))``,
    ``q = min(omega, q_0 + lambda d_F)`` and ``M_W = L_sigma q beta xi``, ``M_b = L_sigma q beta``,
    ``M_B = q eta``, ``M_c = q``; the same recursion serves any depth.

    Parameters
    ----------
    quantities : Quantities
        Measured at the centre.
    radii : mapping of str to float or array_like
        How far every group is from its centre at most; arrays are for many radii at once; inf is a
        radius too.
    norm : str
        What the radii of the weights limit: the ``"frobenius"`` or the ``"spectral"`` norm.
    joint : bool
        Whether the second entries of the minima in d_H and d_F are used, with Frobenius radii.
    descent : bool
        Whether the risk is known not to exceed the initial one: then
        ``q <= sqrt(2 lambda R_0)`` too.

    Returns
    -------
    Reach
        Nondecreasing in every radius.

    Raises
    ------
    ValueError
        If a group has no radius, or a negative one.

    References
    ----------
    rate-constraints.md, section 3, (5) and (6), and section 10.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> within = rate_constraints.reach(found, {"W1": 0.5, "W2": 0.5})
    >>> round(within.output_shift, 6), round(within.majorants["W1"], 6)
    (2.75, 18.75)
    """
    choice("norm", norm, ("frobenius", "spectral"))
    flag("joint", joint)
    flag("descent", descent)
    by_name = groups_of("radii", radii, quantities.names)
    weights, biases = by_layer(quantities, by_name)
    norms = weight_norms(quantities, weights)
    if norm == "spectral":
        features, augmented = quantities.feature_frobenius, None
    else:
        features = quantities.feature_norms
        augmented = quantities.augmented_feature_norms if joint else None
    shifts = feature_shifts(quantities, norms, weights, biases, features, augmented)
    q = least(
        quantities.loss_lipschitz,
        (quantities.loss_gradient + times(quantities.loss_smoothness, shifts[-1])) * UP,
    )
    if descent:
        q = least(q, sublevel_gradient(quantities))
    reached = shifted_features(quantities, quantities.feature_norms, shifts)
    return Reach(
        weight_norms=norms,
        feature_norms=reached,
        feature_shifts=shifts[:-1],
        output_shift=shifts[-1],
        loss_gradient=q,
        majorants=backward(quantities, q, norms, reached),
    )


def norm_only(
    quantities: Quantities,
    weight_norms: Sequence[float] | None = None,
    bias_norms: Sequence[float] | None = None,
) -> Quantities:
    """Replace all that a forward pass gave by bounds from norms.

    With ``||X||_F / sqrt(N)`` for l = 1 and the bound before for later layers,
    ``eta_l <= min(|sigma(0)| sqrt(p) + L_sigma (w_l eta_(l-1) + ||b_l||), s_inf sqrt(p))``, and
    ``q <= omega`` or, for residual losses, ``lambda (||Y||_F / sqrt(N) + beta eta + ||c||)``. The
    risk becomes inf, for it is not known.

    Parameters
    ----------
    quantities : Quantities
        Measured for a network of these sizes on the data.
    weight_norms, bias_norms : sequence of float, one per layer, optional
        Bounds of the initial norms, such as those of :class:`lipgd.theory.initialization.Law`; by
        default those of the measured network.

    Returns
    -------
    Quantities

    References
    ----------
    rate-constraints.md, section 3 ("Norm-only version").

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="relu")
    >>> found = rate_constraints.measure(net, np.array([[-1.0]]), [5.0])
    >>> found.feature_norms[1], round(rate_constraints.norm_only(found).feature_norms[1], 6)
    (0.0, 3.0)
    """
    weights = _norms("weight_norms", weight_norms, quantities.weight_norms)
    biases = _norms("bias_norms", bias_norms, quantities.bias_norms)
    bounds = NormBounds.of(quantities, weights, biases)
    features = tuple(float(bound) for bound in bounds.frobenius)
    start = quantities.feature_norms[:1], quantities.augmented_feature_norms[:1]
    widened = tuple(
        math.hypot(bound, biased) for bound, biased in zip(features, quantities.biased, strict=True)
    )
    frobenius = (
        quantities.weight_frobenius
        if weight_norms is None
        else tuple(
            norm * math.sqrt(min(shape))
            for norm, shape in zip(
                weights, zip(quantities.sizes[1:], quantities.sizes, strict=False), strict=True
            )
        )
    )
    return dataclasses.replace(
        quantities,
        risk=math.inf,
        weight_norms=weights,
        weight_frobenius=frobenius,
        bias_norms=biases,
        outer_row_norm=quantities.outer_row_norm if weight_norms is None else weights[-1],
        feature_norms=start[0] + features[1:],
        augmented_feature_norms=start[1] + widened[1:],
        feature_frobenius=features,
        feature_maxima=tuple(float(bound) for bound in bounds.maxima),
        loss_gradient=float(bounds.loss_gradient),
        loss_gradient_spectral=float(bounds.loss_gradient),
        loss_gradient_max=float(bounds.loss_gradient_max),
    )


@dataclass(frozen=True)
class NormBounds:
    """Bounds of features and loss gradients from norms of parameters alone."""

    frobenius: tuple[Numbers, ...]
    maxima: tuple[Numbers, ...]
    loss_gradient: Numbers
    loss_gradient_max: Numbers

    @staticmethod
    def of(
        quantities: Quantities, weights: Sequence[Numbers], biases: Sequence[Numbers]
    ) -> NormBounds:
        frobenius: list[Numbers] = [quantities.feature_frobenius[0]]
        maxima: list[Numbers] = [quantities.feature_maxima[0]]
        activation = quantities.activation
        for layer in range(1, quantities.depth):
            start = abs(activation.at_zero) * math.sqrt(quantities.sizes[layer])
            for bounds in (frobenius, maxima):
                arriving = times(weights[layer - 1], bounds[-1]) + biases[layer - 1]
                grown = (start + times(activation.lipschitz, arriving)) * UP
                bounds.append(least(grown, quantities.feature_limit(layer)))
        gradients = []
        for bounds, pull in (
            (frobenius, quantities.target_pull),
            (maxima, quantities.target_pull_max),
        ):
            output = times(weights[-1], bounds[-1]) + biases[-1]
            residual = (pull + times(quantities.loss_smoothness, output)) * UP
            gradients.append(least(quantities.loss_lipschitz, residual))
        return NormBounds(tuple(frobenius), tuple(maxima), *gradients)


def sublevel_gradient(quantities: Quantities) -> float:
    """Return sqrt(2 lambda R_0), which bounds q where the risk is at most R_0, by (1)."""
    return math.sqrt(times(2.0 * quantities.loss_smoothness, quantities.risk)) * UP


def by_layer(
    quantities: Quantities, by_name: Mapping[str, Numbers]
) -> tuple[list[Numbers], list[Numbers]]:
    """Return the values of the weights and of the biases, 0 for absent ones."""
    layers = range(1, quantities.depth + 1)
    return [by_name[f"W{i}"] for i in layers], [by_name.get(f"b{i}", 0.0) for i in layers]


def weight_norms(quantities: Quantities, radii: Sequence[Numbers]) -> tuple[Numbers, ...]:
    """Return w_l, bounds of the norms of matrices within radii."""
    pairs = zip(quantities.weight_norms, radii, strict=True)
    return tuple((norm + radius) * UP for norm, radius in pairs)


def feature_shifts(
    quantities: Quantities,
    norms: Sequence[Numbers],
    weights: Sequence[Numbers],
    biases: Sequence[Numbers],
    features: Sequence[float],
    augmented: Sequence[float] | None,
) -> tuple[Numbers, ...]:
    """Return d_0, ..., d_n for initial features of these sizes, with the joint form if given."""
    shifts: list[Numbers] = [0.0]
    for layer in range(quantities.depth):
        own = times(features[layer], weights[layer]) + biases[layer]
        if augmented is not None:
            together = root_sum_of_squares(weights[layer], biases[layer])
            own = least(own, times(augmented[layer], together))
        moved = (times(norms[layer], shifts[-1]) + own) * UP
        hidden = layer < quantities.depth - 1
        shifts.append(moved * quantities.activation.lipschitz if hidden else moved)
    return tuple(shifts)


def shifted_features(
    quantities: Quantities, start: Sequence[float], shifts: Sequence[Numbers]
) -> tuple[Numbers, ...]:
    """Return eta_0, ..., eta_(n-1) after shifts of the features."""
    return tuple(
        least((start[layer] + shifts[layer]) * UP, quantities.feature_limit(layer))
        if layer
        else start[0]
        for layer in range(quantities.depth)
    )


def _norms(
    name: str, given: Sequence[float] | None, default: tuple[float, ...]
) -> tuple[float, ...]:
    if given is None:
        return default
    values = np.asarray(given, dtype=np.float64)
    if values.shape != (len(default),) or not (values >= 0).all():
        raise ValueError(f"{name} is {given!r}, expected {len(default)} numbers at least 0")
    return tuple(values.tolist())
