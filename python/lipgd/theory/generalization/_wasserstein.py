"""Corollary 4: risk and empirical risk of Lipschitz networks, by Wasserstein distances."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lipgd import losses
from lipgd._check import integer, number
from lipgd.losses import Loss
from lipgd.theory._numbers import raised, values_of
from lipgd.types import ArrayLike, DoubleArray

__all__ = [
    "loss_slope",
    "mean_wasserstein",
    "sampling_deviation",
    "tree_distance",
    "wasserstein_gap",
]


def mean_wasserstein(sides: ArrayLike, n_samples: int) -> float:
    """Bound the expected Wasserstein distance between a law in a box and its sample.

    ``r / (2 sqrt(N))`` in one dimension. In any dimension, halve the longest side of the box again
    and again, with the diagonal d_j of the cells after j halvings:
    ``d_J + 1 / (2 sqrt(N)) sum_(j=1..J) (d_(j-1) - d_j) sqrt(2^j - 1)``, ``J = floor(log2(4 N))``.

    Parameters
    ----------
    sides : array_like, shape (n_dimensions,)
        Side lengths of the box, at least 0.
    n_samples : int
        N.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 7, (10).

    Examples
    --------
    >>> from lipgd.theory import generalization
    >>> round(generalization.mean_wasserstein([2.0], 100), 6)
    0.1
    >>> round(generalization.mean_wasserstein([1.0, 1.0, 1.0], 1000), 4)
    0.3201
    """
    lengths, n_samples = _sides("sides", sides), integer("n_samples", n_samples, at_least=1)
    if lengths.size == 1:
        return raised(float(lengths[0]) / (2.0 * math.sqrt(n_samples)))
    depth = (4 * n_samples).bit_length() - 1
    diagonals, falls = _halvings(lengths, depth)
    terms = [
        fall * math.sqrt(2.0**level - 1.0) for level, fall in enumerate(falls.tolist(), start=1)
    ]
    return raised(float(diagonals[-1]) + math.fsum(terms) / (2.0 * math.sqrt(n_samples)))


def tree_distance(
    first: ArrayLike, second: ArrayLike, lower: ArrayLike, upper: ArrayLike, depth: int
) -> float:
    """Bound the Wasserstein distance between two samples in a box.

    ``d_J + 1/2 sum_(j<=J) (d_(j-1) - d_j) sum_C |mu(C) - nu(C)|`` over the cells C of the box after
    j halvings of its longest side: the deterministic step behind (10).

    Parameters
    ----------
    first, second : array_like, shape (n_points, n_dimensions)
        The two samples, of any sizes.
    lower, upper : array_like, shape (n_dimensions,)
        The box that holds them.
    depth : int
        J, at least 0.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 7, proof of (10).

    Examples
    --------
    >>> from lipgd.theory import generalization
    >>> generalization.tree_distance([[0.0, 0.0]], [[1.0, 0.0]], [0.0, 0.0], [1.0, 0.0], 9) >= 1.0
    True
    """
    low, high = (np.asarray(end, dtype=np.float64) for end in (lower, upper))
    points = [np.asarray(sample, dtype=np.float64) for sample in (first, second)]
    for name, sample in zip(("first", "second"), points, strict=True):
        if sample.ndim != 2 or sample.shape[1:] != low.shape or not len(sample):
            raise ValueError(f"{name} has shape {sample.shape}, expected (n_points, {low.size})")
        if not ((sample >= low) & (sample <= high)).all():
            raise ValueError(f"{name} has a point outside the box, expected all inside")
    lengths = _sides("upper - lower", high - low)
    depth = integer("depth", depth, at_least=0)
    diagonals, falls = _halvings(lengths, depth)
    together, sizes = np.concatenate(points), (len(points[0]), len(points[1]))
    masses = np.repeat([1.0 / sizes[0], -1.0 / sizes[1]], sizes)
    cells, starts = np.zeros(len(together), np.int64), np.tile(low, (len(together), 1))
    widths, total = lengths.copy(), 0.0
    for fall in falls.tolist():
        axis = int(widths.argmax())
        widths[axis] /= 2.0
        beyond = together[:, axis] >= starts[:, axis] + widths[axis]
        starts[beyond, axis] += widths[axis]
        _, cells = np.unique(2 * cells + beyond, return_inverse=True)
        total += fall * float(np.abs(np.bincount(cells, masses)).sum())
    return raised(float(diagonals[-1]) + total / 2.0, 1024.0 + len(together))


def loss_slope(
    loss: str | Loss,
    n_outputs: int,
    lipschitz: float,
    *,
    residual_bound: float | None = None,
    output_bound: float | None = None,
    target_scale: float = 1.0,
) -> float:
    """Return a Lipschitz constant of the loss of a network as a function of sample and target.

    ``omega sqrt(Lip^2 + chi^-2)`` for huber, ``2 r / D sqrt(Lip^2 + chi^-2)`` for mse with
    residuals of norm at most r, and ``sqrt(Lip^2 + (M / chi)^2) / sqrt(D)`` for the logistic loss
    with outputs of size at most M: Lambda(f), in the metric
    ``|x - x'|^2 + chi^2 |y - y'|^2``.

    Parameters
    ----------
    loss : str or Loss
        mse, huber or logistic.
    n_outputs : int
        D.
    lipschitz : float
        A bound of the Lipschitz constant of the network, output scale included.
    residual_bound : float, optional
        For mse: a bound of ``|f(x) - y|`` on the box.
    output_bound : float, optional
        For the logistic loss: a bound of every output's size on the box.
    target_scale : float
        chi, above 0; to be chosen before seeing the sample.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the loss needs a bound that is not given, or compares labels.

    References
    ----------
    rate-constraints.md, section 7, Corollary 4.

    Examples
    --------
    >>> from lipgd.theory import generalization
    >>> round(generalization.loss_slope("huber", 1, 2.0), 6)
    2.236068
    """
    kind = losses.get(loss)
    n_outputs = integer("n_outputs", n_outputs, at_least=1)
    lipschitz = number("lipschitz", lipschitz, at_least=0.0)
    pull = 1.0 / number("target_scale", target_scale, above=0.0)
    if kind.kind == "huber":
        return raised(kind.lipschitz(n_outputs) * math.hypot(lipschitz, pull))
    if kind.kind == "mse":
        largest = _needed("residual_bound", residual_bound, "mse")
        return raised(2.0 * largest / n_outputs * math.hypot(lipschitz, pull))
    if kind.kind == "logistic":
        largest = _needed("output_bound", output_bound, "logistic")
        return raised(math.hypot(lipschitz, largest * pull) / math.sqrt(n_outputs))
    raise ValueError(f"loss is {kind.name}, expected one whose targets are numbers")


def sampling_deviation(diameter: float, n_samples: int, delta: float) -> float:
    """Return ``diam sqrt(ln(1 / delta) / (2 N))``, what the mean is exceeded by at most.

    Parameters
    ----------
    diameter : float
        How much one sample can change N times the quantity: the diagonal of the box, or the range
        of the loss.
    n_samples : int
        N.
    delta : float
        The probability of exceeding, above 0 and at most 1.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, sections 7 and 8.

    Examples
    --------
    >>> from lipgd.theory import generalization
    >>> round(generalization.sampling_deviation(2.0, 200, 0.01), 6)
    0.214597
    """
    diameter = number("diameter", diameter, at_least=0.0)
    n_samples = integer("n_samples", n_samples, at_least=1)
    logarithm = -math.log(number("delta", delta, above=0.0, at_most=1.0))
    return raised(diameter * math.sqrt(logarithm / (2.0 * n_samples)))


def wasserstein_gap(
    loss: str | Loss,
    lipschitz: float,
    input_sides: ArrayLike,
    output_sides: ArrayLike,
    n_samples: int,
    delta: float,
    *,
    residual_bound: float | None = None,
    output_bound: float | None = None,
    target_scales: Sequence[float] = (1.0,),
) -> float:
    """Bound the difference of risk and empirical risk, for all networks at once.

    ``|R(f) - R_N(f)| <= Lambda(f) (w_N + diam sqrt(ln(1 / delta) / (2 N)))`` with probability at
    least 1 - delta for samples that are independent, from a law in a box. With m target scales the
    best is taken, each with delta / m.

    Parameters
    ----------
    loss : str or Loss
        mse, huber or logistic.
    lipschitz : float
        A bound of the Lipschitz constant of the network, which may depend on the sample.
    input_sides, output_sides : array_like, shapes (n_inputs,) and (n_outputs,)
        Side lengths of the box of samples and targets, known before the sample.
    n_samples : int
        N.
    delta : float
        Above 0 and below 1.
    residual_bound, output_bound
        As for :func:`loss_slope`.
    target_scales : sequence of float
        Values of chi, chosen before seeing the sample.

    Returns
    -------
    float

    References
    ----------
    rate-constraints.md, section 7, Corollary 4.

    Examples
    --------
    >>> from lipgd.theory import generalization
    >>> bound = generalization.wasserstein_gap("huber", 2.0, [2.0], [3.0], 1000, 0.05)
    >>> round(bound, 3)
    1.035
    """
    delta = number("delta", delta, above=0.0, below=1.0)
    inputs, outputs = _sides("input_sides", input_sides), _sides("output_sides", output_sides)
    if not len(target_scales):
        raise ValueError("target_scales is empty, expected at least one number")
    bounds = []
    for scale in target_scales:
        slope = loss_slope(
            loss,
            outputs.size,
            lipschitz,
            residual_bound=residual_bound,
            output_bound=output_bound,
            target_scale=scale,
        )
        sides = np.concatenate([inputs, scale * outputs])
        diameter = raised(float(np.linalg.norm(sides)))
        deviation = sampling_deviation(diameter, n_samples, delta / len(target_scales))
        bounds.append(slope * (mean_wasserstein(sides, n_samples) + deviation))
    return raised(min(bounds))


def _halvings(lengths: DoubleArray, depth: int) -> tuple[DoubleArray, DoubleArray]:
    """Return the diagonals d_0, ..., d_depth and their differences, without cancellation."""
    widths = lengths.copy()
    diagonals, falls = [float(np.linalg.norm(widths))], []
    for _ in range(depth):
        axis = int(widths.argmax())
        lost = 0.75 * float(widths[axis]) ** 2
        widths[axis] /= 2.0
        diagonals.append(float(np.linalg.norm(widths)))
        both = diagonals[-2] + diagonals[-1]
        falls.append(lost / both if both else 0.0)
    return np.array(diagonals), np.array(falls)


def _sides(name: str, sides: ArrayLike) -> DoubleArray:
    lengths = values_of(name, sides)
    if lengths.ndim != 1 or not lengths.size or not np.isfinite(lengths).all():
        raise ValueError(f"{name} is {sides!r}, expected finite lengths, one per dimension")
    return lengths


def _needed(name: str, value: float | None, loss: str) -> float:
    if value is None:
        raise ValueError(f"{name} is missing, but the loss {loss} takes it")
    return number(name, value, at_least=0.0)
