"""Derivatives of the spectral norm against finite differences, and the remainder bound."""

from __future__ import annotations

import numpy as np
import pytest

from lipgd import _core
from lipgd.dynamics import Triplets

SHAPES = [(1, 1), (1, 6), (6, 1), (5, 5), (9, 4), (4, 9), (20, 20)]
# Central differences of eighth order.
FIRST = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
SECOND = {0: -205 / 72, 1: 8 / 5, 2: -1 / 5, 3: 8 / 315, 4: -1 / 560}


def with_values(rng, shape, values):
    left, _ = np.linalg.qr(rng.normal(size=(shape[0], len(values))))
    right, _ = np.linalg.qr(rng.normal(size=(shape[1], len(values))))
    return (left * values) @ right.T


def norm(matrix):
    return np.linalg.norm(matrix, 2)


def differences(matrix, direction, h):
    at = {k: norm(matrix + k * h * direction) for k in range(-4, 5)}
    first = sum(c * (at[k] - at[-k]) for k, c in FIRST.items()) / h
    second = SECOND[0] * at[0] + sum(c * (at[k] + at[-k]) for k, c in SECOND.items() if k)
    return first, second / h**2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["gaussian", "rank deficient", "small gap"])
def test_derivatives_agree_with_differences(shape, kind):
    rng = np.random.default_rng([*shape, len(kind)])
    rank = min(shape)
    values = {
        "gaussian": np.sort(rng.uniform(0.1, 1, rank))[::-1] + np.eye(rank)[0],
        "rank deficient": np.concatenate([[1.0, 0.5], np.zeros(rank)])[:rank],
        "small gap": np.concatenate([[1.0, 0.99], np.linspace(0.9, 0.2, rank)])[:rank],
    }[kind]
    matrix = with_values(rng, shape, values)
    top = Triplets.of(matrix)
    direction = rng.normal(size=shape)
    direction /= norm(direction)
    first, second = differences(matrix, direction, 0.02 * top.gap)
    assert (top.jacobian * direction).sum() == pytest.approx(first, rel=1e-9, abs=1e-10)
    assert top.hessian(direction) == pytest.approx(second, rel=1e-6, abs=1e-7 / top.gap)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_hessian_as_a_matrix(shape):
    rng = np.random.default_rng(shape)
    matrix = rng.normal(size=shape)
    top, size = Triplets.of(matrix), matrix.size
    units = np.eye(size).reshape(size, *shape)
    diagonal = [top.hessian(unit) for unit in units]
    full = np.array(
        [
            [(top.hessian(a + b) - diagonal[i] - diagonal[j]) / 2 for j, b in enumerate(units)]
            for i, a in enumerate(units)
        ]
        if size <= 40
        else np.diag(diagonal)
    )
    scale = 1 / top.gap
    np.testing.assert_allclose(top.hessian_diagonal().ravel(), diagonal, atol=1e-12 * scale)
    assert top.hessian_trace() == pytest.approx(np.trace(full), rel=1e-12, abs=1e-12)
    assert abs(top.hessian(matrix)) <= 1e-12 * top.norm
    if size <= 40:
        assert np.linalg.eigvalsh(full).min() >= -1e-12 * scale
        assert np.linalg.matrix_rank(full, tol=1e-9 * scale) == sum(shape) - 2


def test_the_remainder_stays_below_its_bound():
    rng = np.random.default_rng(5)
    worst = 0.0
    for _ in range(400):
        shape = tuple(rng.integers(1, 9, 2))
        top = Triplets.of(matrix := rng.normal(size=shape))
        change = rng.normal(size=shape)
        change *= rng.uniform(0.02, 0.49) * top.gap / norm(change)
        first, second = (top.jacobian * change).sum(), top.hessian(change)
        left = norm(matrix + change) - top.norm - first - second / 2
        in_log = np.log(norm(matrix + change) / top.norm) - first / top.norm
        in_log -= (second / top.norm - (first / top.norm) ** 2) / 2
        size = norm(change)
        rounding = 1e-13 * (1 + second)
        assert abs(left) <= top.remainder_bound(size) + rounding
        assert abs(in_log) <= top.remainder_bound(size, log=True) + rounding
        worst = max(worst, abs(left) / top.remainder_bound(size))
    assert worst > 0.01  # the bound is of the right order
    assert top.remainder_bound(top.gap) == np.inf


@pytest.mark.parametrize("shape", [*SHAPES, (64, 64), (33, 64)])
@pytest.mark.parametrize("kind", ["gaussian", "rank deficient", "zero columns", "tiny", "graded"])
def test_the_decomposition_is_that_of_the_matrix(level, shape, kind):
    rng = np.random.default_rng([*shape, len(kind)])
    matrix = rng.normal(size=shape)
    rank = min(shape)
    if kind == "rank deficient":
        matrix = with_values(rng, shape, np.where(np.arange(rank) < 2, 1.0, 0.0))
    if kind == "zero columns":
        matrix[:, 1:3] = 0
    if kind == "tiny":
        matrix *= 1e-250
    if kind == "graded":
        matrix = matrix * np.logspace(0, -12, shape[1])
    left, values, right = _core.thin_svd(matrix)
    size = values[0]
    np.testing.assert_allclose((left * values) @ right.T, matrix, atol=1e-14 * rank * size)
    np.testing.assert_allclose(left.T @ left, np.eye(rank), atol=3e-14)
    np.testing.assert_allclose(right.T @ right, np.eye(rank), atol=3e-14)
    expected = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(values, expected, atol=1e-14 * rank * size)
    assert (values[:-1] >= values[1:]).all()


def test_no_decomposition_of_what_is_not_finite(level):
    assert _core.thin_svd(np.array([[1.0, np.inf], [0.0, 1.0]])) is None


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((2, 2)), "matrix is zero"),
        (np.ones(3), r"matrix has shape \(3,\)"),
        ([[np.nan]], "matrix has a value that is not finite"),
    ],
)
def test_bad_matrices_are_named(matrix, message):
    with pytest.raises(ValueError, match=message):
        Triplets.of(matrix)
