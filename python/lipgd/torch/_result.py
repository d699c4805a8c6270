"""Coefficients of a module, and how those of several draws are put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lipgd.dynamics._terms import Coefficients, Totals
from lipgd.types import DoubleArray

__all__ = ["ModelCoefficients", "of_draws"]

#: What is linear in the covariance of the gradients.
_LINEAR = ("kappa", "lambda2", "covariance", "kappa_diagonal", "lambda2_diagonal")


@dataclass(frozen=True)
class ModelCoefficients(Coefficients):
    """The coefficients of the layers of a module, and what they are of.

    Attributes
    ----------
    layers : tuple of str
        The names of the layers, in the order of the arrays.
    factors : ndarray, shape (layers,)
        How much larger the norm of the layer's map on the grid may be than ``norms``: not 1 where
        ``norms`` are those of reshaped kernels (8.1). ``norms * factors`` bounds the map.
    left_out : mapping of str to str
        Layers with trained weights that have no coefficients here, and why.
    estimator : {"samples", "draws", "batches"}
        From one gradient per sample, from several random draws per sample (9.4), or from
        replicated batches (9.5).
    """

    layers: tuple[str, ...]
    factors: DoubleArray
    left_out: Mapping[str, str]
    estimator: str


def of_draws(
    single: Sequence[Coefficients], mean: Coefficients, factor: float, share: float
) -> Coefficients:
    """Return the coefficients where samples are random themselves (9.4).

    All arguments are made for an infinite population. C_m and C_w are the covariances of the means
    of the samples and inside the samples: one draw has C_m + C_w, the mean of D has C_m + C_w / D.

    Parameters
    ----------
    single : sequence of Coefficients
        Of every draw alone.
    mean : Coefficients
        Of the mean gradient of every sample over the draws.
    factor : float
        phi of the batches, for C_m; draws of different batches are independent.
    share : float
        Batch size over population.
    """
    draws = len(single)
    changes: dict[str, DoubleArray] = {}
    between: dict[str, DoubleArray] = {}
    for name in _LINEAR:
        whole = np.mean([getattr(found, name) for found in single], axis=0)
        between[name] = (draws * getattr(mean, name) - whole) / (draws - 1)
        changes[name] = factor * between[name] + (whole - between[name])
    # That of the mean takes too much from the square of the gradient: it was no infinite sample.
    curved = share * between["kappa"]
    changes["psi"] = mean.psi + curved - 0.5 * share * between["lambda2"]
    changes["curvature"] = changes["kappa"] + mean.curvature - mean.kappa + curved
    pair = np.mean([found.curvature_pair - found.curvature for found in single], axis=0)
    changes["curvature_pair"] = changes["curvature"] + pair
    changes["degeneracy"] = np.mean([found.degeneracy for found in single], axis=0)
    return dataclasses.replace(mean, **changes, network=_totals(mean.mu, changes))


def _totals(mu: DoubleArray, changes: Mapping[str, DoubleArray]) -> Totals:
    return Totals(
        mu=float(mu.sum()),
        kappa=float(changes["kappa"].sum()),
        psi=float(changes["psi"].sum()),
        lambda2=float(changes["covariance"].sum()),
        lambda2_independent=float(changes["lambda2"].sum()),
        lambda2_diagonal=float(changes["lambda2_diagonal"].sum()),
        kappa_diagonal=float(changes["kappa_diagonal"].sum()),
    )
