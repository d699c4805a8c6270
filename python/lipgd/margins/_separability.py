"""Linear separability of data, with the hard margin."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lipgd import losses
from lipgd._arguments import finite_inputs_of, real_array, targets_of
from lipgd._check import flag
from lipgd.types import ArrayLike, DoubleArray

__all__ = ["Separability", "separability"]

#: Rows that join the working set of the hard margin at once, at least.
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Separability:
    """Whether labelled data can be separated by a hyperplane through the origin, and how well.

    Attributes
    ----------
    separable : bool
        Whether a direction is known with ``y_i <x_i, direction> > 0`` for all samples, beyond
        rounding.
    margin : float
        ``min_i y_i <x_i, direction>``, the hard margin but for rounding; 0 if not separable.
    upper : float
        The length of a convex combination of the ``y_i x_i``: no direction has a larger margin.
    direction : ndarray, shape (n_inputs,) or (n_inputs + 1,), or None
        The unit vector with that margin; its last entry is that of the bias, if there is one.

    References
    ----------
    large-stepsize.md, section 5.
    """

    separable: bool
    margin: float
    upper: float
    direction: DoubleArray | None = field(repr=False)

    def __bool__(self) -> bool:
        return self.separable


def separability(X: ArrayLike, y: ArrayLike, *, bias: bool = False) -> Separability:
    """Return whether data are linearly separable, and with which hard margin.

    The shortest w with ``y_i <x_i, w> >= 1`` is found by least distance programming (Lawson and
    Hanson 1974, chapter 23), that is with SciPy's nonnegative least squares, on a growing set of
    the samples that are violated most. The answer is checked: the margin is that of the direction
    which is returned, and a convex combination of the samples proves that it cannot be much larger.

    Parameters
    ----------
    X : array_like, shape (n_samples, n_inputs)
        Samples.
    y : array_like, shape (n_samples,)
        Labels, -1 or +1.
    bias : bool
        Append a constant 1 to the samples, which stands for trained hidden biases.

    Returns
    -------
    Separability

    Raises
    ------
    ImportError
        If SciPy is not installed.
    TypeError, ValueError
        If data or labels do not fit.

    References
    ----------
    large-stepsize.md, section 5.

    Examples
    --------
    >>> import lipgd
    >>> found = lipgd.margins.separability([[3.0, 4.0], [-3.0, -4.0], [6.0, 8.0]], [1, -1, 1])
    >>> found.separable, round(found.margin, 9)
    (True, 5.0)
    >>> lipgd.margins.separability([[1.0, 1.0], [1.0, 1.0]], [1, -1]).separable
    False
    """
    given = real_array("X", X)
    columns = given.shape[1] if given.ndim == 2 else 0
    samples = finite_inputs_of("X", given, columns, np.dtype(np.float64)).astype(np.float64)
    labels, _ = targets_of("y", y, losses.get("logistic"), len(samples), 1, np.dtype(np.float64))
    assert labels is not None
    if flag("bias", bias):
        samples = np.column_stack([samples, np.ones(len(samples))])
    return _hard_margin(samples * labels, _nonnegative_least_squares())


def _nonnegative_least_squares() -> Callable[..., Any]:
    try:
        from scipy.optimize import nnls
    except ImportError as error:
        raise ImportError('separability needs SciPy: pip install "lipgd[scipy]"') from error
    solve: Callable[..., Any] = nnls
    return solve


def _hard_margin(rows: DoubleArray, solve: Callable[..., Any]) -> Separability:
    """Return the shortest w with ``rows w >= 1`` as a direction."""
    if not rows.any(axis=1).all():
        return Separability(False, 0.0, 0.0, None)  # no direction has a margin on a zero
    # Squares of very small numbers would underflow.
    largest = float(np.abs(rows).max())
    rows = rows / largest
    longest = float(np.sqrt(np.square(rows).sum(axis=1)).max())
    scaled, size = rows / longest, longest * largest
    # What rounding may do to a product of such a row with a unit vector.
    rounding = 2.0 * (rows.shape[1] + 4) * float(np.finfo(np.float64).eps)
    working = np.argsort(scaled @ scaled.mean(axis=0))[: max(_ROWS_AT_ONCE, rows.shape[1] + 1)]
    upper = math.inf
    while True:
        weights, direction = _least_distance(scaled[working], solve)
        upper = float(np.linalg.norm(weights @ scaled[working])) + rounding
        if direction is None:
            return Separability(False, 0.0, float(upper * size), None)
        products = scaled @ direction
        margin = float(products.min())
        inner = float(products[working].min())
        fresh = np.setdiff1d(np.flatnonzero(products < inner - rounding), working)
        if len(fresh) == 0 or margin >= upper * (1.0 - 1e-12):
            break
        most = np.argsort(products[fresh])[: max(_ROWS_AT_ONCE, len(working) // 2)]
        working = np.concatenate([working, fresh[most]])
    if margin <= rounding:
        return Separability(False, 0.0, float(upper * size), None)
    direction.flags.writeable = False
    return Separability(True, float((margin - rounding) * size), float(upper * size), direction)


def _least_distance(
    rows: DoubleArray, solve: Callable[..., Any]
) -> tuple[DoubleArray, DoubleArray | None]:
    """Return convex weights of the rows, and the direction of the shortest w with ``rows w >= 1``.

    The direction is None where the rows' convex hull has the origin in it, as far as numbers tell.
    """
    n, d = rows.shape
    table = np.vstack([rows.T, np.ones(n)])
    target = np.zeros(d + 1)
    target[d] = 1.0
    u, _ = solve(table, target, maxiter=50 * (n + d))
    weights = u / u.sum() if u.sum() > 0.0 else np.full(n, 1.0 / n)
    # The nearest point of the hull to the origin is the direction of the widest margin.
    nearest = weights @ rows
    length = float(np.linalg.norm(nearest))
    if length <= 1e-13 * math.sqrt(n):
        return weights, None
    # The shortest w that meets the rows of the hull's nearest face with equality is more precise
    # where the margin is narrow.
    face = rows[weights > 0.0]
    shortest = np.linalg.lstsq(face, np.ones(len(face)), rcond=None)[0]
    candidates = [nearest / length]
    if np.isfinite(shortest).all() and shortest.any():
        candidates.append(shortest / np.linalg.norm(shortest))
    return weights, max(candidates, key=lambda direction: float((rows @ direction).min()))
