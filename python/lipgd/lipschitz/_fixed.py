"""Hidden layers all of whose slopes are known: they are matrices, merged with the next ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lipgd.lipschitz.spectral import spectral_norm

__all__ = ["Merged", "merge_fixed"]

Doubles = npt.NDArray[np.float64]

_U = 2.0**-53
_SAFELY = 1.0 + 1e-9
#: Products of numbers beyond these are left alone: they may overflow or lose digits.
_SMALL, _LARGE = 1e-140, 1e140
#: So are those of which cancellation leaves less.
_LARGEST_ERROR = 1e-9


@dataclass(frozen=True, eq=False)
class Merged:
    """The network with fewer matrices: no farther from the exact product than ``errors`` say.

    ``kept`` are the hidden layers that are left. The errors are Frobenius norms, by matrix.
    """

    weights: list[Doubles]
    errors: list[float]
    kept: list[int]

    def perturbation(self, slopes: Sequence[tuple[Doubles, Doubles]]) -> float:
        """Return how far the errors can move the constant, rounded up."""
        norms = [spectral_norm(matrix).upper for matrix in self.weights]
        steepest = 1.0
        for low, high in slopes:
            steepest *= max(float(np.abs(low).max()), float(np.abs(high).max()))
        total = 0.0
        for layer, error in enumerate(self.errors):
            term = error * steepest
            for other, norm in enumerate(norms):
                if other != layer:
                    term *= norm + (self.errors[other] if other > layer else 0.0)
            total += term
        return total * _SAFELY


def merge_fixed(
    matrices: Sequence[Doubles], slopes: Sequence[tuple[Doubles, Doubles]]
) -> Merged | None:
    """Return the shorter network, or None if no layer is fixed or could be merged."""
    weights, errors = [matrices[0]], [0.0]
    kept: list[int] = []
    for layer, (low, high) in enumerate(slopes):
        product = None
        if (low == high).all():
            product = _product(matrices[layer + 1], low, weights[-1], errors[-1])
        if product is None:
            weights.append(matrices[layer + 1])
            errors.append(0.0)
            kept.append(layer)
        else:
            weights[-1], errors[-1] = product
    return Merged(weights, errors, kept) if len(kept) < len(slopes) else None


def _product(
    outer: Doubles, slope: Doubles, inner: Doubles, error: float
) -> tuple[Doubles, float] | None:
    """Return ``outer diag(slope) inner`` and its error, if that is small."""
    with np.errstate(all="ignore"):
        product = outer @ (slope[:, None] * inner)
        sizes = [float(np.linalg.norm(matrix)) for matrix in (outer, inner, product)]
    if not all(_SMALL < size < _LARGE for size in sizes):
        return None
    steepest = float(np.abs(slope).max())
    error = sizes[0] * steepest * (error + (len(slope) + 8) * _U * sizes[1]) * _SAFELY
    return (product, error) if error <= _LARGEST_ERROR * sizes[2] else None
