"""Majorants of gradients over batches, and of parameters that decay."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lipgd._check import flag, integer
from lipgd.theory._numbers import UP, Numbers, groups_of, least, times
from lipgd.theory.rate_constraints._majorants import backward
from lipgd.theory.rate_constraints._quantities import Quantities
from lipgd.theory.rate_constraints._reach import (
    NormBounds,
    by_layer,
    feature_shifts,
    reach,
    shifted_features,
    weight_norms,
)
from lipgd.types import ArrayLike

__all__ = ["batch_majorants", "decay_majorants"]


def batch_majorants(
    quantities: Quantities,
    radii: Mapping[str, ArrayLike],
    batch_size: int,
    *,
    replacement: bool = False,
) -> dict[str, Numbers]:
    """Bound the gradient over any batch for all parameters within Frobenius radii.

    (6) with ``xi``, ``eta`` and ``q`` replaced by the lesser of ``sqrt(N / m)`` times themselves
    and of their maxima over samples, or by the maxima alone for batches with replacement. Sample
    weights scale the maxima (and the columns of ones) by the root of the largest weight.

    Parameters
    ----------
    quantities : Quantities
        Measured at the centre.
    radii : mapping of str to float or array_like
        As for :func:`reach`.
    batch_size : int
        m, from 1 to N without replacement.
    replacement : bool
        Whether a batch may hold a sample twice.

    Returns
    -------
    dict of str to float or ndarray

    References
    ----------
    rate-constraints.md, section 11 (SGD, a priori).

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0], [0.0]]), [5.0, 0.0])
    >>> radii = {"W1": 0.0, "W2": 0.0}
    >>> round(rate_constraints.batch_majorants(found, radii, 1)["W1"], 6)
    4.0
    """
    flag("replacement", replacement)
    most = None if replacement else quantities.n_samples
    integer("batch_size", batch_size, at_least=1, at_most=most)
    by_name = groups_of("radii", radii, quantities.names)
    weights, biases = by_layer(quantities, by_name)
    norms = weight_norms(quantities, weights)
    maxima, augmented = quantities.feature_maxima, quantities.augmented_feature_maxima
    shifts = feature_shifts(quantities, norms, weights, biases, maxima, augmented)
    rows = shifted_features(quantities, maxima, shifts)
    moved = times(quantities.loss_smoothness, shifts[-1])
    largest = least(quantities.loss_lipschitz, quantities.loss_gradient_max + moved)
    if replacement:
        return _over_rows(quantities, norms, largest, rows)
    whole = reach(quantities, by_name)
    mean = whole.loss_gradient, whole.feature_norms
    return _over_batches(quantities, norms, largest, rows, *mean, batch_size)


def decay_majorants(
    quantities: Quantities,
    radii: Mapping[str, ArrayLike],
    batch_size: int | None = None,
    *,
    replacement: bool = False,
) -> dict[str, Numbers]:
    """Bound the gradient of the data part under weight decay, or after shrinking proximal steps.

    Decay moves the parameters further than the caps say, but their norms grow by no more: with
    ``||W|| <= w_0 + rho_W`` and ``||b|| <= ||b_0|| + rho_b`` the features are bounded by
    ``|sigma(0)| sqrt(p) + L_sigma (||W|| ||X||_F / sqrt(N) + ||b||)``, and q as in the norm-only
    version.

    Parameters
    ----------
    quantities : Quantities
        Measured before training.
    radii : mapping of str to float or array_like
        How much every norm has grown at most.
    batch_size : int, optional
        Samples per step; by default all.
    replacement : bool
        Whether a batch may hold a sample twice.

    Returns
    -------
    dict of str to float or ndarray

    References
    ----------
    rate-constraints.md, section 11 ("Weight decay").

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0], "huber")
    >>> round(rate_constraints.decay_majorants(found, {"W1": 1.0, "W2": 0.0})["W2"], 6)
    4.0
    """
    by_name = groups_of("radii", radii, quantities.names)
    weights, biases = by_layer(quantities, by_name)
    norms = weight_norms(quantities, weights)
    vectors = [start + radius for start, radius in zip(quantities.bias_norms, biases, strict=True)]
    bounds = NormBounds.of(quantities, norms, vectors)
    features = (quantities.feature_norms[0], *bounds.frobenius[1:])
    if batch_size is None:
        return backward(quantities, bounds.loss_gradient, norms, features)
    largest, rows = bounds.loss_gradient_max, bounds.maxima
    if replacement:
        return _over_rows(quantities, norms, largest, rows)
    mean = bounds.loss_gradient, features
    return _over_batches(quantities, norms, largest, rows, *mean, batch_size)


def _over_rows(
    quantities: Quantities, norms: Sequence[Numbers], largest: Numbers, rows: Sequence[Numbers]
) -> dict[str, Numbers]:
    """Bound the gradient over samples that may all be the worst one."""
    share = math.sqrt(quantities.largest_weight) * UP
    features = [times(row, share) for row in rows]
    return backward(quantities, times(largest, share), norms, features, share)


def _over_batches(
    quantities: Quantities,
    norms: Sequence[Numbers],
    largest: Numbers,
    rows: Sequence[Numbers],
    mean: Numbers,
    features: Sequence[Numbers],
    batch_size: int,
) -> dict[str, Numbers]:
    """Bound the gradient over samples of which none comes twice."""
    share = math.sqrt(quantities.largest_weight) * UP
    factor = math.sqrt(quantities.n_samples / batch_size) * UP
    q = least(times(largest, share), times(mean, factor))
    batch = [
        least(times(row, share), times(feature, factor))
        for row, feature in zip(rows, features, strict=True)
    ]
    return backward(quantities, q, norms, batch, min(share, factor))
