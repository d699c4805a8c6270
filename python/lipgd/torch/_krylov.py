"""Leading singular triplets of a linear map, and systems with what is left of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lipgd.types import DoubleArray

__all__ = ["Leading", "leading_triplets", "solve"]

#: A map of rows (k, inputs) to (k, outputs), or back.
_Map = Callable[[DoubleArray], DoubleArray]
_MOST_STEPS = 600
_CHECK_EVERY = 10
_EXACT = 1e-13
_GOOD = 1e-11
_SOLVED = 1e-11
_TOO_CLOSE = (
    "the singular values of a convolution did not converge in {} steps: "
    "the largest ones are too close to each other"
)


@dataclass(frozen=True)
class Leading:
    """The first singular triplets: u (outputs, q), values (q,), v (inputs, q)."""

    u: DoubleArray
    values: DoubleArray
    v: DoubleArray


def leading_triplets(apply: _Map, back: _Map, inputs: int, outputs: int, most: int) -> Leading:
    """Return up to ``most`` leading triplets, the first two to rounding.

    The power iteration with the map and its transpose, kept as a Krylov space (Golub and Kahan)
    with full orthogonalization.
    """
    rank = min(inputs, outputs)
    steps = min(rank, _MOST_STEPS)
    v = np.zeros((steps + 1, inputs))
    u = np.zeros((steps, outputs))
    alphas, betas = np.zeros(steps), np.zeros(steps)
    # In the range of the transpose, which the space never leaves, and so ends at the rank.
    v[0] = _unit(back(np.random.default_rng(0).normal(size=(1, outputs)))[0])
    for k in range(steps):
        u[k], alphas[k] = _next(apply(v[k : k + 1])[0], u[:k])
        v[k + 1], betas[k] = _next(back(u[k : k + 1])[0], v[: k + 1])
        size = k + 1
        small = betas[k] <= _EXACT * alphas[: k + 1].max()
        if small or size == steps or size % _CHECK_EVERY == 0:
            square = np.diag(alphas[:size]) + np.diag(betas[: size - 1], 1)
            left, values, right = np.linalg.svd(square)
            errors = betas[k] * np.abs(left[-1])
            needed = min(2, rank)
            if small or size == steps or (errors[:needed] <= _EXACT * values[0]).all():
                break
    if not errors[0] <= _GOOD * values[0]:
        raise ValueError(_TOO_CLOSE.format(steps))
    good = errors <= _GOOD * values[0]
    count = min(most, int(np.argmin(good)) if not good.all() else size)
    return Leading((left[:, :count].T @ u[:size]).T, values[:count], (right[:count] @ v[:size]).T)


def solve(
    apply: _Map,
    back: _Map,
    top: Leading,
    along: DoubleArray,
    across: DoubleArray,
    size: DoubleArray,
) -> tuple[DoubleArray, DoubleArray]:
    """Solve ``(sigma_1 - M) (p, q) = (along, across)`` for many rows, M = [[0, T], [T^T, 0]].

    Right-hand sides and solutions are orthogonal to the triplets: there the matrix is positive
    definite, and its condition is 2 sigma_1 over the distance of sigma_1 to the next value.
    ``size`` (k,) says what right-hand sides are small against: a residual of 1e-11 of it is none.
    """
    sigma, width = top.values[0], along.shape[1]

    def product(rows: DoubleArray) -> DoubleArray:
        p, q = rows[:, :width], rows[:, width:]
        image = np.concatenate([sigma * p - apply(q), sigma * q - back(p)], axis=1)
        return outside(image)

    def outside(rows: DoubleArray) -> DoubleArray:
        p, q = rows[:, :width], rows[:, width:]
        return np.concatenate([p - (p @ top.u) @ top.u.T, q - (q @ top.v) @ top.v.T], axis=1)

    residual = outside(np.concatenate([along, across], axis=1))
    solution = np.zeros_like(residual)
    direction = residual.copy()
    square = np.einsum("ij,ij->i", residual, residual)
    goal = (_SOLVED * size) ** 2
    for _ in range(4 * _MOST_STEPS):
        active = square > goal
        if not active.any():
            break
        image = product(direction[active])
        length = square[active] / np.einsum("ij,ij->i", direction[active], image)
        solution[active] += length[:, None] * direction[active]
        residual[active] -= length[:, None] * image
        new = np.einsum("ij,ij->i", residual[active], residual[active])
        direction[active] = residual[active] + (new / square[active])[:, None] * direction[active]
        square[active] = new
    if (square > 1e6 * goal).any():  # rounding may stop it shortly before
        raise ValueError(_TOO_CLOSE.format(4 * _MOST_STEPS))
    return solution[:, :width], solution[:, width:]


def _next(vector: DoubleArray, basis: DoubleArray) -> tuple[DoubleArray, float]:
    """Return the unit vector outside of a basis, orthogonalized twice, and its length before."""
    for _ in range(2):
        vector = vector - basis.T @ (basis @ vector)
    length = float(np.linalg.norm(vector))
    return (vector / length if length > 0 else vector), length


def _unit(vector: DoubleArray) -> DoubleArray:
    return np.asarray(vector / np.linalg.norm(vector))
