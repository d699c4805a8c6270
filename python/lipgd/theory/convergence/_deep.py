"""The smoothness of the risk of networks of any depth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lipgd.theory._numbers import UP, raised, values_of
from lipgd.theory.rate_constraints._quantities import Quantities, SampleQuantities
from lipgd.types import DoubleArray

__all__ = ["deep_smoothness"]

#: Samples whose matrices are held at once.
_BLOCK = 8192


def deep_smoothness(
    quantities: Quantities, samples: SampleQuantities, radii: Sequence[float]
) -> float:
    """Bound the Hessian of the risk at all networks within radii of the measured one.

    For every sample ``h_l = sqrt(||h_l^0||^2 + 1) + d_l`` (or ``sqrt(s_inf^2 p_l + 1)``),
    ``d_l = L_sigma (w_l d_(l-1) + sqrt(||h_(l-1)^0||^2 + 1) rho_l)``, and with vectors a and
    matrices K indexed by layers ``a_l^z = w_l a_(l-1) + h_(l-1) e_l``,
    ``K_l^z = w_l K_(l-1) + e_l a_(l-1)^T + a_(l-1) e_l^T``, ``a_l = L_sigma a_l^z``,
    ``K_l = L_sigma' a_l^z a_l^zT + L_sigma K_l^z``: S is the largest eigenvalue of the mean of
    ``lambda a_n^z a_n^zT + theta K_n^z``, where theta bounds the loss gradient of the sample.

    Parameters
    ----------
    quantities : Quantities
        Measured at the centre; the activation is smooth, or there is one layer.
    samples : SampleQuantities
        Measured at the same network with the same data.
    radii : sequence of float, one per layer
        rho_l, of ``[W_l, b_l]`` in Frobenius norm.

    Returns
    -------
    float
        S, nondecreasing in every radius.

    Raises
    ------
    ValueError
        If the activation is not smooth, or arguments do not fit together.

    References
    ----------
    rate-constraints.md, section 10 ("Smoothness").

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import convergence, rate_constraints
    >>> net = lipgd.Network.create([2, 9, 9, 1], activation="tanh", seed=3)
    >>> X, y = np.eye(2), np.ones(2)
    >>> found = rate_constraints.measure(net, X, y)
    >>> samples = rate_constraints.measure_samples(net, X, y)
    >>> bound = convergence.deep_smoothness(found, samples, [0.1, 0.1, 0.1])
    >>> bound > convergence.deep_smoothness(found, samples, [0.0, 0.0, 0.0])
    True
    """
    reached = values_of("radii", radii)
    if reached.shape != (quantities.depth,):
        raise ValueError(f"radii is {radii!r}, expected {quantities.depth} numbers, one per layer")
    if samples.feature_norms.shape != (quantities.depth, quantities.n_samples):
        shape = samples.feature_norms.shape
        raise ValueError(
            f"samples has feature norms of shape {shape}, "
            f"expected {(quantities.depth, quantities.n_samples)}"
        )
    activation = quantities.activation
    if quantities.depth > 1 and not activation.smooth:
        raise ValueError(f"activation is {activation.name}, expected one with a Lipschitz slope")
    with np.errstate(over="ignore", invalid="ignore"):
        mean = _mean_matrix(quantities, samples, reached)
    if not np.isfinite(mean).all():
        return math.inf
    # The entries are at least 0: the rounding of the eigenvalue is small against their sum.
    return raised(float(np.linalg.eigvalsh(mean)[-1])) + float(mean.sum()) * (UP - 1.0)


def _mean_matrix(
    quantities: Quantities, samples: SampleQuantities, radii: DoubleArray
) -> DoubleArray:
    total = np.zeros((quantities.depth, quantities.depth))
    for begin in range(0, quantities.n_samples, _BLOCK):
        part = slice(begin, begin + _BLOCK)
        norms, gradients = samples.feature_norms[:, part], samples.loss_gradients[part]
        matrices = _sample_matrices(quantities, norms, gradients, radii)
        total += (samples.weights[part, None, None] * matrices).sum(axis=0)
    mean: DoubleArray = total / quantities.n_samples
    return mean


def _sample_matrices(
    quantities: Quantities, norms: DoubleArray, gradients: DoubleArray, radii: DoubleArray
) -> DoubleArray:
    """Return the matrix of every sample, shape (samples, layers, layers)."""
    depth, count = norms.shape
    activation = quantities.activation
    slope, bend = activation.lipschitz, activation.curvature
    shift = np.zeros(count)
    vector, matrix = np.zeros((count, depth)), np.zeros((count, depth, depth))
    for layer in range(depth):
        weight = quantities.weight_norms[layer] + radii[layer]
        start = np.hypot(norms[layer], quantities.biased[layer])
        features = start + shift
        if layer:
            limit = math.hypot(quantities.feature_limit(layer), quantities.biased[layer])
            features = np.minimum(features, limit)
        matrix = weight * matrix
        matrix[:, layer, :] += vector
        matrix[:, :, layer] += vector
        vector = weight * vector
        vector[:, layer] += features
        shift = weight * shift + start * radii[layer]
        if layer < depth - 1:
            outer = vector[:, :, None] * vector[:, None, :]
            vector, matrix, shift = slope * vector, bend * outer + slope * matrix, slope * shift
    grown = gradients + quantities.loss_smoothness * shift
    largest = np.minimum(quantities.loss_lipschitz, grown)
    outer = vector[:, :, None] * vector[:, None, :]
    result: DoubleArray = quantities.loss_smoothness * outer + largest[:, None, None] * matrix
    return result
