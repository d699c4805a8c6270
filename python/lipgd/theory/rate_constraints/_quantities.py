"""The numbers that every bound of the page is a function of."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lipgd.activations import Activation
from lipgd.types import DoubleArray

__all__ = ["Quantities", "SampleQuantities"]


@dataclass(frozen=True)
class Quantities:
    """What bounds know about a network, its data and its loss.

    Layers are counted from 1 to n, features from ``H_0 = X`` to ``H_(n-1)``, and ``N`` is the
    number of samples. Norms are upper values. With an output scale s, the network is s times
    another one: ``loss_lipschitz`` and the loss gradients are those of the inner network's outputs
    (s omega, s^2 lambda, s q). With sample weights (of mean one), rows of ``X``, ``H`` and ``Q``
    are scaled by the root of the weight, except in maxima over samples.

    Attributes
    ----------
    n_samples : int
        N.
    sizes : tuple of int
        Inputs, hidden widths, outputs: d, p, D for two layers.
    biased : tuple of bool
        Whether each layer has a bias.
    activation : Activation
        sigma with its constants.
    output_scale : float
        s.
    loss_lipschitz, loss_smoothness : float
        omega (may be inf) and lambda.
    risk : float
        R_0; inf if it is not known.
    weight_norms, weight_frobenius, bias_norms : tuple of float
        ``||W_l||``, ``||W_l||_F`` and ``||b_l||``; w_0 and beta_0 for two layers.
    outer_row_norm : float
        beta_(0,inf), the largest norm of a column of the last weight matrix (a row of B).
    feature_norms : tuple of float
        ``||H_l|| / sqrt(N)`` for l = 0, ..., n - 1: xi, eta_0.
    augmented_feature_norms : tuple of float
        The same for ``[H_l, 1]``: xi-bar, eta-bar_0. The column of ones is there only if layer
        l + 1 has a bias.
    feature_frobenius : tuple of float
        ``||H_l||_F / sqrt(N)``.
    feature_maxima : tuple of float
        The largest norm of a row of ``H_l``, without weights: x_max.
    loss_gradient, loss_gradient_spectral, loss_gradient_max : float
        ``||Q||_F / sqrt(N)`` (q_0), ``||Q|| / sqrt(N)`` and the largest row norm without weights.
    target_pull, target_pull_max : float
        ``s lambda ||Y||_F / sqrt(N)`` and ``s lambda max ||y_n||`` with the loss's own lambda, for
        residual losses; inf for other losses.
    largest_weight : float
        The largest sample weight; 1 without weights.

    References
    ----------
    rate-constraints.md, sections 1 and 10.
    """

    n_samples: int
    sizes: tuple[int, ...]
    biased: tuple[bool, ...]
    activation: Activation
    output_scale: float
    loss_lipschitz: float
    loss_smoothness: float
    risk: float
    weight_norms: tuple[float, ...]
    weight_frobenius: tuple[float, ...]
    bias_norms: tuple[float, ...]
    outer_row_norm: float
    feature_norms: tuple[float, ...]
    augmented_feature_norms: tuple[float, ...]
    feature_frobenius: tuple[float, ...]
    feature_maxima: tuple[float, ...]
    loss_gradient: float
    loss_gradient_spectral: float
    loss_gradient_max: float
    target_pull: float
    target_pull_max: float
    largest_weight: float = 1.0

    @property
    def depth(self) -> int:
        """The number n of weight matrices."""
        return len(self.biased)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the groups of parameters: W1, b1, W2, ..., without absent biases."""
        return tuple(
            name
            for layer, biased in enumerate(self.biased, 1)
            for name in ((f"W{layer}", f"b{layer}") if biased else (f"W{layer}",))
        )

    @property
    def group_sizes(self) -> dict[str, int]:
        """The number of entries of each group."""
        counts = {}
        for name in self.names:
            layer = int(name[1:])
            counts[name] = self.sizes[layer] * (self.sizes[layer - 1] if name[0] == "W" else 1)
        return counts

    @property
    def augmented_feature_maxima(self) -> tuple[float, ...]:
        """The largest norm of a row of ``[H_l, 1]`` (x-bar_max), as ``augmented_feature_norms``."""
        return tuple(
            math.hypot(largest, 1.0) if biased else largest
            for largest, biased in zip(self.feature_maxima, self.biased, strict=True)
        )

    @property
    def weighted(self) -> bool:
        """Whether samples count differently."""
        return self.largest_weight != 1.0

    @property
    def slope_product(self) -> float:
        """The factor of the product of weight norms in Lipschitz bounds: ``|s| L_sigma^(n-1)``."""
        return abs(self.output_scale) * self.activation.lipschitz ** (self.depth - 1)

    def feature_limit(self, layer: int) -> float:
        """Return the norm that features of a hidden layer never exceed, s_inf sqrt(p); or inf."""
        return self.activation.supremum * math.sqrt(self.sizes[layer])


@dataclass(frozen=True, eq=False)
class SampleQuantities:
    """The norms of every single sample, which the smoothness of deep networks needs.

    Attributes
    ----------
    feature_norms : ndarray, shape (n_layers, n_samples)
        Norms of the rows of ``H_0``, ..., ``H_(n-1)``.
    loss_gradients : ndarray, shape (n_samples,)
        Norms of the rows of ``Q``, as in :class:`Quantities`.
    weights : ndarray, shape (n_samples,)
        Sample weights of mean one.

    References
    ----------
    rate-constraints.md, section 10.
    """

    feature_norms: DoubleArray
    loss_gradients: DoubleArray
    weights: DoubleArray
