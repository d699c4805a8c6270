"""What batches of one epoch do to each other beside what section 5.3 of dynamics.md has.

A batch of a reshuffled epoch is what earlier ones left. With C / N for minus the covariance of any
two batch means, the step k of an epoch has the mean noise

    E e_k = -(k / N) (grad tr C / 2) rate

to leading order: earlier noise has moved the parameters, and the gradients of the samples that are
left have changed by their own Hessians. Along the Jacobian of Z that is a drift of the same order
as kappa, which the factor phi_k, for the change of the Jacobian alone, does not have.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lipgd import _core
from lipgd._arguments import Targets
from lipgd.dynamics._triplets import Triplets
from lipgd.losses import Loss
from lipgd.network import Network
from lipgd.types import DoubleArray, FloatArray

__all__ = ["spread_slopes"]

#: Steps of the differences over the norm of the layer: where the activation has kinks a longer one
#: meets enough of them, as the noise does.
_SMOOTH, _KINKED = 1e-3, 1e-2


def spread_slopes(
    net: Network,
    x: FloatArray,
    targets: Targets,
    loss: Loss,
    tops: Sequence[Triplets],
    trained: Sequence[bool],
) -> DoubleArray:
    """Return the derivative of tr C / 2 along the Jacobian of every layer's log norm: (layers,).

    C is the covariance over samples of the gradient by all trained parameters; ``trained`` has one
    entry per group of them. By central differences of sums of layer inputs and signals.
    """
    kind = net.activation
    share = _SMOOTH if kind.smooth else _KINKED
    theta = net._flat.astype(np.float64)
    rows = x.astype(np.float64, copy=False)
    values, labels, weights = targets
    values = None if values is None else values.astype(np.float64, copy=False)
    groups = net._layout.groups
    slopes = np.zeros(len(tops))
    for (name, begin, end, _), flag in zip(groups, trained, strict=True):
        if not name.startswith("W") or not flag:
            continue
        top = tops[int(name[1:]) - 1]
        step = share * top.norm
        both = []
        for sign in (1.0, -1.0):
            moved = theta.copy()
            moved[begin:end] += sign * step * top.jacobian.ravel()
            features, signals = _core.layer_rows(
                net._call, moved, rows, (values, labels, weights), loss._code
            )
            both.append(_half_spread(net, features, signals, trained))
        slopes[int(name[1:]) - 1] = (both[0] - both[1]) / (2 * step * top.norm)
    return slopes


def _half_spread(
    net: Network, features: list[FloatArray], signals: list[FloatArray], trained: Sequence[bool]
) -> float:
    """Return half the trace of the covariance of the samples' gradients."""
    n = len(features[0])
    total = 0.0
    for (name, *_), flag in zip(net._layout.groups, trained, strict=True):
        if not flag:
            continue
        a, d = features[int(name[1:]) - 1], signals[int(name[1:]) - 1]
        squares = np.einsum("ij,ij->i", d, d)
        if name.startswith("W"):
            mean = d.T @ a / n
            squares = squares * np.einsum("ij,ij->i", a, a)
        else:
            mean = d.mean(axis=0)
        total += float(squares.sum()) - n * float((mean * mean).sum())
    return 0.5 * total / (n - 1)
