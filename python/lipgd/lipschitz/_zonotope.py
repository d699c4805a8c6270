"""The longest sum of signed columns: the formal constant where inputs or outputs are one."""

from __future__ import annotations

import itertools

import numpy as np

from lipgd.lipschitz._question import Question, above, gamma
from lipgd.types import DoubleArray

__all__ = ["longest_sum", "zonotope_of"]


def zonotope_of(asked: Question) -> tuple[DoubleArray, float] | None:
    """Return columns whose longest signed sum is the formal constant, and their errors.

    That is the matrix ``[W.T (m b), h_1 b_1 w_1, ...]`` of section 3.1 for one output, and the same
    with inputs and outputs exchanged for one input. None for other networks.
    """
    if len(asked.weights) != 2:
        return None
    inner, outer = asked.weights[0], asked.weights[1].T
    if outer.shape[1] == 1:
        rows, factors = inner, outer[:, 0]
    elif inner.shape[1] == 1:
        rows, factors = outer, inner[:, 0]
    else:
        return None
    low, high = asked.lo[0], asked.hi[0]
    middle = 0.5 * low + 0.5 * high
    half = np.nextafter(np.maximum(high - middle, middle - low), np.inf) * (high > low)
    terms = rows * (middle * factors)[:, None]
    columns = np.vstack([terms.sum(axis=0), rows * (half * factors)[:, None]]).T
    sizes = np.abs(rows) * np.abs(factors)[:, None]
    total = (sizes * (np.abs(middle) + half)[:, None]).sum(axis=0)
    error = gamma(len(rows) + 8) * float(np.linalg.norm(total)) * (1.0 + 1e-9)
    return columns[:, columns.any(axis=0)], error


def longest_sum(columns: DoubleArray) -> float | None:
    """Return the largest norm of ``columns @ z`` over all signs z, rounded up; None if too many.

    The sums of largest norm are corners of a zonotope, one for each cell into which the planes
    orthogonal to the columns cut the directions. Cells that rounding hides are narrower than about
    the unit roundoff, so that a neighbour's sum is as long up to the errors added here.

    References
    ----------
    certificates.md, section 7
    """
    dimension, count = columns.shape
    if count == 0:
        return 0.0
    if dimension == 1:
        longest = float(np.abs(columns).sum())
    elif dimension == 2:
        longest = _plane(columns)
    elif dimension == 3 and count <= 3000:
        longest = max(_on_plane(columns, [i]) for i in range(count))
    elif dimension == 4 and count <= 150:
        pairs = itertools.combinations(range(count), 2)
        longest = max((_on_plane(columns, list(pair)) for pair in pairs), default=0.0)
        longest = max(longest, _plane_of_few(columns))
    else:
        return None
    total = float(np.sqrt((columns**2).sum(axis=0)).sum())
    return above((longest + gamma(64 + 2 * count) * total) * (1.0 + 1e-12))


def _plane(columns: DoubleArray) -> float:
    """Return the longest sum of columns of two entries, in O(n log n)."""
    upper = np.where((columns[1] < 0) | ((columns[1] == 0) & (columns[0] < 0)), -columns, columns)
    order = np.argsort(np.arctan2(upper[1], upper[0]), kind="stable")
    sums = upper.sum(axis=1)[:, None] - 2.0 * np.cumsum(upper[:, order], axis=1)
    return float(np.sqrt((sums**2).sum(axis=0)).max())


def _on_plane(columns: DoubleArray, fixed: list[int]) -> float:
    """Return the longest sum over the cells that touch the plane orthogonal to some columns."""
    basis = np.linalg.svd(columns[:, fixed], full_matrices=True)[0]
    across = basis[:, len(fixed) :]
    flat = across.T @ columns  # two rows
    size = np.sqrt((columns**2).sum(axis=0))
    aside = np.sqrt((flat**2).sum(axis=0)) <= 1e-14 * size  # parallel to the span of the fixed ones
    aside[fixed] = True
    turning = columns[:, ~aside]
    flat = flat[:, ~aside]
    sign = np.where((flat[1] < 0) | ((flat[1] == 0) & (flat[0] < 0)), -1.0, 1.0)
    order = np.argsort(np.arctan2(sign * flat[1], sign * flat[0]), kind="stable")
    turning = turning[:, order] * sign[order]
    sums = np.empty((len(columns), turning.shape[1] + 1))
    sums[:, 0] = turning.sum(axis=1)
    sums[:, 1:] = sums[:, :1] - 2.0 * np.cumsum(turning, axis=1)
    longest = 0.0
    for still in _sides(columns[:, aside], basis[:, : len(fixed)]):
        for direction in (still[:, None], -still[:, None]):
            longest = max(longest, float(np.sqrt(((sums + direction) ** 2).sum(axis=0)).max()))
    return longest


def _sides(columns: DoubleArray, span: DoubleArray) -> list[DoubleArray]:
    """Return the signed sums of columns in a span that directions of the span see."""
    inside = span.T @ columns
    if len(inside) == 1:
        return [columns @ np.where(inside[0] < 0, -1.0, 1.0)]
    upper = np.where((inside[1] < 0) | ((inside[1] == 0) & (inside[0] < 0)), -1.0, 1.0)
    angles = np.arctan2(upper * inside[1], upper * inside[0])
    order = np.argsort(angles, kind="stable")
    signed = columns[:, order] * upper[order]
    sums = signed.sum(axis=1)[:, None] - 2.0 * np.cumsum(signed, axis=1)
    return list(sums.T)


def _plane_of_few(columns: DoubleArray) -> float:
    """Return the longest sum of at most one column beside parallel ones."""
    return float(np.sqrt((columns**2).sum(axis=0)).sum()) if columns.shape[1] == 1 else 0.0
