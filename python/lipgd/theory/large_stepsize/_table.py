"""The constants of activations as a table: section 1.1."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from lipgd.activations import Activation, get, leaky

__all__ = ["ActivationConstants", "activation_constants"]


@dataclass(frozen=True)
class ActivationConstants:
    """A row of the table of near-homogeneity.

    Attributes
    ----------
    name : str
        The activation.
    gradient_bound : float
        The largest size of the slope.
    slope : float
        The infimum of the slope, alpha.
    curvature_bound : float
        The largest size of the second derivative.
    homogeneity_gap : float
        The largest size of ``phi(z) - z phi'(z)``.
    homogeneity_range : tuple of float
        The infimum and supremum of ``phi(z) - z phi'(z)``.
    stable_phase, margins, oscillating_phase : bool
        Whether Theorems 1 and 2, 3 and 4, 5 to 7 can apply.

    References
    ----------
    large-stepsize.md, section 1.1.
    """

    name: str
    gradient_bound: float
    slope: float
    curvature_bound: float
    homogeneity_gap: float
    homogeneity_range: tuple[float, float]
    stable_phase: bool
    margins: bool
    oscillating_phase: bool


def activation_constants(
    activations: Iterable[str | Activation] | None = None,
) -> tuple[ActivationConstants, ...]:
    """Return the table of activation constants, and which theorem can apply to which.

    Parameters
    ----------
    activations : iterable of str or Activation, optional
        By default those of the page and their leaky variants with ``c = 0.5``.

    Returns
    -------
    tuple of ActivationConstants

    References
    ----------
    large-stepsize.md, section 1.1.

    Examples
    --------
    >>> from lipgd.theory import large_stepsize
    >>> row = large_stepsize.activation_constants(["leaky(gelu, 0.5)"])[0]
    >>> round(row.slope, 12), round(row.homogeneity_gap, 12), row.oscillating_phase
    (0.435547927407, 0.146762663174, True)
    """
    if activations is None:
        smooth = ("gelu", "gelu_tanh", "silu", "softplus")
        others = ("tanh", "sigmoid", "relu", "identity", "leaky_relu(0.01)")
        activations = (*smooth, *(leaky(name, 0.5) for name in smooth), *others)
    return tuple(_row(get(activation)) for activation in activations)


def _row(activation: Activation) -> ActivationConstants:
    gap = max(abs(end) for end in activation.homogeneity_range)
    smooth = activation.smooth
    # |f| <= b sup |phi| never exceeds kappa = b sup |r| for a bounded function.
    useful = math.isfinite(gap) and activation.supremum > gap
    return ActivationConstants(
        name=activation.name,
        gradient_bound=activation.lipschitz,
        slope=activation.slope_range[0],
        curvature_bound=activation.curvature,
        homogeneity_gap=gap,
        homogeneity_range=activation.homogeneity_range,
        stable_phase=smooth,
        margins=smooth and useful,
        oscillating_phase=smooth and useful and activation.slope_range[0] > 0.0,
    )
