"""Majorants of the gradients of a network from norms of its features and of its loss gradients."""

from __future__ import annotations

from collections.abc import Sequence

from lipgd.theory._numbers import UP, Numbers, times
from lipgd.theory.rate_constraints._quantities import Quantities

__all__ = ["backward", "gradient_majorants", "joint_majorants"]


def gradient_majorants(quantities: Quantities) -> dict[str, float]:
    """Bound the gradient of every group of parameters at the measured network (plug-in).

    ``||G_W|| <= L_sigma ||Q||_F ||B|| ||X|| / N``, ``||G_b|| <= L_sigma ||Q||_F ||B|| / sqrt(N)``,
    ``||G_B|| <= min(||H|| ||Q||_F, ||H||_F ||Q||) / N``, ``||G_c|| <= ||Q||_F / sqrt(N)``, and
    ``gamma_l eta_(l-1)``, ``gamma_l`` for more layers.

    Parameters
    ----------
    quantities : Quantities
        Measured at the network whose gradient is bounded.

    Returns
    -------
    dict of str to float
        Bounds of Frobenius norms by ``"W1"``, ``"b1"``, ...

    References
    ----------
    rate-constraints.md, section 3, (4), and section 10.

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]], [[2.0]]], activation="identity")
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> {name: round(bound, 6) for name, bound in
    ...  rate_constraints.gradient_majorants(found).items()}
    {'W1': 4.0, 'W2': 6.0}
    """
    bounds = backward(
        quantities, quantities.loss_gradient, quantities.weight_norms, quantities.feature_norms
    )
    last = f"W{quantities.depth}"
    turned = quantities.loss_gradient_spectral * quantities.feature_frobenius[-1] * UP
    return {
        name: min(float(bound), turned) if name == last else float(bound)
        for name, bound in bounds.items()
    }


def joint_majorants(quantities: Quantities) -> tuple[float, ...]:
    """Bound the joint gradient of weights and bias of every layer at the measured network.

    ``||[G_W, G_b]||_F <= L_sigma ||Q||_F ||B|| ||X-bar|| / N`` and
    ``||[G_B; G_c]||_F <= ||H-bar|| ||Q||_F / N``: sharper than the root of the sum of the squares.

    Parameters
    ----------
    quantities : Quantities
        Measured at the network whose gradient is bounded.

    Returns
    -------
    tuple of float
        One bound per layer.

    References
    ----------
    rate-constraints.md, section 3, below (4).

    Examples
    --------
    >>> import numpy as np, lipgd
    >>> from lipgd.theory import rate_constraints
    >>> net = lipgd.Network([[[3.0]]], [[0.0]])
    >>> found = rate_constraints.measure(net, np.array([[1.0]]), [5.0])
    >>> round(rate_constraints.joint_majorants(found)[0] ** 2, 6)
    32.0
    """
    norms = quantities.augmented_feature_norms
    bounds = backward(quantities, quantities.loss_gradient, quantities.weight_norms, norms)
    return tuple(float(bounds[f"W{layer}"]) for layer in range(1, quantities.depth + 1))


def backward(
    quantities: Quantities,
    loss_gradient: Numbers,
    norms: Sequence[Numbers],
    features: Sequence[Numbers],
    ones: float = 1.0,
) -> dict[str, Numbers]:
    """Return gamma_l eta_(l-1) for the weights and gamma_l for the biases of all layers.

    ``ones`` is the norm of the column of ones over the root of the number of rows.
    """
    bounds: dict[str, Numbers] = {}
    signal = times(loss_gradient, UP)
    for layer in range(quantities.depth, 0, -1):
        bounds[f"W{layer}"] = times(signal, features[layer - 1])
        bounds[f"b{layer}"] = times(signal, ones)
        signal = times(signal, norms[layer - 1], quantities.activation.lipschitz)
    return {name: bounds[name] for name in quantities.names}
