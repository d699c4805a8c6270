"""The constants of a network and its data: sections 1 and 1.1, for any frozen outer layer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lipgd._arguments import finite_inputs_of
from lipgd._check import shown
from lipgd.activations import get
from lipgd.network import Network
from lipgd.theory._numbers import raised
from lipgd.theory.large_stepsize._scalars import numbers_of
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["Constants", "comparator", "constants", "homogeneity_gap", "separation_rate", "unsuited"]


@dataclass(frozen=True)
class Constants:
    """What the theorems need to know of a predictor; rounded up where they bound.

    Attributes
    ----------
    gradient_bound : float
        rho, no sample's output has a larger gradient by the trained parameters.
    curvature_bound : float
        beta, no sample's output has a Hessian of larger norm; inf if the slope jumps.
    homogeneity_gap : float
        kappa, ``|f(w; x_i) - <grad f(w; x_i), w>|`` is at most this.
    unit_gradient_bound, unit_curvature_bound : float
        rho_1 and beta_1 of Theorem 2: the same for inputs of length 1.
    bias_gradient_bound : float
        The gradient by the outer bias: the output scale if it is trained, else 0.
    input_norm : float
        R, the largest length of an input, the constant 1 of hidden biases included.
    input_eigenvalue : float
        Lambda, the largest eigenvalue of the mean of ``x x^T``.
    slope : float
        alpha, the infimum of the activation's slope.
    outer_norm : float
        The length of the scaled outer weights, ``b / sqrt(m)`` for signs.
    n_samples : int
        n.

    References
    ----------
    large-stepsize.md, section 1; for general outer layers and biases the same proofs apply.
    """

    gradient_bound: float
    curvature_bound: float
    homogeneity_gap: float
    unit_gradient_bound: float
    unit_curvature_bound: float
    bias_gradient_bound: float
    input_norm: float
    input_eigenvalue: float
    slope: float
    outer_norm: float
    n_samples: int


def unsuited(net: Network, frozen: Iterable[str] = ()) -> str | None:
    """Return why a network has no constants for all weights, as a code; None if it has.

    Parameters
    ----------
    net : Network
        A network.
    frozen : iterable of str
        The parameters that are not trained.

    Returns
    -------
    str or None
        ``"several outputs"``, ``"first layer frozen"`` or ``"several layers trained"``.

    References
    ----------
    large-stepsize.md, sections 1 and 8.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network.create([2, 4, 1], activation="silu")
    >>> large_stepsize.unsuited(net), large_stepsize.unsuited(net, ["W2"])
    ('several layers trained', None)
    """
    held = _names(net, frozen)
    if net.n_outputs != 1:
        return "several outputs"
    if "W1" in held:
        return "first layer frozen"
    if net.depth > 2 or (net.depth == 2 and "W2" not in held):
        return "several layers trained"
    return None


def constants(net: Network, X: ArrayLike, frozen: Iterable[str] = ("W2",)) -> Constants:
    """Return the constants of a two-layer network whose first layer is trained, or a linear one.

    The outer weights may be any; a trained hidden bias is a constant 1 appended to the inputs; a
    trained outer bias adds its slope to rho; frozen biases that are not 0 add to kappa. The
    constants hold for all values of the trained parameters, the norm of which is that of w.

    Parameters
    ----------
    net : Network
        Its frozen parameters, activation and output scale matter.
    X : array_like, shape (n_samples, n_inputs)
        The samples.
    frozen : iterable of str
        The parameters that are not trained, ``"W2"`` among them if there are two layers.

    Returns
    -------
    Constants

    Raises
    ------
    ValueError
        If there are no such constants, see :func:`unsuited`; if X does not fit.

    References
    ----------
    large-stepsize.md, section 1, (1.1).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> W2 = [[1.0, -1.0, 1.0, -1.0]]
    >>> net = lipgd.Network([[[0.0, 0.0]] * 4, W2], activation="silu", output_scale=0.25)
    >>> found = large_stepsize.constants(net, [[3.0, 4.0]])
    >>> round(found.gradient_bound, 6), round(found.curvature_bound, 6)
    (2.749598, 3.125)
    >>> round(found.homogeneity_gap, 6)
    0.219614
    """
    held = _names(net, frozen)
    reason = unsuited(net, held)
    if reason is not None:
        raise ValueError(f"net is {net} with frozen {sorted(held)}: {_UNSUITED[reason]}")
    samples = finite_inputs_of("X", X, net.n_inputs, net.dtype).astype(np.float64)
    biased = net.biases[0] is not None and "b1" not in held
    norm, eigenvalue = _input_sizes(samples, biased)
    activation = net.activation if net.depth == 2 else get("identity")
    outer = _outer(net)
    outer_norm = raised(float(np.linalg.norm(outer)))
    largest = float(np.abs(outer).max())
    last = f"b{net.depth}"
    bias = 0.0
    if net.depth == 2 and net.biases[1] is not None and last not in held:
        bias = abs(net.output_scale)
    unit_gradient = outer_norm * activation.lipschitz
    unit_curvature = raised(largest * activation.curvature) if activation.curvature else 0.0
    return Constants(
        gradient_bound=raised(math.hypot(unit_gradient * norm, bias)),
        curvature_bound=raised(unit_curvature * norm * norm),
        homogeneity_gap=homogeneity_gap(net, held),
        unit_gradient_bound=raised(unit_gradient),
        unit_curvature_bound=unit_curvature,
        bias_gradient_bound=bias,
        input_norm=norm,
        input_eigenvalue=eigenvalue,
        slope=activation.slope_range[0],
        outer_norm=outer_norm,
        n_samples=len(samples),
    )


def homogeneity_gap(net: Network, frozen: Iterable[str] = ("W2",)) -> float:
    """Return kappa, how far a network is from homogeneous in its trained first layer at most.

    Parameters
    ----------
    net : Network
        One output, and ``unsuited(net, frozen)`` is None.
    frozen : iterable of str
        The parameters that are not trained.

    Returns
    -------
    float
        inf if the activation is not near-homogeneous.

    References
    ----------
    large-stepsize.md, section 1, (1.1).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[1.0]] * 2, [[1.0, -1.0]]], activation="softplus", output_scale=0.5)
    >>> round(large_stepsize.homogeneity_gap(net), 6)
    0.346574
    """
    held = _names(net, frozen)
    outer = _outer(net)
    activation = net.activation if net.depth == 2 else get("identity")
    plus, minus = float(outer[outer > 0].sum()), float(-outer[outer < 0].sum())
    low, high = activation.homogeneity_range
    gap = max(_times(plus, high) - _times(minus, low), _times(minus, high) - _times(plus, low))
    first, last = net.biases[0], net.biases[-1]
    if net.depth == 2 and first is not None and "b1" in held:
        gap += activation.lipschitz * float(np.abs(outer * first).sum())
    if last is not None and f"b{net.depth}" in held:
        gap += abs(net.output_scale) * float(np.abs(last[0]))
    return raised(max(gap, 0.0))


def separation_rate(found: Constants, margin: float) -> float:
    """Return gamma_*, the rate at which the reference direction raises every margin.

    ``gamma_* = b alpha gamma / sqrt(m)``; the mean slope G then has
    ``-<grad L, v> >= gamma_* G``.

    Parameters
    ----------
    found : Constants
        Of the network.
    margin : float
        gamma of the data, above 0: ``y_i x_i . v >= gamma`` for a unit v, with the constant 1 in
        the inputs if hidden biases are trained.

    Returns
    -------
    float
        At most 0 if alpha is.

    References
    ----------
    large-stepsize.md, section 5, (5.1).

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]], [[1.0]]], activation="leaky(softplus, 0.5)")
    >>> round(large_stepsize.separation_rate(large_stepsize.constants(net, [[2.0]]), 2.0), 9)
    1.0
    """
    # The outer norm was rounded up; here it stands on the other side.
    return found.outer_norm * found.slope * margin * (1.0 - 2.0**-42)


def comparator(net: Network, direction: ArrayLike) -> dict[str, DoubleArray]:
    """Return the unit vector in the trained parameters that separating data calls for.

    ``v = (a_1 v, ..., a_m v) / ||a||``, by the names of the parameters.

    Parameters
    ----------
    net : Network
        One or two layers.
    direction : array_like, shape (n_inputs,) or (n_inputs + 1,)
        A direction that separates the data; the last of one more number is for the constant 1 that
        stands for trained hidden biases.

    Returns
    -------
    dict of str to ndarray
        ``"W1"``, and ``"b1"`` if the direction has its entry.

    References
    ----------
    large-stepsize.md, section 5.

    Examples
    --------
    >>> import lipgd
    >>> from lipgd.theory import large_stepsize
    >>> net = lipgd.Network([[[0.0]] * 4, [[1.0, -1.0, 1.0, 1.0]]], activation="identity")
    >>> large_stepsize.comparator(net, [3.0])["W1"].ravel().tolist()
    [0.5, -0.5, 0.5, 0.5]
    """
    v = numbers_of("direction", direction)
    if v.ndim != 1 or len(v) not in (net.n_inputs, net.n_inputs + 1) or not np.any(v):
        raise ValueError(
            f"direction is {shown(direction)}, "
            f"expected {net.n_inputs} or {net.n_inputs + 1} numbers, not all 0"
        )
    outer = _outer(net)
    table = np.outer(outer / np.linalg.norm(outer), v / np.linalg.norm(v))
    parts = {"W1": table[:, : net.n_inputs]}
    if len(v) > net.n_inputs:
        parts["b1"] = table[:, -1]
    return parts


_UNSUITED = {
    "several outputs": "it has several outputs, expected one",
    "first layer frozen": "the first layer is frozen, expected it to be trained",
    "several layers trained": "more than one layer of weights is trained, expected 'W2' frozen "
    "and at most two layers",
}


def _names(net: Network, frozen: Iterable[str]) -> set[str]:
    if isinstance(frozen, str):
        raise TypeError(f"frozen is {frozen!r}, expected names such as ('W2', 'b2')")
    held = set(frozen)
    known = [name for name, _ in net.named()]
    # A default that names W2 fits networks without one.
    unknown = [name for name in held if name not in known and name not in ("W2", "b1", "b2")]
    if unknown:
        raise ValueError(f"frozen has {shown(unknown[0])}, expected names among {known}")
    return held


def _outer(net: Network) -> DoubleArray:
    """Return the scaled outer weights; a linear network is one unit of the identity."""
    weights: Any = net.weights[1][0] if net.depth == 2 else np.ones(1)
    return np.asarray(weights, np.float64) * net.output_scale


def _times(weight: float, end: float) -> float:
    return weight * end if weight else 0.0


def _input_sizes(samples: DoubleArray, biased: bool) -> tuple[float, float]:
    if biased:
        samples = np.column_stack([samples, np.ones(len(samples))])
    n, d = samples.shape
    gram = samples.T @ samples if d <= n else samples @ samples.T
    norm = math.sqrt(float(np.square(samples).sum(axis=1).max()))
    # An eigenvalue solver errs by a small multiple of d eps times the norm.
    slack = 1.0 + 64.0 * (n + d) * 2.0**-52
    return raised(norm), raised(float(np.linalg.eigvalsh(gram)[-1]) / n * slack)
